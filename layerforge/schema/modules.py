"""The project's Python files as syntax trees, and what a name at module level stands for, followed through imports.

Nothing is imported or executed. A module's last binding of a name counts, as it would after importing; where a
condition decides between two values, the name has none that can be known.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterable, Mapping

import msgspec

from layerforge.errors import Problem
from layerforge.schema.conditions import decide
from layerforge.schema.grammar import NEWEST, parse_source

Read = Callable[[str], "bytes | None"]

MAX_DATA = 1 << 18
"""Larger data files are not read: what a schema shows is small."""

MUTATORS = {"append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "update", "setdefault", "add",
             "discard", "popitem", "move_to_end"}  # fmt: skip
_TYPE_LIKE = (ast.Name, ast.Attribute, ast.Subscript)
"""What aliases of types look like: the last one of a name counts wherever it is used, as in annotations."""

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

    name: str
    reason: str
    line: int


Binding = Imported | Defined | Assigned | Unclear


class Module:
    """One parsed file, or the body of a class in it, where names that are not bound mean what they mean ``outer``.

    ``python`` is the version it runs with.
    """

    def __init__(
        self, path: str, body: list[ast.stmt], python: tuple[int, int] = NEWEST, outer: Module | None = None
    ) -> None:
        self.path = path
        self.body = body
        self.python = python
        self.outer = outer
        parts = path.removesuffix(".pyi").removesuffix(".py").split("/")
        self.is_package = parts[-1] == "__init__"
        self.parts = tuple(parts[:-1] if self.is_package else parts)
        self.stars: list[str] = []
        self.folders: list[ast.expr] = []
        self.bindings = _collect(body, self)

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
    """Reads and parses each file at most once, in the grammar of ``python``.

    ``environment`` are the variables that cog.yaml sets; ``warnings`` are the things taken for granted so far.
    """

    def __init__(
        self, read: Read, python: tuple[int, int] = NEWEST, environment: Mapping[str, str] | None = None
    ) -> None:
        self._read = read
        self.environment = environment or {}
        self._python = python
        self._modules: dict[str, Module | None] = {}
        self._insides: dict[int, Module] = {}
        self._roots = [""]
        for folder in self.environment.get("PYTHONPATH", "").split(":"):
            self._roots += [folder.removeprefix("/src/").strip("/") + "/"] if folder.strip("/") else []
        self._unknown_folders: list[tuple[Module, ast.expr]] = []
        self.evaluate_folder: Callable[[Module, ast.expr], str | None] = lambda _module, _node: None
        self.warnings: list[Problem] = []

    def open(self, path: str) -> Module | None:
        """The module at ``path``, or None when there is no such file.

        Raises:
            SchemaError: the file is not Python.
        """
        if path not in self._modules:
            data = self._read(path)
            tree = None if data is None else parse_source(data, path, self._python)
            module = self._modules[path] = None if tree is None else Module(path, tree.body, self._python)
            if module is not None:
                self._unknown_folders += [(module, folder) for folder in module.folders]
        return self._modules[path]

    def inside(self, module: Module, owner: ast.ClassDef) -> Module:
        """The body of a class of ``module`` as a place for names to be looked up in."""
        if id(owner) not in self._insides:
            self._insides[id(owner)] = Module(module.path, owner.body, self._python, module)
        return self._insides[id(owner)]

    def read_data(self, path: str) -> bytes | None:
        """A data file of the project, or None when there is none.

        Raises:
            ValueError: it is too large.
        """
        data = self._read(path)
        if data is not None and len(data) > MAX_DATA:
            raise ValueError(f"{path} has {len(data):,} bytes, and at most {MAX_DATA:,} are read")
        return data

    def warn(self, module: Module, node: ast.AST, message: str, hint: str) -> None:
        """Note something that the document takes for granted, once."""
        problem = Problem(module.path, getattr(node, "lineno", 0), message, hint)
        if problem not in self.warnings:
            self.warnings.append(problem)

    def find(self, name: str) -> Module | None:
        """The project's module of this dotted name, or None when it comes from elsewhere."""
        if not name or name.partition(".")[0] in _ALWAYS_EXTERNAL:
            return None
        base = name.replace(".", "/")
        for root in self._roots:
            found = self._find_in(root + base)
            if found is not None:
                return found
        while self._unknown_folders:
            # `sys.path.append("src")`: looked at only where a name is not found without it.
            folder = self.evaluate_folder(*self._unknown_folders.pop(0))
            if folder is not None and f"{folder}/" not in self._roots:
                self._roots.append(f"{folder}/")
                found = self._find_in(f"{folder}/{base}")
                if found is not None:
                    return found
        return None

    def _find_in(self, base: str) -> Module | None:
        for path in (f"{base}.py", f"{base}/__init__.py", f"{base}.pyi"):
            module = self.open(path)
            if module is not None:
                return module
        return None

    def resolve(self, module: Module, expression: ast.expr) -> Meaning:
        """What a name or dotted name in ``module`` stands for. Plain aliases (``Image = Path``) are followed."""
        return self._resolve(module, expression, frozenset())

    def _resolve(self, module: Module, expression: ast.expr, seen: frozenset[tuple[int, str]]) -> Meaning:
        if isinstance(expression, ast.Name):
            return self._resolve_name(module, expression.id, seen)
        if isinstance(expression, ast.Attribute):
            owner = self._resolve(module, expression.value, seen)
            if isinstance(owner, Module):
                return self._member(owner, expression.attr, seen)
            if isinstance(owner, External):
                name = f"{owner.name}.{expression.attr}"
                return self.find(name) or External(name)
            if isinstance(owner, Local) and isinstance(owner.binding, Defined):
                return self._nested(owner.module, owner.binding.node, expression.attr)
        return Nothing(ast.unparse(expression))

    def _resolve_name(self, module: Module, name: str, seen: frozenset[tuple[int, str]]) -> Meaning:
        if (id(module), name) in seen or len(seen) > 50:
            return Nothing(name)
        seen |= {(id(module), name)}
        binding = module.bindings.get(name)
        if binding is None and module.outer is not None and not module.stars:
            return self._resolve_name(module.outer, name, seen)
        if isinstance(binding, Imported):
            return self._imported(binding, seen)
        if isinstance(binding, Assigned) and isinstance(binding.value, (ast.Name, ast.Attribute)):
            # In a class body `x = x` takes the outer one.
            same = module.outer is not None and isinstance(binding.value, ast.Name) and binding.value.id == name
            meaning = self._resolve(module.outer if same and module.outer else module, binding.value, seen)
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

    def _nested(self, module: Module, owner: ast.AST, name: str) -> Meaning:
        """A class inside a class."""
        if isinstance(owner, ast.ClassDef):
            inside = self.inside(module, owner)
            binding = inside.bindings.get(name)
            if isinstance(binding, Defined) and isinstance(binding.node, ast.ClassDef):
                return Local(inside, binding)
        return Nothing(name)

    def _imported(self, binding: Imported, seen: frozenset[tuple[int, str]]) -> Meaning:
        source = self.find(binding.module)
        if not binding.name:
            return source or External(binding.module)
        if source is not None:
            return self._member(source, binding.name, seen)
        dotted = f"{binding.module}.{binding.name}"
        return self.find(dotted) or External(dotted)

    def _member(self, module: Module, name: str, seen: frozenset[tuple[int, str]]) -> Meaning:
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


