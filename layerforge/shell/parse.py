"""Parses shell scripts: the standard's grammar (POSIX.1-2017, XCU 2.10.2), with ``local`` as a plain command."""

from __future__ import annotations

import re

from layerforge.shell.syntax import (
    AndOr,
    Case,
    For,
    Function,
    Group,
    If,
    Literal,
    Node,
    Pipeline,
    Redirect,
    Sequence,
    Simple,
    While,
    Word,
)
from layerforge.shell.words import ScriptError, WordReader

_BLANK = re.compile(r"(?:[ \t]|\\\n)+")
_COMMENT = re.compile(r"#[^\n]*")
_OPERATOR = re.compile(r"&&|\|\||;;|<<-|<<|>>|<&|>&|<>|>\||[|&;()<>\n]")
_REDIRECT = re.compile(r"([0-9]*)(<<-|<<|>>|<&|>&|<>|>\||<|>)")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FUNCTION = re.compile(r"(?:function[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*\([ \t]*\)")
_RESERVED = re.compile(r"(?:if|then|else|elif|fi|do|done|case|esac|while|until|for|in|[{}!])(?=[\s;&|()<>]|$)")
_CLOSING = frozenset(("then", "else", "elif", "fi", "do", "done", "esac", "}"))


def parse_script(text: str) -> Sequence:
    """The tree of ``text``.

    Raises:
        ScriptError: it does not follow the grammar.
    """
    try:
        return _Parser(text).script()
    except RecursionError:
        raise ScriptError("nested too deeply") from None


