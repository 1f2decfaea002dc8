"""``layerforge weights``."""

from __future__ import annotations

from pathlib import Path

import click


@click.group("weights", short_help="Replace the weights of an image.")
def command() -> None:
    """Work with weights apart from code and packages."""


@command.command("push", short_help="Give an image in a registry other weights.")
@click.argument("ref")
@click.option(
    "--weights",
    "folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    help="Folder with the weights as they lie in the project (default: here).",
)
@click.option("-t", "--tag", metavar="REF", help="Push it under this name (default: its own).")
@click.option("--prune", is_flag=True, help="Leave out weights of the image that are not in the folder.")
@click.option("--json", "as_json", is_flag=True, help="Print digests and changes as JSON.")
def push(ref: str, folder: Path, tag: str | None, prune: bool, as_json: bool) -> None:
    """Replace the weight layers of the image REF, push it, and print its new digest.

    Nothing else of the image is read, built or sent; cog.yaml, code and packages are not needed.
    """
    from layerforge.adopt import adopt_image
    from layerforge.cli.terminal import Terminal, print_data
    from layerforge.oci import encode
    from layerforge.registry import push_image
    from layerforge.reweigh import replace_weights
    from layerforge.sinks.content import parse_name
    from layerforge.store import Store

    target = parse_name(tag or ref)
    with Terminal() as terminal:
        store = Store()
        try:
            adopted = adopt_image(ref, store, terminal)
            done = replace_weights(adopted, folder.absolute(), store, terminal, prune=prune)
            for line in done.changes or ("nothing changed",):
                terminal.note(line)
            push_image(store, done.after, target, reporter=terminal)
        finally:
            store.close()
    report = {"before": done.before.digest, "after": done.after.digest, "changes": done.changes}
    print_data(encode(report).decode() if as_json else done.after.digest)
