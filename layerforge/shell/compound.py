"""Commands made of commands: lists, pipelines, conditions and loops."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from layerforge.shell.calls import Loop
from layerforge.shell.expand import expand_pattern, expand_text
from layerforge.shell.idle import assigned_names, is_idle
from layerforge.shell.patterns import matches
from layerforge.shell.streams import Buffer, Source
from layerforge.shell.syntax import AndOr, Case, For, If, Node, Pipeline, Simple, While
from layerforge.shell.values import UNKNOWN, Status

if TYPE_CHECKING:
    from layerforge.shell.evaluate import Shell


def run_and_or(shell: Shell, node: AndOr) -> Status:
    """Lists with ``&&`` and ``||``."""
    with shell.testing():
        status = shell.run(node.first)
    for number, (operator, following) in enumerate(node.rest):
        if status is None:
            # "unknown || give up" and "unknown || true" both go on; all else depends on what is not known.
            if operator == "||" and is_idle(following):
                status = 0
                continue
            if not is_idle(following):
                _undecided(shell, node.first, following)
            _forget(shell, following)
            continue
        if (status == 0) != (operator == "&&"):
            continue
        if number == len(node.rest) - 1:
            return shell.run(following)
        with shell.testing():
            status = shell.run(following)
    return status


def run_pipeline(shell: Shell, node: Pipeline) -> Status:
    """Commands joined by ``|``, or one whose status is turned round."""
    if len(node.commands) == 1:
        with shell.testing():
            status = shell.run(node.commands[0])
        return None if status is None else int(not status)
    source = shell.source
    status = 0
    with shell.testing() if node.negated else nullcontext():
        for number, command in enumerate(node.commands):
            if number == len(node.commands) - 1:
                with shell.redirected({}, source):
                    status = shell.run_subshell(command)
            else:
                buffer = Buffer()
                with shell.redirected({1: buffer}, source):
                    shell.run_subshell(command)
                source = Source(buffer.text())
    if node.negated:
        return None if status is None else int(not status)
    return shell.ended(status)


def run_if(shell: Shell, node: If) -> Status:
    """``if``: where a condition is not known, no way is taken."""
    for number, (condition, body) in enumerate(node.clauses):
        with shell.testing():
            status = shell.run(condition)
        if status == 0:
            return shell.run(body)
        if status is None:
            bodies = [body, *(part for clause in node.clauses[number + 1 :] for part in clause)]
            bodies += [node.otherwise] if node.otherwise else []
            for each in bodies:
                _forget(shell, each)
            if not all(is_idle(each) for each in bodies):
                shell.host.report(node.text, "what it does next depends on this, which is not known")
            return None
    return shell.run(node.otherwise) if node.otherwise else 0


def run_case(shell: Shell, node: Case) -> Status:
    """``case``: where it is not known which pattern matches, no way is taken."""
    value = expand_text(shell, node.word)
    doubtful: list[Node] = []
    for patterns, body in node.items:
        found = [matches(expand_pattern(shell, pattern), value) for pattern in patterns]
        if any(found):
            if not doubtful:
                return shell.run(body)
            doubtful.append(body)
            break
        if None in found:
            doubtful.append(body)
    for body in doubtful:
        _forget(shell, body)
    if not all(is_idle(body) for body in doubtful):
        shell.host.report(node.text, "what it does next depends on this, which is not known")
    return None if doubtful else 0


def _undecided(shell: Shell, first: Node, following: Node) -> None:
    text = first.text if isinstance(first, Simple | If | Case | While) else _text_of(following)
    shell.host.report(text, "what it does next depends on this, which is not known")


def _forget(shell: Shell, node: Node) -> None:
    """``node`` may have run or not: the variables that it sets are not known any more."""
    for name in assigned_names(node):
        shell.variables[name] = UNKNOWN


def run_for(shell: Shell, node: For, fields: tuple[str, ...]) -> Status:
    """``for`` over ``fields``."""
    status: Status = 0
    shell.loops += 1
    try:
        for field in fields:
            shell.step()
            shell.assign(node.name, field)
            try:
                status = shell.run(node.body)
            except Loop as loop:
                if _leaves(shell, loop):
                    break
    finally:
        shell.loops -= 1
    return status


def run_while(shell: Shell, node: While) -> Status:
    """``while`` and ``until``."""
    status: Status = 0
    shell.loops += 1
    try:
        while True:
            shell.step()
            try:
                with shell.testing():
                    holds = shell.run(node.condition)
                if holds is None:
                    _forget(shell, node.body)
                    if not is_idle(node.body):
                        shell.host.report(node.text, "how often it goes on depends on this, which is not known")
                    return None
                if (holds == 0) == node.until:
                    return status
                status = shell.run(node.body)
            except Loop as loop:
                if _leaves(shell, loop):
                    return status
    finally:
        shell.loops -= 1


def _leaves(shell: Shell, loop: Loop) -> bool:
    if loop.count > 1 and shell.loops > 1:
        raise Loop(loop.count - 1, loop.again)
    return not loop.again


def _text_of(node: Node) -> str:
    return getattr(node, "text", "") or "a condition"
