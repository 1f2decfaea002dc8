"""YAML text as values that know their line, so that every later complaint can name one.

Scalars keep the text that was written: ``python_version: 3.10`` stays ``3.10``, where a decoded number would be 3.1.
Grammar: https://yaml.org/spec/1.1/ as PyYAML reads it, plus merge keys (https://yaml.org/type/merge.html).
"""

from __future__ import annotations

import codecs
import re

import msgspec
import yaml

from layerforge.errors import ConfigError, Problem

MAX_BYTES = 1 << 20
"""Longer files are refused: no configuration is this large, and reading it would take seconds."""

_TAGS = {f"tag:yaml.org,2002:{kind}": kind for kind in ("str", "int", "float", "bool", "null", "timestamp", "value")}
_MERGE_TAG = "tag:yaml.org,2002:merge"
_CONFLICT = re.compile(r"^(?:<{7}|={7}|>{7})(?: |$)", re.MULTILINE)
_LINK_TARGET = re.compile(r"[\w./@ -]+\.ya?ml\s*")


class Scalar(msgspec.Struct, frozen=True):
    """One piece of text. ``kind`` is what YAML takes it for: ``str``, ``int``, ``float``, ``bool``, ``null``, …"""

    text: str
    kind: str
    line: int


class Sequence(msgspec.Struct, frozen=True):
    """A list."""

    items: tuple[Value, ...]
    line: int


class Member(msgspec.Struct, frozen=True):
    """A key of a mapping with its value; ``line`` is the key's."""

    key: str
    line: int
    value: Value


class Mapping(msgspec.Struct, frozen=True):
    """A mapping, in file order, merge keys already followed."""

    members: tuple[Member, ...]
    line: int


Value = Scalar | Sequence | Mapping


def decode_text(data: bytes, path: str) -> str:
    """The text of a configuration file: UTF-8, or UTF-16 with a byte order mark.

    Raises:
        ConfigError: the bytes are neither.
    """
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if wide else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        message = f"byte 0x{data[error.start]:02x} is not {encoding.upper().removesuffix('-SIG')} text"
        raise ConfigError((Problem(path, line, message, "save the file as UTF-8"),)) from None


def read_document(text: str, path: str) -> tuple[Value | None, tuple[Problem, ...]]:
    """The one document in ``text`` (None when there is none), and what is wrong in it: repeated keys, cycles, tags.

    Raises:
        ConfigError: the text is not YAML.
    """
    if len(text) > MAX_BYTES:
        message = f"{len(text):,} characters are too many for a configuration file (at most {MAX_BYTES:,})"
        raise ConfigError((Problem(path, 0, message, "give the file that describes the build"),))
    text = text.removeprefix("\ufeff")
    node = _compose(text, path)
    if node is None:
        return None, ()
    reader = _Reader(path)
    try:
        value = reader.read(node)
    except RecursionError:
        raise ConfigError((Problem(path, 0, "nested too deeply"),)) from None
    if isinstance(value, Scalar) and _LINK_TARGET.fullmatch(value.text) and "\n" not in text.strip():
        hint = "check the repository out where symbolic links are supported, or put the file's content here"
        message = f"holds only the path {value.text.strip()!r}, as a symbolic link does that was checked out as text"
        raise ConfigError((Problem(path, value.line, message, hint),))
    return value, tuple(reader.problems)


def _compose(text: str, path: str) -> yaml.Node | None:
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)
        node: yaml.Node | None = loader.get_single_node()
        return node
    except RecursionError:
        problem = Problem(path, 0, "nested too deeply")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = Problem(path, line, f"character U+{ord(_unprintable(text)):04X} is not allowed in YAML", "delete it")
    except yaml.MarkedYAMLError as error:
        problem = _syntax_problem(error, text, path)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # ValueError: PyYAML lets one escape for escapes such as "\UFFFFFFFF" and for %YAML directives.
        problem = Problem(path, 0, f"not YAML: {error}", "check the text with a YAML linter")
    finally:
        if loader is not None:
            loader.dispose()
    raise ConfigError((problem,))


