"""Classes of the project: their bases, inside and outside it, and what their attributes are bound to."""

from __future__ import annotations

import ast

from layerforge.schema.modules import Assigned, Defined, External, Local, Module, Nothing, Project, Unclear

MAX_CLASSES = 100


def ancestry(project: Project, owner: Local) -> list[tuple[Module, ast.ClassDef]]:
    """A class and its bases inside the project, nearest first, each once."""
    found: list[tuple[Module, ast.ClassDef]] = []
    queue: list[object] = [owner]
    while queue and len(found) < MAX_CLASSES:
        meaning = queue.pop(0)
        if not (isinstance(meaning, Local) and isinstance(meaning.binding, Defined)):
            continue
        node = meaning.binding.node
        if isinstance(node, ast.ClassDef) and not any(node is known for _, known in found):
            found.append((meaning.module, node))
            queue += [project.resolve(meaning.module, _plain(base)) for base in node.bases]
    return found


def external_bases(project: Project, owner: Local) -> set[str]:
    """The dotted names of a class's bases outside the project, at any depth."""
    names = set()
    for module, node in ancestry(project, owner):
        for base in node.bases:
            meaning = project.resolve(module, _plain(base))
            if isinstance(meaning, (External, Nothing)):
                names.add(meaning.name)
    return names


def find_attribute(project: Project, owner: Local, name: str) -> Local | None:
    """What a class attribute is bound to in the end, in the class or its bases: a value, not a method."""
    for module, node in ancestry(project, owner):
        inside = project.inside(module, node)
        binding = inside.bindings.get(name)
        if isinstance(binding, (Assigned, Unclear)):
            return Local(inside, binding)
    return None


def _plain(base: ast.expr) -> ast.expr:
    return base.value if isinstance(base, ast.Subscript) else base
