"""``BaseModel``, for outputs of several named values."""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:
    dataclass_transform = lambda: lambda cls: cls  # noqa: E731 - in the standard library since Python 3.11 only


@dataclass_transform()
class BaseModel:
    """Every subclass becomes a dataclass. ``class Output(BaseModel, auto_dataclass=False)`` leaves that to its author.

    Other class keywords go to ``dataclasses.dataclass``.

    Raises:
        TypeError: the first base of a subclass is not a BaseModel, or another base is a dataclass.
        ValueError: the first base became a dataclass by itself and the subclass shall not.
    """

    __cog_auto_dataclass__ = False

    def __init_subclass__(cls, *, auto_dataclass: bool = True, init: bool = True, **options: Any) -> None:
        super().__init_subclass__()
        first, *others = cls.__bases__
        if not issubclass(first, BaseModel):
            raise TypeError(f'Primary base class of "{cls.__name__}" must inherit from BaseModel')
        if not auto_dataclass and first.__cog_auto_dataclass__:
            raise ValueError(
                f'"{cls.__name__}" has auto_dataclass=False, but its primary base class "{first.__name__}" has '
                "auto_dataclass=True: its fields would not be inherited"
            )
        for base in others:
            if is_dataclass(base):
                raise TypeError(f'Cannot mixin dataclass "{base.__name__}" while inheriting from `BaseModel`')
        if auto_dataclass:
            dataclass(init=init, **options)(cls)
        cls.__cog_auto_dataclass__ = auto_dataclass
