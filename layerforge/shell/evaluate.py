"""Walks a script's tree as the shell would, with emulated commands and a model of the files.

Nothing is executed. What a script does is what its commands do to the model; what is not known is a value of its own
(``values``), and where the script's way depends on it, that is reported and the way is not taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from layerforge.shell.calls import Call, Exit, Host, Loop, Return
from layerforge.shell.compound import run_and_or, run_case, run_for, run_if, run_pipeline, run_while
from layerforge.shell.expand import expand_fields, expand_text
from layerforge.shell.globbing import find_paths, join_path
from layerforge.shell.parse import parse_script
from layerforge.shell.patterns import Segment
from layerforge.shell.redirects import open_redirects
from layerforge.shell.streams import Buffer, Files, Nowhere, Sink, Source
from layerforge.shell.syntax import (
    AndOr,
    Case,
    For,
    Function,
    Group,
    If,
    Node,
    Pipeline,
    Sequence,
    Simple,
    While,
)
from layerforge.shell.values import UNKNOWN, Exhausted, Status, is_known

STEPS = 100_000
"""Commands that one script may take; the longest of Debian's takes a few thousand."""
_DEPTH = 60


class Shell:
    """The state of one shell. ``arguments`` are the positional parameters, ``name`` is ``$0``."""

    def __init__(
        self, host: Host, files: Files, name: str, arguments: tuple[str, ...], variables: Mapping[str, str]
    ) -> None:
        self.host, self.files, self.name, self.arguments = host, files, name, arguments
        self.variables: dict[str, str] = dict(variables)
        self.functions: dict[str, Node] = {}
        self.options: set[str] = set()
        self.folder = "/"
        self.umask = 0o022
        self.status: Status = 0
        self.source = Source()
        self._sinks: dict[int, Sink] = {1: Nowhere(), 2: Nowhere()}
        self._locals: list[dict[str, str | None]] = []
        self._tested = 0
        self._steps = [0]
        self._depth = 0
        self.loops = 0

    # -- variables

    def lookup(self, name: str) -> str | None:
        """The value of a parameter, special ones too; None if it is not set."""
        if name in self.variables:
            return self.variables[name]
        if name.isdigit():
            number = int(name)
            if number == 0:
                return self.name
            return self.arguments[number - 1] if number <= len(self.arguments) else None
        if name == "#":
            return str(len(self.arguments))
        if name == "?":
            return UNKNOWN if self.status is None else str(self.status)
        if name in ("$", "!", "PPID"):
            return UNKNOWN
        if name == "-":
            return "".join(sorted(self.options))
        return " ".join(self.arguments) if name in ("@", "*") else None

    def get(self, name: str, default: str = "") -> str:
        """The value of a variable, or ``default``."""
        value = self.lookup(name)
        return default if value is None else value

    def assign(self, name: str, value: str) -> None:
        """Set a variable."""
        self.variables[name] = value

    def unset(self, name: str) -> None:
        """Forget a variable."""
        self.variables.pop(name, None)

    def make_local(self, name: str) -> None:
        """Restore the variable when the function ends."""
        if self._locals:
            self._locals[-1].setdefault(name, self.variables.get(name))

    def is_set(self, option: str) -> bool:
        """Whether an option such as ``e`` or ``u`` is on."""
        return option in self.options

    # -- files and streams

    def path(self, argument: str) -> str:
        """``argument`` as an absolute path."""
        return join_path(self.folder, argument)

    def sink(self, descriptor: int) -> Sink:
        """Where a file descriptor leads."""
        return self._sinks.get(descriptor) or Nowhere()

    def glob(self, pattern: list[Segment]) -> list[str]:
        """The paths that match, sorted; none if nothing does."""
        return find_paths(self.files, self.folder, pattern)

    # -- control

    def fail(self, message: str) -> None:
        """An error of the shell itself ends the script."""
        self.sink(2).write(f"{message}\n")
        raise Exit(2)

    def step(self) -> None:
        """Count one step.

        Raises:
            Exhausted: there were too many.
        """
        self._steps[0] += 1
        if self._steps[0] > STEPS:
            raise Exhausted(f"more than {STEPS:,} steps")

    def run_text(self, text: str) -> Status:
        """Evaluate more commands here (``eval``, ``.``)."""
        return self.run(parse_script(text))

    def copy(self) -> Shell:
        """A subshell."""
        other = Shell(self.host, self.files, self.name, self.arguments, self.variables)
        other.functions = dict(self.functions)
        other.options = set(self.options)
        other.folder, other.umask, other.status, other.source = self.folder, self.umask, self.status, self.source
        other._sinks = dict(self._sinks)
        other._tested, other._steps, other._depth = self._tested, self._steps, self._depth + 1
        if other._depth > _DEPTH:
            raise Exhausted("subshells nested too deeply")
        return other

    def run_subshell(self, node: Node) -> Status:
        """Evaluate in a copy; an exit there ends only that."""
        inner = self.copy()
        try:
            return inner.run(node)
        except (Exit, Return) as ended:
            return ended.status
        except Loop:
            return 0

    def substitute(self, node: Node) -> str:
        """The output of ``$(…)``; its status is the shell's afterwards."""
        buffer = Buffer()
        with self.redirected({1: buffer}):
            self.status = self.run_subshell(node)
        return buffer.text().rstrip("\n")

    @contextmanager
    def redirected(self, sinks: Mapping[int, Sink], source: Source | None = None) -> Iterator[None]:
        """Other streams for a while."""
        saved, saved_source = self._sinks, self.source
        self._sinks = {**saved, **sinks}
        self.source = source or saved_source
        try:
            yield
        finally:
            self._sinks, self.source = saved, saved_source

    @contextmanager
    def testing(self) -> Iterator[None]:
        """What fails in here does not end the script (``set -e``)."""
        self._tested += 1
        try:
            yield
        finally:
            self._tested -= 1

    def run(self, node: Node) -> Status:
        """Evaluate ``node``; its exit status."""
        self.status = self._run(node)
        return self.status

    def _run(self, node: Node) -> Status:
        if isinstance(node, Simple):
            return self.ended(self._simple(node), node.text)
        if isinstance(node, Sequence):
            status: Status = 0
            for item in node.items:
                status = self.run(item)
            return status
        if isinstance(node, AndOr):
            return run_and_or(self, node)
        if isinstance(node, Pipeline):
            return run_pipeline(self, node)
        if isinstance(node, If):
            return run_if(self, node)
        if isinstance(node, Case):
            return run_case(self, node)
        if isinstance(node, For):
            words = node.words
            fields = self.arguments if words is None else tuple(f for word in words for f in expand_fields(self, word))
            return run_for(self, node, fields)
        if isinstance(node, While):
            return run_while(self, node)
        if isinstance(node, Function):
            self.functions[node.name] = node.body
            return 0
        return self._group(node)

    def ended(self, status: Status, text: str = "") -> Status:
        """``set -e``: a command that fails ends the script, unless its failure is tested."""
        if status and not self._tested and "e" in self.options:
            raise Exit(status, text)
        return status

    def leave_loop(self, count: int, *, again: bool) -> None:
        """``break`` or ``continue``."""
        if self.loops:
            raise Loop(count, again)

    def leave_function(self, status: Status) -> None:
        """``return``."""
        raise Return(status)

    def _group(self, node: Group) -> Status:
        opened = open_redirects(self, node.redirects)
        if opened is None:
            return self.ended(1)
        sinks, source = opened
        with self.redirected(sinks, source):
            if not node.subshell:
                return self.run(node.body)
            status = self.run_subshell(node.body)
        return self.ended(status)

    # -- simple commands

    def _simple(self, node: Simple) -> Status:
        self.step()
        self.status = 0 if not node.words else self.status
        fields: list[str] = []
        for word in node.words:
            fields += expand_fields(self, word)
        if not fields:
            if node.words:
                self.status = self.status if any(len(word) for word in node.words) else 0
            for name, word in node.assignments:
                self.assign(name, expand_text(self, word))
            status = self.status
            return 1 if open_redirects(self, node.redirects) is None else status
        opened = open_redirects(self, node.redirects)
        if opened is None:
            return 1
        sinks, source = opened
        name, *arguments = fields
        if name == "exec" and not arguments:
            self._sinks.update(sinks)
            self.source = source or self.source
            return 0
        values = [(variable, expand_text(self, word)) for variable, word in node.assignments]
        saved = {variable: self.variables.get(variable) for variable, _ in values}
        for variable, value in values:
            self.assign(variable, value)
        try:
            with self.redirected(sinks, source):
                return self.call(name, tuple(arguments), node.text)
        finally:
            for variable, old in saved.items():
                if old is None:
                    self.unset(variable)
                else:
                    self.assign(variable, old)

    def call(self, name: str, arguments: tuple[str, ...], text: str = "", *, functions: bool = True) -> Status:
        """Call a function, a builtin or an emulated command."""
        call = Call(self, name, arguments, text or " ".join((name, *arguments)))
        if not is_known(name):
            call.unsure("which command that is is not known")
            return None
        if functions and name in self.functions:
            return self._call_function(self.functions[name], arguments)
        command = self.host.command(name)
        return command(call) if command is not None else self.host.run_missing(call)

    def _call_function(self, body: Node, arguments: tuple[str, ...]) -> Status:
        if self._depth > _DEPTH:
            raise Exhausted("functions nested too deeply")
        saved, self.arguments = self.arguments, arguments
        self._depth += 1
        self._locals.append({})
        try:
            return self.run(body)
        except Return as returned:
            return returned.status
        finally:
            self._depth -= 1
            self.arguments = saved
            for name, value in self._locals.pop().items():
                if value is None:
                    self.unset(name)
                else:
                    self.assign(name, value)
