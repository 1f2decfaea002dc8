"""Compares our roots with mmdebstrap's: ``python -m tests.fidelity bookworm/ffmpeg trixie/git`` (none: all sets).

Differences that are not on the reviewed list are printed, small files with their text. As root only.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from pathlib import Path

from layerforge.store import Store
from tests.fidelity.assembled import Chooser
from tests.fidelity.comparison import Comparison, compare
from tests.fidelity.package_sets import MINORS, SETS
from tests.fidelity.review import read_rules

_SHOWN = 40


def main() -> int:
    """Compare, print, and exit with 1 where a difference is open, or a reason has none in any of all sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", help="release/name; names are in tests/fidelity/package_sets.py")
    parser.add_argument("--all", action="store_true", help="print every difference, also the reviewed ones")
    parser.add_argument("--memory", type=Path, help="folder in which reference roots are remembered")
    arguments = parser.parse_args()
    if os.geteuid():
        parser.error("mmdebstrap has to run as root here")
    sets = arguments.sets or [f"{release}/{name}" for release in MINORS for name in SETS]
    rules = () if arguments.all else read_rules()
    store = Store()
    chooser, total, used = Chooser(store), 0, dict[int, int]()
    for title in sets:
        release, _, name = title.partition("/")
        found = compare(release, name, store, chooser, rules, arguments.memory)
        total += len(found.review.open)
        for number, count in found.review.used.items():
            used[number] = used.get(number, 0) + count
        print(
            f"{title}: {found.packages} packages, {found.review.paths} paths, {sum(found.review.used.values())} "
            f"reviewed differences, {len(found.review.open)} open",
            flush=True,
        )
        show(found)
    for number, count in sorted(used.items()):
        print(f"{count:6} {' '.join(rules[number].paths)[:60]}: {rules[number].reason}")
    idle = [] if arguments.sets else [rule for number, rule in enumerate(rules) if number not in used]
    for rule in idle:
        print(f"no difference needs this reason any more: {' '.join(rule.paths)}: {rule.reason}")
    return int(total > 0 or bool(idle))


def show(found: Comparison) -> None:
    """Print the open differences."""
    for difference in found.review.open:
        print(f"  {difference}")
        own, other = found.ours.get(difference.path), found.theirs.get(difference.path)
        if difference.aspect != "content" or own is None or other is None or b"\0" in own.content + other.content:
            continue
        texts = [node.content.decode("utf-8", "replace").splitlines() for node in (own, other)]
        for line in list(difflib.unified_diff(*texts, "ours", "theirs", lineterm="", n=0))[2 : 2 + _SHOWN]:
            print(f"      {line}")


if __name__ == "__main__":
    sys.exit(main())
