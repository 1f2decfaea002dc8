"""How a schema error says where, what and what to do instead."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable

from layerforge.errors import SchemaError
from layerforge.schema.modules import Module

WAYS_OUT = (
    "write a literal in its place, or a stub (run.pyi beside run.py) that has one, or give the whole document with "
    "--openapi-schema FILE; `layerforge schema --execute` gets it by importing the model"
)


def fault(module: Module, node: ast.AST, message: str, hint: str = WAYS_OUT) -> SchemaError:
    """An error about ``node``, a part of ``module``."""
    line = getattr(node, "lineno", 0)
    return SchemaError(message, where=f"{module.path}:{line}" if line else module.path, hint=hint)


def shown(node: ast.AST) -> str:
    """The source of ``node`` on one line, cut to a length that fits a message."""
    try:
        text = " ".join(ast.unparse(node).split())
    except (RecursionError, ValueError):
        text = "..."
    return text if len(text) <= 80 else text[:77] + "..."


def brief(value: object) -> str:
    """``value`` as Python writes it, cut to a length that fits a message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    """A hint that names the known word closest to ``name``."""
    found = difflib.get_close_matches(name[:60], sorted(known), n=1, cutoff=0.7)
    return f"did you mean {found[0]}?" if found else otherwise
