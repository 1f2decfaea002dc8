"""``layerforge tag``."""

from __future__ import annotations

import click


@click.command("tag", short_help="Give an image another tag.")
@click.argument("image", metavar="REF")
@click.argument("tags", metavar="TAG|REF", nargs=-1, required=True)
def command(image: str, tags: tuple[str, ...]) -> None:
    """Give the image REF of a registry more tags in its repository: nothing but the manifest is sent.

    An image of the store (`store:NAME`, or a name without a registry) gets another name there.
    """
    from layerforge.adopt import adopt_image
    from layerforge.cli.terminal import Terminal, print_data
    from layerforge.errors import InvalidReference
    from layerforge.reference import parse_reference
    from layerforge.registry import Registry
    from layerforge.sinks import LocalSink
    from layerforge.store import Store

    with Terminal() as terminal:
        store = Store()
        try:
            adopted = adopt_image(image, store, terminal)
            if image.startswith("store:") or (store.resolve_tag(adopted.where) is not None and "/" not in image):
                for tag in tags:
                    LocalSink().deliver(store, adopted.descriptor, tag)
            else:
                reference = parse_reference(image)
                for tag in tags:
                    wanted = parse_reference(
                        tag if "/" in tag else f"{reference.registry}/{reference.repository}:{tag}"
                    )
                    if (wanted.registry, wanted.repository) != (reference.registry, reference.repository):
                        hint = f"use `layerforge copy {image} {tag}`"
                        raise InvalidReference("is another repository", where=tag, hint=hint)
                    with Registry(wanted, reporter=terminal) as registry:
                        data = store.read_blob(adopted.descriptor)
                        registry.push_manifest(wanted.tag, adopted.descriptor, data)
        finally:
            store.close()
    print_data(adopted.descriptor.digest)
