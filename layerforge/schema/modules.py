"""The project's Python files as syntax trees, and what a name at module level stands for, followed through imports.

Nothing is imported or executed. A module's last binding of a name counts, as it would after importing; where a
condition decides between two values, the name has none that can be known.
"""

from __future__ import annotations

import ast
import builtins
import warnings
from collections.abc import Callable, Iterable

import msgspec

from layerforge.errors import SchemaError

Read = Callable[[str], "bytes | None"]

MAX_BYTES = 1 << 20
"""Larger files are not parsed: the syntax tree of one takes seconds and hundreds of megabytes."""

_MUTATORS = {"append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "update", "setdefault", "add",
             "discard", "popitem", "move_to_end"}  # fmt: skip
_ALWAYS_EXTERNAL = {"cog", "typing", "typing_extensions", "pydantic", "pathlib", "collections", "dataclasses", "enum",
                    "abc", "builtins", "os", "sys", "__future__"}  # fmt: skip


class Imported(msgspec.Struct, frozen=True):
    """``from module import name``; without a name, the module itself."""

    module: str
    name: str


class Defined(msgspec.Struct, frozen=True):
    """A ``class`` or ``def`` statement."""

    node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Assigned(msgspec.Struct, frozen=True):
    """``name = value``."""

    value: ast.expr
    line: int


class Unclear(msgspec.Struct, frozen=True):
    """A name whose value depends on more than one statement. ``reason`` completes "its value …"."""

    reason: str
    line: int


Binding = Imported | Defined | Assigned | Unclear


class Module:
    """One parsed file. ``name`` is its dotted name from the project's root; ``path`` is for messages."""

    def __init__(self, path: str, tree: ast.Module) -> None:
        self.path = path
        self.tree = tree
        parts = path.removesuffix(".pyi").removesuffix(".py").split("/")
        self.is_package = parts[-1] == "__init__"
        self.parts = tuple(parts[:-1] if self.is_package else parts)
        self.stars: list[str] = []
        self.bindings = _collect(tree.body, self)

    def absolute(self, module: str | None, level: int) -> str:
        """The dotted name that ``from ..module import`` means in this file."""
        if not level:
            return module or ""
        up = level - 1 if self.is_package else level
        base = self.parts[: len(self.parts) - up] if up <= len(self.parts) else ()
        return ".".join((*base, *((module or "").split(".") if module else ())))


class External(msgspec.Struct, frozen=True):
    """Something from outside the project, by its dotted name (``typing.Optional``, ``builtins.str``)."""

    name: str


class Local(msgspec.Struct, frozen=True):
    """A class, function or variable of the project: its binding, and the module that made it."""

    module: Module
    binding: Defined | Assigned | Unclear


class Nothing(msgspec.Struct, frozen=True):
    """A name that is not bound. ``maybe_star`` tells that an external ``import *`` may have bound it."""

    name: str
    maybe_star: bool = False


Meaning = External | Local | Module | Nothing


