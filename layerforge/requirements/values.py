"""Requirements as values."""

from __future__ import annotations

import re

import msgspec

PROVIDED = frozenset({"cog", "coglet", "layerforge", "layerforge-runtime"})
"""Projects that a requirement may name in vain: the runtime layer has what they stand for."""


class Origin(msgspec.Struct, frozen=True):
    """Where a package is to be taken from, if not from an index.

    ``kind`` is ``wheel`` or ``archive`` (at ``url``, or at ``path`` in the project), ``git`` (``url``, and a branch,
    tag or commit as ``reference``) or ``folder`` (``path`` in the project). ``url`` may hold ``${NAME}``, to be
    replaced from the environment by whoever connects. ``subdirectory`` is where in the source the package is.
    """

    kind: str
    url: str = ""
    path: str = ""
    reference: str = ""
    subdirectory: str = ""
    editable: bool = False

    @property
    def is_built(self) -> bool:
        """Whether there is no wheel yet."""
        return self.kind != "wheel"


class RequirementLine(msgspec.Struct, frozen=True):
    """One requirement: its text (PEP 508), normalised name, accepted sha256 digests (hexadecimal; none: any) and place.

    ``path`` and ``line`` say where it was written. ``origin`` is where it is to be taken from, None for an index; the
    name may be empty then, as long as nobody has looked into it. ``settings`` (``name=value``) are for the program that
    builds it.
    """

    text: str
    name: str
    hashes: tuple[str, ...]
    path: str
    line: int
    extras: tuple[str, ...] = ()
    marker: str = ""
    origin: Origin | None = None
    settings: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """``file:line``."""
        return f"{self.path}:{self.line}" if self.line else self.path


class Requirements(msgspec.Struct, frozen=True):
    """All that is asked for, and where to look.

    URLs may hold ``${NAME}``, to be replaced from the environment by whoever connects. ``index_url`` is empty for the
    machine's default. What of ``find_links`` has no ``://`` is a folder of the project. ``no_binary`` and
    ``only_binary`` are names, or ``:all:``. ``frozen`` is the path of a lock of uv's that has decided already, with the
    ``extras`` and ``groups`` to take. ``notices`` are for the user to read; nothing depends on them.
    """

    lines: tuple[RequirementLine, ...] = ()
    constraints: tuple[RequirementLine, ...] = ()
    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    no_binary: tuple[str, ...] = ()
    only_binary: tuple[str, ...] = ()
    no_index: bool = False
    prereleases: bool = False
    require_hashes: bool = False
    frozen: str = ""
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked for."""
        return not self.lines and not self.frozen

    def find_origin(self, name: str) -> RequirementLine | None:
        """The first line that asks for the project ``name``, or None."""
        normalised = normalise_name(name)
        return next((line for line in self.lines if line.name == normalised), None)

    def must_build(self, name: str) -> bool:
        """Whether wheels of the project ``name`` are not wanted."""
        return bool({":all:", name} & set(self.no_binary))

    def may_build(self, name: str) -> bool:
        """Whether the project ``name`` may be built from an index's source archive."""
        return self.must_build(name) or not {":all:", name} & set(self.only_binary)

    @property
    def local_paths(self) -> tuple[str, ...]:
        """Files and folders of the project that the answer depends on."""
        places = [line.origin.path for line in self.lines if line.origin is not None and line.origin.path]
        links = [link for link in self.find_links if "://" not in link]
        beside = [self.frozen, self.frozen.removesuffix("uv.lock") + "pyproject.toml"] if self.frozen else []
        return tuple(dict.fromkeys((*places, *links, *beside)))

    @property
    def identity(self) -> tuple[str, ...]:
        """Everything that decides a resolution, places, notices and passwords apart: what staleness goes by."""
        options = (
            *(f"--hash={line.name}:{digest}" for line in self.lines for digest in line.hashes),
            *(f"--config-settings={line.name}:{value}" for line in self.lines for value in line.settings),
            f"--index-url={without_user(self.index_url)}" if self.index_url else "",
            *(f"--extra-index-url={without_user(url)}" for url in self.extra_index_urls),
            *(f"--find-links={without_user(url)}" for url in self.find_links),
            *(f"--no-binary={name}" for name in sorted(self.no_binary)),
            *(f"--only-binary={name}" for name in sorted(self.only_binary)),
            "--no-index" if self.no_index else "",
            "--pre" if self.prereleases else "",
            "--require-hashes" if self.require_hashes else "",
            *(f"--extra={name}" for name in self.extras),
            *(f"--group={name}" for name in self.groups),
            f"frozen={self.frozen}" if self.frozen else "",
        )
        constraints = sorted(f"-c {line.text}" for line in self.constraints)
        return (*sorted(line.text for line in self.lines), *constraints, *filter(None, options))


def normalise_name(name: str) -> str:
    """The name of a project as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def without_user(url: str) -> str:
    """``url`` without user name and password; of an SSH URL, where the user is no secret, only without the latter."""
    if re.match(r"(?:git\+)?ssh://", url):
        return re.sub(r"//([^/@:]*):[^/@]*@", r"//\1@", url)
    return re.sub(r"//[^/@]*@", "//", url)
