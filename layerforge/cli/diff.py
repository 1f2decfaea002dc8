"""``layerforge diff``."""

from __future__ import annotations

import click

from layerforge.cli import options

_SMALL = 64 << 20


@click.command("diff", short_help="Tell how two images differ.")
@click.argument("old", metavar="A")
@click.argument("new", metavar="B")
@options.platform
@click.option(
    "--files/--no-files", default=None, help="List the files of all layers that differ (default: below 64 MiB)."
)
@click.option("--json", "as_json", is_flag=True, help="Print the changes as JSON.")
def command(old: str, new: str, platforms: tuple[str, ...], files: bool | None, as_json: bool) -> None:
    """Print what changed from image A to image B: packages, settings, layers, files. Exit with 1 if anything did.

    Layers that are the same in both are not read.
    """
    from layerforge.adopt import adopt_image
    from layerforge.cli.summaries import choose_summary, format_changes, read_summaries
    from layerforge.cli.terminal import Terminal, print_data
    from layerforge.inspection import Change, compare
    from layerforge.layer_files import compare_files, list_files, open_layer
    from layerforge.oci import encode
    from layerforge.platforms import host_platform, parse_platforms
    from layerforge.store import Store

    with Terminal() as terminal:
        store = Store()
        try:
            pair = [read_summaries(adopt_image(name, store, terminal), store, ()) for name in (old, new)]
            wanted = parse_platforms(platforms) or ((host_platform(),) if max(map(len, pair)) > 1 else ())
            before, after = (choose_summary(images, wanted) for images in pair)
            changes: list[Change] = list(compare(before, after))
            sizes = {layer.digest: layer.size for image in (before, after) for layer in image.layers}
            for change in [change for change in changes if change.kind == "layer" and files is not False]:
                digests = [digest for digest in (change.before, change.after) if digest]
                if files or all(sizes[digest] < _SMALL for digest in digests):
                    listed = [
                        list_files(open_layer(image, digest), store, terminal)
                        for image, digest in ((before, change.before), (after, change.after))
                    ]
                    changes += compare_files(*listed)
        finally:
            store.close()
    if as_json:
        print_data(encode(changes).decode())
    elif changes:
        print_data(format_changes(changes, sizes))
    raise click.exceptions.Exit(1 if changes else 0)
