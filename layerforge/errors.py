"""Every error that Layerforge raises on purpose, as one tree.

::

    LayerforgeError             what happened, where, and a hint: exit status 1
    ├── ConfigError             cog.yaml cannot be understood; carries every Problem found
    ├── SchemaError             the model's signature cannot be read statically
    ├── LockError               pylock.layerforge.toml is stale, damaged or from a newer format
    │   └── OutdatedLockError   it is from an older format, and is made anew where that is allowed
    ├── ResolveError            no set of packages satisfies what was asked for
    ├── SourceError             bytes could not be had: mirror, index or file
    │   └── VerificationError   bytes came, but are not the ones that were named
    ├── LayerError              a layer cannot be written as described
    ├── StoreError              the local store cannot be read or written
    ├── InvalidReference        an image reference is malformed
    ├── ImageError              a manifest or config breaks the OCI image specification
    ├── RebaseError             an image cannot be put on another base; carries every Refusal found
    ├── RegistryError           a registry refused, or could not be reached
    ├── InputError              what was given for a prediction does not fit the model, or cannot be read or written
    └── EngineError             an image could not be started

Anything else that escapes is a bug, and keeps its traceback.
"""

from __future__ import annotations

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with an input file.

    ``line`` counts from 1; 0 means the file as a whole. ``hint`` is the next edit or command, or empty.
    """

    path: str
    line: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else self.path
        return f"{where}: {self.message}"


class LayerforgeError(Exception):
    """What happened (``message``), where (``where``: ``file:line``, path or URL), and what to do (``hint``)."""

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class ConfigError(LayerforgeError):
    """``cog.yaml`` cannot be understood. ``problems`` holds everything found, in file order."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class SchemaError(LayerforgeError):
    """The model's signature cannot be turned into a schema without running it."""


class LockError(LayerforgeError):
    """The lock is stale, damaged, or of a newer format."""


class OutdatedLockError(LockError):
    """The lock was written by an older Layerforge, in a format that this one no longer reads."""


class ResolveError(LayerforgeError):
    """No set of packages satisfies the requirements."""


class SourceError(LayerforgeError):
    """Bytes could not be had: a mirror, an index or a file did not give them."""


class VerificationError(SourceError):
    """Bytes arrived that are not the ones named: wrong digest, size or signature."""


class LayerError(LayerforgeError):
    """A layer cannot be written as its recipe says."""


class StoreError(LayerforgeError):
    """The local store cannot be read or written."""


class InvalidReference(LayerforgeError):
    """An image reference is malformed."""


class ImageError(LayerforgeError):
    """A manifest, index or config breaks the OCI image specification."""


class RegistryError(LayerforgeError):
    """A registry refused a request or could not be reached.

    ``status`` is the HTTP status, 0 without an answer; ``code`` the registry's own word for it, such as ``DENIED``.
    """

    def __init__(self, message: str, *, where: str = "", hint: str = "", status: int = 0, code: str = "") -> None:
        super().__init__(message, where=where, hint=hint)
        self.status = status
        self.code = code


class RebaseError(LayerforgeError):
    """An image cannot be put on another base. ``reasons`` has one line for each thing that would break."""

    def __init__(self, message: str, reasons: tuple[str, ...] = (), *, where: str = "", hint: str = "") -> None:
        super().__init__("\n".join((message, *(f"  {reason}" for reason in reasons))), where=where, hint=hint)
        self.reasons = reasons


class InputError(LayerforgeError):
    """What was given for a prediction does not fit the model's inputs, or a file of it cannot be read or written."""


class EngineError(LayerforgeError):
    """An image could not be started, or stopped unexpectedly."""
