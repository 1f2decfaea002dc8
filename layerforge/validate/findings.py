"""Collects what is wrong, and reads JSON without forgiving anything."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import Any, TypeVar

from layerforge.errors import ImageError
from layerforge.oci import Descriptor

T = TypeVar("T")

_MOST = 25
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|[+-](\d\d):(\d\d))")


class Findings:
    """Problems of one document or layer, each with the place in it, such as ``layers[2].size``."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.problems: list[str] = []

    def add(self, place: str, problem: str) -> None:
        """Note ``problem`` at ``place``."""
        self.problems.append(f"{place}: {problem}" if place else problem)

    def extend(self, other: Findings) -> None:
        """Take over what ``other`` found, under its name."""
        self.problems += [f"{other.what}: {problem}" for problem in other.problems]

    def check(self) -> None:
        """Say everything, if there is anything to say.

        Raises:
            ImageError: with one line for each problem.
        """
        if self.problems:
            shown = self.problems[:_MOST]
            if len(self.problems) > _MOST:
                shown.append(f"and {len(self.problems) - _MOST} more problems")
            raise ImageError("\n".join(shown), where=self.what)

    # -- reading ---------------------------------------------------------------------------------------------

    def measure(self, data: bytes, descriptor: Descriptor) -> None:
        """Compare ``data`` with the descriptor's size and digest."""
        if len(data) != descriptor.size:
            self.add("", f"{len(data):,} bytes, where its descriptor says {descriptor.size:,}")
        found = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if found != descriptor.digest:
            self.add("", f"has digest {found}, where its descriptor says {descriptor.digest}")

    def parse(self, data: bytes) -> dict[str, Any]:
        """The JSON object in ``data``; empty, with a problem noted, when it is none."""

        def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            result = dict(pairs)
            for key in result:
                if len(result) != len(pairs) and sum(key == other for other, _ in pairs) > 1:
                    self.add(key, "appears twice in one object")
            return result

        def refuse(text: str) -> None:
            self.add("", f"{text} is not JSON")

        try:
            document = json.loads(data.decode("utf-8"), object_pairs_hook=build, parse_constant=refuse)
        except (ValueError, RecursionError) as error:
            self.add("", f"is not JSON: {error}")
            return {}
        if not isinstance(document, dict):
            self.add("", "is not a JSON object")
            return {}
        return document

    def get(
        self, document: dict[str, Any], key: str, kind: type[T], place: str = "", *, needed: bool = False
    ) -> T | None:
        """The field ``key``, if it is a ``kind``; None when it is absent, null or wrong. ``place`` is the object's."""
        value = document.get(key)
        path = f"{place}.{key}" if place else key
        if value is None:
            if needed:
                self.add(path, "is missing")
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.add(path, f"is a {_name(value)}, not a {_KINDS[kind]}")
            return None
        return value

    def get_strings(self, document: dict[str, Any], key: str, place: str = "") -> list[str]:
        """The field ``key``, a list of strings."""
        values = self.get(document, key, list, place) or []
        for number, value in enumerate(values):
            if not isinstance(value, str):
                self.add(f"{place}.{key}[{number}]", f"is a {_name(value)}, not a string")
        return [value for value in values if isinstance(value, str)]

    def check_digest(self, value: str, place: str) -> None:
        """sha256, in lower case: the one algorithm that every registry and engine takes."""
        if not _DIGEST.fullmatch(value):
            self.add(place, f"{value[:90]!r} is not a sha256 digest")

    def check_time(self, value: str, place: str) -> None:
        """RFC 3339, section 5.6."""
        match = _TIME.fullmatch(value)
        try:
            if match is None or int(match[3]) > 60 or int(match[4] or 0) > 23 or int(match[5] or 0) > 59:
                raise ValueError
            datetime.fromisoformat(f"{match[1]}T{match[2]}:00")
        except ValueError:
            self.add(place, f"{value!r} is not an RFC 3339 time")


_KINDS: dict[type, str] = {str: "string", int: "number", list: "list", dict: "object", bool: "true or false"}


def _name(value: object) -> str:
    return next((name for kind, name in _KINDS.items() if type(value) is kind), type(value).__name__)
