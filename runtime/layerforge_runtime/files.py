"""Files of predictions: inputs come as URLs and go to the worker as paths; outputs come as paths and leave as URLs."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec

from layerforge_runtime.attachments import Attachments
from layerforge_runtime.frames import Files
from layerforge_runtime.limits import Terms
from layerforge_runtime.media import data_url, decode_data_url, file_name, guess_type
from layerforge_runtime.outgoing import redact
from layerforge_runtime.spool import Spooled, write_spooled
from layerforge_runtime.transfers import download, explain

_INLINE = 256 * 1024  # what takes longer to hand to a thread than to do

_encode = msgspec.json.Encoder().encode
_threads = ThreadPoolExecutor(16, "transfer")  # so many files come and go at the same time
_Result = TypeVar("_Result")


class FileError(Exception):
    """A file could not be had, or not be delivered."""


async def localize(inputs: dict[str, Any], kinds: Mapping[str, str], folder: str, terms: Terms) -> dict[str, Any]:
    """The inputs with paths of local files instead of URLs; downloads run side by side.

    Args:
        inputs: validated inputs.
        kinds: "path" or "file" by name, for those that are files. URLs of the web stay as they are for "file":
            the worker opens them when the model reads, unless the terms deny private addresses.
        folder: an existing folder for the files.
        terms: of downloads.

    Raises:
        FileError: a URL cannot be read; the message names the input.
    """
    if terms.deny_private:  # the worker would not look
        kinds = dict.fromkeys(kinds, "path")
    stop = threading.Event()
    work: list[asyncio.Future[str]] = []
    for name, kind in kinds.items():
        value = inputs.get(name)
        for url in value if isinstance(value, list) else [value]:
            if isinstance(url, str) and _needs_file(url, kind):
                work.append(asyncio.ensure_future(_fetch(name, url, os.path.join(folder, str(len(work))), terms, stop)))
    if not work:
        return inputs
    try:
        paths = iter(await asyncio.gather(*work))
    finally:
        stop.set()
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


async def _fetch(name: str, url: str, folder: str, terms: Terms, stop: threading.Event) -> str:
    os.mkdir(folder, 0o700)
    path = os.path.join(folder, file_name(url))
    try:
        if url[:5].lower() != "data:":
            await _in_thread(download, url, path, terms, stop)
        elif isinstance(url, Spooled):
            await _in_thread(write_spooled, url, path)
        elif len(url) > _INLINE:
            await _in_thread(_write_data, url, path)
        else:
            _write_data(url, path)
    except (OSError, ValueError) as error:
        if url[:5].lower() == "data:":
            raise FileError(f"{name}: the data URL cannot be read: {error}") from error
        raise FileError(f"{name}: {redact(url)} cannot be downloaded: {explain(error)}") from error
    return path


def _write_data(url: str, path: str) -> None:
    content = decode_data_url(url)
    with open(path, "xb") as file:
        file.write(content)


async def _in_thread(work: Callable[..., _Result], *arguments: Any) -> _Result:
    return await asyncio.get_running_loop().run_in_executor(_threads, work, *arguments)


async def embed(body: bytes, files: Files, send: Callable[[str], str] | None, attachments: Attachments) -> bytes:
    """The JSON ``body`` with the URL of each file in place of its token.

    ``send`` uploads a file and tells its URL; without it files become data URLs, large ones in ``attachments``.

    Raises:
        FileError: a file is gone, or cannot be uploaded.
    """
    for token, (path, remove) in files.items():
        try:
            if send is not None:
                url = _encode(await _in_thread(send, path))
            elif (size := os.path.getsize(path)) >= attachments.least:
                url = await _in_thread(attachments.add, path)
            elif size > _INLINE:
                url = await _in_thread(_as_data, path)
            else:
                url = _as_data(path)
            if remove:
                os.remove(path)
        except OSError as error:
            raise FileError(
                f"the output file {os.path.basename(path)} cannot be delivered: {explain(error)}"
            ) from error
        body = url.join(body.split(_encode(token)))
    return body


def _as_data(path: str) -> bytes:
    with open(path, "rb") as file:
        return b'"' + data_url(file.read(), guess_type(path)) + b'"'