class _Parser(WordReader):
    def __init__(self, text: str, depth: int = 0) -> None:
        super().__init__(text, depth)
        self._resume: dict[int, int] = {}

    def error(self) -> ScriptError:
        line = self.text.count("\n", 0, self.position) + 1
        return ScriptError(f"line {line}: unexpected {self.text[self.position : self.position + 30]!r}")

    def script(self) -> Sequence:
        """All of the text."""
        tree = self.sequence()
        if self.position < len(self.text):
            raise self.error()
        return tree

    def nested(self, stop: str) -> Node:
        self.depth += 1
        tree = self.sequence()
        self._expect(stop)
        self.depth -= 1
        return tree

    def parse_text(self, text: str) -> Node:
        return _Parser(text, self.depth + 1).script()

    # -- tokens

    def _skip_blank(self) -> None:
        match = _BLANK.match(self.text, self.position)
        if match:
            self.position = match.end()
        if self.text.startswith("#", self.position):
            match = _COMMENT.match(self.text, self.position)
            assert match is not None
            self.position = match.end()

    def _skip_lines(self) -> None:
        while True:
            self._skip_blank()
            if not self.text.startswith("\n", self.position):
                return
            self._next_line()

    def _next_line(self) -> None:
        """Behind the line's end, and behind the here-documents that follow it."""
        self.position = self._resume.get(self.position, self.position + 1)

    def _operator(self) -> str:
        self._skip_blank()
        match = _OPERATOR.match(self.text, self.position)
        return match[0] if match else ""

    def _reserved(self) -> str:
        self._skip_blank()
        match = _RESERVED.match(self.text, self.position)
        return match[0] if match else ""

    def _accept(self, token: str) -> bool:
        found = self._reserved() if token[0].isalpha() or token in "{}!" else self._operator()
        if found != token:
            return False
        if token == "\n":
            self._next_line()
        else:
            self.position += len(token)
        return True

    def _expect(self, token: str) -> None:
        self._skip_lines()
        if not self._accept(token):
            raise self.error()

    # -- grammar

    def sequence(self) -> Sequence:
        """Commands up to something that closes a construct around them."""
        items: list[Node] = []
        while True:
            self._skip_lines()
            if self.position >= len(self.text) or self._reserved() in _CLOSING or self._operator() in (")", ";;"):
                return Sequence(tuple(items))
            items.append(self._and_or())
            operator = self._operator()
            if operator in (";", "&", "\n"):
                self._accept(operator)
            elif operator not in (")", ";;") and self.position < len(self.text) and self._reserved() not in _CLOSING:
                raise self.error()

    def _and_or(self) -> Node:
        first = self._pipeline()
        rest: list[tuple[str, Node]] = []
        while (operator := self._operator()) in ("&&", "||"):
            self.position += 2
            self._skip_lines()
            rest.append((operator, self._pipeline()))
        return AndOr(first, tuple(rest)) if rest else first

    def _pipeline(self) -> Node:
        negated = False
        while self._accept("!"):
            negated = not negated
        commands = [self._command()]
        while self._operator() == "|":
            self.position += 1
            self._skip_lines()
            commands.append(self._command())
        return Pipeline(tuple(commands), negated) if negated or len(commands) > 1 else commands[0]

    def _command(self) -> Node:
        word = self._reserved()
        node: Node
        if word == "if":
            node = self._if()
        elif word in ("while", "until"):
            node = self._while(word)
        elif word == "for":
            node = self._for()
        elif word == "case":
            node = self._case()
        elif word == "{":
            self._accept("{")
            body = self.sequence()
            self._expect("}")
            node = Group(body)
        elif self._operator() == "(":
            self.position += 1
            self.depth += 1
            body = self.sequence()
            self._expect(")")
            self.depth -= 1
            node = Group(body, subshell=True)
        elif word:
            raise self.error()
        else:
            match = _FUNCTION.match(self.text, self.position)
            if match:
                self.position = match.end()
                self._skip_lines()
                return Function(match[1], self._command())
            return self._simple()
        redirects = self._redirects()
        if not redirects:
            return node
        if isinstance(node, Group):
            return Group(node.body, redirects, node.subshell)
        return Group(node, redirects)

    def _if(self) -> If:
        self._accept("if")
        clauses: list[tuple[Node, Node]] = []
        otherwise: Node | None = None
        text = ""
        while True:
            start = self.position
            condition = self.sequence()
            text = text or self.text[start : self.position].strip().rstrip(";")
            self._expect("then")
            clauses.append((condition, self.sequence()))
            if self._accept("elif"):
                continue
            if self._accept("else"):
                otherwise = self.sequence()
            self._expect("fi")
            return If(tuple(clauses), otherwise, text)

    def _while(self, word: str) -> While:
        self._accept(word)
        start = self.position
        condition = self.sequence()
        text = self.text[start : self.position].strip().rstrip(";")
        return While(condition, self._do(), word == "until", text)

    def _do(self) -> Node:
        self._expect("do")
        body = self.sequence()
        self._expect("done")
        return body

    def _for(self) -> For:
        self._accept("for")
        self._skip_blank()
        match = _NAME.match(self.text, self.position)
        if match is None:
            raise self.error()
        self.position = match.end()
        self._skip_lines()
        words: list[Word] | None = None
        if self._accept("in"):
            words = []
            while True:
                self._skip_blank()
                word = self.word()
                if not word:
                    break
                words.append(word)
        if self._operator() == ";":
            self.position += 1
        return For(match[0], None if words is None else tuple(words), self._do())

    def _case(self) -> Case:
        self._accept("case")
        self._skip_blank()
        start = self.position
        word = self.word()
        text = f"case {self.text[start : self.position]}"
        self._skip_lines()
        if not self._accept("in"):
            raise self.error()
        items: list[tuple[tuple[Word, ...], Node]] = []
        while True:
            self._skip_lines()
            if self._accept("esac"):
                return Case(word, tuple(items), text)
            if self._operator() == "(":
                self.position += 1
            patterns: list[Word] = []
            while True:
                self._skip_blank()
                patterns.append(self.word())
                operator = self._operator()
                self.position += 1
                if operator == ")":
                    break
                if operator != "|":
                    raise self.error()
            items.append((tuple(patterns), self.sequence()))
            self._skip_lines()
            if self._operator() == ";;":
                self.position += 2

    def _simple(self) -> Simple:
        self._skip_blank()
        start = self.position
        end = start
        assignments: list[tuple[str, Word]] = []
        words: list[Word] = []
        redirects: list[Redirect] = []
        while True:
            self._skip_blank()
            if self._redirect(redirects):
                end = self.position
                continue
            if not words:
                match = _ASSIGNMENT.match(self.text, self.position)
                if match:
                    self.position = match.end()
                    assignments.append((match[1], self.word()))
                    end = self.position
                    continue
            word = self.word()
            if not word:
                break
            words.append(word)
            end = self.position
        if not (assignments or words or redirects):
            raise self.error()
        return Simple(tuple(assignments), tuple(words), tuple(redirects), self.text[start:end])

    def _redirects(self) -> tuple[Redirect, ...]:
        redirects: list[Redirect] = []
        self._skip_blank()
        while self._redirect(redirects):
            self._skip_blank()
        return tuple(redirects)

    def _redirect(self, redirects: list[Redirect]) -> bool:
        match = _REDIRECT.match(self.text, self.position)
        if match is None:
            return False
        self.position = match.end()
        operator = match[2]
        descriptor = int(match[1]) if match[1] else (0 if operator[0] == "<" else 1)
        self._skip_blank()
        target = self.word()
        if not target:
            raise self.error()
        if operator in ("<<", "<<-"):
            target = self._document(target, operator == "<<-")
            operator = "<<"
        redirects.append(Redirect(descriptor, operator, target))
        return True

    def _document(self, delimiter: Word, strip: bool) -> Word:
        """The here-document that begins after this line, and after other documents of this line."""
        line_end = self.text.find("\n", self.position)
        if line_end < 0:
            raise ScriptError("a here-document without text")
        position = self._resume.get(line_end, line_end + 1)
        end = "".join(part.text for part in delimiter if isinstance(part, Literal))
        is_literal = any(isinstance(part, Literal) and part.quoted for part in delimiter)
        lines: list[str] = []
        while position < len(self.text):
            following = self.text.find("\n", position)
            following = len(self.text) if following < 0 else following
            line = self.text[position:following]
            position = following + 1
            line = line.lstrip("\t") if strip else line
            if line == end:
                break
            lines.append(f"{line}\n")
        else:
            raise ScriptError(f"a here-document without its end {end!r}")
        self._resume[line_end] = position
        return (Literal("".join(lines), True),) if is_literal else self.document("".join(lines))
