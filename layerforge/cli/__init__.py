"""The command line. One file per command; a command's file is imported when it is called."""

from __future__ import annotations

import importlib
import sys

import click

COMMANDS = {
    "build": "Build an image of a model, and push it.",
    "copy": "Copy an image to a registry, a folder or a file.",
    "delete": "Delete a tag or an image.",
    "diff": "Tell how two images differ.",
    "export-store": "Write what builds need into one file, for a machine without a network.",
    "fetch": "Download everything that the lock names, for building offline.",
    "gc": "Remove from the store what has not been used for long.",
    "import-store": "Read what `export-store` wrote into this machine's store.",
    "inspect": "Tell what an image is made of.",
    "lock": "Resolve everything a build needs into pylock.layerforge.toml.",
    "login": "Log in to a registry.",
    "logout": "Log out of a registry.",
    "rebase": "Put an image of a registry on a newer base.",
    "run": "Build a model and run one prediction.",
    "schema": "Print the OpenAPI document of a model.",
    "serve": "Build a model and serve its HTTP API.",
    "tag": "Give an image another tag.",
    "weights": "Replace the weights of an image.",
}


class _LazyGroup(click.Group):
    """A group whose commands are known by name and help; the rest is loaded when needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"layerforge.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="layerforge", message="%(prog)s %(version)s")
def cli() -> None:
    """Build container images of machine learning models from cog.yaml, without Docker."""


def main() -> None:
    """Run the command line; exit 0 for success, 1 for an error the user can mend, 2 for wrong usage, 130 for Ctrl-C."""
    from layerforge.errors import LayerforgeError

    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.Abort:
        sys.exit(_interrupted())
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(_interrupted())
    except LayerforgeError as error:
        from layerforge.cli.terminal import show_error

        show_error(error)
        sys.exit(1)


def _interrupted() -> int:
    click.echo("interrupted; what was finished is kept for the next build", err=True)
    return 130
