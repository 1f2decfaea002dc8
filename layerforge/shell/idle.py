"""Which parts of a script change nothing that lasts: what they decide need not be known."""

from __future__ import annotations

import re
from collections.abc import Iterator

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

_IDLE = frozenset(
    (
        *(":", "true", "false", "echo", "printf", "exit", "return", "break", "continue", "test", "[", "shift"),
        *("unset", "local", "export", "read", "cd", "set", "trap", "sleep", "wait", "logger", "cat", "grep"),
        *("sed", "cut", "tr", "head", "tail", "command", "which", "type", "basename", "dirname", "expr", "stat"),
        *("id", "getent", "kill", "db_stop", "db_get", "db_input", "db_go", "db_version", "db_capb", "db_title"),
        *("db_progress", "dpkg-query"),
    )
)
"""Commands that at most print, or change the shell's own state."""


def children(node: Node) -> Iterator[Node]:
    """The commands that ``node`` is made of."""
    if isinstance(node, Sequence):
        yield from node.items
    elif isinstance(node, AndOr):
        yield node.first
        yield from (following for _, following in node.rest)
    elif isinstance(node, Pipeline):
        yield from node.commands
    elif isinstance(node, If):
        for clause in node.clauses:
            yield from clause
        if node.otherwise:
            yield node.otherwise
    elif isinstance(node, While):
        yield node.condition
        yield node.body
    elif isinstance(node, For | Function | Group):
        yield node.body
    elif isinstance(node, Case):
        yield from (body for _, body in node.items)


def is_idle(node: Node) -> bool:
    """Whether running ``node`` or not makes no difference to the files."""
    if isinstance(node, Simple):
        if not all(_is_harmless(redirect) for redirect in node.redirects):
            return False
        name = _literal(node.words[0]) if node.words else ":"
        if name == "sed":
            return not any((_literal(word) or "").startswith(("-i", "--in-place")) for word in node.words)
        return name in _IDLE
    if isinstance(node, Group) and not all(_is_harmless(redirect) for redirect in node.redirects):
        return False
    return isinstance(node, Function) or all(is_idle(child) for child in children(node))


def _is_harmless(redirect: Redirect) -> bool:
    return redirect.operator in ("<", "<<", ">&", "<&") or (_literal(redirect.target) or "").startswith("/dev/")


def _literal(word: Word) -> str | None:
    texts = [part.text for part in word if isinstance(part, Literal)]
    return "".join(texts) if len(texts) == len(word) else None


def assigned_names(node: Node) -> set[str]:
    """The variables that ``node`` may set."""
    found: set[str] = set()
    if isinstance(node, Simple):
        found |= {name for name, _ in node.assignments}
        name = _literal(node.words[0]) if node.words else ""
        if name in ("local", "export", "read", "readonly", "unset"):
            for word in node.words[1:]:
                match = re.match(r"[A-Za-z_]\w*", (word and isinstance(word[0], Literal) and word[0].text) or "")
                if match:
                    found.add(match[0])
        elif name and name.startswith("db_"):
            found.add("RET")
    elif isinstance(node, For):
        found.add(node.name)
    for child in children(node):
        found |= assigned_names(child)
    return found
