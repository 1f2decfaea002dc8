"""The project's own files, less the weights, with bytecode and the model's OpenAPI document."""

from __future__ import annotations

from layerforge.layers.step import Recipe, Workbench
from layerforge.layers.tar import TarWriter
from layerforge.layers.tree import TreeFile, write_tree

SCHEMA_PATH = ".cog/openapi_schema.json"
"""Where the runtime, and platforms that run Cog images, look for the document."""


class CodeRecipe(Recipe, frozen=True, tag="code"):
    """``files`` and ``folders`` (empty ones) with their paths in the image; ``schema`` is the document, encoded.

    Without ``bytecode`` the image's Python compiles what it imports, in every container anew.
    """

    files: tuple[TreeFile, ...]
    folders: tuple[str, ...]
    schema: str
    minor: str
    bytecode: bool = True


def write(recipe: CodeRecipe, tar: TarWriter, bench: Workbench) -> None:
    """Write the code layer."""
    tar.file(SCHEMA_PATH, recipe.schema.encode())
    for folder in recipe.folders:
        tar.directory(folder)
    write_tree(recipe.files, recipe.minor if recipe.bytecode else "", tar, bench)