def _collect(body: Iterable[ast.stmt], module: Module) -> dict[str, Binding]:
    bound: dict[str, Binding] = {}
    _bind_all(body, bound, module)
    return bound


def _bind_all(body: Iterable[ast.stmt], bound: dict[str, Binding], module: Module) -> None:
    for statement in body:
        _bind(statement, bound, module)


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
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Attribute(attr="path"), attr=method), args=args)):
            if method in ("append", "insert") and args:
                module.folders.append(args[-1])
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method))):
            if method in MUTATORS and isinstance(bound.get(name), Assigned):
                bound[name] = Unclear(name, f"changes on line {statement.lineno}", statement.lineno)
        case ast.If():
            decided = decide(statement.test, module.python)
            if decided is None:
                _blur_changes(statement, bound)
                first, second = _collect(statement.body, module), _collect(statement.orelse, module)
                _merge(bound, first, second, statement.lineno)
                for name in first.keys() & second.keys():
                    if isinstance(first[name], Defined) and isinstance(second[name], Defined):
                        bound[name] = Unclear(name, f"depends on the condition on line {statement.lineno}", 0)
            else:
                _bind_all(statement.body if decided else statement.orelse, bound, module)
        case ast.Try():
            _blur_changes(statement, bound)
            handled = _collect([inner for handler in statement.handlers for inner in handler.body], module)
            _merge(bound, _collect([*statement.body, *statement.orelse], module), handled, statement.lineno)
            _bind_all(statement.finalbody, bound, module)
        case ast.With() | ast.AsyncWith():
            _blur_changes(statement, bound)
            for item in statement.items:
                if item.optional_vars is not None:
                    _blur(item.optional_vars, bound, f"comes from the `with` on line {statement.lineno}")
            inner = _collect(statement.body, module)
            for name in [name for name, binding in inner.items() if isinstance(binding, Assigned)]:
                inner[name] = Unclear(name, f"comes from the `with` on line {statement.lineno}", statement.lineno)
            bound.update(inner)
        case _ if type(statement).__name__ == "TypeAlias":  # PEP 695, from Python 3.12
            bound[statement.name.id] = Assigned(statement.value, statement.lineno)  # type: ignore[attr-defined]


