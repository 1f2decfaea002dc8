"""Reading the bodies of requests."""

from __future__ import annotations

from typing import Any

from layerforge_runtime.requests import Problem, RequestError


async def read_body(headers: Any, protocol: Any, limit: int) -> bytes:
    """The body of a request that says it is JSON, or does not say what it is.

    Raises:
        RequestError: it says that it is something else (415), or has more than ``limit`` bytes (413).
    """
    kind = (headers.get("content-type") or "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        problem = Problem(("header", "content-type"), f"expected application/json, found {kind}", "value_error.type")
        raise RequestError(415, [problem])
    length = headers.get("content-length")
    if length is not None and length.isdecimal():
        if int(length) > limit:
            raise _too_large(limit)
        return bytes(await protocol())
    parts, size = [], 0
    async for part in protocol:
        parts.append(part)
        size += len(part)
        if size > limit:
            raise _too_large(limit)
    return b"".join(parts)


def _too_large(limit: int) -> RequestError:
    message = f"the body has more than {limit} bytes (COG_MAX_REQUEST_BYTES)"
    return RequestError(413, [Problem(("body",), message, "value_error.size")])
