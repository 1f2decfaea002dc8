"""Calls in constants: pure builtins, the project's functions, ``Input(...)``, data files, the environment."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from layerforge.schema import datafiles, operations
from layerforge.schema.classes import ancestry, external_bases
from layerforge.schema.faults import shown
from layerforge.schema.modules import Assigned, Defined, External, Local, Nothing
from layerforge.schema.values import (
    Builtin,
    EnumMember,
    Function,
    InputCall,
    Instance,
    Opaque,
    OpenFile,
    PathText,
    Scope,
)

if TYPE_CHECKING:
    from layerforge.schema.constants import Evaluator

_INPUT = ("cog.Input", "cog.input.Input")
_ENVIRONMENT = ("os.environ.get", "os.getenv")
_YAML = ("yaml.safe_load", "yaml.load", "yaml.full_load", "yaml.unsafe_load")


class Caller:
    """Works out calls for an evaluator."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._project = evaluator.project

    def call(self, node: ast.Call, scope: Scope) -> Any:
        """What a call gives.

        Raises:
            SchemaError: it cannot be known.
        """
        if not self._evaluator.is_local(node.func, scope):
            meaning = self._project.resolve(scope.module, node.func)
            if self._is_input(meaning):
                return self._input(node, scope)
            match meaning:
                case External(name=name):
                    return self._external(name, node, scope)
                case Local(module=module, binding=Defined(node=ast.ClassDef())):
                    return self._construct(meaning, node, scope)
                case Local(module=module, binding=Defined(node=ast.FunctionDef() as definition)):
                    return self._apply_call(Function(definition, module), node, scope)
            method = self._class_method(node.func, scope)
            if method is not None:
                return self._apply_call(method, node, scope)
        if isinstance(node.func, ast.Attribute):
            owner = self._evaluator.read(node.func.value, scope)
            return self._method(owner, node.func.attr, node, scope)
        return self._apply_call(self._evaluator.read(node.func, scope), node, scope)

    def _is_input(self, meaning: object) -> bool:
        if isinstance(meaning, External):
            return meaning.name in _INPUT
        return isinstance(meaning, Nothing) and meaning.name == "Input" and meaning.maybe_star

    def _input(self, node: ast.Call, scope: Scope) -> InputCall:
        arguments: dict[str, Any] = {}
        if node.args:
            arguments["default"] = self._evaluator.read(node.args[0], scope)
            if len(node.args) > 1:
                raise self._evaluator.unknown(
                    scope, node, "Input() takes one positional argument, the default: name the others"
                )
        for name, value in self._keywords(node, scope, lenient=False).items():
            arguments[name] = value
        return InputCall(arguments, node, scope.module)

    # Arguments

    def _keywords(self, node: ast.Call, scope: Scope, *, lenient: bool) -> dict[str, Any]:
        read = self._evaluator.lenient if lenient else self._evaluator.read
        keywords: dict[str, Any] = {}
        for keyword in node.keywords:
            if keyword.arg is not None:
                keywords[keyword.arg] = read(keyword.value, scope)
                continue
            spread = self._evaluator.read(keyword.value, scope)
            if not isinstance(spread, dict):
                raise self._evaluator.unknown(scope, keyword.value, "it is not a dict of constants")
            keywords.update({str(key): value for key, value in spread.items()})
        return keywords

    def _apply_call(self, function: Any, node: ast.Call, scope: Scope) -> Any:
        arguments = self._evaluator.elements(node.args, scope)
        return self.apply(function, arguments, self._keywords(node, scope, lenient=True), node, scope)

    def apply(self, function: Any, arguments: list[Any], keywords: dict[str, Any], node: ast.AST, scope: Scope) -> Any:
        """What a function value gives for values.

        Raises:
            SchemaError: it is no function, or what it gives cannot be known.
        """
        if isinstance(function, Builtin):
            strict = [self._strict(value) for value in arguments]
            named = {name: self._strict(value) for name, value in keywords.items()}
            return self._builtin(function.name, strict, named, node, scope)
        if not isinstance(function, Function):
            raise self._evaluator.unknown(scope, node, "it is not a function that can be run here")
        names = self._bind(function, arguments, keywords, node, scope)
        return self._evaluator.run_body(function, names, node, scope)

    def _strict(self, value: Any) -> Any:
        if isinstance(value, Opaque):
            raise value.reason
        return value

    def _bind(
        self, function: Function, arguments: list[Any], keywords: dict[str, Any], node: ast.AST, scope: Scope
    ) -> dict[str, Any]:
        """The parameters of ``function`` with what a call gives for them."""
        spec = function.node.args
        inside = Scope(function.module, function.names)
        parameters = [parameter.arg for parameter in (*spec.posonlyargs, *spec.args)]
        known = {*parameters, *(parameter.arg for parameter in spec.kwonlyargs)}
        names: dict[str, Any] = {}
        for parameter, default in zip(reversed(parameters), reversed(spec.defaults), strict=False):
            names[parameter] = self._evaluator.lenient(default, inside)
        for keyword_only, keyword_default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True):
            if keyword_default is not None:
                names[keyword_only.arg] = self._evaluator.lenient(keyword_default, inside)
        given = [*function.given, *arguments]
        names.update(zip(parameters, given, strict=False))
        if len(given) > len(parameters):
            if spec.vararg is None:
                raise self._evaluator.unknown(scope, node, "it has too many arguments")
            names[spec.vararg.arg] = tuple(given[len(parameters) :])
        elif spec.vararg is not None:
            names[spec.vararg.arg] = ()
        everything = {**function.named, **keywords}
        names.update({name: value for name, value in everything.items() if name in known})
        extra = {name: value for name, value in everything.items() if name not in known}
        if spec.kwarg is not None:
            names[spec.kwarg.arg] = extra
        elif extra:
            raise self._evaluator.unknown(scope, node, f"the function has no parameter {next(iter(extra))}")
        missing = [name for name in known if name not in names]
        if missing:
            raise self._evaluator.unknown(scope, node, f"the argument {sorted(missing)[0]} is missing")
        return names

    # Functions of other packages

    def _external(self, name: str, node: ast.Call, scope: Scope) -> Any:
        evaluator = self._evaluator
        if name in _ENVIRONMENT:
            return self._environment(node, scope)
        if name in ("typing.get_args", "typing_extensions.get_args") and node.args:
            return self._literal_values(node.args[0], scope)
        if name in ("typing.cast", "typing_extensions.cast") and len(node.args) == 2:
            return evaluator.read(node.args[1], scope)
        if name in ("numpy.iinfo", "torch.iinfo", "numpy.finfo", "torch.finfo") and node.args:
            return self._limits(name, node.args[0], scope)
        if name == "dataclasses.field":
            return self._field(node, scope)
        if name in operations.OVER_ITERABLES and node.args:
            first: list[Any] = [evaluator.iterable(node.args[0], scope)]
            arguments = first + [evaluator.read(argument, scope) for argument in node.args[1:]]
        else:
            arguments = [self._strict(value) for value in evaluator.elements(node.args, scope)]
        return self._builtin(name, arguments, self._keywords(node, scope, lenient=False), node, scope)

    def _builtin(self, name: str, arguments: list[Any], keywords: dict[str, Any], node: ast.AST, scope: Scope) -> Any:
        if name in datafiles.PATH_FUNCTIONS:
            return datafiles.PATH_FUNCTIONS[name](*arguments)
        match name:
            case "builtins.open" | "io.open" | "codecs.open":
                mode = str(arguments[1]) if len(arguments) > 1 else str(keywords.get("mode", "r"))
                if set(mode) & set("wax+"):
                    raise self._evaluator.unknown(scope, node, "files are not written here")
                return OpenFile(datafiles.project_path(arguments[0]))
            case "json.load":
                return datafiles.parse_json(datafiles.read_file(self._project, arguments[0]))
            case "json.loads":
                return datafiles.parse_json(arguments[0])
            case _ if name in _YAML:
                source = arguments[0]
                text = datafiles.read_file(self._project, source) if isinstance(source, OpenFile) else source
                return datafiles.parse_yaml(text)
            case "functools.partial":
                return self._partial(arguments, keywords, node, scope)
            case "types.SimpleNamespace" | "argparse.Namespace":
                return Instance(None, keywords)
            case "builtins.map":
                rows = list(zip(*map(self._evaluator.items, arguments[1:]), strict=False))
                return [self.apply(arguments[0], list(row), {}, node, scope) for row in rows]
            case "builtins.filter":
                items = self._evaluator.items(arguments[1])
                if arguments[0] is None:
                    return [item for item in items if item]
                return [item for item in items if self.apply(arguments[0], [item], {}, node, scope)]
        if "key" in keywords and keywords["key"] is not None:
            key = keywords["key"]
            keywords = {**keywords, "key": lambda item: self.apply(key, [item], {}, node, scope)}
        function = operations.FUNCTIONS.get(name)
        if function is None:
            raise self._evaluator.unknown(scope, node, f"`{name.removeprefix('builtins.')}` is not run here")
        return operations.bounded(function(*arguments, **keywords))

    def _partial(self, arguments: list[Any], keywords: dict[str, Any], node: ast.AST, scope: Scope) -> Function:
        function = arguments[0]
        if not isinstance(function, Function):
            raise self._evaluator.unknown(scope, node, "only functions of the project are made partial here")
        return Function(
            function.node, function.module, function.names,
            (*function.given, *arguments[1:]), {**function.named, **keywords},
        )  # fmt: skip

    def _literal_values(self, node: ast.expr, scope: Scope) -> tuple[Any, ...]:
        """``get_args(Literal[...])``."""
        module = scope.module
        for _ in range(10):
            meaning = self._project.resolve(module, node)
            if not (isinstance(meaning, Local) and isinstance(meaning.binding, Assigned)):
                break
            node, module = meaning.binding.value, meaning.module
        if isinstance(node, ast.Subscript) and shown(node.value).split(".")[-1] == "Literal":
            elements = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return tuple(self._evaluator.read(element, Scope(module)) for element in elements)
        raise self._evaluator.unknown(scope, node, "only the values of a Literal are looked up")

    def _limits(self, name: str, node: ast.expr, scope: Scope) -> Instance:
        meaning = self._project.resolve(scope.module, node)
        kind = meaning.name if isinstance(meaning, External) else str(self._evaluator.read(node, scope))
        return Instance(None, operations.number_limits(kind.rpartition(".")[2], whole=name.endswith("iinfo")))

    def _field(self, node: ast.Call, scope: Scope) -> Any:
        """``dataclasses.field(...)`` as the default it gives."""
        for keyword in node.keywords:
            if keyword.arg == "default":
                return self._evaluator.read(keyword.value, scope)
            if keyword.arg == "default_factory":
                meaning = self._project.resolve(scope.module, keyword.value)
                if isinstance(meaning, External):
                    return self._builtin(meaning.name, [], {}, node, scope)
                return self.apply(self._evaluator.read(keyword.value, scope), [], {}, node, scope)
        raise self._evaluator.unknown(scope, node, "the field has no default")

    # The environment

    def _environment(self, node: ast.Call, scope: Scope) -> Any:
        name = self._evaluator.read(node.args[0], scope)
        if name in self._project.environment:
            return self._project.environment[name]
        default = node.args[1] if len(node.args) > 1 else None
        for keyword in node.keywords:
            default = keyword.value if keyword.arg == "default" else default
        value = None if default is None else self._evaluator.read(default, scope)
        message = f"the schema takes {name} to be unset, so `{shown(node)}` to be {value!r}"
        hint = f"set it under `environment:` in cog.yaml if it is: - {name}=..."
        self._project.warn(scope.module, node, message, hint)
        return value

    def environment_variable(self, node: ast.Subscript, scope: Scope) -> str | None:
        """``os.environ[...]``, or None when ``node`` is something else.

        Raises:
            SchemaError: cog.yaml does not set it.
        """
        if not isinstance(node.value, (ast.Attribute, ast.Name)) or self._evaluator.is_local(node.value, scope):
            return None
        meaning = self._project.resolve(scope.module, node.value)
        if not (isinstance(meaning, External) and meaning.name == "os.environ"):
            return None
        name = self._evaluator.read(node.slice, scope)
        if name in self._project.environment:
            return self._project.environment[name]
        raise self._evaluator.unknown(scope, node, f"cog.yaml's `environment:` does not set {name}")

    # Methods

    def _class_method(self, expression: ast.expr, scope: Scope) -> Function | None:
        """The method of one of the project's classes that ``Class.method`` names."""
        if not isinstance(expression, ast.Attribute):
            return None
        owner = self._project.resolve(scope.module, expression.value)
        if not (isinstance(owner, Local) and isinstance(owner.binding, Defined)):
            return None
        return self._find_method(owner, expression.attr, None)

    def _find_method(self, owner: Local, name: str, instance: Any) -> Function | None:
        for module, node in ancestry(self._project, owner):
            for statement in node.body:
                if isinstance(statement, ast.FunctionDef) and statement.name == name:
                    decorators = [shown(decorator) for decorator in statement.decorator_list]
                    itself = Instance(owner, {}) if instance is None else instance
                    bound = "classmethod" in decorators or (instance is not None and "staticmethod" not in decorators)
                    return Function(statement, module, given=(itself,) if bound else ())
        return None

    def _construct(self, owner: Local, node: ast.Call, scope: Scope) -> Any:
        members = self._evaluator.enum_members(owner)
        arguments = self._evaluator.elements(node.args, scope)
        keywords = self._keywords(node, scope, lenient=True)
        if members is not None:
            wanted = self._strict(arguments[0])
            for member in members:
                if wanted in (member.value, member):
                    return member
            raise self._evaluator.unknown(scope, node, f"the enumeration has no member of value {wanted!r}")
        if self._find_method(owner, "__init__", Instance(owner, {})) is not None:
            raise self._evaluator.unknown(scope, node, "__init__ is not run here")
        outside = external_bases(self._project, owner) - {"builtins.object", "abc.ABC", "typing.NamedTuple"}
        if any(not base.endswith("BaseModel") for base in outside):
            raise self._evaluator.unknown(scope, node, "its class is not wholly part of the project")
        fields = [
            statement.target.id
            for _, each in reversed(ancestry(self._project, owner))
            for statement in each.body
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        ]
        return Instance(owner, {**dict(zip(fields, arguments, strict=False)), **keywords})

    def _method(self, owner: Any, name: str, node: ast.Call, scope: Scope) -> Any:
        evaluator = self._evaluator
        if isinstance(owner, Instance):
            if name in owner.fields:
                return self._apply_call(owner.fields[name], node, scope)
            method = None if owner.owner is None else self._find_method(owner.owner, name, owner)
            if method is None:
                raise evaluator.unknown(scope, node, f"it has no method {name} that can be run here")
            return self._apply_call(method, node, scope)
        if isinstance(owner, EnumMember):
            owner = owner.value
        arguments = [self._strict(value) for value in evaluator.elements(node.args, scope)]
        if isinstance(owner, PathText):
            return datafiles.path_method(self._project, owner, name, arguments)
        if isinstance(owner, OpenFile):
            if name == "read":
                return datafiles.read_file(self._project, owner)
            if name == "readlines":
                return datafiles.read_lines(self._project, owner)
            raise evaluator.unknown(scope, node, f"the method {name} of a file is not run here")
        keywords = self._keywords(node, scope, lenient=False)
        if name == "join" and arguments:
            arguments = [evaluator.items(arguments[0])]
        value = operations.call_method(owner, name, arguments, keywords)
        return operations.bounded(self._strict(value))