def _bind_target(target: ast.expr, value: ast.expr, line: int, bound: dict[str, Binding]) -> None:
    match target:
        case ast.Name():
            before = bound.get(target.id)
            again = isinstance(before, Unclear) or (
                isinstance(before, Assigned) and ast.dump(before.value) != ast.dump(value)
            )
            if again and not isinstance(value, _TYPE_LIKE):
                bound[target.id] = Unclear(target.id, f"changes on line {line}", line)
            else:
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
                bound[name] = Unclear(name, f"changes on line {line}", line)


def _blur(node: ast.AST, bound: dict[str, Binding], reason: str) -> None:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, (ast.Store, ast.Del)):
            bound[inner.id] = Unclear(inner.id, reason, inner.lineno)
        elif isinstance(inner, (ast.Subscript, ast.Attribute)) and isinstance(inner.ctx, (ast.Store, ast.Del)):
            if isinstance(inner.value, ast.Name) and isinstance(bound.get(inner.value.id), Assigned):
                bound[inner.value.id] = Unclear(inner.value.id, reason, inner.lineno)
        elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and inner.func.attr in MUTATORS:
            owner = inner.func.value
            if isinstance(owner, ast.Name) and isinstance(bound.get(owner.id), Assigned):
                bound[owner.id] = Unclear(owner.id, reason, inner.lineno)


def _blur_changes(statement: ast.stmt, bound: dict[str, Binding]) -> None:
    """Make unclear what an inner statement changes without binding it anew."""
    for inner in ast.walk(statement):
        match inner:
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
                pass
            case ast.Attribute(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
                pass
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if method in MUTATORS:
                pass
            case ast.AugAssign(target=ast.Name(id=name)):
                pass
            case _:
                continue
        if isinstance(bound.get(name), Assigned):
            line = getattr(inner, "lineno", 0)
            bound[name] = Unclear(name, f"changes on line {line}", line)


def _merge(bound: dict[str, Binding], first: dict[str, Binding], second: dict[str, Binding], line: int) -> None:
    """Join two branches: imports and definitions of the first win; values that differ become unclear."""
    for name in {**second, **first}:
        one, other = first.get(name), second.get(name, bound.get(name))
        if isinstance(one, Assigned) and isinstance(other, Assigned) and ast.dump(one.value) != ast.dump(other.value):
            bound[name] = Unclear(name, f"depends on the condition on line {line}", line)
        else:
            bound[name] = one or second[name]
