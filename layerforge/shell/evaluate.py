"""Walks a script's tree as the shell would, with emulated commands and a model of the files.

Nothing is executed. What a script does is what its commands do to the model; what is not known is a value of its own
(``values``), and where the script's way depends on it, that is reported and the way is not taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Protocol

import msgspec

from layerforge.shell.expand import expand_fields, expand_pattern, expand_text
from layerforge.shell.idle import assigned_names, is_idle
from layerforge.shell.parse import parse_script
from layerforge.shell.patterns import Segment, matches
from layerforge.shell.streams import Buffer, Files, FileSink, Nowhere, Sink, Source
from layerforge.shell.syntax import (
    AndOr,
    Case,
    For,
    Function,
    Group,
    If,
    Node,
    Pipeline,
    Redirect,
    Sequence,
    Simple,
    While,
    Word,
)
from layerforge.shell.values import UNKNOWN, Exhausted, Status, is_known
from layerforge.shell.words import ScriptError

STEPS = 100_000
"""Commands that one script may take; the longest of Debian's takes a few thousand."""
_DEPTH = 60


class Call(msgspec.Struct, frozen=True):
    """One command as it is called: its name, arguments after expansion, and the shell that calls it."""

    shell: Shell
    name: str
    arguments: tuple[str, ...]
    text: str

    def write(self, text: str) -> None:
        """To standard output."""
        self.shell.sink(1).write(text)

    def read(self) -> str:
        """All of standard input."""
        return self.shell.source.read()

    @property
    def files(self) -> Files:
        """The model of the files."""
        return self.shell.files

    def path(self, argument: str) -> str:
        """An argument as an absolute path."""
        return self.shell.path(argument)

    def unsure(self, why: str) -> None:
        """Report that this call was not done, or not in full."""
        self.shell.host.report(self.text, why)


Command = Callable[[Call], Status]
"""An emulated command."""


class Host(Protocol):
    """What the shell is embedded in."""

    def command(self, name: str) -> Command | None:
        """The emulation of a command."""

    def run_missing(self, call: Call) -> Status:
        """What to do about a command without an emulation."""

    def locate(self, name: str) -> str | None:
        """The path of the program ``name``; empty if there is none, None if that is not known."""

    def source(self, shell: Shell, path: str) -> Status:
        """Take the commands of a file into ``shell`` (the ``.`` command)."""

    def report(self, text: str, why: str) -> None:
        """Something was not done: the command's text, and why."""


class Exit(Exception):
    """The script, or the subshell, ends; ``text`` is the command that failed, if one did."""

    def __init__(self, status: Status, text: str = "") -> None:
        self.status, self.text = status, text


class _Return(Exception):
    def __init__(self, status: Status) -> None:
        self.status = status


