"""What an upgrade leaves behind in a root: files of the old version that the new one does not have. Pure.

dpkg removes them when it unpacks the new version (dpkg, ``src/main/unpack.c``); conffiles that are gone it keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from layerforge.sources.debian.placement import merge
from layerforge.sources.debian.rootstate import DebFacts, RootBase

_INFO = "var/lib/dpkg/info/"


def list_left_behind(facts: Iterable[DebFacts], base: RootBase) -> list[str]:
    """The paths to take away, sorted, where the packages of ``facts`` are unpacked over older ones in ``base``."""
    packages = tuple(facts)
    is_merged = (lib := base.paths.get("lib")) is not None and lib.kind == "symlink"
    upgraded = {record for package in packages if (record := _find_record(package, base))}
    if not upgraded:
        return []
    new = {entry.path for package in packages for entry in package.paths}
    kept = new | set(_owned_by_others(upgraded, base, is_merged))
    gone: set[str] = set()
    for package in packages:
        record = _find_record(package, base)
        if not record:
            continue
        conffiles = {line.strip("/ ") for line in _read(base, f"{record}.conffiles")}
        for path in _list(record, base, is_merged):
            entry = base.paths.get(path)
            if entry is not None and entry.kind != "dir" and path not in kept and path not in conffiles:
                gone.add(path)
        members = {f"{_INFO}{package.record}.{name}" for name in (*package.control, "list")}
        gone |= {path for path in base.paths if path.startswith(f"{_INFO}{record}.") and path not in members}
    return sorted(gone)


def _find_record(package: DebFacts, base: RootBase) -> str:
    """Under which name dpkg knows an older version in ``base``; empty where there is none."""
    names = (package.record, package.name, f"{package.name}:{package.fields.get('Architecture', '')}")
    return next((name for name in names if f"{_INFO}{name}.list" in base.contents), "")


def _owned_by_others(upgraded: set[str], base: RootBase, is_merged: bool) -> Iterator[str]:
    for path in base.contents:
        if path.startswith(_INFO) and path.endswith(".list"):
            record = path[len(_INFO) : -len(".list")]
            if record not in upgraded:
                yield from _list(record, base, is_merged)


def _list(record: str, base: RootBase, is_merged: bool) -> Iterator[str]:
    for line in _read(base, f"{record}.list"):
        path = line.strip("/")
        if "/" in path:  # the folders at the top may be links by now, and are nobody's to remove
            yield merge(path) if is_merged else path


def _read(base: RootBase, name: str) -> list[str]:
    return base.contents.get(_INFO + name, b"").decode("utf-8", "surrogateescape").splitlines()
