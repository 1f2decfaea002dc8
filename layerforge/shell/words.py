"""Reads words: quotes, expansions, here-documents. The half of the shell's grammar below its tokens."""

from __future__ import annotations

import re
from collections.abc import Callable

from layerforge.shell.syntax import Arithmetic, Literal, Node, Parameter, Part, Substitution, Word

_PLAIN = re.compile(r"[^\s'\"\\$`|&;()<>]+")
_PLAIN_IN_BRACES = re.compile(r"[^'\"\\$`}]+")
_PLAIN_IN_QUOTES = re.compile(r'[^"\\$`]+')
_PLAIN_IN_QUOTED_BRACES = re.compile(r'[^"\\$`}]+')
_PLAIN_IN_DOCUMENT = re.compile(r"[^\\$`]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?$!-]")
_SHORT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-]")
_OPERATOR = re.compile(r":?[-=?+]|##?|%%?")
_DEPTH = 60


class ScriptError(Exception):
    """The script is not what this grammar knows."""


class WordReader:
    """Reads words of ``text`` at ``position``. ``depth`` counts the scripts around this one."""

    def __init__(self, text: str, depth: int = 0) -> None:
        if depth > _DEPTH:
            raise ScriptError("nested too deeply")
        self.text = text
        self.position = 0
        self.depth = depth

    def nested(self, stop: str) -> Node:
        """The commands up to ``stop``. Given by the parser."""
        raise NotImplementedError

    def parse_text(self, text: str) -> Node:
        """The commands in ``text``. Given by the parser."""
        raise NotImplementedError

    def word(self) -> Word:
        """The word that starts here; empty if none does."""
        return self._parts(_PLAIN, lambda: False, quoted=False)

    def _parts(self, plain: re.Pattern[str], ends: Callable[[], bool], *, quoted: bool) -> Word:
        text = self.text
        parts: list[Part] = []
        while self.position < len(text) and not ends():
            match = plain.match(text, self.position)
            if match:
                parts.append(Literal(match[0], quoted))
                self.position = match.end()
                continue
            char = text[self.position]
            if char == "\\":
                self._escape(parts, plain, quoted)
            elif char == "$":
                parts.append(self._dollar(quoted))
            elif char == "`":
                parts.append(Substitution(self._backquoted(quoted), quoted))
            elif char == "'" and not quoted:
                end = self._find("'", self.position + 1)
                parts.append(Literal(text[self.position + 1 : end], True))
                self.position = end + 1
            elif char == '"' and plain in (_PLAIN, _PLAIN_IN_BRACES, _PLAIN_IN_QUOTED_BRACES):
                self._double(parts, _PLAIN_IN_QUOTES)
            else:
                break
        return tuple(parts)

    def _double(self, parts: list[Part], plain: re.Pattern[str]) -> None:
        start = self.position
        self.position += 1
        inner = self._parts(plain, lambda: self.text[self.position] == '"', quoted=True)
        if self.position >= len(self.text):
            raise ScriptError(f"a quote without end: {self.text[start : start + 40]!r}")
        self.position += 1
        parts.extend(inner or (Literal("", True),))

    def _escape(self, parts: list[Part], plain: re.Pattern[str], quoted: bool) -> None:
        following = self.text[self.position + 1 : self.position + 2]
        self.position += 2
        if following == "\n":
            return
        if not quoted:
            parts.append(Literal(following or "\\", True))
            return
        special = '$`\\"' if plain in (_PLAIN_IN_QUOTES, _PLAIN_IN_QUOTED_BRACES) else "$`\\"
        if plain is _PLAIN_IN_QUOTED_BRACES:
            special += "}"
        parts.append(Literal(following if following and following in special else f"\\{following}", True))

    def _dollar(self, quoted: bool) -> Part:
        text = self.text
        start = self.position
        following = text[start + 1 : start + 2]
        if following == "(":
            if text.startswith("$((", start):
                word = self._arithmetic()
                if word is not None:
                    return Arithmetic(word, quoted)
            self.position = start + 2
            return Substitution(self.nested(")"), quoted)
        if following == "{":
            return self._braces(quoted)
        match = _SHORT_NAME.match(text, start + 1)
        if match is None:
            self.position += 1
            return Literal("$", quoted)
        self.position = match.end()
        return Parameter(match[0], quoted=quoted)

    def _braces(self, quoted: bool) -> Parameter:
        text = self.text
        start = self.position
        self.position += 2
        if text.startswith("#", self.position) and not re.match(r"#[-=?+:#%}]", text[self.position :]):
            match = _NAME.match(text, self.position + 1)
            if match and text.startswith("}", match.end()):
                self.position = match.end() + 1
                return Parameter(match[0], "length", quoted=quoted)
        match = _NAME.match(text, self.position)
        if match is None:
            raise ScriptError(f"an expansion that is not known: {text[start : start + 40]!r}")
        self.position = match.end()
        operator = _OPERATOR.match(text, self.position)
        word: Word = ()
        if operator:
            self.position = operator.end()
            in_pattern = operator[0][0] in "#%"
            plain = _PLAIN_IN_QUOTED_BRACES if quoted and not in_pattern else _PLAIN_IN_BRACES
            word = self._parts(plain, lambda: text[self.position] == "}", quoted=quoted and not in_pattern)
        if not text.startswith("}", self.position):
            raise ScriptError(f"an expansion that is not known: {text[start : start + 40]!r}")
        self.position += 1
        return Parameter(match[0], operator[0] if operator else "", word, quoted)

    def _arithmetic(self) -> Word | None:
        """The expression of ``$((…))``; None if this is a command substitution that begins with a subshell."""
        level, position = 0, self.position + 3
        while position < len(self.text):
            char = self.text[position]
            if char == "(":
                level += 1
            elif char == ")":
                if level == 0:
                    break
                level -= 1
            position += 1
        if not self.text.startswith("))", position):
            return None
        inner = type(self)(self.text[self.position + 3 : position], self.depth + 1)
        word = inner._parts(_PLAIN_IN_DOCUMENT, lambda: False, quoted=True)
        self.position = position + 2
        return word

    def _backquoted(self, quoted: bool) -> Node:
        text, position = self.text, self.position + 1
        raw: list[str] = []
        while position < len(text) and text[position] != "`":
            if text[position] == "\\" and text[position + 1 : position + 2] in (
                "$",
                "`",
                "\\",
                '"' if quoted else "\\",
            ):
                position += 1
            raw.append(text[position])
            position += 1
        if position >= len(text):
            raise ScriptError("a backquote without end")
        self.position = position + 1
        return self.parse_text("".join(raw))

    def document(self, text: str) -> Word:
        """The parts of a here-document with expansions."""
        inner = type(self)(text, self.depth + 1)
        return inner._parts(_PLAIN_IN_DOCUMENT, lambda: False, quoted=True)

    def _find(self, char: str, start: int) -> int:
        end = self.text.find(char, start)
        if end < 0:
            raise ScriptError(f"a quote without end: {self.text[start - 1 : start + 40]!r}")
        return end
