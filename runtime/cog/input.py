"""``Input()``, the description of one argument of ``run()``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

_FIELDS = (
    "default",
    "description",
    "ge",
    "le",
    "min_length",
    "max_length",
    "regex",
    "choices",
    "deprecated",
    "accept",
)


class FieldInfo:
    """What ``Input()`` returns: its arguments as read-only attributes. ``Input`` describes them."""

    __slots__ = _FIELDS

    default: Any
    description: str | None
    ge: float | None
    le: float | None
    min_length: int | None
    max_length: int | None
    regex: str | None
    choices: Sequence[str | int] | None
    deprecated: bool | None
    accept: str | None

    def __init__(
        self,
        default: Any = None,
        description: str | None = None,
        ge: float | None = None,
        le: float | None = None,
        min_length: int | None = None,
        max_length: int | None = None,
        regex: str | None = None,
        choices: Sequence[str | int] | None = None,
        deprecated: bool | None = None,
        accept: str | None = None,
    ) -> None:
        values = (default, description, ge, le, min_length, max_length, regex, choices, deprecated, accept)
        for name, value in zip(_FIELDS, values):  # noqa: B905 - equally long, as written just above
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"cannot delete field {name!r}")

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in _FIELDS)

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, FieldInfo) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return f"FieldInfo({', '.join(f'{name}={getattr(self, name)!r}' for name in _FIELDS)})"

    def __reduce__(self) -> tuple[type[FieldInfo], tuple[object, ...]]:
        return FieldInfo, self._values()


def Input(
    default: Any = None,
    *,
    default_factory: Callable[..., Any] | None = None,
    description: str | None = None,
    ge: float | None = None,
    le: float | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
    regex: str | None = None,
    choices: Sequence[str | int] | None = None,
    deprecated: bool | None = None,
    accept: str | None = None,
) -> Any:
    """Describe an argument of ``run()``; stands where the argument's default value would.

    Args:
        default: used when a request does not give this input; without it the input is required.
        default_factory: refused; a default has to be a literal that the schema can show.
        description: told to people who use the model.
        ge: least number allowed.
        le: greatest number allowed.
        min_length: least length of a string, in characters.
        max_length: greatest length of a string, in characters.
        regex: pattern to be found in a string; anchor it to match all of it.
        choices: the values allowed.
        deprecated: accepted, but no longer recommended.
        accept: media types or file name endings, as in HTML's ``accept`` attribute.

    Raises:
        TypeError: ``default_factory`` is given.
    """
    if default_factory is not None:
        raise TypeError(
            "default_factory is not supported in Input(): write default=... with a literal, or make the value in run()"
        )
    return FieldInfo(default, description, ge, le, min_length, max_length, regex, choices, deprecated, accept)
