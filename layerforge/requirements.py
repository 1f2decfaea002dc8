"""What people ask for in ``python_packages`` and requirements files, as one value. Pure.

Source: https://pip.pypa.io/en/stable/reference/requirements-file-format/, and Cog's ``docs/yaml.md`` for what stands
in ``python_packages`` (pip's options may be part of an entry there).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from layerforge.errors import ConfigError, Problem

if TYPE_CHECKING:  # imported where they are used: packaging brings subprocess along
    from packaging.requirements import Requirement

PROVIDED = frozenset({"cog", "coglet", "layerforge", "layerforge-runtime"})
"""Projects that a requirement may name in vain: the runtime layer has what they stand for."""

ReadText = Callable[[str], str]
"""Gives the text of a file named by ``-r`` or ``-c``. Raises OSError or UnicodeDecodeError."""


class RequirementLine(msgspec.Struct, frozen=True):
    """One requirement: its text (PEP 508), normalised name, accepted sha256 digests (hexadecimal; none: any) and place.

    ``path`` and ``line`` say where it was written.
    """

    text: str
    name: str
    hashes: tuple[str, ...]
    path: str
    line: int

    @property
    def where(self) -> str:
        """``file:line``."""
        return f"{self.path}:{self.line}" if self.line else self.path


class Requirements(msgspec.Struct, frozen=True):
    """All that is asked for, and where to look.

    URLs may hold ``${NAME}``, to be replaced from the environment by whoever connects. ``index_url`` is empty for the
    machine's default. ``notices`` are for the user to read; nothing depends on them.
    """

    lines: tuple[RequirementLine, ...] = ()
    constraints: tuple[RequirementLine, ...] = ()
    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    no_index: bool = False
    prereleases: bool = False
    require_hashes: bool = False
    notices: tuple[str, ...] = ()

    def find_origin(self, name: str) -> RequirementLine | None:
        """The first line that asks for the project ``name``, or None."""
        normalised = normalise_name(name)
        return next((line for line in self.lines if line.name == normalised), None)

    @property
    def identity(self) -> tuple[str, ...]:
        """Everything that decides a resolution, places and notices apart: what a lock's staleness goes by."""
        options = (
            *(f"--hash={line.name}:{digest}" for line in self.lines for digest in line.hashes),
            f"--index-url={self.index_url}" if self.index_url else "",
            *(f"--extra-index-url={url}" for url in self.extra_index_urls),
            *(f"--find-links={url}" for url in self.find_links),
            "--no-index" if self.no_index else "",
            "--pre" if self.prereleases else "",
            "--require-hashes" if self.require_hashes else "",
        )
        constraints = sorted(f"-c {line.text}" for line in self.constraints)
        return (*sorted(line.text for line in self.lines), *constraints, *filter(None, options))


