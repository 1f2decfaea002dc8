"""Files of predictions: inputs come as URLs and go to the worker as paths; outputs come as paths and leave as URLs."""

from __future__ import annotations

import asyncio
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from layerforge_runtime.frames import Files
from layerforge_runtime.media import data_url, decode_data_url, file_name, guess_type

TIMEOUT = 60.0  # seconds that another server may stay silent
_INLINE = 256 * 1024  # what takes longer to hand to a thread than to do

_encode = msgspec.json.Encoder().encode


class FileError(Exception):
    """A file could not be had, or not be delivered."""


async def localize(inputs: dict[str, Any], kinds: Mapping[str, str], folder: str, user_agent: str) -> dict[str, Any]:
    """The inputs with paths of local files instead of URLs; downloads run side by side.

    Args:
        inputs: validated inputs.
        kinds: "path" or "file" by name, for those that are files. URLs of the web stay as they are for "file":
            the worker opens them when the model reads.
        folder: an existing folder for the files.
        user_agent: sent when downloading.

    Raises:
        FileError: a URL cannot be read; the message names the input.
    """
    work: list[asyncio.Future[str]] = []
    for name, kind in kinds.items():
        value = inputs.get(name)
        for url in value if isinstance(value, list) else [value]:
            if isinstance(url, str) and _needs_file(url, kind):
                work.append(asyncio.ensure_future(_fetch(name, url, os.path.join(folder, str(len(work))), user_agent)))
    if not work:
        return inputs
    try:
        paths = iter(await asyncio.gather(*work))
    finally:
        for each in work:
            each.cancel()
    local = dict(inputs)
    for name, kind in kinds.items():
        value = inputs.get(name)
        if isinstance(value, list):
            local[name] = [next(paths) if isinstance(url, str) and _needs_file(url, kind) else url for url in value]
        elif isinstance(value, str) and _needs_file(value, kind):
            local[name] = next(paths)
    return local


def _needs_file(url: str, kind: str) -> bool:
    scheme = url[:8].partition(":")[0].lower()
    return scheme == "data" or (kind == "path" and scheme in ("http", "https"))


async def _fetch(name: str, url: str, folder: str, user_agent: str) -> str:
    os.mkdir(folder, 0o700)
    path = os.path.join(folder, file_name(url))
    try:
        if url[:5].lower() != "data:":
            await asyncio.to_thread(_download, url, path, user_agent)
        elif len(url) > _INLINE:
            await asyncio.to_thread(_write_data, url, path)
        else:
            _write_data(url, path)
    except (OSError, ValueError) as error:
        raise FileError(f"{name}: {_explain(error, url)}") from error
    return path


def _write_data(url: str, path: str) -> None:
    content = decode_data_url(url)
    with open(path, "xb") as file:
        file.write(content)


def _download(url: str, path: str, user_agent: str) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": user_agent})
    with _opener().open(request, timeout=TIMEOUT) as response, open(path, "xb") as file:
        shutil.copyfileobj(response, file, 1 << 20)
        announced = response.headers.get("Content-Length")
        if announced is not None and file.tell() != int(announced):
            raise OSError(f"the server sent {file.tell()} of {announced} bytes")


def _opener() -> urllib.request.OpenerDirector:
    """Opens http and https URLs, through the proxies that the environment names, and nothing else."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _explain(error: Exception, url: str) -> str:
    if url[:5].lower() == "data:":
        return f"the data URL cannot be read: {error}"
    if isinstance(error, urllib.error.HTTPError):
        return f"{redact(url)} answered {error.code} {error.reason}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return f"{redact(url)} cannot be downloaded: {reason}"


def redact(url: str) -> str:
    """``url`` without what may be secret: user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


async def embed(body: bytes, files: Files, upload_url: str) -> bytes:
    """The JSON ``body`` with the URL of each file in place of its token.

    Raises:
        FileError: a file is gone, or cannot be uploaded.
    """
    for token, (path, remove) in files.items():
        try:
            if upload_url:
                url = _encode(await asyncio.to_thread(_upload, path, upload_url))
            elif os.path.getsize(path) > _INLINE:
                url = await asyncio.to_thread(_as_data, path)
            else:
                url = _as_data(path)
            if remove:
                os.remove(path)
        except OSError as error:
            raise FileError(f"the output file {os.path.basename(path)} cannot be delivered: {error}") from error
        body = url.join(body.split(_encode(token)))
    return body


def _as_data(path: str) -> bytes:
    with open(path, "rb") as file:
        return b'"' + data_url(file.read(), guess_type(path)) + b'"'


def _upload(path: str, base: str) -> str:
    """PUT the file below ``base``; the answer's Location, or where it went, without the query."""
    url = f"{base.rstrip('/')}/{quote(os.path.basename(path))}"
    headers = {"Content-Type": guess_type(path), "Content-Length": str(os.path.getsize(path))}
    with open(path, "rb") as file:
        request = urllib.request.Request(url, data=file, headers=headers, method="PUT")
        with _opener().open(request, timeout=TIMEOUT) as response:
            location: str = response.headers.get("Location") or response.url
    return urlunsplit((*urlsplit(location)[:3], "", ""))
