"""Rewrites what newer grammars added, so that an older ``ast`` reads it, line by line where it stood.

Covered: f-strings with any quotes, comments and newlines inside their braces (PEP 701), type parameters and ``type``
statements (PEP 695, 696), ``except*`` (PEP 654), unpacking in subscripts (PEP 646), ``except A, B`` without parentheses
(PEP 758), template strings (PEP 750, read as f-strings: neither can be a constant's value that a schema shows).

A brace of an f-string that the older grammar cannot hold is replaced by a name, and the name in the tree by the
expression's own tree: nothing about the meaning is lost.
"""

from __future__ import annotations

import ast
import re

import msgspec

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)
    |(?P<prefix>(?<![\w])[rRbBuUfFtT]{0,2})(?P<quote>\"\"\"|'''|"|')
    |(?P<name>[^\W\d]\w*)
    |(?P<escape>\\\n)
    |(?P<newline>\n)
    |(?P<open>[(\[{])
    |(?P<close>[)\]}])
    |(?P<other>[^\s])
    |(?P<space>[^\S\n]+)""",
    re.VERBOSE,
)
_ALIAS = re.compile(r"type[ \t]+([^\W\d]\w*)[ \t]*(?=[\[=])")
_NAMED = re.compile(r"[ \t]+[^\W\d]\w*[ \t]*(?=\[)")
_MARK = "__layerforge_field_"
_MAX_NESTING = 50


class Rewritten(msgspec.Struct):
    """A text that an older grammar reads. ``fields`` are the expressions that names stand for in it."""

    text: str
    fields: list[ast.expr]

    def restore(self, tree: ast.Module) -> ast.Module:
        """``tree``, parsed from ``text``, with the names replaced by the expressions they stand for."""
        if self.fields:
            tree = _Restorer(self.fields).visit(tree)
        return tree


class _Restorer(ast.NodeTransformer):
    def __init__(self, fields: list[ast.expr]) -> None:
        self._fields = fields

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if not node.id.startswith(_MARK):
            return node
        field: ast.expr = self.visit(self._fields[int(node.id[len(_MARK) :])])
        return field


def rewrite(text: str, host: tuple[int, int], python: tuple[int, int] = (3, 14)) -> Rewritten:
    """``text``, in the grammar of ``python``, as that of ``host`` reads it.

    Text that is not Python comes out as it is, or as other nonsense.

    Raises:
        SyntaxError: an expression inside an f-string is not Python.
        RecursionError: f-strings are nested too deeply.
    """
    writer = _Writer(text, host, python, [])
    return Rewritten(writer.code(), writer.fields)


class _Writer:
    def __init__(
        self, text: str, host: tuple[int, int], python: tuple[int, int], fields: list[ast.expr], first_line: int = 1
    ) -> None:
        self._text = text
        self._host = host
        self._python = python
        self._first_line = first_line
        self.fields = fields

    def _adds(self, minor: int) -> bool:
        """Whether Python 3.``minor`` brought what is read here and the host lacks."""
        return self._host < (3, minor) <= self._python

    def code(self) -> str:
        """The rewritten text."""
        text, position = self._text, 0
        out: list[str] = []
        brackets: list[str] = []
        fresh = True  # at the start of a statement
        before = ""  # the last token that is not space
        while position < len(text):
            if fresh and (alias := self._adds(12) and _ALIAS.match(text, position)):
                end = self._skip_brackets(alias.end())
                rest = text[alias.end() : end]
                if re.match(r"[ \t]*=(?!=)", text[end:]):
                    out.append(alias.group(1) + _blank(rest))
                    position, fresh, before = end, False, alias.group(1)
                    continue
            match = _TOKEN.match(text, position)
            if match is None:
                return "".join(out) + text[position:]
            kind, token = match.lastgroup or "", match.group()
            position = match.end()
            if kind == "quote":
                piece, position = self._string(match.start(), match["prefix"], match["quote"])
                out.append(piece)
                fresh, before = False, '"'
                continue
            definition = kind == "name" and token in ("class", "def") and self._adds(12)
            if definition and (named := _NAMED.match(text, position)):
                end = self._skip_brackets(named.end())
                out.append(token + named.group() + _blank(text[named.end() : end]))
                position, fresh, before = end, False, "]"
                continue
            if kind == "name" and token == "except" and fresh:
                piece, position = self._except(position)
                out.append(token + piece)
                fresh, before = False, "except"
                continue
            if token == "*" and self._adds(11) and brackets and brackets[-1] == "s" and before in ("[", ","):
                token = " "
            if kind == "open":
                subscript = token == "[" and (before in (")", "]", '"') or before[-1:].isidentifier())
                brackets.append("s" if subscript else token)
            elif kind == "close" and brackets:
                brackets.pop()
            out.append(token)
            if kind == "newline" and not brackets:
                fresh = True
            elif kind not in ("space", "comment", "newline", "escape"):
                fresh = token in (";", ":") and not brackets
                before = token
        return "".join(out)

    def _skip_brackets(self, position: int) -> int:
        """The end of the brackets that open at ``position``; ``position`` itself where none does."""
        depth = 0
        while (match := _TOKEN.match(self._text, position)) is not None:
            if match.lastgroup == "quote":
                position = self._skip_string(match.end(), match["prefix"], match["quote"])
                continue
            depth += (match.lastgroup == "open") - (match.lastgroup == "close")
            if depth == 0 and match.lastgroup == "close":
                return match.end()
            if depth <= 0:
                break
            position = match.end()
        return position

    def _except(self, position: int) -> tuple[str, int]:
        text = self._text
        end, depth, commas, named = position, 0, False, False
        while (match := _TOKEN.match(text, end)) is not None:
            token = match.group()
            if match.lastgroup == "quote" or (depth == 0 and (token == ":" or match.lastgroup == "newline")):
                break
            depth += (match.lastgroup == "open") - (match.lastgroup == "close")
            commas = commas or (token == "," and depth == 0)
            named = named or token == "as"
            end = match.end()
        clause = text[position:end]
        if self._adds(11) and clause.lstrip().startswith("*"):
            clause = clause.replace("*", " ", 1)
        if commas and not named and self._adds(14):
            star = "*" if clause.lstrip().startswith("*") else ""
            clause = f"{star} ({clause.lstrip().removeprefix('*').strip()})"
        return clause, end

    # Strings

    def _string(self, start: int, prefix: str, quote: str) -> tuple[str, int]:
        """A string literal from its prefix on, rewritten if it has to be."""
        body = start + len(prefix) + len(quote)
        end = self._skip_string(body, prefix, quote)
        raw = self._text[start:end]
        plain = self._plain(raw, prefix)
        if not set(prefix.lower()) & {"f", "t"} or not self._adds(12):
            return plain, end
        fields = list(self._fields_of(body, end - len(quote), prefix))
        if not any(self._is_hard(field, quote) for field in fields):
            return plain, end
        out = [plain[: len(prefix) + len(quote)]]
        position = body
        for opened, closed in fields:
            out.append(self._text[position:opened])
            out.append(self._field(opened + 1, closed - 1, prefix))
            position = closed
        out.append(self._text[position:end])
        piece = "".join(out)
        return piece + "\\\n" * (raw.count("\n") - piece.count("\n")), end

    def _plain(self, raw: str, prefix: str) -> str:
        if "t" in prefix.lower() and self._adds(14):
            return prefix.lower().replace("t", "f") + raw[len(prefix) :]
        return raw

    def _skip_string(self, position: int, prefix: str, quote: str, depth: int = 0) -> int:
        """The end of a string whose body starts at ``position``."""
        text, formatted = self._text, bool(set(prefix.lower()) & {"f", "t"})
        if depth > _MAX_NESTING:
            raise RecursionError
        while position < len(text):
            if text.startswith(quote, position):
                return position + len(quote)
            character = text[position]
            pair = text[position : position + 2]
            if (character == "\\" and pair not in ("\\{", "\\}")) or (formatted and pair in ("{{", "}}")):
                position += 2
            elif formatted and character == "{":
                position = self._skip_field(position + 1, prefix, quote, depth)
            elif character == "\n" and len(quote) == 1:
                return position
            else:
                position += 1
        return position

    def _skip_field(self, position: int, prefix: str, quote: str, depth: int) -> int:
        """The position after the brace that closes the field whose inside starts at ``position``."""
        text, brackets = self._text, 0
        while (match := _TOKEN.match(text, position)) is not None:
            token = match.group()
            if match.lastgroup == "quote":
                closes = brackets == 0 and match["quote"] == quote and not match["prefix"]
                if closes and self._ends_here(position, quote):
                    return position
                position = self._skip_string(match.end(), match["prefix"], match["quote"], depth + 1)
                continue
            if brackets == 0 and token == "}":
                return match.end()
            if brackets == 0 and token == ":" and not text.startswith(":=", position):
                return self._skip_spec(match.end(), prefix, quote, depth)
            if brackets == 0 and token == "!" and text[position + 1 : position + 2] != "=":
                position += 2
                continue
            brackets += (match.lastgroup == "open") - (match.lastgroup == "close")
            position = match.end()
        return position

    def _ends_here(self, position: int, quote: str) -> bool:
        """Whether the rest of the line cannot hold another string: the field was never closed."""
        line = self._text[position + len(quote) :].partition("\n")[0]
        return "}" not in line

    def _skip_spec(self, position: int, prefix: str, quote: str, depth: int) -> int:
        text = self._text
        while position < len(text):
            if text[position] == "{":
                position = self._skip_field(position + 1, prefix, quote, depth + 1)
            elif text[position] == "}":
                return position + 1
            elif text.startswith(quote, position) or (text[position] == "\n" and len(quote) == 1):
                return position
            else:
                position += 1
        return position

    def _fields_of(self, position: int, end: int, prefix: str) -> list[tuple[int, int]]:
        """Where the fields of the string body are: each from its opening brace to after its closing one."""
        text, found = self._text, []
        quote = text[end : end + 3] if text[end : end + 3] in ('"""', "'''") else text[end : end + 1]
        raw = "r" in prefix.lower()
        while position < end:
            if text[position] == "\\" and not raw and text[position : position + 2] not in ("\\{", "\\}"):
                if text.startswith("\\N{", position):
                    position = text.find("}", position) + 1 or end
                else:
                    position += 2
            elif text[position : position + 2] in ("{{", "}}"):
                position += 2
            elif text[position] == "{":
                closed = self._skip_field(position + 1, prefix, quote, 0)
                found.append((position, closed))
                position = closed
            else:
                position += 1
        return found

    def _is_hard(self, field: tuple[int, int], quote: str) -> bool:
        inside = self._text[field[0] + 1 : field[1] - 1]
        return bool(set(inside) & {quote[0], "\\", "#", "\n"})

    def _field(self, position: int, end: int, prefix: str) -> str:
        """A field with its expression replaced by a name."""
        text, brackets, start = self._text, 0, position
        conversion = spec = ""
        debug = False
        last = ""
        while position < end and (match := _TOKEN.match(text, position)) is not None:
            token = match.group()
            if match.lastgroup == "quote":
                position = self._skip_string(match.end(), match["prefix"], match["quote"])
                last = '"'
                continue
            if brackets == 0 and token == ":" and not text.startswith(":=", position):
                break
            if brackets == 0 and token == "!" and text[position + 1 : position + 2] != "=":
                break
            brackets += (match.lastgroup == "open") - (match.lastgroup == "close")
            position = match.end()
            if match.lastgroup not in ("space", "newline", "comment"):
                last = token
        inside, rest = text[start:position], text[position:end]
        debug = last == "=" and not inside.rstrip().endswith(("==", "!=", "<=", ">=", ":="))
        if rest.startswith("!"):
            conversion, rest = rest[:2], rest[2:].lstrip()
        if rest.startswith(":"):
            spec = self._spec(position + len(text[position:end]) - len(rest), end, prefix)
        shown = ""
        if debug:
            shown = "{" + self._mark(ast.Constant(inside), start) + "}"
            inside = inside.rstrip()[:-1]
            conversion = conversion or ("" if spec else "!r")
        return shown + "{" + self._mark(self._expression(inside, start), start) + conversion + spec + "}"

    def _spec(self, position: int, end: int, prefix: str) -> str:
        out, text = [], self._text
        while position < end:
            if text[position] == "{":
                closed = self._skip_field(position + 1, prefix, "\0", 1)
                out.append(self._field(position + 1, closed - 1, prefix))
                position = closed
            else:
                out.append(text[position])
                position += 1
        return "".join(out)

    def _expression(self, source: str, start: int) -> ast.expr:
        line = self._first_line + self._text.count("\n", 0, start)
        inner = _Writer(f"({source}\n)", self._host, self._python, self.fields, line)
        tree = ast.parse(inner.code(), mode="eval")
        ast.increment_lineno(tree, line - 1)
        return tree.body

    def _mark(self, expression: ast.expr, start: int) -> str:
        expression.lineno = self._first_line + self._text.count("\n", 0, start)
        self.fields.append(expression)
        return f"{_MARK}{len(self.fields) - 1}"


def _blank(text: str) -> str:
    """As many spaces, with the newlines kept inside brackets so that lines keep their numbers."""
    if "\n" not in text:
        return " " * len(text)
    return "\\\n".join(" " * len(line) for line in text.split("\n"))