def normalise_name(name: str) -> str:
    """The name of a project as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parse_packages(entries: Iterable[tuple[str, int]], path: str) -> Requirements:
    """The entries of ``python_packages``, each with its line in the file ``path``.

    Raises:
        ConfigError: with every entry that cannot be understood or honoured.
    """
    reader = _Reader(None)
    for text, line in entries:
        reader.take(_strip_comment(text.replace("\n", " ")), path, line)
    return reader.finish()


def parse_requirements(text: str, path: str, read: ReadText) -> Requirements:
    """A requirements file with the content ``text``; ``read`` gives the files that it names with ``-r`` and ``-c``.

    ``path`` is relative to the project; so is what ``read`` is asked for.

    Raises:
        ConfigError: with every line that cannot be understood or honoured.
    """
    reader = _Reader(read)
    reader.take_file(text, path)
    return reader.finish()


# -- lines -----------------------------------------------------------------------------------------------------


def _split_lines(text: str) -> Iterator[tuple[str, int]]:
    """Logical lines, with continuations joined and comments removed, each with the line that it begins on."""
    pending, start = "", 0
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if not pending:
            start = number
        is_comment = line.lstrip().startswith("#")
        if line.endswith("\\") and not is_comment:
            pending += line[:-1]
            continue
        whole = pending + (" " + line if pending and is_comment else line)
        pending = ""
        if stripped := _strip_comment(whole):
            yield stripped, start
    if stripped := _strip_comment(pending):
        yield stripped, start


def _strip_comment(line: str) -> str:
    return re.sub(r"(^|\s+)#.*$", "", line).strip()


_TAKES_VALUE = {
    "-i": "--index-url", "--pypi-url": "--index-url", "--index-url": "--index-url",
    "--extra-index-url": "--extra-index-url",
    "-f": "--find-links", "--find-links": "--find-links",
    "-r": "--requirement", "--requirement": "--requirement",
    "-c": "--constraint", "--constraint": "--constraint",
    "-e": "--editable", "--editable": "--editable",
    "--trusted-host": "--trusted-host", "--hash": "--hash",
    "--no-binary": "--no-binary", "--only-binary": "--only-binary",
    "--use-feature": "--use-feature", "--config-settings": "--config-settings", "-C": "--config-settings",
    "--config-setting": "--config-settings", "--global-option": "--global-option",
}  # fmt: skip
_FLAGS = {"--pre", "--no-index", "--require-hashes", "--prefer-binary", "--no-deps"}
_WITHOUT_EFFECT = {"--prefer-binary", "--only-binary", "--use-feature", "--config-settings", "--global-option"}
_LATER = "wheels only, for now: ask for a release that has a wheel, by name and version"


def _split_options(line: str) -> tuple[str, list[tuple[str, str]], str]:
    """The requirement in ``line``, the options with their values, and an option that is not known, if any."""
    words = line.split()
    kept: list[str] = []
    options: list[tuple[str, str]] = []
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            kept.append(word)
            continue
        name, equals, value = word.partition("=")
        if not equals and name[:2] in _TAKES_VALUE and len(name) > 2 and not name.startswith("--"):
            name, value, equals = name[:2], name[2:], "="  # -rfile
        if name in _FLAGS and not equals:
            options.append((name, ""))
        elif name in _TAKES_VALUE:
            value = value if equals else (words.pop(0) if words else "")
            options.append((_TAKES_VALUE[name], value.strip("\"'")))
        else:
            return " ".join(kept), options, name
    return " ".join(kept), options, ""


class _Reader:
    """Collects requirements, options and problems from lines and files."""

    def __init__(self, read: ReadText | None) -> None:
        self._read = read
        self._found: dict[str, RequirementLine] = {}
        self._constraints: dict[str, RequirementLine] = {}
        self._options: dict[str, dict[str, None]] = {}
        self._notices: list[str] = []
        self._problems: list[Problem] = []
        self._open: list[str] = []

    def finish(self) -> Requirements:
        if self._problems:
            raise ConfigError(tuple(self._problems))
        every = {name: tuple(values) for name, values in self._options.items()}
        return Requirements(
            lines=tuple(self._found.values()),
            constraints=tuple(self._constraints.values()),
            index_url=every.get("--index-url", ("",))[-1],
            extra_index_urls=every.get("--extra-index-url", ()),
            find_links=every.get("--find-links", ()),
            trusted_hosts=every.get("--trusted-host", ()),
            no_index="--no-index" in every,
            prereleases="--pre" in every,
            require_hashes="--require-hashes" in every,
            notices=tuple(self._notices),
        )

    def take_file(self, text: str, path: str, *, constraint: bool = False) -> None:
        self._open.append(path)
        for line, number in _split_lines(text):
            self.take(line, path, number, constraint=constraint)
        self._open.pop()

    def take(self, line: str, path: str, number: int, *, constraint: bool = False) -> None:
        def refuse(message: str, hint: str = "") -> None:
            self._problems.append(Problem(path, number, message, hint))

        text, options, unknown = _split_options(line)
        if unknown:
            refuse(f"the option {unknown} is not known", "leave it out, or write one that `pip install -r` accepts")
            return
        hashes: list[str] = []
        for name, value in options:
            if value == "" and name not in _FLAGS:
                refuse(f"the option {name} has no value")
            elif name == "--hash":
                hashes.append(value)
            elif name in ("--requirement", "--constraint"):
                self._take_nested(value, path, number, constraint=constraint or name == "--constraint")
            elif name == "--editable" and value in (".", "./"):
                self._notices.append(f"{path}:{number}: -e . left out: the project is in /src in any case")
            elif name == "--editable":
                refuse(f"an editable installation ({value}) cannot be put into an image", _LATER)
            elif name == "--no-binary" and value != ":none:":
                refuse("packages cannot be built from source yet (--no-binary)", _LATER)
            elif name == "--no-deps":
                refuse("--no-deps is not supported", "dependencies are resolved; leave the option out")
            elif name == "--find-links" and "://" not in value:
                refuse(f"a folder of packages ({value}) cannot be used yet", "put them on a server, and give its URL")
            elif name in _WITHOUT_EFFECT:
                self._notices.append(f"{path}:{number}: {name} has no effect: only wheels are installed")
            else:
                self._add_option(name, value)
        if text:
            self._take_requirement(text, hashes, path, number, constraint=constraint)

    def _add_option(self, name: str, value: str) -> None:
        values = self._options.setdefault(name, {})
        values.pop(value, None)
        values[value] = None

    def _take_nested(self, target: str, path: str, number: int, *, constraint: bool) -> None:
        nested = _join(path, target)
        if self._read is None:
            hint = "name the file in build.python_requirements instead"
            self._problems.append(Problem(path, number, f"an entry cannot include a file ({target})", hint))
            return
        if nested in self._open:
            self._problems.append(Problem(path, number, f"{nested} includes itself", "remove the line"))
            return
        if "://" in target or nested.startswith(("../", "/")):
            hint = "copy it into the project and name it by a relative path"
            self._problems.append(Problem(path, number, f"{target} is outside of the project", hint))
            return
        try:
            text = self._read(nested)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            self._problems.append(Problem(path, number, f"{nested} cannot be read: {reason}"))
            return
        self.take_file(text, nested, constraint=constraint)

    def _take_requirement(self, text: str, hashes: list[str], path: str, number: int, *, constraint: bool) -> None:
        try:
            requirement = parse_requirement(text)
            digests = _select_hashes(hashes)
        except _Refused as refusal:
            self._problems.append(Problem(path, number, refusal.message, refusal.hint))
            return
        name = normalise_name(requirement.name)
        if name in PROVIDED:
            if not constraint:
                notice = f"{path}:{number}: {requirement.name} left out: the image has Layerforge's own"
                self._notices.append(notice)
            return
        line = RequirementLine(str(requirement), name, digests, path, number)
        found = self._constraints if constraint else self._found
        before = found.get(line.text)
        if before is not None and digests:
            line = msgspec.structs.replace(before, hashes=tuple(sorted({*before.hashes, *digests})))
        if before is None or digests:
            found[line.text] = line


class _Refused(Exception):
    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def parse_requirement(text: str) -> Requirement:
    """``text`` as a requirement for something that has a wheel.

    Raises:
        _Refused: it cannot be understood, or asks for what cannot be had yet.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    word = text.split(";")[0].split(" @ ")[-1].strip()
    if re.match(r"(git|hg|svn|bzr)\+", word):
        raise _Refused(f"a package cannot be taken from a repository yet ({_redact(word)})", _LATER)
    if re.match(r"https?://", word) and " @ " not in text:
        text = f"{_name_of_wheel(word)} @ {text}"
    if word.startswith(("file:", ".", "/", "~")) or (
        re.search(r"\.(whl|zip|tar\.\w+|tgz)$", word) and "://" not in word
    ):
        raise _Refused(f"a package cannot be taken from a path yet ({word})", _LATER)
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).split("\n")[0]
        single = re.fullmatch(r"([\w.\[\]-]+)\s*=\s*([\w.]+)", text)
        hint = f"write `{single[1]}=={single[2]}`" if single else "write it as `name==version`"
        raise _Refused(f"{text!r} is not a requirement: {reason}", hint) from error
    if requirement.url:
        _name_of_wheel(requirement.url)
    return requirement


