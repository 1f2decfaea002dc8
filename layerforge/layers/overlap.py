"""Wheels that install different files under one path, and those that cannot be installed together. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from layerforge.errors import LayerError

Identity = tuple[int, int]
"""Size and CRC-32 of a file: equal for equal contents, as far as the archives' directories tell."""

HINT = "if one of them replaces the other, require only one of them"


class Overlap(msgspec.Struct, frozen=True):
    """``count`` paths, ``path`` among them, that the wheels ``loser`` and ``winner`` install with other contents."""

    loser: str
    winner: str
    path: str
    count: int

    def __str__(self) -> str:
        more = f" and {self.count - 1:,} more paths" if self.count > 1 else ""
        used = f"the latter's {'are' if more else 'is'} used"
        return f"{self.loser} and {self.winner} both install /{self.path}{more}, and differently: {used}"


def find_overlaps(installed: Sequence[tuple[str, Mapping[str, Identity]]]) -> tuple[Overlap, ...]:
    """The overlaps between wheels, which are given in order with their paths, sorted by their names.

    Raises:
        LayerError: a path is a file in one and a folder in another.
    """
    owners: dict[str, tuple[str, Identity]] = {}
    found: dict[tuple[str, str], list[str]] = {}
    for label, paths in installed:
        for path, identity in paths.items():
            before = owners.get(path)
            if before is not None and before[1] != identity:
                found.setdefault((before[0], label), []).append(path)
            owners[path] = (label, identity)
    _check_folders({path: label for path, (label, _) in owners.items()})
    return tuple(Overlap(*pair, min(paths), len(paths)) for pair, paths in sorted(found.items()))


def _check_folders(labels: Mapping[str, str]) -> None:
    """Refuse what no file system can hold: a path that is a file for one wheel and a folder for another.

    ``labels`` gives for each path the wheel that it is from.
    """
    checked: set[str] = set()
    for path, label in labels.items():
        folder = path.rpartition("/")[0]
        while folder and folder not in checked:
            if folder in labels:
                names = f"{labels[folder]} and {label}"
                hint = "they cannot be installed together: require only one of them"
                raise LayerError(f"/{folder} is a file in one and a folder in the other", where=names, hint=hint)
            checked.add(folder)
            folder = folder.rpartition("/")[0]
