"""Reading the bodies of requests."""

from __future__ import annotations

import os
from typing import Any

from layerforge_runtime.limits import Limits
from layerforge_runtime.predictions import new_id
from layerforge_runtime.requests import Problem, RequestError
from layerforge_runtime.spool import Spool


async def read_body(headers: Any, protocol: Any, limits: Limits, folder: str) -> tuple[bytes, Spool | None]:
    """The body of a request that says it is JSON, or does not say what it is; and where large parts of it went.

    These get a folder of their own below ``folder``; whoever gets the Spool closes it.

    Raises:
        RequestError: it says that it is something else (415), is too large (413), or there is no room for it (507).
    """
    kind = (headers.get("content-type") or "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        problem = Problem(("header", "content-type"), f"expected application/json, found {kind}", "value_error.type")
        raise RequestError(415, [problem])
    length = headers.get("content-length")
    if length is not None and length.isdecimal():
        if int(length) > limits.request:
            raise _too_large(limits.request)
        if int(length) <= limits.spool:
            return bytes(await protocol()), None
    spool = Spool(os.path.join(folder, f"spool-{new_id()}"))
    try:
        return await _read_large(protocol, limits, spool), spool
    except OSError as error:
        spool.close()
        problem = Problem(("body",), f"there is no room for the body: {error.strerror}", "value_error.size")
        raise RequestError(507, [problem]) from error
    except BaseException:
        spool.close()
        raise


async def _read_large(protocol: Any, limits: Limits, spool: Spool) -> bytes:
    """Small bodies, whose size is not known before, are left alone."""
    first: list[bytes] = []
    size, spooling = 0, False
    async for part in protocol:
        size += len(part)
        if size > limits.request:
            raise _too_large(limits.request)
        if not spooling and size <= limits.spool:
            first.append(part)
            continue
        if not spooling:
            spooling = True
            for each in first:
                spool.feed(each)
            first.clear()
        spool.feed(part)
    return spool.finish() if spooling else b"".join(first)


def _too_large(limit: int) -> RequestError:
    message = f"the body has more than {limit} bytes (COG_MAX_REQUEST_BYTES)"
    return RequestError(413, [Problem(("body",), message, "value_error.size")])
