"""How the trees of two installers may differ, and why that is right: everything else is open."""

from __future__ import annotations

import posixpath
import re

import msgspec

from tests.corpus.trees import Node, Tree, read_record

_ENTRY = re.compile(rb"^from (\S+) import (\w+)$.*?sys\.exit\(([\w.]+)\(\)\)", re.MULTILINE | re.DOTALL)
_OWN = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json", "uv_build.json")

BYTECODE = "bytecode is made anew for the image's Python; what a wheel brings of it is left out"
INSTALLER = "each installer writes its own name"
OWN_FILES = "notes that uv leaves for itself: whether a package was asked for, and from where it came"
SCRIPT = "the text around an entry point is each installer's own; what it imports and calls is the same"
RECORD = "lines of RECORD about the files above, and the order of its lines"
MODE = "RECORD is written anew and no program, whatever its mode in the archive (pip does so too)"
VENV = "the lock of uv's virtual environment"


class Review(msgspec.Struct):
    """Differences that are ``open``, and how many there are for each reason."""

    open: list[str]
    reviewed: dict[str, int]
    paths: int


def review_trees(ours: Tree, theirs: Tree) -> Review:
    """Every difference between two trees, with the reason where it is a known one."""
    review = Review([], {}, len(ours.keys() | theirs.keys()))
    for path in sorted(ours.keys() | theirs.keys()):
        difference, reason = _compare(path, ours, theirs)
        if reason:
            review.reviewed[reason] = review.reviewed.get(reason, 0) + 1
        elif difference:
            review.open.append(f"{path}: {difference}")
    return review


def _compare(path: str, ours: Tree, theirs: Tree) -> tuple[str, str]:
    """What differs at ``path``, if anything, and the reason, if it is known."""
    own, other = ours.get(path), theirs.get(path)
    if own == other:
        return "", ""
    name = posixpath.basename(path)
    if path == "usr/local/.lock" and own is None:
        return "", VENV
    if "/__pycache__/" in path:
        return "", BYTECODE
    if own is None or other is None:
        known = ".dist-info/" in path and name in _OWN
        return f"only {'uv has it' if own is None else 'in the layer'}", OWN_FILES if known else ""
    if ".dist-info/" in path and name == "RECORD" and (own.kind, own.mode, other.mode) == ("file", 0o644, 0o755):
        return ("", MODE) if not _compare_records(own, other)[0] else _compare_records(own, other)
    if (own.kind, own.mode) != (other.kind, other.mode):
        return f"{own.kind} {own.mode:o} in the layer, {other.kind} {other.mode:o} with uv", ""
    if ".dist-info/" in path and name == "INSTALLER":
        return "", INSTALLER
    if ".dist-info/" in path and name == "RECORD":
        return _compare_records(own, other)
    if path.startswith("usr/local/bin/") and (entry := _find_entry(own)) and entry == _find_entry(other):
        return "", SCRIPT
    return f"content {own.digest[:12]} in the layer, {other.digest[:12]} with uv", ""


def _find_entry(node: Node) -> tuple[bytes, ...] | None:
    found = _ENTRY.search(node.text)
    return found.groups() if found and node.text.startswith(b"#!/usr/local/bin/python\n") else None


def _compare_records(own: Node, other: Node) -> tuple[str, str]:
    left, right = _reduce(own), _reduce(other)
    differing = sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))
    return (f"lines of {', '.join(differing[:3])}", "") if differing else ("", RECORD)


def _reduce(node: Node) -> dict[str, tuple[str, str]]:
    """The lines of a RECORD, less those about files with a reason of their own; scripts without hash and size."""
    lines: dict[str, tuple[str, str]] = {}
    for path, row in read_record(node.text).items():
        if "__pycache__/" in path or path.rpartition("/")[2] in _OWN:
            continue
        lines[path] = ("", "") if path.startswith("../../../bin/") else row
    return lines
