"""Paths: those that a pattern matches, and those that a script writes."""

from __future__ import annotations

from collections.abc import Iterator

from layerforge.shell.patterns import Segment, matches
from layerforge.shell.streams import Files


def join_path(folder: str, path: str) -> str:
    """``path`` as an absolute one, seen from ``folder``."""
    return path if path.startswith("/") else f"{folder.rstrip('/')}/{path}"


def find_paths(files: Files, folder: str, pattern: list[Segment]) -> list[str]:
    """The paths in ``files`` that match, seen from ``folder``, sorted; none if nothing does."""
    components: list[list[Segment]] = [[]]
    for text, quoted in pattern:
        first, *rest = text.split("/")
        components[-1].append((first, quoted))
        components.extend([(piece, quoted)] for piece in rest)
    is_absolute = not any(text for text, _ in components[0])
    found = ["/" if is_absolute else ""]
    for number, component in enumerate(components):
        if number == 0 and is_absolute:
            continue
        found = [
            path for base in found for path in _find_step(files, folder, base, component, number < len(components) - 1)
        ]
    return sorted(found)


def _find_step(files: Files, folder: str, base: str, component: list[Segment], inner: bool) -> Iterator[str]:
    text = "".join(part for part, _ in component)
    prefix = base if not base or base.endswith("/") else f"{base}/"
    if not any(not quoted and set(part) & set("*?[") for part, quoted in component):
        path = prefix + text
        if files.kind(join_path(folder, path if text else base), follow=inner):
            yield path
        return
    for name in files.names(join_path(folder, base or ".")):
        if (not name.startswith(".") or text.startswith(".")) and matches(component, name):
            yield prefix + name
