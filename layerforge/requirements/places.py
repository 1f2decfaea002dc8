"""One requirement: a name with versions, or a place (URL, repository, path) to take a package from."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from layerforge.requirements.values import Origin, RequirementLine, normalise_name, without_user

if TYPE_CHECKING:  # imported where they are used: packaging brings subprocess along
    from packaging.requirements import Requirement

_ARCHIVES = (".tar.gz", ".tgz", ".zip", ".tar.bz2", ".tar.xz", ".tar")
_NAMED = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)\s*(?:\[(?P<extras>[^\]]*)\])?\s*@\s*(?P<place>.+)", re.DOTALL)
_OUTSIDE = "copy it into the project and name it by a relative path"

Kind = Callable[[str], str]
"""Tells what a path of the project is: ``file``, ``folder``, or nothing."""


class Refused(Exception):
    """A requirement that cannot be understood or honoured."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def read_requirement(text: str, path: str, line: int, kind: Kind, *, editable: bool = False) -> RequirementLine:
    """``text`` as it stands on ``line`` of the file ``path`` of the project.

    Raises:
        Refused: it cannot be understood, or its place cannot be one.
    """
    named = _NAMED.fullmatch(text)
    place, marker = _split_marker(named["place"] if named else text)
    extras = tuple(e.strip() for e in (named["extras"] or "").split(",") if e.strip()) if named else ()
    origin, guess = _read_place(place, path, kind, editable=editable, forced=bool(named))
    if origin is None:
        if editable:
            raise Refused(f"{place} is no folder of the project and no repository", "write `-e ./folder`")
        return _read_named(text, path, line)
    if not extras and "[" in guess:
        guess, _, rest = guess.partition("[")
        extras = tuple(e.strip() for e in rest.rstrip("]").split(",") if e.strip())
    name = normalise_name(named["name"]) if named else normalise_name(guess)
    if marker:
        _check(f"x; {marker}", text)
    text = describe(name, extras, origin, marker)
    return RequirementLine(text, name, _fragment_hash(place), path, line, extras, marker, origin)


def describe(name: str, extras: tuple[str, ...], origin: Origin, marker: str) -> str:
    """The requirement as one line, without passwords."""
    place = without_user(origin.url) or origin.path
    details = f"@{origin.reference}" if origin.reference else ""
    details += f"#subdirectory={origin.subdirectory}" if origin.subdirectory else ""
    listed = f"[{','.join(extras)}]" if extras else ""
    word = "-e " if origin.editable else ""
    scheme = "git+" if origin.kind == "git" else ""
    return f"{word}{name}{listed} @ {scheme}{place}{details}{f' ; {marker}' if marker else ''}"


def join(path: str, target: str) -> str:
    """``target`` as seen from the file ``path``; normalised, POSIX."""
    parts: list[str] = []
    folder = path.rpartition("/")[0]
    for part in (target if target.startswith("/") else f"{folder}/{target}" if folder else target).split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return ("/" if target.startswith("/") else "") + "/".join(parts)


def locate(target: str, path: str, kind: Kind) -> str:
    """The path in the project that ``target`` means in the file ``path``: as seen from the project, else from the file.

    Raises:
        Refused: it is outside of the project.
    """
    candidates = (join("", target), join(path, target))
    for candidate in candidates:
        if not candidate.startswith(("/", "../", "~")) and candidate != ".." and kind(candidate or "."):
            return candidate or "."
    if candidates[0].startswith(("/", "../", "~")) or candidates[0] == "..":
        raise Refused(f"{target} is outside of the project", _OUTSIDE)
    raise Refused(f"there is no {target} in the project", "mend the path, or put the file there")


def name_of_wheel(place: str) -> str:
    """The project that the wheel at ``place`` is of.

    Raises:
        Refused: its file name is not that of a wheel.
    """
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    filename = _filename(place)
    try:
        return str(parse_wheel_filename(filename)[0])
    except InvalidWheelFilename as error:
        raise Refused(f"{filename} is not the name of a wheel") from error


# -- places ----------------------------------------------------------------------------------------------------


