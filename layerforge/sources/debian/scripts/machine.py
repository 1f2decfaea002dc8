"""What scripts share while they are read: the world, the emulated commands, and what could not be done."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import msgspec

from layerforge.shell.builtins import BUILTINS
from layerforge.shell.calls import Call, Command, Exit
from layerforge.shell.evaluate import Shell
from layerforge.shell.streams import Sink
from layerforge.shell.values import UNKNOWN, Exhausted, Status, is_known
from layerforge.shell.words import ScriptError
from layerforge.sources.debian.rootstate import DebFacts
from layerforge.sources.debian.scripts.caches import CACHES
from layerforge.sources.debian.scripts.calls import bind
from layerforge.sources.debian.scripts.debconf import Answers
from layerforge.sources.debian.scripts.irrelevant import CALLS, IRRELEVANT, SCRIPTS
from layerforge.sources.debian.scripts.registry import COMMANDS
from layerforge.sources.debian.scripts.world import World

PATH = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin")
_VARIABLES = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "IFS": " \t\n",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "DPKG_ADMINDIR": "/var/lib/dpkg",
    "DPKG_ROOT": "",
    "DPKG_RUNNING_VERSION": "1.22.0",
}
_SHELLS = re.compile(rb"#!\s*(?:/usr)?/bin/(?:env )?(?:sh|dash|bash)\b")
_TEXT = 160


class ScriptWarning(msgspec.Struct, frozen=True):
    """Something that a script would have done and that was not done: ``text`` is the command, ``why`` the reason."""

    package: str
    script: str
    text: str
    why: str = ""

    def __str__(self) -> str:
        reason = f" ({self.why})" if self.why else ""
        return f'{self.package}: its {self.script} runs "{self.text}": not done here{reason}'


class Machine:
    """The machine that scripts believe to run on. ``package`` and ``script`` are what is read at the moment."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.answers = Answers()
        self.warnings: list[ScriptWarning] = []
        self.activated: dict[str, None] = {}
        self.caches: dict[tuple[str, tuple[str, ...]], None] = {}
        self.temporary: list[str] = []
        self.facts: DebFacts | None = None
        self.script = ""
        self._commands = COMMANDS
        self._numbers = 0
        self._seen: set[tuple[str, str, str]] = set()

    # -- scripts

    def run(self, facts: DebFacts, script: str, *arguments: str) -> None:
        """Read the script ``script`` of a package as dpkg would call it; nothing where there is none."""
        member = facts.control.get(script)
        if member is None:
            return
        if (facts.name, script) in SCRIPTS:
            return
        outer = self.facts, self.script
        self.facts, self.script = facts, script
        try:
            if not _SHELLS.match(member.content):
                language = member.content.split(b"\n", 1)[0][2:].decode("ascii", "replace").strip()
                self.report(" ".join((script, *arguments)), f"a script for {language or 'no shell'}")
                return
            shell = self.shell(f"/var/lib/dpkg/info/{facts.record}.{script}", arguments)
            self.evaluate(shell, member.content.decode("utf-8", "surrogateescape"))
        finally:
            self.facts, self.script = outer

    def take_number(self) -> int:
        """A number that was not taken before, for temporary names."""
        self._numbers += 1
        return self._numbers

    def shell(self, name: str, arguments: tuple[str, ...]) -> Shell:
        """A new shell with dpkg's environment."""
        facts = self.facts
        variables = {
            **_VARIABLES,
            "DPKG_MAINTSCRIPT_NAME": self.script,
            "DPKG_MAINTSCRIPT_PACKAGE": facts.name if facts else "",
            "DPKG_MAINTSCRIPT_ARCH": facts.fields.get("Architecture", "") if facts else "",
        }
        return Shell(self, self.world, name, arguments, variables)

    def evaluate(self, shell: Shell, text: str) -> Status:
        """Evaluate ``text``; what stops it is reported."""
        try:
            return shell.run_text(text)
        except Exit as ended:
            if ended.status and self.facts is not None:
                self.report(ended.text or "exit", f"it would fail here with status {ended.status}")
            return ended.status
        except (ScriptError, Exhausted, RecursionError) as error:
            self.report(shell.name.rpartition("/")[2], str(error))
            return None

    @property
    def package(self) -> str:
        """The name of the package whose script is read."""
        return self.facts.name if self.facts else ""

    # -- the Host of a shell

    def command(self, name: str) -> Command | None:
        """A builtin, or the emulation of a program that the root has or that is always there."""
        builtin = BUILTINS.get(name)
        if builtin is not None:
            return builtin
        base = name.rpartition("/")[2]
        emulation = self._commands.get(base)
        if emulation is not None:
            return bind(self, emulation)
        return self._cache if base in CACHES and self.locate(name) != "" else None

    def _cache(self, call: Call) -> Status:
        self.caches[call.name.rpartition("/")[2], call.arguments] = None
        return 0

    def locate(self, name: str) -> str | None:
        """Where the program ``name`` is."""
        if not is_known(name):
            return None
        if "/" in name:
            return name if self.world.kind(name) == "file" else ""
        for folder in PATH:
            if self.world.kind(f"/{folder}/{name}") == "file":
                return f"/{folder}/{name}"
        return ""

    def run_missing(self, call: Call) -> Status:
        """A program without an emulation: irrelevant, missing, a script that can be read too, or not known."""
        base = call.name.rpartition("/")[2]
        if base in IRRELEVANT or any(re.match(pattern, call_text(call)) for pattern, _ in CALLS):
            return 0
        path = self.locate(call.name)
        if path == "":
            return 127
        data = self.world.read(path) if path else None
        if data is not None and path is not None and _SHELLS.match(data):
            return self._run_program(call, path, data)
        self.report(call_text(call), "")
        call.write(UNKNOWN)
        return None

    def _run_program(self, call: Call, path: str, data: bytes) -> Status:
        inner = call.shell.copy()
        inner.name, inner.arguments = path, call.arguments
        inner.functions, inner.options = {}, set()
        try:
            return inner.run_text(data.decode("utf-8", "surrogateescape"))
        except Exit as ended:
            return ended.status
        except ScriptError as error:
            self.report(call_text(call), f"{PurePosixPath(path).name}: {error}")
            return None

    def source(self, shell: Shell, path: str) -> Status:
        """The ``.`` command. debconf's module is emulated; starting it runs the package's ``config`` first."""
        if path == "/usr/share/debconf/confmodule":
            self.configure_debconf()
            return 0
        text = self.world.read_text(path)
        if text is None:
            shell.fail(f".: {path}: not found")
            return 2
        if not is_known(text):
            self.report(f". {path}", "its content is not known")
            return None
        return shell.run_text(text)

    def configure_debconf(self) -> None:
        """Load the package's questions and run its ``config``, once."""
        facts = self.facts
        if facts is None or not self.answers.load(facts):
            return
        if "config" in facts.control and self.script != "config":
            self.run(facts, "config", "configure", "")

    def report(self, text: str, why: str) -> None:
        """Warn, once for each thing."""
        shown = " ".join(text.replace(UNKNOWN, "…").split())
        shown = shown if len(shown) <= _TEXT else f"{shown[: _TEXT - 1]}…"
        key = (self.package, self.script, shown)
        if key not in self._seen:
            self._seen.add(key)
            self.warnings.append(ScriptWarning(self.package, self.script, shown, why))


def call_text(call: Call) -> str:
    """The call after expansion, as people would type it."""
    return " ".join(
        word if re.fullmatch(r"[\w@%+=:,./\0-]+", word) else "'" + word.replace("'", "'\\''") + "'"
        for word in (call.name, *call.arguments)
    )


__all__ = ["Machine", "ScriptWarning", "Sink"]
