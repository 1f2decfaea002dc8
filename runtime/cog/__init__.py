"""The ``cog`` module that models import: base classes, types of inputs and outputs, the running prediction.

Names are loaded when they are first asked for, so that ``python -m cog.server.http`` starts without them.
Source of the names and their behaviour: replicate/cog, ``docs/python.md`` and ``python/cog``.
"""

import sys as _sys

__version__ = "0.23.0+layerforge.0.1.0"  # the Cog interface that is implemented, and whose implementation it is

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .decorators import concurrent as concurrent
    from .decorators import streaming as streaming
    from .exceptions import CancelationException as CancelationException
    from .input import FieldInfo as FieldInfo
    from .input import Input as Input
    from .model import BaseModel as BaseModel
    from .opaque import Opaque as Opaque
    from .predictor import BasePredictor as BasePredictor
    from .predictor import BaseRunner as BaseRunner
    from .scope import current_scope as current_scope
    from .types import AsyncConcatenateIterator as AsyncConcatenateIterator
    from .types import ConcatenateIterator as ConcatenateIterator
    from .types import File as File
    from .types import Path as Path
    from .types import Secret as Secret
    from .types import URLFile as URLFile
    from .types import URLPath as URLPath

_HOMES = {
    "AsyncConcatenateIterator": "types",
    "BaseModel": "model",
    "BasePredictor": "predictor",
    "BaseRunner": "predictor",
    "CancelationException": "exceptions",
    "ConcatenateIterator": "types",
    "FieldInfo": "input",
    "File": "types",
    "Input": "input",
    "Opaque": "opaque",
    "Path": "types",
    "Secret": "types",
    "URLFile": "types",
    "URLPath": "types",
    "concurrent": "decorators",
    "current_scope": "scope",
    "streaming": "decorators",
}
_SUBMODULES = ("decorators", "exceptions", "input", "model", "opaque", "predictor", "scope", "types")
_LEGACY = {
    "ExperimentalFeatureWarning": (
        "ExperimentalFeatureWarning has no effect any more: remove it from your imports and warning filters"
    ),
    "emit_metric": "emit_metric() is deprecated: write current_scope().record_metric(name, value) instead",
}

__all__ = [*sorted(_HOMES), *sorted(_LEGACY), "__version__"]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _HOMES:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    elif name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    elif name in _LEGACY:
        # Straight to stderr: a model that imports the warning class usually does so to silence warnings.
        print(f"cog: {_LEGACY[name]}", file=_sys.stderr)
        value = getattr(import_module(f"{__name__}.legacy"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