def _name_of_wheel(url: str) -> str:
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    filename = re.sub(r"[?#].*", "", url).rpartition("/")[2]
    if not filename.endswith(".whl"):
        raise _Refused(f"a URL must be that of a wheel, for now ({_redact(url)})", _LATER)
    try:
        return str(parse_wheel_filename(filename.replace("%2B", "+").replace("%2b", "+"))[0])
    except InvalidWheelFilename as error:
        raise _Refused(f"{filename} is not the name of a wheel") from error


def _select_hashes(hashes: list[str]) -> tuple[str, ...]:
    digests = [value[7:].lower() for value in hashes if value.startswith("sha256:")]
    if hashes and not digests:
        raise _Refused("none of its hashes is a sha256", "write --hash=sha256:…")
    for digest in digests:
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise _Refused(f"{digest[:20]!r} is not a sha256 digest", "it has 64 hexadecimal digits")
    return tuple(sorted(set(digests)))


def _redact(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", re.sub(r"\?.*", "", url))


def _join(path: str, target: str) -> str:
    """``target`` as seen from the file ``path``; normalised, POSIX."""
    parts: list[str] = []
    folder = path.rpartition("/")[0]
    for part in (target if target.startswith("/") else f"{folder}/{target}" if folder else target).split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return ("/" if target.startswith("/") else "") + "/".join(parts)
