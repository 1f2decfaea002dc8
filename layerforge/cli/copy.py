"""``layerforge copy``."""

from __future__ import annotations

import click


@click.command("copy", short_help="Copy an image to a registry, a folder or a file.")
@click.argument("source", metavar="REF|DIR")
@click.argument("destination", metavar="REF|dir:PATH|tar:PATH")
def command(source: str, destination: str) -> None:
    """Copy an image, with all its platforms, byte for byte, and print its digest.

    From one registry to another, layers pass through memory only, and what is there already is not sent.
    """
    from layerforge.adopt import adopt_image
    from layerforge.cli.terminal import Terminal, print_data
    from layerforge.sinks import RegistrySink, parse_output
    from layerforge.store import Store

    with Terminal() as terminal:
        local = destination.startswith(("dir:", "tar:"))
        sink = parse_output(destination, terminal) if local else RegistrySink(terminal)
        name = source.rpartition("/")[2].partition("@")[0] if local else destination
        name = "copy" if local and (":" in name[:4] or not name) else name
        sink.check(name)
        store = Store()
        try:
            adopted = adopt_image(source, store, terminal)
            sink.deliver(store, adopted.descriptor, name)
        finally:
            store.close()
    print_data(adopted.descriptor.digest)
