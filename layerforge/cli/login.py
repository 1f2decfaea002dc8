"""``layerforge login``."""

from __future__ import annotations

import sys

import click


@click.command("login", short_help="Log in to a registry.")
@click.argument("registry", default="docker.io")
@click.option("-u", "--username", metavar="NAME", help="User name (default: ask).")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin.")
def command(registry: str, username: str | None, password_stdin: bool) -> None:
    """Check user name and password with REGISTRY, and keep them where Docker keeps them, helpers included."""
    from layerforge.cli.terminal import Terminal
    from layerforge.errors import LayerforgeError
    from layerforge.reference import parse_reference
    from layerforge.registry.credentials import Credentials
    from layerforge.registry.login import check_login, keep_login

    host = parse_reference(f"{registry.removeprefix('https://').partition('/')[0]}/x").registry
    if not password_stdin and not sys.stdin.isatty():
        raise LayerforgeError("no terminal to ask for the password", hint="give it with --password-stdin")
    if password_stdin and not username:
        raise click.UsageError("--password-stdin needs --username")
    name = username or click.prompt("Username", err=True)
    secret = sys.stdin.read().rstrip("\r\n") if password_stdin else click.prompt("Password", hide_input=True, err=True)
    if not secret:
        raise LayerforgeError("the password is empty")
    with Terminal() as terminal:
        credentials = Credentials(name, secret)
        check_login(host, credentials, terminal)
        place = keep_login(host, credentials)
        terminal.note(f"logged in to {host} as {name}; kept in {place}")