class Project:
    """Reads and parses each file at most once."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._modules: dict[str, Module | None] = {}

    def open(self, path: str) -> Module | None:
        """The module at ``path``, or None when there is no such file.

        Raises:
            SchemaError: the file is not Python.
        """
        if path not in self._modules:
            data = self._read(path)
            self._modules[path] = None if data is None else Module(path, parse_source(data, path))
        return self._modules[path]

    def find(self, name: str) -> Module | None:
        """The project's module of this dotted name, or None when it comes from elsewhere."""
        if not name or name.partition(".")[0] in _ALWAYS_EXTERNAL:
            return None
        base = name.replace(".", "/")
        for path in (f"{base}.py", f"{base}/__init__.py", f"{base}.pyi"):
            module = self.open(path)
            if module is not None:
                return module
        return None

    def resolve(self, module: Module, expression: ast.expr) -> Meaning:
        """What a name or dotted name in ``module`` stands for. Plain aliases (``Image = Path``) are followed."""
        return self._resolve(module, expression, frozenset())

    def _resolve(self, module: Module, expression: ast.expr, seen: frozenset[tuple[str, str]]) -> Meaning:
        if isinstance(expression, ast.Name):
            return self._resolve_name(module, expression.id, seen)
        if isinstance(expression, ast.Attribute):
            owner = self._resolve(module, expression.value, seen)
            if isinstance(owner, Module):
                return self._member(owner, expression.attr, seen)
            if isinstance(owner, External):
                name = f"{owner.name}.{expression.attr}"
                return self.find(name) or External(name)
        return Nothing(ast.unparse(expression))

    def _resolve_name(self, module: Module, name: str, seen: frozenset[tuple[str, str]]) -> Meaning:
        if (module.path, name) in seen or len(seen) > 50:
            return Nothing(name)
        seen |= {(module.path, name)}
        binding = module.bindings.get(name)
        if isinstance(binding, Imported):
            return self._imported(binding, seen)
        if isinstance(binding, Assigned) and isinstance(binding.value, (ast.Name, ast.Attribute)):
            meaning = self._resolve(module, binding.value, seen)
            if not isinstance(meaning, Nothing):
                return meaning
        if binding is not None:
            return Local(module, binding)
        maybe = False
        for star in reversed(module.stars):
            source = self.find(star)
            if source is None:
                known = f"{star}.{name}"
                if star in STAR_EXPORTS and name in STAR_EXPORTS[star]:
                    return External(known)
                maybe = maybe or star not in STAR_EXPORTS
                continue
            meaning = self._resolve_name(source, name, seen)
            if not isinstance(meaning, Nothing) and not name.startswith("_"):
                return meaning
            maybe = maybe or (isinstance(meaning, Nothing) and meaning.maybe_star)
        if hasattr(builtins, name):
            return External(f"builtins.{name}")
        return Nothing(name, maybe)

    def _imported(self, binding: Imported, seen: frozenset[tuple[str, str]]) -> Meaning:
        source = self.find(binding.module)
        if not binding.name:
            return source or External(binding.module)
        if source is not None:
            return self._member(source, binding.name, seen)
        dotted = f"{binding.module}.{binding.name}"
        return self.find(dotted) or External(dotted)

    def _member(self, module: Module, name: str, seen: frozenset[tuple[str, str]]) -> Meaning:
        meaning = self._resolve_name(module, name, seen)
        if isinstance(meaning, Nothing) or (isinstance(meaning, External) and meaning.name == f"builtins.{name}"):
            submodule = self.find(".".join((*module.parts, name)))
            return submodule or meaning
        return meaning


STAR_EXPORTS = {
    "typing": {"Any", "Optional", "Union", "List", "Dict", "Literal", "Annotated", "Iterator", "AsyncIterator",
               "Generator", "AsyncGenerator", "Iterable", "Sequence", "Mapping", "TypedDict", "Required",
               "NotRequired", "NamedTuple", "Tuple", "Set", "Callable", "ClassVar"},
    "cog": {"BaseModel", "BasePredictor", "BaseRunner", "File", "Input", "Path", "Secret", "Opaque",
            "ConcatenateIterator", "AsyncConcatenateIterator", "Iterator", "AsyncIterator", "streaming", "concurrent"},
    "pathlib": {"Path", "PurePath", "PosixPath"},
    "pydantic": {"BaseModel", "Field"},
    "dataclasses": {"dataclass", "field"},
}  # fmt: skip
"""What ``from X import *`` brings, of the names that matter in signatures."""


def parse_source(data: bytes, path: str) -> ast.Module:
    """The syntax tree of a file's bytes, in the encoding it declares.

    Raises:
        SchemaError: with line and caret, the text is not Python.
    """
    if len(data) > MAX_BYTES:
        hint = "move the model's class into a file of its own"
        raise SchemaError(f"{len(data):,} bytes are too many to read a signature from", where=path, hint=hint)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(data, filename=path)
    except SyntaxError as error:
        where = f"{path}:{error.lineno}" if error.lineno else path
        message = f"not Python: {error.msg}"
        line = (error.text or "").rstrip("\n")
        if line.strip() and error.offset and error.offset > 0 and len(line) < 300:
            shown = line.lstrip()
            column = max(error.offset - 1 - (len(line) - len(shown)), 0)
            message += f"\n    {shown}\n    {' ' * column}^"
        hint = "this must parse as Python of the version that runs Layerforge"
        raise SchemaError(message, where=where, hint=hint) from None
    except (ValueError, RecursionError, MemoryError) as error:
        message = "nested too deeply to parse" if not isinstance(error, ValueError) else f"not Python: {error}"
        raise SchemaError(message, where=path) from None


