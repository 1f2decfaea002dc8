"""Passwords that are written down where everybody who has the image, or the repository, can read them."""

from __future__ import annotations

import re

_LONG = 20
"""User names of this length are tokens. Google's ``oauth2accesstoken`` is shorter."""


def holds_password(url: str) -> bool:
    """Whether a password or token stands in ``url`` itself, and not a ``${NAME}`` for it."""
    match = re.match(r"(?P<scheme>[a-z+]+)://(?P<user>[^/@:]*)(?::(?P<password>[^/@]*))?@", url)
    if match is None or match["scheme"].endswith("ssh"):
        return False
    user, password = match["user"], match["password"] or ""
    if password:
        return not _is_variable(password)
    return not _is_variable(user) and len(user) >= _LONG


def _is_variable(text: str) -> bool:
    return re.fullmatch(r"\$\{[A-Z0-9_]+\}", text) is not None