def _read_place(place: str, path: str, kind: Kind, *, editable: bool, forced: bool) -> tuple[Origin | None, str]:
    """Where ``place`` is and the name that it suggests; None if ``place`` is the name of a project."""
    plain, fragment = _split_fragment(place)
    guess = fragment.get("egg", "")
    below = _check_subdirectory(fragment.get("subdirectory", ""))
    if system := re.match(r"(git|hg|svn|bzr)\+", plain):
        if system[1] != "git":
            raise Refused(f"a package cannot be taken from a {system[1]} repository", "use git, or build a wheel of it")
        return _read_repository(plain, below, guess)
    if re.match(r"https?://", plain):
        return _read_url(plain, below, guess)
    if re.match(r"[a-z][a-z0-9+.-]*://", plain) and not plain.startswith("file:"):
        raise Refused(f"{without_user(plain)} cannot be fetched", "a URL begins with https:// or git+https://")
    local = plain.removeprefix("file://localhost").removeprefix("file://").removeprefix("file:")
    looks_local = forced or editable or local != plain
    local, bracket, listed = local.partition("[")
    looks_local = looks_local or local.startswith((".", "/", "~")) or local.endswith((".whl", *_ARCHIVES))
    if not looks_local and not ("/" in local and kind(join("", local))):
        return None, ""
    found = locate(local, path, kind)
    if kind(found) == "folder":
        name = guess or (f"[{listed}" if bracket else "")
        return Origin("folder", path=found, subdirectory=below, editable=editable), name
    if editable:
        raise Refused(f"{local} is a file: only a folder can be installed with -e", "leave -e out")
    if found.endswith(".whl"):
        return Origin("wheel", path=found), name_of_wheel(found)
    if found.endswith(_ARCHIVES):
        return Origin("archive", path=found, subdirectory=below), guess or name_of_archive(found)
    raise Refused(f"{local} is neither a wheel nor an archive nor a folder")


def _read_repository(plain: str, below: str, guess: str) -> tuple[Origin, str]:
    url = plain.removeprefix("git+")
    if not re.match(r"(https?|ssh|git)://", url):
        hint = "name a server: git+https://…, or git+ssh://git@…"
        raise Refused(f"other machines cannot reach {without_user(url)}", hint)
    scheme, _, rest = url.partition("://")
    host, slash, tail = rest.partition("/")
    address, _, reference = tail.partition("@")
    url = f"{scheme}://{host}{slash}{address}"
    guess = guess or ("cog" if re.search(r"replicate/cog(?:\.git)?/?$", address) else "")
    return Origin("git", url=url, reference=reference, subdirectory=below), guess


def _read_url(plain: str, below: str, guess: str) -> tuple[Origin, str]:
    filename = _filename(plain)
    if filename.endswith(".whl"):
        return Origin("wheel", url=plain), name_of_wheel(plain)
    if filename.endswith(_ARCHIVES) or re.search(r"/(zipball|tarball)/", plain):
        return Origin("archive", url=plain, subdirectory=below), guess or name_of_archive(plain)
    hint = "it ends in .whl, .tar.gz or .zip; a repository begins with git+https://"
    raise Refused(f"a URL must be that of a wheel or a source archive ({without_user(plain)})", hint)


def name_of_archive(place: str) -> str:
    """The project that the source archive at ``place`` is of, as far as its file name tells; else nothing."""
    match = re.fullmatch(r"([A-Za-z0-9][\w.]*(?:-[A-Za-z_][\w.]*)*)-v?\d[\w.+!-]*", _stem(_filename(place)))
    return match[1] if match and not re.search(r"/(archive|zipball|tarball)/", place) else ""


def _filename(place: str) -> str:
    return unquote(re.sub(r"[?#].*", "", place).rpartition("/")[2])


def _stem(filename: str) -> str:
    return next((filename.removesuffix(suffix) for suffix in _ARCHIVES if filename.endswith(suffix)), filename)


def _split_marker(text: str) -> tuple[str, str]:
    """A place and the environment marker behind it: ``;`` with a space before or after it, as PEP 508 has it."""
    place, separator, marker = (*re.split(r"(\s+;\s*|;\s+)", text, maxsplit=1), "", "")[:3]
    return (place.strip(), marker.strip()) if separator else (text.strip(), "")


def _split_fragment(place: str) -> tuple[str, dict[str, str]]:
    plain, _, fragment = place.partition("#")
    return plain.strip(), dict(parse_qsl(fragment))


def _fragment_hash(place: str) -> tuple[str, ...]:
    digest = _split_fragment(place)[1].get("sha256", "").lower()
    return (digest,) if re.fullmatch(r"[0-9a-f]{64}", digest) else ()


def _check_subdirectory(below: str) -> str:
    normal = join("", below)
    if normal.startswith(("/", "..")):
        raise Refused(f"subdirectory={below} leads out of the source")
    return normal


# -- names -----------------------------------------------------------------------------------------------------


def _read_named(text: str, path: str, line: int) -> RequirementLine:
    requirement = _check(text, text)
    name = normalise_name(requirement.name)
    extras, marker = tuple(sorted(requirement.extras)), str(requirement.marker or "")
    return RequirementLine(str(requirement), name, (), path, line, extras, marker)


def _check(text: str, shown: str) -> Requirement:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).split("\n")[0]
        single = re.fullmatch(r"([\w.\[\]-]+)\s*=\s*([\w.]+)", shown)
        hint = f"write `{single[1]}=={single[2]}`" if single else "write it as `name==version`"
        raise Refused(f"{without_user(shown)!r} is not a requirement: {reason}", hint) from error
