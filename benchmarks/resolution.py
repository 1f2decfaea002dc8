"""Measures how long it takes to lock a model's Debian packages: with a cold index, and with a warm one.

The release's real index files are served on a loopback port, so that no network is measured. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.environment import describe_machine
from layerforge.sources.debian.archive import fetch_release, open_index, suites_of
from layerforge.sources.debian.locking import BASE, RELEASES
from layerforge.sources.debian.mirrors import Mirrors, find_mirrors
from layerforge.sources.debian.resolve import resolve
from layerforge.sources.http import read_url
from layerforge.store import Store

GOALS = {"cold": 2.0, "warm": 0.3}
"""Seconds."""
_LARGE = ("ffmpeg", "git", "build-essential", "libgl1", "libsndfile1", "tesseract-ocr")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """The address of a server for ``folder`` on a loopback port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def copy_indexes(folder: Path, mirrors: Mirrors, release: str, architecture: str) -> None:
    """The Release and Packages files of a release, as the mirrors have them now."""
    for suite, archive in suites_of(release):
        base, target = f"{mirrors.of(archive)[0]}/dists/{suite}", folder / archive / "dists" / suite
        file = fetch_release(base, suite, mirrors.keys).files[f"main/binary-{architecture}/Packages.xz"]
        for path in (target / file.path, target / file.by_hash):
            path.parent.mkdir(parents=True, exist_ok=True)
        data = read_url(f"{base}/{file.path}", limit=file.size)
        (target / file.path).write_bytes(data)
        (target / file.by_hash).write_bytes(data)
        (target / "InRelease").write_bytes(read_url(f"{base}/InRelease", limit=16 << 20))


def lock_once(release: str, architecture: str, store: Store, mirrors: Mirrors) -> tuple[float, int]:
    """Seconds to read the index and resolve base and a large set of packages upon it, and how many there are."""
    start = time.perf_counter()
    index = open_index(release, architecture, store, mirrors=mirrors)
    base = resolve(index, [*(package.name for package in index.essential()), *BASE])
    added = resolve(index, _LARGE, base)
    return time.perf_counter() - start, len(base) + len(added)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.resolution", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default 5)")
    parser.add_argument("--architecture", default="amd64", help="Debian's name for it (default amd64)")
    options = parser.parse_args()
    own = find_mirrors()
    results: dict[str, object] = {}
    print(f"{'release':10} {'index':6} {'seconds':>8} {'goal':>6} {'packages':>9}")
    with tempfile.TemporaryDirectory() as scratch, serve(Path(scratch)) as url:
        for release in RELEASES.values():
            copy_indexes(Path(scratch), own, release, options.architecture)
            mirrors = Mirrors({archive: (f"{url}/{archive}",) for _, archive in suites_of(release)}, own.keys)
            times: dict[str, list[float]] = {"cold": [], "warm": []}
            for number in range(options.rounds):
                with closing(Store(Path(scratch) / f"store-{release}-{number}")) as store:
                    for measured in times.values():
                        seconds, count = lock_once(release, options.architecture, store, mirrors)
                        measured.append(seconds)
            for kind, measured in times.items():
                print(f"{release:10} {kind:6} {statistics.median(measured):8.3f} {GOALS[kind]:6.1f} {count:9}")
            results[release] = times
    print(json.dumps({"times": results} | describe_machine()))


if __name__ == "__main__":
    main()
