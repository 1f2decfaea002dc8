"""What people should know about a layer whenever it is used, not only when it is made. Pure.

Remarks travel as an annotation of the layer's Descriptor: they are in the store's index of keys and in the manifest of
every image that has the layer, so a build that finds the layer somewhere repeats them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from layerforge.errors import ImageError
from layerforge.oci import decode, encode

ANNOTATION = "run.layerforge.warnings"
"""On a layer's Descriptor: the remarks, as :func:`encode_remarks` writes them."""

_MOST = 100
_LONGEST = 500


class Remark(msgspec.Struct, frozen=True, array_like=True):
    """A warning about a layer, and what to do about it."""

    text: str
    hint: str = ""


def encode_remarks(remarks: Iterable[Remark]) -> str:
    """``remarks`` as an annotation's value; of very many the first ones, and how many there are besides."""
    distinct = list(dict.fromkeys(Remark(_make_plain(each.text), _make_plain(each.hint)) for each in remarks))
    rest = len(distinct) - _MOST
    shown = [*distinct[:_MOST], *([Remark(f"{rest} more warnings of this kind")] if rest > 0 else ())]
    return encode(shown).decode()


def read_remarks(annotations: Mapping[str, str]) -> tuple[Remark, ...]:
    """The remarks that a Descriptor's annotations hold; none where they cannot be read, or are not for a terminal."""
    try:
        found = decode(annotations.get(ANNOTATION, "[]").encode(), tuple[Remark, ...])
    except ImageError:
        return ()
    return tuple(each for each in found[: _MOST + 1] if _is_plain(each.text) and _is_plain(each.hint))


def _make_plain(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)[:_LONGEST]


def _is_plain(text: str) -> bool:
    return len(text) <= _LONGEST and (text.isprintable() or not text)
