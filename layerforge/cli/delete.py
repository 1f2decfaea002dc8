"""``layerforge delete``."""

from __future__ import annotations

import click


@click.command("delete", short_help="Delete a tag or an image.")
@click.argument("images", metavar="REF", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def command(images: tuple[str, ...], yes: bool) -> None:
    """Delete tags, or images by digest, from a registry, or `store:NAME` from the store.

    A digest takes every tag of that image with it. Layers are removed by the registry's own garbage collection, those
    of the store by `layerforge gc`.
    """
    from layerforge.cli.terminal import Terminal
    from layerforge.errors import LayerforgeError
    from layerforge.reference import parse_reference
    from layerforge.registry import Registry
    from layerforge.store import Store

    if not yes:
        click.confirm(f"Delete {', '.join(images)}?", abort=True, err=True)
    with Terminal() as terminal:
        for image in images:
            if image.startswith("store:"):
                store = Store()
                try:
                    if not store.remove_tag(str(parse_reference(image.removeprefix("store:")))):
                        raise LayerforgeError("the store has no image of this name", where=image)
                finally:
                    store.close()
            else:
                reference = parse_reference(image)
                with Registry(reference, reporter=terminal, delete=True) as registry:
                    registry.delete_manifest(reference.digest or reference.tag)
            terminal.note(f"deleted {image}")
