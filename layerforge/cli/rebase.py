"""``layerforge rebase``."""

from __future__ import annotations

import click


@click.command("rebase", short_help="Put an image of a registry on a newer base.")
@click.argument("ref")
@click.option(
    "--base", default="", metavar="REF|debian", help="What to put it on (default: what it is on, as it is now)."
)
@click.option("-t", "--tag", metavar="REF", help="Push it under this name (default: its own).")
@click.option("--dry-run", is_flag=True, help="Make and check everything, but push nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print digests and changes as JSON.")
def command(ref: str, base: str, tag: str | None, dry_run: bool, as_json: bool) -> None:
    """Replace the base and system layers of the image REF by newer ones, and print its new digest.

    Packages, code and weights are not downloaded, built or sent again. What would not work is refused.
    """
    from layerforge.cli.terminal import Terminal, print_data
    from layerforge.oci import encode
    from layerforge.rebase import push_rebased, rebase_image
    from layerforge.reference import parse_reference
    from layerforge.sinks.content import parse_name
    from layerforge.store import Store

    source = parse_reference(ref)
    target = parse_name(tag or ref)
    with Terminal() as terminal:
        store = Store()
        try:
            rebased = rebase_image(source, store, terminal, base=base)
            for line in rebased.changes or ("nothing changed",):
                terminal.note(line)
            if not dry_run:
                push_rebased(rebased, source, target, store, terminal)
        finally:
            store.close()
    report = {"before": rebased.before.digest, "after": rebased.after.digest, "changes": rebased.changes}
    print_data(encode(report).decode() if as_json else rebased.after.digest)
