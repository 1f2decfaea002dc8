"""The reviewed list: which differences between our roots and mmdebstrap's are known, and why they are right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
import tomli

from tests.fidelity.decoded import DECODERS
from tests.fidelity.roots import Difference, Root

LIST = Path(__file__).with_name("reviewed.toml")


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Differences that are right: ``paths`` (``*`` within a folder, ``**`` across), ``aspects`` (none: all).

    ``sets`` narrows it to ``release/name`` patterns. With ``lines``, a regular expression, a file's content may differ
    in lines that match it, and in no others. With ``unordered``, the order of lines does not count. With ``skip``, the
    first so many bytes may differ. With ``decoded``, what a decoder of that name reads must be the same.
    """

    paths: tuple[str, ...]
    reason: str
    aspects: tuple[str, ...] = ()
    sets: tuple[str, ...] = ("*",)
    lines: str = ""
    unordered: bool = False
    skip: int = 0
    decoded: str = ""

    def applies(self, name: str) -> bool:
        """Whether it is about the set ``release/name``."""
        return any(fnmatchcase(name, pattern) for pattern in self.sets)

    def covers(self, difference: Difference, ours: Root, theirs: Root) -> bool:
        """Whether ``difference`` is one of these."""
        if self.aspects and difference.aspect not in self.aspects:
            return False
        if not any(_compile(pattern).fullmatch(difference.path) for pattern in self.paths):
            return False
        if not (self.lines or self.unordered or self.skip or self.decoded):
            return True
        if difference.aspect != "content":
            return False
        if self.decoded:
            decode = DECODERS[self.decoded]
            return bool(decode(ours[difference.path].content) == decode(theirs[difference.path].content))
        if self.skip:
            return ours[difference.path].content[self.skip :] == theirs[difference.path].content[self.skip :]
        return self._reduce(ours, difference.path) == self._reduce(theirs, difference.path)

    def _reduce(self, root: Root, path: str) -> list[str]:
        found = root[path].content.decode("utf-8", "replace").splitlines()
        lines = [line for line in found if not self.lines or not re.search(self.lines, line)]
        return sorted(lines) if self.unordered else lines


def read_rules(path: Path = LIST) -> tuple[Rule, ...]:
    """The list."""
    return msgspec.convert(tomli.loads(path.read_text())["difference"], tuple[Rule, ...])


class Review(msgspec.Struct):
    """What became of the differences of one set: ``open`` ones are on no list, ``used`` counts those of each rule."""

    paths: int
    open: list[Difference]
    used: dict[int, int]


def review(name: str, ours: Root, theirs: Root, differences: Iterable[Difference], rules: Sequence[Rule]) -> Review:
    """Sort ``differences`` of the set ``release/name`` by the rule that covers each."""
    result = Review(len(ours.keys() | theirs.keys()), [], {})
    applicable = [(number, rule) for number, rule in enumerate(rules) if rule.applies(name)]
    for difference in differences:
        number = next((number for number, rule in applicable if rule.covers(difference, ours, theirs)), None)
        if number is None:
            result.open.append(difference)
        else:
            result.used[number] = result.used.get(number, 0) + 1
    return result


def _compile(pattern: str) -> re.Pattern[str]:
    pieces = re.split(r"(\*\*|\*)", pattern)
    return re.compile("".join({"**": ".*", "*": "[^/]*"}.get(piece, re.escape(piece)) for piece in pieces), re.DOTALL)
