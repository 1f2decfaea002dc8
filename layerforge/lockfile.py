"""The lock as a file: ``pylock.layerforge.toml``, valid PEP 751, readable by pip and uv.

Packages are in the standard's own tables; what the standard has no word for is under ``[tool.layerforge]``. The
form is canonical: one value has one encoding, one .deb, wheel or requirement a line, so that differences read well.
docs/lock.md tells what each field means.
Source: https://packaging.python.org/en/latest/specifications/pylock-toml/
"""

from __future__ import annotations

from typing import Any

import msgspec
import tomli

from layerforge.errors import ImageError, LockError, OutdatedLockError
from layerforge.lock import Lock, LockedBase, LockedDeb, LockedFile, LockedPython, LockedWheel, PlatformLock, Wanted
from layerforge.lockedits import find_difference, find_line
from layerforge.lockentries import (
    AGAIN,
    Contradiction,
    PackageEntry,
    Packages,
    decode_package,
    describe_environment,
    describe_package,
    encode_packages,
    read_packages,
)
from layerforge.locktoml import format_array, format_string, format_table
from layerforge.oci import Digest, convert

FORMAT = 3
"""The revision of ``[tool.layerforge]``; raised whenever an older Layerforge would misread the file."""

_HEADER = (
    "# Made by Layerforge from cog.yaml, and checked when it is read: to change it, change cog.yaml and lock again.\n"
)

# -- encoding --------------------------------------------------------------------------------------------------


def encode_lock(lock: Lock) -> bytes:
    """The file of ``lock``.

    Raises:
        LockError: two platforms have different files of one name, which the format cannot tell apart.
    """
    lock = Lock(lock.wanted, tuple(sorted(lock.platforms, key=lambda section: section.platform)))
    minors = sorted({platform.python.minor for platform in lock.platforms}, key=_version_key)
    lines = [
        _HEADER,
        'lock-version = "1.0"',
        format_array(
            "environments",
            (format_string(describe_environment(platform.platform)) for platform in lock.platforms),
        ),
        f"requires-python = {format_string(_requires_python(minors))}",
        'created-by = "layerforge"',
    ]
    lines += encode_packages(lock)
    lines += ["", "[tool.layerforge]", f"format = {FORMAT}", f"inputs = {format_string(lock.wanted.digest)}"]
    lines += ["", *_encode_wanted(lock.wanted)]
    for platform in lock.platforms:
        lines += ["", *_encode_platform(platform)]
    return ("\n".join(lines) + "\n").encode()


def _encode_wanted(wanted: Wanted) -> list[str]:
    return [
        "[tool.layerforge.wanted]",
        *(f"{name} = {format_string(getattr(wanted, name))}" for name in ("python", "provider", "base")),
        f"revision = {wanted.revision}",
        *([f"max_layers = {wanted.max_layers}"] if wanted.max_layers else []),
        *(format_array(name, map(format_string, getattr(wanted, name))) for name in ("system", "packages", "runtime")),
    ]


def _encode_platform(lock: PlatformLock) -> list[str]:
    return [
        "[[tool.layerforge.platforms]]",
        f"platform = {format_string(lock.platform)}",
        f"release = {format_string(lock.release)}",
        *([f"image = {format_table(_encode_base(lock.image))}"] if lock.image else []),
        f"python = {format_table(_encode_python(lock.python))}",
        format_array("packages", map(describe_package, lock.packages)),
        format_array("base", map(_encode_deb, lock.base)),
        format_array("interpreter", map(_encode_deb, lock.interpreter)),
        format_array("system", map(_encode_deb, lock.system)),
        format_array("runtime", map(_encode_runtime, lock.runtime)),
    ]


def _encode_base(base: LockedBase) -> dict[str, Any]:
    fields = {name: getattr(base, name) for name in ("reference", "media_type", "size")}
    return {**fields, "sha256": base.manifest.hex}


def _encode_python(python: LockedPython) -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: getattr(python, name) for name in ("minor", "version", "provider", "home", "reason")
    }
    if python.archive is not None:
        archive = {name: getattr(python.archive, name) for name in ("filename", "url", "size")}
        fields["archive"] = {**archive, "sha256": python.archive.digest.hex}
    return fields


def _encode_deb(deb: LockedDeb) -> str:
    fields = {name: getattr(deb, name) for name in ("name", "version", "architecture", "archive", "path", "size")}
    return format_table({**fields, "sha256": deb.digest.hex})


def _encode_runtime(wheel: LockedWheel) -> str:
    fields = {name: getattr(wheel, name) for name in ("name", "version", "filename", "url", "size", "bin")}
    return format_table({**fields, "sha256": wheel.digest.hex})


def _requires_python(minors: list[str]) -> str:
    return f"=={minors[0]}.*" if len(minors) == 1 else f">={minors[0]}" if minors else ">=3"


def _version_key(minor: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else 0 for part in minor.split("."))


# -- decoding --------------------------------------------------------------------------------------------------


