"""Decorators of ``run()``. They mark the function and return it unchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

_Function = TypeVar("_Function", bound=Callable[..., Any])

_CO_COROUTINE, _CO_ASYNC_GENERATOR = 0x80, 0x200


@overload
def streaming(fn: _Function) -> _Function: ...
@overload
def streaming(fn: None = None) -> Callable[[_Function], _Function]: ...
def streaming(fn: Any = None) -> Any:
    """Allow clients to read the outputs of an iterator as server-sent events.

    The schema says so too (``x-cog-streaming``); the mark on the function serves models run without one.
    """

    def decorate(inner: _Function) -> _Function:
        inner.__cog_streaming__ = True  # type: ignore[attr-defined]
        return inner

    return decorate if fn is None else decorate(fn)


@overload
def concurrent(fn: _Function) -> _Function: ...
@overload
def concurrent(fn: None = None, *, max: int = 1) -> Callable[[_Function], _Function]: ...
def concurrent(fn: Any = None, *, max: int = 1) -> Any:
    """Let up to ``max`` predictions run at the same time; more than one needs an ``async`` function.

    Raises:
        TypeError: ``max`` is not an integer, or the function is not asynchronous.
        ValueError: ``max`` is less than one.
    """
    if isinstance(max, bool) or not isinstance(max, int):
        raise TypeError("concurrent max must be an integer")
    if max < 1:
        raise ValueError("concurrent max must be at least 1")

    def decorate(inner: _Function) -> _Function:
        flags = getattr(getattr(inner, "__code__", None), "co_flags", 0)
        if max > 1 and not flags & (_CO_COROUTINE | _CO_ASYNC_GENERATOR):
            raise TypeError("concurrent max greater than 1 requires an async function")
        inner.__cog_concurrent_max__ = max  # type: ignore[attr-defined]
        return inner

    if fn is None:
        return decorate
    if not callable(fn):
        raise TypeError("concurrent must be used as @concurrent or @concurrent(max=...)")
    return decorate(fn)
