"""Which files of a project stay out of the image.

``.dockerignore`` decides, as for Cog and Docker. Where there is none, the ``.gitignore`` files do, except that
weights, and whatever lies in a folder with weights, stay in: people keep weights out of git, not out of their images.
Some things are never wanted: version control, caches, virtual environments, our own lock.

Pattern semantics: https://docs.docker.com/build/concepts/context/#dockerignore-files (patterns start at the root, the
last match decides) and gitignore(5); matching is pathspec's.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping

LOCK_NAME = "pylock.layerforge.toml"

NEVER = (
    ".git",
    ".hg",
    ".svn",
    ".cog",
    "__pycache__",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".ipynb_checkpoints",
    ".DS_Store",
)
"""Names of files and folders that are left out at any depth."""


def is_never_wanted(path: str) -> bool:
    """Whether the last component of ``path`` keeps it out whatever the ignore files say."""
    name = posixpath.basename(path)
    return name in NEVER or name.endswith((".pyc", ".pyo")) or path == LOCK_NAME


class DockerIgnore:
    """The rules of a ``.dockerignore``."""

    def __init__(self, text: str) -> None:
        import pathspec  # 20 ms that a project without ignore files need not wait
        from pathspec.patterns.gitignore.basic import GitIgnoreBasicPattern

        lines = (_from_docker(line) for line in text.lstrip("\ufeff").splitlines())
        # PathSpec, not GitIgnoreSpec: in Docker a later `!` brings back a file of an excluded folder.
        self._spec = pathspec.PathSpec.from_lines(GitIgnoreBasicPattern, filter(None, lines))
        self._may_return = any(line.strip().startswith("!") for line in text.splitlines())

    def excludes(self, path: str) -> bool:
        """Whether the file at ``path`` stays out."""
        return self._spec.match_file(path)

    def prunes(self, folder: str) -> bool:
        """Whether nothing below ``folder`` can be wanted."""
        return not self._may_return and self._spec.match_file(folder + "/")


def _from_docker(line: str) -> str:
    """A .dockerignore pattern as a gitignore pattern; empty for none (comments start in the first column)."""
    if line.startswith("#"):
        return ""
    pattern = line.strip()
    negated = pattern.startswith("!")
    if negated:
        pattern = pattern[1:].strip()
    pattern = posixpath.normpath(pattern).lstrip("/") if pattern else ""
    if pattern in {"", "."}:
        return ""
    return ("!" if negated else "") + "/" + pattern


class GitIgnore:
    """The rules of a project's ``.gitignore`` files, given by the folder that each lies in (``""`` for the root)."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        if texts:
            import pathspec

        self._specs = {
            folder: pathspec.GitIgnoreSpec.from_lines(text.lstrip("\ufeff").splitlines())
            for folder, text in texts.items()
        }

    def excludes(self, path: str) -> bool:
        """Whether git ignores the file at ``path``, or a folder above it."""
        parts = path.split("/")
        excluded = False
        for depth in range(len(parts)):
            spec = self._specs.get("/".join(parts[:depth]))
            if spec is not None:
                verdict = spec.check_file("/".join(parts[depth:])).include
                excluded = excluded if verdict is None else verdict
        return excluded


def keep_weights(ignored: Iterable[str], weights: Iterable[str]) -> frozenset[str]:
    """Of the ``ignored`` paths, those that belong to weights: the weights, and what lies in a folder with some.

    The project's root is no such folder, or one weight there would bring back everything.
    """
    weights = frozenset(weights)
    folders = {posixpath.dirname(path) for path in weights} - {""}

    def lies_with_weights(path: str) -> bool:
        folder = posixpath.dirname(path)
        while folder:
            if folder in folders:
                return True
            folder = posixpath.dirname(folder)
        return False

    return frozenset(path for path in ignored if path in weights or lies_with_weights(path))