class _Deb(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    version: str
    architecture: str
    archive: str
    path: str
    size: int
    sha256: str


class _Runtime(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    version: str
    filename: str
    url: str
    size: int
    bin: str
    sha256: str


class _File(msgspec.Struct, forbid_unknown_fields=True):
    filename: str
    url: str
    size: int
    sha256: str


class _Python(msgspec.Struct, forbid_unknown_fields=True):
    minor: str
    version: str
    provider: str
    home: str
    reason: str
    archive: _File | None = None


class _Base(msgspec.Struct, forbid_unknown_fields=True):
    reference: str
    media_type: str
    size: int
    sha256: str


class _Platform(msgspec.Struct, forbid_unknown_fields=True):
    platform: str
    release: str
    python: _Python
    packages: tuple[PackageEntry, ...]
    base: tuple[_Deb, ...]
    interpreter: tuple[_Deb, ...]
    system: tuple[_Deb, ...]
    runtime: tuple[_Runtime, ...]
    image: _Base | None = None


class _Wanted(msgspec.Struct, forbid_unknown_fields=True):
    python: str
    provider: str
    base: str
    revision: int
    system: tuple[str, ...]
    packages: tuple[str, ...]
    runtime: tuple[str, ...]
    max_layers: int = 0


class _Tool(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    inputs: Digest
    wanted: _Wanted
    platforms: tuple[_Platform, ...] = ()


def decode_lock(data: bytes, path: str) -> Lock:
    """The Lock in the file ``data``; ``path`` names it in messages.

    A file that says more, less or something else than :func:`encode_lock` would write is refused; how it is laid
    out (white space, comments, line ends) does not matter.

    Raises:
        LockError: it is not TOML, of a newer format, damaged or edited.
        OutdatedLockError: it is of an older format.
    """
    from packaging.pylock import Pylock, PylockValidationError  # not at the top: it brings subprocess along

    try:
        text = data.decode("utf-8").replace("\r\n", "\n")
        document = tomli.loads(text)
    except UnicodeDecodeError as error:
        raise LockError("is not UTF-8 text", where=path, hint=AGAIN) from error
    except tomli.TOMLDecodeError as error:
        hint = "take one side of a merge as it is, then `layerforge lock`; or resolve anew: `layerforge lock --upgrade`"
        raise LockError(f"is not valid TOML: {error.msg}", where=f"{path}:{error.lineno}", hint=hint) from error
    tool = _decode_tool(document, path)
    try:
        Pylock.from_dict(document)
        packages = read_packages(document["packages"])
        platforms = tuple(_decode_platform(platform, packages) for platform in tool.platforms)
        lock = Lock(Wanted(**msgspec.structs.asdict(tool.wanted)), platforms)
    except (PylockValidationError, Contradiction, ImageError, ValueError, TypeError, KeyError) as error:
        where = f"{path}:{find_line(text, str(error))}".removesuffix(":0")
        raise LockError(f"does not hold together: {error}", where=where, hint=AGAIN) from error
    difference = find_difference(document, tomli.loads(encode_lock(lock).decode()), "")
    if difference:
        where = f"{path}:{find_line(text, difference)}".removesuffix(":0")
        raise LockError(f"has been edited: {difference} is not what belongs here", where=where, hint=AGAIN)
    return lock


def _decode_tool(document: dict[str, Any], path: str) -> _Tool:
    table = document.get("tool", {})
    table = table.get("layerforge") if isinstance(table, dict) else None
    if not isinstance(table, dict):
        hint = "give the other lock another name, then `layerforge lock`"
        raise LockError("is not a lock of Layerforge's: it has no [tool.layerforge]", where=path, hint=hint)
    version = table.get("format")
    if isinstance(version, int) and version > FORMAT:
        hint = "use the Layerforge that wrote it, or a later one; or resolve anew: `layerforge lock --upgrade`"
        raise LockError(f"has format {version}; this Layerforge knows {FORMAT}", where=path, hint=hint)
    if isinstance(version, int) and version < FORMAT:
        hint = "lock again, look at it, and commit it: `layerforge lock`"
        raise OutdatedLockError(
            f"has format {version}, of an older Layerforge; now it is {FORMAT}", where=path, hint=hint
        )
    try:
        return convert(table, _Tool)
    except msgspec.ValidationError as error:
        raise LockError(f"does not hold together: [tool.layerforge]: {error}", where=path, hint=AGAIN) from error


def _decode_platform(platform: _Platform, packages: Packages) -> PlatformLock:
    names = [package.name for package in platform.packages]
    if twice := [name for name in names if names.count(name) > 1]:
        raise Contradiction(f"{platform.platform} has {twice[0]!r} twice")
    return PlatformLock(
        platform=platform.platform,
        release=platform.release,
        python=_decode_python(platform.python),
        base=tuple(map(_decode_deb, platform.base)),
        interpreter=tuple(map(_decode_deb, platform.interpreter)),
        system=tuple(map(_decode_deb, platform.system)),
        packages=tuple(decode_package(entry, platform.platform, packages) for entry in platform.packages),
        runtime=tuple(map(_decode_runtime, platform.runtime)),
        image=_decode_base(platform.image) if platform.image else None,
    )


def _decode_base(base: _Base) -> LockedBase:
    return LockedBase(base.reference, Digest.from_hex(base.sha256), base.size, base.media_type)


def _decode_python(python: _Python) -> LockedPython:
    archive = _decode_file(python.archive) if python.archive else None
    return LockedPython(python.minor, python.version, python.provider, python.home, python.reason, archive)


def _decode_file(file: _File) -> LockedFile:
    return LockedFile(file.filename, file.url, file.size, Digest.from_hex(file.sha256))


def _decode_deb(deb: _Deb) -> LockedDeb:
    digest = Digest.from_hex(deb.sha256)
    return LockedDeb(deb.name, deb.version, deb.architecture, deb.archive, deb.path, deb.size, digest)


def _decode_runtime(wheel: _Runtime) -> LockedWheel:
    digest = Digest.from_hex(wheel.sha256)
    return LockedWheel(wheel.name, wheel.version, wheel.filename, wheel.url, wheel.size, digest, wheel.bin)
