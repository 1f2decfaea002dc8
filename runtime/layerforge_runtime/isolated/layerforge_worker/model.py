"""The user's class or function: loading it, its ``setup()``, and how it is called; beside it what trains."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
import typing
import warnings
from collections.abc import Callable
from typing import Any

from cog.input import FieldInfo
from cog.predictor import BasePredictor, extract_setup_weights, overrides
from cog.types import File, Path, Secret

_CO_COROUTINE, _CO_ASYNC_GENERATOR = 0x80, 0x200


class Model:
    """A loaded model.

    ``fields`` tells which inputs are files or secrets by their annotation: "path", "file" or "secret".
    """

    def __init__(self, target: Any, *, train: bool = False) -> None:
        self.target = target
        self.run: Callable[..., Any] = target
        if train and hasattr(target, "train"):
            self.run = target.train
        elif not _is_function(target):
            self.run = getattr(target, "run" if overrides(type(target), "run") else "predict")
        functions = _unwrap(self.run)
        self.is_async = any(is_async(function) for function in functions)
        for function in functions:
            _resolve_defaults(function)
        self.fields = _classify(self.run)
        self.concurrency = max(getattr(function, "__cog_concurrent_max__", 1) for function in functions)
        self.streaming = any(getattr(function, "__cog_streaming__", False) for function in functions)

    @property
    def healthcheck(self) -> Callable[[], Any] | None:
        """The model's own check of its health."""
        check = None if _is_function(self.target) else getattr(self.target, "healthcheck", None)
        return check if callable(check) else None

    def setup(self) -> Any:
        """Call ``setup()``, if there is one; the result may have to be awaited."""
        setup = None if _is_function(self.target) else getattr(self.target, "setup", None)
        if setup is None:
            return None
        if any(_takes(function, "weights") for function in _unwrap(setup)):
            return setup(weights=extract_setup_weights(self.target))
        return setup()


class Models:
    """What a worker serves: ``main``, which is set up when it starts, and what trains, from the first training on.

    ``trainer`` names that as ``file.py:Name``; without it, the main model trains if it has ``train()``.
    """

    def __init__(self, main: Model, reference: str, trainer: str, *, train: bool) -> None:
        self.main = main
        self._trainer = main if train else None
        self._reference = trainer
        self._shared = not trainer or trainer == reference

    def pick(self, *, training: bool) -> tuple[Model, Any]:
        """The model for a prediction or a training, and what its setup still has to await.

        Raises:
            ValueError: the model cannot be trained.
        """
        if not training:
            return self.main, None
        if self._trainer is not None:
            return self._trainer, None
        if not self._shared:
            trainer = load_model(self._reference, train=True)
            self._trainer = trainer
            return trainer, trainer.setup()
        if not hasattr(self.main.target, "train"):
            raise ValueError("this model cannot be trained: cog.yaml has no `train`")
        self._trainer = Model(self.main.target, train=True)
        return self._trainer, None


def load_model(reference: str, *, train: bool = False) -> Model:
    """Import and instantiate ``file.py:Name``; the file is relative to the working directory.

    With ``train`` it is for trainings: a function, or a class with ``train()``.

    Raises:
        ImportError: there is no such file.
        AttributeError: it has no such name.
        ValueError: the class defines neither or both of ``run`` and ``predict``.
    """
    path, _, name = reference.partition(":")
    module = _import(path)
    if not name:
        name = "train" if train else "Runner" if hasattr(module, "Runner") else "Predictor"
    if not hasattr(module, name):
        raise AttributeError(f"{path} has no {name!r}: it is named by {reference!r}")
    target = getattr(module, name)
    if not isinstance(target, type):
        if not callable(target):
            raise TypeError(f"{reference} is neither a class nor a function")
        return Model(target, train=train)
    if train:
        if not callable(getattr(target, "train", None)):
            raise ValueError(f"{name} has no train() method")
        return Model(target(), train=True)
    runs, predicts = overrides(target, "run"), overrides(target, "predict")
    if runs == predicts:
        raise ValueError(
            f"{name} must define either run() or predict(), not both" if runs else f"{name} has no run() method"
        )
    if predicts:
        warnings.warn(f"{name}.predict() is deprecated; use run() instead", DeprecationWarning, stacklevel=2)
    if BasePredictor in target.__mro__[1:]:
        warnings.warn("BasePredictor is deprecated; use BaseRunner instead", DeprecationWarning, stacklevel=2)
    return Model(target())


def _import(path: str) -> Any:
    name = os.path.basename(path).removesuffix(".py")
    if not os.path.isfile(path):
        raise ImportError(f"{path} does not exist in {os.getcwd()}", name=name, path=path)
    loader = importlib.machinery.SourceFileLoader(name, os.path.abspath(path))
    spec = importlib.util.spec_from_file_location(name, loader.path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it is executed, so that what it defines can be pickled
    loader.exec_module(module)
    return module


def is_async(function: object) -> bool:
    """Whether ``function`` was written with ``async def``."""
    return bool(getattr(getattr(function, "__code__", None), "co_flags", 0) & (_CO_COROUTINE | _CO_ASYNC_GENERATOR))


def _is_function(target: object) -> bool:
    return hasattr(target, "__code__") or not any(hasattr(target, name) for name in ("run", "predict", "train"))


def _unwrap(function: Any) -> list[Any]:
    """``function`` and what its decorators wrap, methods as plain functions."""
    found: list[Any] = []
    while function is not None and function not in found:
        function = getattr(function, "__func__", function)
        found.append(function)
        function = getattr(function, "__wrapped__", None)
    return found


def _takes(function: Any, argument: str) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and argument in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _resolve_defaults(function: Any) -> None:
    """Replace each ``Input(…)`` among the function's defaults by its default, as the function itself is to see it."""
    defaults = getattr(function, "__defaults__", None)
    if defaults:
        function.__defaults__ = tuple(each.default if isinstance(each, FieldInfo) else each for each in defaults)
    keywords = getattr(function, "__kwdefaults__", None)
    if keywords:
        function.__kwdefaults__ = {
            name: each.default if isinstance(each, FieldInfo) else each for name, each in keywords.items()
        }


def _classify(function: Any) -> dict[str, str]:
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # an annotation that cannot be evaluated here says nothing
        return {}
    hints.pop("return", None)
    kinds = {name: _kind(hint) for name, hint in hints.items()}
    return {name: kind for name, kind in kinds.items() if kind}


def _kind(hint: Any) -> str:
    if isinstance(hint, type) and not typing.get_origin(hint):
        if issubclass(hint, Secret):
            return "secret"
        if issubclass(hint, File):
            return "file"
        return "path" if issubclass(hint, (Path, os.PathLike)) else ""
    # Optional[X], X | None, list[X] and their combinations
    return next((kind for kind in map(_kind, typing.get_args(hint)) if kind), "")