class _Loop(Exception):
    """``break`` and ``continue``, with the number of loops that it concerns."""

    def __init__(self, count: int, again: bool) -> None:
        self.count, self.again = count, again


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
        self._loops = 0

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
        return argument if argument.startswith("/") else f"{self.folder.rstrip('/')}/{argument}"

    def sink(self, descriptor: int) -> Sink:
        """Where a file descriptor leads."""
        return self._sinks.get(descriptor) or Nowhere()

    def glob(self, pattern: list[Segment]) -> list[str]:
        """The paths that match, sorted; none if nothing does."""
        components: list[list[Segment]] = [[]]
        for text, quoted in pattern:
            first, *rest = text.split("/")
            components[-1].append((first, quoted))
            components.extend([(piece, quoted)] for piece in rest)
        is_absolute = not any(text for text, _ in components[0])
        found = ["/" if is_absolute else ""]
        for number, component in enumerate(components):
            if number == 0 and is_absolute:
                continue
            found = [path for base in found for path in self._glob_step(base, component, number < len(components) - 1)]
        return sorted(found)

    def _glob_step(self, base: str, component: list[Segment], inner: bool) -> Iterator[str]:
        text = "".join(part for part, _ in component)
        prefix = base if not base or base.endswith("/") else f"{base}/"
        if not any(not quoted and set(part) & set("*?[") for part, quoted in component):
            path = prefix + text
            if self.files.kind(self.path(path) if text else self.path(base), follow=inner):
                yield path
            return
        for name in self.files.names(self.path(base or ".")):
            if (not name.startswith(".") or text.startswith(".")) and matches(component, name):
                yield prefix + name

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
        except (Exit, _Return) as ended:
            return ended.status
        except _Loop:
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
    def _testing(self) -> Iterator[None]:
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
            return self._ended(self._simple(node), node.text)
        if isinstance(node, Sequence):
            status: Status = 0
            for item in node.items:
                status = self.run(item)
            return status
        if isinstance(node, AndOr):
            return self._and_or(node)
        if isinstance(node, Pipeline):
            return self._pipeline(node)
        if isinstance(node, If):
            return self._if(node)
        if isinstance(node, Case):
            return self._case(node)
        if isinstance(node, For):
            words = node.words
            fields = self.arguments if words is None else tuple(f for word in words for f in expand_fields(self, word))
            return self._for(node, fields)
        if isinstance(node, While):
            return self._while(node)
        if isinstance(node, Function):
            self.functions[node.name] = node.body
            return 0
        return self._group(node)

    def _ended(self, status: Status, text: str = "") -> Status:
        """``set -e``: a command that fails ends the script, unless its failure is tested."""
        if status and not self._tested and "e" in self.options:
            raise Exit(status, text)
        return status

    def _and_or(self, node: AndOr) -> Status:
        with self._testing():
            status = self.run(node.first)
        for number, (operator, following) in enumerate(node.rest):
            if status is None:
                # "unknown || give up" and "unknown || true" both go on; all else depends on what is not known.
                if operator == "||" and is_idle(following):
                    status = 0
                    continue
                if not is_idle(following):
                    self._undecided(node.first, following)
                self._forget(following)
                continue
            if (status == 0) != (operator == "&&"):
                continue
            if number == len(node.rest) - 1:
                return self.run(following)
            with self._testing():
                status = self.run(following)
        return status

    def _pipeline(self, node: Pipeline) -> Status:
        if len(node.commands) == 1:
            with self._testing():
                status = self.run(node.commands[0])
            return None if status is None else int(not status)
        source = self.source
        status = 0
        with self._testing() if node.negated else nullcontext():
            for number, command in enumerate(node.commands):
                if number == len(node.commands) - 1:
                    with self.redirected({}, source):
                        status = self.run_subshell(command)
                else:
                    buffer = Buffer()
                    with self.redirected({1: buffer}, source):
                        self.run_subshell(command)
                    source = Source(buffer.text())
        if node.negated:
            return None if status is None else int(not status)
        return self._ended(status)

    def _if(self, node: If) -> Status:
        for number, (condition, body) in enumerate(node.clauses):
            with self._testing():
                status = self.run(condition)
            if status == 0:
                return self.run(body)
            if status is None:
                bodies = [body, *(part for clause in node.clauses[number + 1 :] for part in clause)]
                bodies += [node.otherwise] if node.otherwise else []
                for each in bodies:
                    self._forget(each)
                if not all(is_idle(each) for each in bodies):
                    self.host.report(node.text, "what it does next depends on this, which is not known")
                return None
        return self.run(node.otherwise) if node.otherwise else 0

    def _case(self, node: Case) -> Status:
        value = expand_text(self, node.word)
        doubtful: list[Node] = []
        for patterns, body in node.items:
            found = [matches(expand_pattern(self, pattern), value) for pattern in patterns]
            if any(found):
                if not doubtful:
                    return self.run(body)
                doubtful.append(body)
                break
            if None in found:
                doubtful.append(body)
        for body in doubtful:
            self._forget(body)
        if not all(is_idle(body) for body in doubtful):
            self.host.report(node.text, "what it does next depends on this, which is not known")
        return None if doubtful else 0

    def _undecided(self, first: Node, following: Node) -> None:
        text = first.text if isinstance(first, Simple | If | Case | While) else _text_of(following)
        self.host.report(text, "what it does next depends on this, which is not known")

    def _forget(self, node: Node) -> None:
        """``node`` may have run or not: the variables that it sets are not known any more."""
        for name in assigned_names(node):
            self.variables[name] = UNKNOWN

    def _for(self, node: For, fields: tuple[str, ...]) -> Status:
        status: Status = 0
        self._loops += 1
        try:
            for field in fields:
                self.step()
                self.assign(node.name, field)
                try:
                    status = self.run(node.body)
                except _Loop as loop:
                    if self._leaves(loop):
                        break
        finally:
            self._loops -= 1
        return status

    def _while(self, node: While) -> Status:
        status: Status = 0
        self._loops += 1
        try:
            while True:
                self.step()
                try:
                    with self._testing():
                        holds = self.run(node.condition)
                    if holds is None:
                        self._forget(node.body)
                        if not is_idle(node.body):
                            self.host.report(node.text, "how often it goes on depends on this, which is not known")
                        return None
                    if (holds == 0) == node.until:
                        return status
                    status = self.run(node.body)
                except _Loop as loop:
                    if self._leaves(loop):
                        return status
        finally:
            self._loops -= 1

    def _leaves(self, loop: _Loop) -> bool:
        if loop.count > 1 and self._loops > 1:
            raise _Loop(loop.count - 1, loop.again)
        return not loop.again

    def leave_loop(self, count: int, *, again: bool) -> None:
        """``break`` or ``continue``."""
        if self._loops:
            raise _Loop(count, again)

    def leave_function(self, status: Status) -> None:
        """``return``."""
        raise _Return(status)

    def _group(self, node: Group) -> Status:
        opened = self._open(node.redirects)
        if opened is None:
            return self._ended(1)
        sinks, source = opened
        with self.redirected(sinks, source):
            if not node.subshell:
                return self.run(node.body)
            status = self.run_subshell(node.body)
        return self._ended(status)

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
            return 1 if self._open(node.redirects) is None else status
        opened = self._open(node.redirects)
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
        except _Return as returned:
            return returned.status
        finally:
            self._depth -= 1
            self.arguments = saved
            for name, value in self._locals.pop().items():
                if value is None:
                    self.unset(name)
                else:
                    self.assign(name, value)

    def _open(self, redirects: tuple[Redirect, ...]) -> tuple[dict[int, Sink], Source | None] | None:
        """The streams that redirections make; None if one of them fails."""
        sinks: dict[int, Sink] = {}
        source: Source | None = None
        for redirect in redirects:
            target = expand_text(self, redirect.target)
            if redirect.operator == "<<":
                source = Source(target)
            elif redirect.operator in (">&", "<&"):
                if redirect.operator == ">&" and target.isdigit():
                    sinks[redirect.descriptor] = sinks.get(int(target)) or self.sink(int(target))
                elif target == "-":
                    sinks[redirect.descriptor] = Nowhere()
            elif redirect.operator == "<":
                text = "" if target == "/dev/null" else self.files.read_text(self.path(target))
                if text is None:
                    return None
                if redirect.descriptor == 0:
                    source = Source(text)
            else:
                sink = self._open_file(target, redirect)
                if sink is None:
                    return None
                sinks[redirect.descriptor] = sink
        return sinks, source

    def _open_file(self, target: str, redirect: Redirect) -> Sink | None:
        if target.startswith("/dev/"):
            return self.sink(1 if target == "/dev/stdout" else 2) if target != "/dev/null" else Nowhere()
        if not is_known(target):
            self.host.report(f"{redirect.operator} {_text_of_word(redirect.target)}", "which file that is is not known")
            return Nowhere()
        path = self.path(target)
        kind = self.files.kind(path)
        if kind == "dir":
            return None
        if (redirect.operator != ">>" or kind != "file") and not self.files.write_text(path, "", 0o666 & ~self.umask):
            return None
        return FileSink(self.files, path)


def _text_of(node: Node) -> str:
    return getattr(node, "text", "") or "a condition"


def _text_of_word(word: Word) -> str:
    return "".join(getattr(part, "text", None) or f"${{{getattr(part, 'name', '…')}}}" for part in word)


__all__ = ["Call", "Command", "Exhausted", "Exit", "Host", "ScriptError", "Shell"]
