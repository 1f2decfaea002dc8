"""From the JSON of a request to the arguments of ``run()``."""

from __future__ import annotations

from typing import Any

from cog.types import Path, Secret, URLFile

from .channel import decode


def decode_inputs(body: bytes, fields: dict[str, str]) -> dict[str, Any]:
    """The arguments in ``body``.

    The server has put paths of local files where the URLs of "path" fields and the data URLs of "file" fields were.
    """
    inputs: dict[str, Any] = decode(body)
    for name, kind in fields.items():
        value = inputs.get(name)
        if isinstance(value, list):
            inputs[name] = [_convert(item, kind) for item in value]
        elif value is not None:
            inputs[name] = _convert(value, kind)
    return inputs


def _convert(value: Any, kind: str) -> Any:
    if not isinstance(value, str):
        return value
    if kind == "secret":
        return Secret(value)
    if kind == "path":
        return Path(value)
    return URLFile(value) if value.startswith(("http:", "https:")) else open(value, "rb")