def _collect(body: Iterable[ast.stmt], module: Module) -> dict[str, Binding]:
    bound: dict[str, Binding] = {}
    for statement in body:
        _bind(statement, bound, module)
    return bound


def _bind(statement: ast.stmt, bound: dict[str, Binding], module: Module) -> None:
    match statement:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            bound[statement.name] = Defined(statement)
        case ast.Import():
            for alias in statement.names:
                name = alias.name if alias.asname else alias.name.partition(".")[0]
                bound[alias.asname or name] = Imported(name, "")
        case ast.ImportFrom():
            source = module.absolute(statement.module, statement.level)
            for alias in statement.names:
                if alias.name == "*":
                    module.stars.append(source)
                else:
                    bound[alias.asname or alias.name] = Imported(source, alias.name)
        case ast.Assign():
            for target in statement.targets:
                _bind_target(target, statement.value, statement.lineno, bound)
        case ast.AnnAssign(value=ast.expr() as value):
            _bind_target(statement.target, value, statement.lineno, bound)
        case ast.AugAssign() | ast.Delete() | ast.For() | ast.AsyncFor() | ast.While():
            _blur(statement, bound, f"changes on line {statement.lineno}")
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method))):
            if method in _MUTATORS and isinstance(bound.get(name), Assigned):
                bound[name] = Unclear(f"changes on line {statement.lineno}", statement.lineno)
        case ast.If():
            if not _is_main_guard(statement.test):
                _merge(bound, _collect(statement.body, module), _collect(statement.orelse, module), statement.lineno)
        case ast.Try():
            handled = _collect([inner for handler in statement.handlers for inner in handler.body], module)
            _merge(bound, _collect([*statement.body, *statement.orelse], module), handled, statement.lineno)
            bound.update(_collect(statement.finalbody, module))
        case ast.With() | ast.AsyncWith():
            bound.update(_collect(statement.body, module))
        case _ if type(statement).__name__ == "TypeAlias":  # PEP 695, from Python 3.12
            bound[statement.name.id] = Assigned(statement.value, statement.lineno)  # type: ignore[attr-defined]


def _bind_target(target: ast.expr, value: ast.expr, line: int, bound: dict[str, Binding]) -> None:
    match target:
        case ast.Name():
            bound[target.id] = Assigned(value, line)
        case ast.Tuple() | ast.List():
            values = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
            plain = len(values) == len(target.elts) and not any(isinstance(v, ast.Starred) for v in values)
            for index, element in enumerate(target.elts):
                if plain and not isinstance(element, ast.Starred):
                    _bind_target(element, values[index], line, bound)
                else:
                    _blur(element, bound, f"comes from unpacking on line {line}")
        case ast.Subscript(value=ast.Name(id=name)) | ast.Attribute(value=ast.Name(id=name)):
            if isinstance(bound.get(name), Assigned):
                bound[name] = Unclear(f"changes on line {line}", line)


def _blur(node: ast.AST, bound: dict[str, Binding], reason: str) -> None:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, (ast.Store, ast.Del)):
            bound[inner.id] = Unclear(reason, inner.lineno)
        elif isinstance(inner, (ast.Subscript, ast.Attribute)) and isinstance(inner.ctx, (ast.Store, ast.Del)):
            if isinstance(inner.value, ast.Name) and isinstance(bound.get(inner.value.id), Assigned):
                bound[inner.value.id] = Unclear(reason, inner.lineno)
        elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and inner.func.attr in _MUTATORS:
            owner = inner.func.value
            if isinstance(owner, ast.Name) and isinstance(bound.get(owner.id), Assigned):
                bound[owner.id] = Unclear(reason, inner.lineno)


def _merge(bound: dict[str, Binding], first: dict[str, Binding], second: dict[str, Binding], line: int) -> None:
    """Join two branches: imports and definitions of the first win; values that differ become unclear."""
    for name in {**second, **first}:
        one, other = first.get(name), second.get(name, bound.get(name))
        if isinstance(one, Assigned) and isinstance(other, Assigned) and ast.dump(one.value) != ast.dump(other.value):
            bound[name] = Unclear(f"depends on the condition on line {line}", line)
        else:
            bound[name] = one or second[name]


def _is_main_guard(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"
