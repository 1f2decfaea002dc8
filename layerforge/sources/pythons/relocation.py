"""What an installation knows of the machine that it was built on, put right: prefix and compilers. Pure.

The archives are built with the prefix ``/install`` and say so in the files that building against Python is done with.
``uv python install`` mends ``_sysconfigdata``, from which ``sysconfig`` and so setuptools take their answers, and the
``.pc`` files; here the other files that name the prefix are mended too. The compilers are those of the build machine,
and become ``cc``, ``c++`` and ``ar``.
Source: uv, ``crates/uv-python/src/sysconfig/mod.rs``.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from layerforge.errors import LayerError

PREFIX = "/opt/python"
"""Where the installation lies in the image."""

_MENDED = re.compile(
    r"lib/python3\.\d+\w?/(?:_sysconfigdata_\w[\w.-]*\.py|_sysconfig_vars_[\w.-]+\.json|build-details\.json"
    r"|config-[^/]+/(?:Makefile|python-config\.py))"
    r"|lib/pkgconfig/[^/]+\.pc|bin/(?:python3\.\d+-config|pydoc3(?:\.\d+)?)"
)
_BUILT = re.compile(r"(?:(?<=-[IL])|(?<![\w./-]))/install(?![\w.-])")
_HEADER = "# Generated when Python was built, and mended when it was put into this image.\n"
_COMPILERS = {"CC": "cc", "BLDSHARED": "cc", "LDSHARED": "cc", "LINKCC": "cc", "CXX": "c++", "LDCXXSHARED": "c++"}
_COMPILER = re.compile(r"(?:\S*/)?(?:[\w.-]+-)?(?:clang|gcc|cc|c\+\+|g\+\+)(?:\+\+)?(?:-\d+)?(?=\s|$)")


def is_mended(path: str) -> bool:
    """Whether the file at ``path``, below the prefix, is one that :func:`mend_file` changes."""
    return _MENDED.fullmatch(path) is not None


def mend_file(path: str, content: bytes) -> bytes:
    """The file with PREFIX for the prefix of the build machine, and the usual names for its compilers.

    Raises:
        LayerError: it is not what its name says.
    """
    try:
        text = content.decode("utf-8")
        if "_sysconfigdata_" in path:
            return _mend_sysconfig(text).encode()
        if "_sysconfig_vars_" in path:
            return json.dumps(_mend_variables(json.loads(text)), indent=2, sort_keys=True).encode()
    except (ValueError, SyntaxError, TypeError) as error:
        raise LayerError(f"{path} cannot be understood: {error}") from error
    return _mend_prefix(text).encode()


def _mend_prefix(text: str) -> str:
    return _BUILT.sub(PREFIX, text)


def _mend_sysconfig(text: str) -> str:
    """``build_time_vars``, written anew, a variable a line. It is a literal, so nothing of it is executed."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "build_time_vars":
            variables = _mend_variables(ast.literal_eval(node.value))
            variables["PYTHON_BUILD_STANDALONE"] = 1
            lines = "".join(f"    {name!r}: {value!r},\n" for name, value in sorted(variables.items()))
            return f"{_HEADER}build_time_vars = {{\n{lines}}}\n"
    raise ValueError("it does not assign build_time_vars")


def _mend_variables(variables: Any) -> dict[str, Any]:
    if not isinstance(variables, dict):
        raise TypeError("its variables are not named")
    mended = {name: _mend_prefix(value) if isinstance(value, str) else value for name, value in variables.items()}
    for name, compiler in _COMPILERS.items():
        value = mended.get(name)
        if isinstance(value, str):
            mended[name] = _COMPILER.sub(compiler, value, count=1) if _COMPILER.match(value) else value
    if isinstance(mended.get("AR"), str):
        mended["AR"] = "ar"
    return mended