def _unprintable(text: str) -> str:
    found = yaml.reader.Reader.NON_PRINTABLE.search(text)
    return found.group() if found else "\0"


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, path: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 0
    conflict = _CONFLICT.search(text)
    if conflict:
        line = text.count("\n", 0, conflict.start()) + 1
        return Problem(path, line, "an unresolved merge conflict", "choose one side and delete the markers")
    if text.lstrip()[:5].lower() in ("<!doc", "<html", "<?xml"):
        return Problem(path, 1, "a web page, not YAML", "fetch the raw file")
    lines = text.splitlines()
    source = lines[line - 1] if 0 < line <= len(lines) else ""
    if "\t" in source[: len(source) - len(source.lstrip())] or "'\\t'" in (error.problem or ""):
        return Problem(path, line, "a tab stands where YAML wants spaces", "indent with spaces only")
    what = error.problem or error.context or "cannot be read"
    if "expected a single document" in (error.context or ""):
        return Problem(path, line, "holds more than one document", "keep one and delete the `---` between them")
    hint = "check indentation, quotes and colons here and on the line above"
    if what.startswith("mapping values are not allowed"):
        hint = "a value that contains `: ` must stand in quotes; a key must be indented like its siblings"
    elif "<document start>" in what:
        hint = "the text above this line is not part of a mapping; a comment starts with `#` on each of its lines"
        if text.lstrip().startswith(('"""', "'''")):
            hint = "quotes do not make a comment in YAML: start each of these lines with `#`"
    elif "undefined alias" in what:
        hint = "an alias (`*name`) needs its anchor (`&name`) above it; text that starts with `*` must stand in quotes"
    elif "cannot start any token" in what:
        hint = "put the value in quotes"
    return Problem(path, line, f"not YAML: {what}", hint)


class _Reader:
    """Turns composed nodes into values. A node that aliases share is read once, so aliases cannot multiply work."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self._done: dict[int, Value] = {}
        self._open: set[int] = set()

    def read(self, node: yaml.Node) -> Value:
        line = node.start_mark.line + 1
        if id(node) in self._done:
            return self._done[id(node)]
        if id(node) in self._open:
            self._complain(line, "a value that contains itself", "remove the alias")
            return Scalar("", "null", line)
        self._open.add(id(node))
        value: Value
        if isinstance(node, yaml.ScalarNode):
            value = Scalar(node.value, self._kind(node), line)
        elif isinstance(node, yaml.SequenceNode):
            value = Sequence(tuple(self.read(item) for item in node.value), line)
        else:
            assert isinstance(node, yaml.MappingNode)
            value = self._mapping(node, line)
        self._open.discard(id(node))
        self._done[id(node)] = value
        return value

    def _mapping(self, node: yaml.MappingNode, line: int) -> Mapping:
        own: dict[str, Member] = {}
        merged: dict[str, Member] = {}
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            if key_node.tag == _MERGE_TAG:
                for member in self._merge(value_node):
                    merged.setdefault(member.key, member)
                continue
            key = self.read(key_node)
            if not isinstance(key, Scalar):
                self._complain(key_line, "a key must be a single word, not a list or a mapping", "")
            elif key.text in own:
                message = f"{key.text}: given twice, first on line {own[key.text].line}"
                self._complain(key_line, message, "merge the two into one")
            else:
                own[key.text] = Member(key.text, key_line, self.read(value_node))
        return Mapping(tuple({**merged, **own}.values()), line)

    def _merge(self, node: yaml.Node) -> tuple[Member, ...]:
        value = self.read(node)
        sources = value.items if isinstance(value, Sequence) else (value,)
        if not all(isinstance(source, Mapping) for source in sources):
            self._complain(node.start_mark.line + 1, "`<<` merges mappings only", "name an anchored mapping")
            return ()
        members: dict[str, Member] = {}
        for source in sources:
            assert isinstance(source, Mapping)
            for member in source.members:
                members.setdefault(member.key, member)
        return tuple(members.values())

    def _kind(self, node: yaml.ScalarNode) -> str:
        kind = _TAGS.get(node.tag)
        if kind is None and node.tag != _MERGE_TAG:
            self._complain(node.start_mark.line + 1, f"the tag {node.tag[:60]} has no meaning here", "remove the tag")
        return kind or "str"

    def _complain(self, line: int, message: str, hint: str) -> None:
        self.problems.append(Problem(self.path, line, message, hint))
