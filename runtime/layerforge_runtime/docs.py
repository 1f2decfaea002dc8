"""``GET /docs``: one page, without anything from elsewhere, that shows the model's schema as a form and runs it."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import re
from typing import Any

_FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "docs.html")


async def send_docs(_scope: Any, protocol: Any) -> None:
    """Answer with the page."""
    headers, page = _load()
    protocol.response_bytes(200, headers, page)


@functools.cache
def _load() -> tuple[list[tuple[str, str]], bytes]:
    with open(_FILE, "rb") as file:
        page = file.read()
    return [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-cache"),
        ("content-security-policy", content_security_policy(page)),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ], page


def content_security_policy(page: bytes) -> str:
    """The header that lets the page run its own script, speak to its own server, and show what models make."""
    scripts = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(each).digest()).decode()}'" for each in scripts)
    shown = "'self' data: blob: http: https:"
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; connect-src 'self'; "
        f"img-src {shown}; media-src {shown}; base-uri 'none'; form-action 'none'"
    )
