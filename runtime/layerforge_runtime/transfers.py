"""Whole files from and to other servers. Blocking; threads call this."""

from __future__ import annotations

import os
import threading
import time
import urllib.error
from urllib.parse import quote, urlsplit, urlunsplit

from layerforge_runtime.limits import Terms
from layerforge_runtime.media import guess_type
from layerforge_runtime.outgoing import TIMEOUT, open_url

_CHUNK = 1 << 20


def download(url: str, path: str, terms: Terms, stop: threading.Event) -> None:
    """Fetch ``url`` to the new file ``path``; setting ``stop`` ends it at the next chunk.

    Raises:
        OSError: it could not be fetched whole, or not on these terms.
    """
    deadline = time.monotonic() + terms.seconds
    response = open_url(
        url,
        headers={"User-Agent": terms.user_agent},
        timeout=min(TIMEOUT, terms.seconds),
        redirects=terms.redirects,
        deny_private=terms.deny_private,
    )
    with response, open(path, "xb") as file:
        announced = response.headers.get("Content-Length")
        if announced is not None and announced.isdecimal() and int(announced) > terms.most:
            raise _too_large(terms.most)
        # read1: what has come, without waiting for a whole chunk, so that a slow server cannot outstay the deadline.
        while chunk := response.read1(_CHUNK):
            if file.tell() + len(chunk) > terms.most:
                raise _too_large(terms.most)
            if time.monotonic() > deadline:
                raise TimeoutError(f"it was not done after {terms.seconds:g} seconds (COG_DOWNLOAD_TIMEOUT)")
            if stop.is_set():
                raise InterruptedError("it was stopped")
            file.write(chunk)
        if announced is not None and announced.isdecimal() and file.tell() != int(announced):
            raise OSError(f"the server sent {file.tell()} of {announced} bytes")


def _too_large(most: int) -> OSError:
    return OSError(f"it has more than {most} bytes (COG_MAX_DOWNLOAD_BYTES)")


def upload(path: str, base: str, *, user_agent: str, deny_private: bool) -> str:
    """PUT a file below the URL ``base``; the answer's Location, or where it went, without the query.

    Raises:
        OSError: it was not taken.
    """
    url = f"{base.rstrip('/')}/{quote(os.path.basename(path))}"
    headers = {
        "Content-Type": guess_type(path),
        "Content-Length": str(os.path.getsize(path)),
        "User-Agent": user_agent,
    }
    with open(path, "rb") as file:
        response = open_url(url, method="PUT", data=file, headers=headers, deny_private=deny_private)
        with response:
            location: str = response.headers.get("Location") or response.url
    return urlunsplit((*urlsplit(location)[:3], "", ""))


def explain(error: Exception) -> str:
    """What went wrong with a request, in words."""
    if isinstance(error, urllib.error.HTTPError):
        return f"answered {error.code} {str(error.reason).strip()}".rstrip()
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(reason) or type(reason).__name__
