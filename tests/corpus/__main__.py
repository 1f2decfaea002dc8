"""Builds the most used packages into an image: ``python -m tests.corpus 3.13 [NAME …]`` (none: all of them).

Compares the package layers with what ``uv pip install`` makes of the same wheels, and imports each package in the
image. Prints what differs or fails, and exits with 1 then. The store is the user's own (``LAYERFORGE_HOME``).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from layerforge.cli.terminal import Terminal
from layerforge.store import Store
from tests.corpus.model import build_corpus, import_corpus, review_corpus
from tests.corpus.package_list import PACKAGES


def main() -> int:
    """Build, compare, import, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minor", help="the version of Python, such as 3.13")
    parser.add_argument("names", nargs="*", help="packages of tests/corpus/package_list.py")
    parser.add_argument("--folder", type=Path, help="where the model is put and kept, with its lock")
    arguments = parser.parse_args()
    packages = {name: PACKAGES[name] for name in arguments.names} or PACKAGES
    with tempfile.TemporaryDirectory(prefix="corpus-", dir=arguments.folder) as temporary, Terminal() as terminal:
        store = Store()
        model = (arguments.folder or Path(temporary)) / f"corpus-{arguments.minor}"
        corpus = build_corpus(arguments.minor, packages, model, store, terminal)
        review = review_corpus(corpus, Path(temporary))
        imported = import_corpus(corpus, packages)
    wheels = corpus.lock.packages
    print(f"Python {corpus.lock.python.version}: {len(wheels)} wheels, {sum(w.size for w in wheels) / 1e6:,.0f} MB")
    print(f"{review.paths:,} paths, {len(review.open)} open differences")
    for reason, count in sorted(review.reviewed.items(), key=lambda item: -item[1]):
        print(f"{count:8,} {reason}")
    for difference in review.open:
        print(f"  {difference}")
    failed = {name: outcome for name, (status, outcome, _) in imported.items() if status}
    print(f"{len(imported) - len(failed)} of {len(packages)} packages can be imported")
    for name, outcome in failed.items():
        print(f"  {name}: {outcome}")
    return int(bool(review.open or failed))


if __name__ == "__main__":
    raise SystemExit(main())
