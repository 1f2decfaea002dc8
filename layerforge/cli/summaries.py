"""Images and their differences, as commands print them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from layerforge.adopt import Adopted, choose_manifests
from layerforge.errors import ImageError, LayerforgeError
from layerforge.inspection import Change, ImageSummary, summarize
from layerforge.oci import ImageConfig, Manifest, Platform, decode
from layerforge.progress import format_size
from layerforge.store import Store

_LONG = 100
_TITLES = {
    "platform": "Platform",
    "python": "Python packages",
    "debian": "Debian packages",
    "command": "Command",
    "environment": "Environment",
    "label": "Labels",
    "annotation": "Annotations",
    "layer": "Layers",
    "file": "Files",
}


def read_summaries(adopted: Adopted, store: Store, platforms: Sequence[Platform]) -> list[ImageSummary]:
    """The images that ``adopted`` stands for: all, or those of ``platforms``.

    Raises:
        ImageError: there is none, or one is malformed.
    """
    found = []
    for platform in platforms or (None,):
        for descriptor in choose_manifests(adopted.descriptor, store, platform):
            manifest = decode(store.read_blob(descriptor), Manifest, what=f"{adopted.where}: the manifest")
            config = decode(store.read_blob(manifest.config), ImageConfig, what=f"{adopted.where}: the configuration")
            found.append(summarize(adopted.where, descriptor, manifest, config))
    return found


def choose_summary(images: Sequence[ImageSummary], wanted: Sequence[Platform]) -> ImageSummary:
    """The one of ``images`` to compare: the only one, or that of the platform ``wanted``.

    Raises:
        LayerforgeError: several are wanted, or none is there.
    """
    if len(wanted) > 1:
        raise LayerforgeError("one platform at a time can be compared", hint="give --platform once")
    fitting = [image for image in images if not wanted or image.platform == str(wanted[0])]
    if not fitting:
        found = ", ".join(image.platform for image in images)
        raise ImageError(f"has no image for {wanted[0]}, but for {found}", where=images[0].reference)
    return fitting[0]


def format_summary(image: ImageSummary) -> str:
    """``image`` for people."""
    lines = [image.reference, f"  digest    {image.digest}", f"  platform  {image.platform}"]
    lines += [f"  created   {image.created}", f"  command   {' '.join(image.command) or '(none)'}"]
    lines += ["", f"Layers ({len(image.layers)}, {format_size(image.size)})"]
    lines += [f"  {format_size(layer.size):>9}  {layer.digest[7:19]}  {layer.name}" for layer in image.layers]
    for title, packages in (("Python packages", image.python), ("Debian packages", image.debian)):
        if packages:
            lines += ["", f"{title} ({len(packages)})"]
            lines += _columns([f"{name} {version}" for name, version in packages.items()])
    if image.environment:
        lines += ["", "Environment", *(f"  {name}={_shorten(value)}" for name, value in image.environment.items())]
    if image.labels:
        lines += ["", "Labels", *(f"  {name}={_shorten(value)}" for name, value in sorted(image.labels.items()))]
    return "\n".join(lines)


def format_changes(changes: Sequence[Change], sizes: dict[str, int]) -> str:
    """``changes`` for people, by kind; ``sizes`` in bytes of the layers' digests."""
    lines: list[str] = []
    kinds = dict.fromkeys(change.kind for change in changes)
    for kind in kinds:
        lines += ["", _TITLES.get(kind, kind)] if lines else [_TITLES.get(kind, kind)]
        lines += [f"  {_format_change(change, sizes)}" for change in changes if change.kind == kind]
    return "\n".join(lines)


def _format_change(change: Change, sizes: dict[str, int]) -> str:
    mark = "+" if not change.before else "-" if not change.after else "~"

    def show(value: str) -> str:
        if change.kind == "layer":
            return f"{value[7:19]} ({format_size(sizes.get(value, 0))})"
        return _shorten(value)

    values = " → ".join(show(value) for value in (change.before, change.after) if value)
    return f"{mark} {change.name}  {values}"


def _shorten(text: str) -> str:
    """One line of at most _LONG characters; of a JSON document only that it is one."""
    if len(text) > _LONG:
        try:
            json.loads(text)
            return f"(JSON, {len(text):,} characters)"
        except ValueError:
            pass
    line = text.replace("\n", " ")
    return line if len(line) <= _LONG else f"{line[: _LONG - 1]}…"


def _columns(items: Sequence[str]) -> list[str]:
    width = max(map(len, items)) + 2
    count = max(1, 116 // width)
    rows = -(-len(items) // count)
    return ["  " + "".join(item.ljust(width) for item in items[row::rows]).rstrip() for row in range(rows)]
