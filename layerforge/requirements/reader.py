"""Requirements files and the entries of ``python_packages``, read line by line, with every problem found in one go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec

from layerforge.errors import ConfigError, Problem
from layerforge.requirements.lines import FLAGS, Option, split_lines, split_options, strip_comment
from layerforge.requirements.places import Refused, join, locate, read_requirement
from layerforge.requirements.secrets import holds_password
from layerforge.requirements.values import PROVIDED, RequirementLine, Requirements, normalise_name, without_user

_SECRET_HINT = (
    "write ${NAME} for it and set that variable, or put it into ~/.netrc: whoever has the image could read it here"
)
_WITHOUT_EFFECT = {
    "--prefer-binary": "wheels are preferred in any case",
    "--use-feature": "it is for pip",
    "--global-option": "builds follow PEP 517, which has no such option",
}


class ProjectFiles(Protocol):
    """The files of a project, by path relative to it."""

    def read(self, path: str) -> str:
        """The text of a file. Raises OSError or UnicodeDecodeError."""

    def kind(self, path: str) -> str:
        """``file``, ``folder`` or, where there is neither, nothing. ``.`` is the project."""


def parse_packages(entries: Iterable[tuple[str, int]], path: str, files: ProjectFiles) -> Requirements:
    """The entries of ``python_packages``, each with its line in the file ``path``.

    Raises:
        ConfigError: with every entry that cannot be understood or honoured.
    """
    reader = Reader(files, nested=False)
    for text, line in entries:
        reader.take(strip_comment(text.replace("\n", " ")), path, line)
    return reader.finish()


def parse_requirements(text: str, path: str, files: ProjectFiles) -> Requirements:
    """A requirements file with the content ``text`` and the files that it names with ``-r`` and ``-c``.

    ``path`` is relative to the project.

    Raises:
        ConfigError: with every line that cannot be understood or honoured.
    """
    reader = Reader(files)
    reader.take_file(text, path)
    return reader.finish()


class Reader:
    """Collects requirements, options and problems from lines and files. Where ``nested``, ``-r`` may be followed."""

    def __init__(self, files: ProjectFiles, *, nested: bool = True) -> None:
        self._files = files
        self._nested = nested
        self._found: dict[str, RequirementLine] = {}
        self._constraints: dict[str, RequirementLine] = {}
        self._options: dict[str, dict[str, None]] = {}
        self._notices: list[str] = []
        self._problems: list[Problem] = []
        self._open: list[str] = []

    def finish(self) -> Requirements:
        """All that was taken.

        Raises:
            ConfigError: there were problems.
        """
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
            no_binary=every.get("--no-binary", ()),
            only_binary=every.get("--only-binary", ()),
            no_index="--no-index" in every,
            prereleases="--pre" in every,
            require_hashes="--require-hashes" in every,
            notices=tuple(self._notices),
        )

    def take_file(self, text: str, path: str, *, constraint: bool = False) -> None:
        """Every line of a file."""
        self._open.append(path)
        for line, number in split_lines(text):
            self.take(line, path, number, constraint=constraint)
        self._open.pop()

    def take(self, line: str, path: str, number: int, *, constraint: bool = False) -> None:
        """One line, with its place."""
        words = split_options(line)
        if words.unknown:
            hint = "leave it out, or write one that `pip install -r` accepts"
            self._refuse(path, number, f"the option {words.unknown} is not known", hint)
            return
        hashes: list[str] = []
        settings: list[str] = []
        for option in words.options:
            if option.value == "" and option.name not in FLAGS:
                self._refuse(path, number, f"the option {option.name} has no value")
            elif option.name == "--hash":
                hashes.append(option.value)
            elif option.name == "--config-settings":
                settings.append(option.value)
            elif option.name in ("--requirement", "--constraint"):
                is_constraint = constraint or option.name == "--constraint"
                self._take_nested(option.value, path, number, constraint=is_constraint)
            elif option.name == "--editable":
                self._take_editable(option.value, path, number)
            else:
                self._take_option(option, path, number)
        if words.text:
            self._take_requirement(words.text, hashes, settings, path, number, constraint=constraint)

    def _refuse(self, path: str, number: int, message: str, hint: str = "") -> None:
        self._problems.append(Problem(path, number, message, hint))

    def _take_option(self, option: Option, path: str, number: int) -> None:
        name, value = option.name, option.value
        if name == "--no-deps":
            self._refuse(path, number, "--no-deps is not supported", "dependencies are resolved; leave the option out")
        elif name in _WITHOUT_EFFECT:
            self._notices.append(f"{path}:{number}: {name} has no effect: {_WITHOUT_EFFECT[name]}")
        elif name in ("--no-binary", "--only-binary"):
            self._take_formats(name, value)
        elif holds_password(value):
            self._refuse(path, number, f"a password stands in {name} ({without_user(value)})", _SECRET_HINT)
        elif name == "--find-links" and "://" not in value:
            try:
                self._add_option(name, locate(value, path, self._files.kind))
            except Refused as refusal:
                self._refuse(path, number, f"--find-links: {refusal.message}", refusal.hint)
        else:
            self._add_option(name, value)

    def _take_formats(self, name: str, value: str) -> None:
        """Names, ``:all:``, or ``:none:``, which takes back what stood before; the last of the two options counts."""
        other = "--only-binary" if name == "--no-binary" else "--no-binary"
        for word in value.split(","):
            if word == ":none:":
                self._options.pop(name, None)
            elif word.strip():
                project = ":all:" if word == ":all:" else normalise_name(word.strip())
                self._options.get(other, {}).pop(project, None)
                self._add_option(name, project)

    def _add_option(self, name: str, value: str) -> None:
        values = self._options.setdefault(name, {})
        values.pop(value, None)
        values[value] = None

    def _take_nested(self, target: str, path: str, number: int, *, constraint: bool) -> None:
        nested = join(path, target)
        if not self._nested:
            hint = "name the file in build.python_requirements instead"
            self._refuse(path, number, f"an entry cannot include a file ({target})", hint)
        elif nested in self._open:
            self._refuse(path, number, f"{nested} includes itself", "remove the line")
        elif "://" in target or nested.startswith(("../", "/")):
            hint = "copy it into the project and name it by a relative path"
            self._refuse(path, number, f"{without_user(target)} is outside of the project", hint)
        else:
            try:
                text = self._files.read(nested)
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
                self._refuse(path, number, f"{nested} cannot be read: {reason}")
            else:
                self.take_file(text, nested, constraint=constraint)

    def _take_editable(self, value: str, path: str, number: int) -> None:
        if value.startswith("git+"):
            self._notices.append(f"{path}:{number}: -e has no effect: what is in a repository is not in the project")
            self._take_requirement(value, [], [], path, number)
            return
        if value in (".", "./") and not any(self._files.kind(name) for name in ("pyproject.toml", "setup.py")):
            self._notices.append(f"{path}:{number}: -e . left out: there is no package, and the project is in /src")
            return
        self._take_requirement(value, [], [], path, number, editable=True)

    def _take_requirement(
        self,
        text: str,
        hashes: list[str],
        settings: list[str],
        path: str,
        number: int,
        *,
        constraint: bool = False,
        editable: bool = False,
    ) -> None:
        try:
            line = read_requirement(text, path, number, self._files.kind, editable=editable)
            line = msgspec.structs.replace(
                line, hashes=select_hashes(hashes) or line.hashes, settings=tuple(sorted(settings))
            )
        except Refused as refusal:
            self._refuse(path, number, refusal.message, refusal.hint)
            return
        if line.origin is not None and holds_password(line.origin.url):
            address = without_user(line.origin.url)
            self._refuse(path, number, f"a password stands in the URL ({address})", _SECRET_HINT)
            return
        if line.name in PROVIDED:
            if not constraint:
                self._notices.append(f"{path}:{number}: {line.name} left out: the image has Layerforge's own")
            return
        if constraint and line.origin is not None and line.origin.is_built:
            self._refuse(path, number, "a constraint cannot be a source to build from", "write `name==version`")
            return
        found = self._constraints if constraint else self._found
        before = found.get(line.text)
        if before is not None and line.hashes:
            line = msgspec.structs.replace(before, hashes=tuple(sorted({*before.hashes, *line.hashes})))
        if before is None or line.hashes:
            found[line.text] = line


def select_hashes(hashes: list[str]) -> tuple[str, ...]:
    """The sha256 digests (hexadecimal) among the values of ``--hash``.

    Raises:
        Refused: there are hashes, and none of them is one.
    """
    digests = [value[7:].lower() for value in hashes if value.startswith("sha256:")]
    if hashes and not digests:
        raise Refused("none of its hashes is a sha256", "write --hash=sha256:…")
    for digest in digests:
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise Refused(f"{digest[:20]!r} is not a sha256 digest", "it has 64 hexadecimal digits")
    return tuple(sorted(set(digests)))
