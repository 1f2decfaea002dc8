"""The plain answers: JSON, and errors as JSON."""

from __future__ import annotations

from typing import Any

from layerforge_runtime.requests import encode

JSON = [("content-type", "application/json")]


def send_json(protocol: Any, status: int, value: Any) -> None:
    """Answer with ``value`` as JSON."""
    protocol.response_bytes(status, JSON, encode(value))


def send_error(protocol: Any, status: int, message: str, *headers: tuple[str, str]) -> None:
    """Answer with what is wrong."""
    protocol.response_bytes(status, [*JSON, *headers], encode({"error": message}))
