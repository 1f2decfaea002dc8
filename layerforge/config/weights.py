"""The ``weights:`` list of ``cog.yaml``.

Rules: Cog's ``specs/draft-weights.md`` and ``validateWeights`` in ``pkg/config/validate.go``.
"""

from __future__ import annotations

import posixpath
import re

from layerforge.config.document import Mapping, Sequence, Value
from layerforge.config.fields import Findings, Section, describe, shorten
from layerforge.config.values import Entry, Weight, WeightSource

_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_EXAMPLE = "an entry has `name`, `target` and `source: {uri: ...}`"


def read_weights(value: Value | None, findings: Findings) -> tuple[Weight, ...]:
    """Every entry of ``weights:``, each name unique and each target apart from the others."""
    if value is None:
        return ()
    if not isinstance(value, Sequence):
        findings.refuse(value.line, f"weights: expected a list, found {describe(value)}", _EXAMPLE)
        return ()
    weights: list[Weight] = []
    for item in value.items:
        weight = _read_weight(item, findings)
        for earlier in weights:
            if weight.name and weight.name == earlier.name:
                message = f"weights: the name {shorten(weight.name)} is given twice, first on line {earlier.line}"
                findings.refuse(weight.line, message, "names must differ")
            if weight.target and earlier.target and _overlap(weight.target, earlier.target):
                message = f"weights: target {shorten(weight.target)} overlaps {shorten(earlier.target)}"
                findings.refuse(weight.line, message, "give each entry a folder of its own")
        weights.append(weight)
    return tuple(weights)


def _read_weight(item: Value, findings: Findings) -> Weight:
    section = Section(item, "weights", findings, example=_EXAMPLE)
    name, target = section.text("name"), section.text("target")
    sources = _read_sources(section.take("source"), item.line, findings)
    section.finish()
    if not isinstance(item, Mapping):
        return Weight("", "", (), item.line)
    if not name:
        findings.refuse(item.line, "weights: an entry without `name`", _EXAMPLE)
    elif not _NAME.fullmatch(name):
        hint = "lower-case letters and digits, with single '.', '_' or '-' between them"
        findings.refuse(section.line_of("name"), f"weights: {shorten(name)!r} cannot be a name", hint)
    if not target:
        findings.refuse(item.line, "weights: an entry without `target`", _EXAMPLE)
    elif not target.startswith("/") or posixpath.normpath(target) in ("/", "//"):
        hint = "give an absolute path below the root, such as /src/weights"
        findings.refuse(section.line_of("target"), f"weights: {shorten(target)!r} cannot be a target", hint)
    return Weight(name, posixpath.normpath(target) if target else "", sources, item.line)


def _read_sources(value: Value | None, line: int, findings: Findings) -> tuple[WeightSource, ...]:
    items = value.items if isinstance(value, Sequence) else () if value is None else (value,)
    if not items:
        findings.refuse(line, "weights: an entry without `source`", _EXAMPLE)
    sources = []
    for item in items:
        section = Section(item, "weights.source", findings, example="write `uri:` below `source:`")
        uri = section.text("uri")
        include = section.entries("include", example='"*.safetensors"')
        exclude = section.entries("exclude", example='"*.bin"')
        section.finish()
        if isinstance(item, Mapping) and not uri:
            findings.refuse(item.line, "weights.source: needs `uri`", "such as `uri: hf://team/model`")
        _check_patterns((*include, *exclude), findings)
        texts = [tuple(entry.text for entry in entries) for entries in (include, exclude)]
        sources.append(WeightSource(uri, texts[0], texts[1]))
    return tuple(sources)


def _check_patterns(entries: tuple[Entry, ...], findings: Findings) -> None:
    for entry in entries:
        if entry.text.startswith("!"):
            message = f"weights.source: {shorten(entry.text)!r} negates, which patterns here cannot"
            findings.refuse(entry.line, message, "move the pattern to the other of include and exclude")
        if "\\" in entry.text:
            message = f"weights.source: {shorten(entry.text)!r} holds a backslash"
            findings.refuse(entry.line, message, "write paths with /")


def _overlap(one: str, other: str) -> bool:
    one, other = one.rstrip("/") + "/", other.rstrip("/") + "/"
    return one.startswith(other) or other.startswith(one)
