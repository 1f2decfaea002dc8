"""Where the files of a wheel go in the image: pure, names in and paths out.

Source: the "Binary distribution format" and "Recording installed projects" specifications of packaging.python.org,
and pip's ``operations/install/wheel.py`` for what they leave open (a generated script replaces one of the same name
in ``scripts``; an installed virtual environment keeps headers under ``include/site``).
"""

from __future__ import annotations

import base64
import configparser
import csv
import io
import posixpath
import re
from collections.abc import Mapping

import msgspec

from layerforge.errors import LayerError

INTERPRETER = "/usr/local/bin/python"
"""What console scripts are run by."""

INSTALLER = b"layerforge\n"

_HASHES = {"sha256", "sha384", "sha512"}
_SCRIPT = re.compile(r"[^/\\\0\s][^/\\\0\n]*")
_RESERVED = re.compile(r"python(3(\.\d+)?)?")


class Place(msgspec.Struct, frozen=True):
    """Where one member goes: ``path`` in the image, mode, and whether a ``#!python`` line must be rewritten."""

    path: str
    mode: int
    is_script: bool = False


class RecordLine(msgspec.Struct, frozen=True):
    """What RECORD says of a file: ``digest`` in its own notation, without the algorithm; ``size`` in bytes or None."""

    algorithm: str
    digest: str
    size: int | None


class Prefix(msgspec.Struct, frozen=True):
    """The folders of an installation, relative to the root of the image. What has no folder is left out."""

    site_packages: str
    scripts: str = ""
    data: str = ""
    headers: str = ""

    @classmethod
    def of(cls, minor: str) -> Prefix:
        """``/usr/local`` for Python ``minor`` (``3.13``)."""
        return cls(
            site_packages=f"usr/local/lib/python{minor}/site-packages",
            scripts="usr/local/bin",
            data="usr/local",
            headers=f"usr/local/include/site/python{minor}",
        )


def check_wheel_version(text: str, label: str) -> None:
    """Refuse a wheel whose ``WHEEL`` file announces a format of later than version 1.

    Raises:
        LayerError: it does, or says nothing.
    """
    found = re.search(r"^Wheel-Version:[ \t]*(\S+)", text, re.MULTILINE | re.IGNORECASE)
    version = found[1] if found else ""
    if version.split(".")[0] != "1":
        raise LayerError(f"has wheel format {version or 'unknown'!r}; only version 1 is known", where=label)


def parse_record(text: str, label: str) -> dict[str, RecordLine]:
    """What ``RECORD`` says of each member.

    Raises:
        LayerError: it is malformed, or uses a hash that is weaker than sha256.
    """
    from installer.records import InvalidRecordEntry, parse_record_file  # not at the top: it brings socket along

    lines: dict[str, RecordLine] = {}
    try:
        for path, hash_, size in parse_record_file(text.splitlines()):
            algorithm, _, digest = hash_.partition("=")
            if hash_ and algorithm not in _HASHES:
                raise LayerError(f"RECORD has a hash of an unsuitable kind: {algorithm!r}", where=label)
            lines[path] = RecordLine(algorithm, digest.rstrip("="), int(size) if size else None)
    except (InvalidRecordEntry, csv.Error, ValueError) as error:
        raise LayerError(f"RECORD is malformed: {error}", where=label) from error
    return lines


def place_member(name: str, executable: bool, dist_info: str, prefix: Prefix, label: str) -> Place | None:
    """Where the member ``name`` goes, or None for what is left out (compiled bytecode: it is made anew).

    ``dist_info`` is the wheel's metadata folder; ``label`` names the wheel in messages.

    Raises:
        LayerError: it is in a data scheme that does not exist.
    """
    if "__pycache__" in name.split("/"):
        return None
    mode = 0o755 if executable else 0o644
    stem = dist_info.removesuffix(".dist-info")
    if not name.startswith(f"{stem}.data/"):
        return Place(f"{prefix.site_packages}/{name}", mode)
    scheme, _, rest = name[len(stem) + 6 :].partition("/")
    if not rest:
        raise LayerError(f"{name} is in no data scheme", where=label)
    if scheme in ("purelib", "platlib"):
        return Place(f"{prefix.site_packages}/{rest}", mode)
    if scheme in ("scripts", "headers", "data") and not getattr(prefix, scheme):
        return None
    if scheme == "scripts":
        _check_script(rest, label)
        return Place(f"{prefix.scripts}/{rest}", 0o755, is_script=True)
    if scheme == "headers":
        return Place(f"{prefix.headers}/{stem.rpartition('-')[0]}/{rest}", mode)
    if scheme == "data":
        place = Place(f"{prefix.data}/{rest}", mode)
        if place.path.startswith(f"{prefix.scripts}/"):
            _check_script(place.path[len(prefix.scripts) + 1 :], label)
        elif rest == "pyvenv.cfg":
            raise LayerError(f"{name} would replace what makes /usr/local a virtual environment", where=label)
        return place
    raise LayerError(f"{name} is in no data scheme that is known", where=label)


def generate_scripts(entry_points: str, prefix: Prefix, label: str) -> dict[str, bytes]:
    """The console and GUI scripts of ``entry_points.txt``: path in the image, and text.

    The text is this module's own, not a library's, for it decides the layer's digest.

    Raises:
        LayerError: the file is malformed, or a script has an impossible name.
    """
    from installer.utils import parse_entrypoints

    scripts: dict[str, bytes] = {}
    try:
        found = list(parse_entrypoints(entry_points))
    except (configparser.Error, AssertionError, AttributeError, ValueError) as error:
        raise LayerError(f"entry_points.txt is malformed: {error}".rstrip(": "), where=label) from error
    for name, module, attribute, _ in found:
        _check_script(name, label)
        scripts[f"{prefix.scripts}/{name}"] = (
            f"#!{INTERPRETER}\nimport sys\n\nfrom {module} import {attribute.split('.')[0]}\n\n"
            f'if __name__ == "__main__":\n    sys.exit({attribute}())\n'
        ).encode()
    return scripts


def rewrite_shebang(script: bytes) -> bytes:
    """``script`` with a first line of ``#!python…`` replaced by the image's interpreter."""
    if not script.startswith(b"#!python"):
        return script
    return b"#!" + INTERPRETER.encode() + b"\n" + script.partition(b"\n")[2]


def format_record(rows: Mapping[str, tuple[str, int | None]], own_path: str, prefix: Prefix) -> bytes:
    """The RECORD of what was installed: image path to ``(algorithm=digest, size)``, with a line for itself.

    Paths are relative to site-packages, as pip writes them.
    """
    output = io.StringIO(newline="")
    writer = csv.writer(output, lineterminator="\n")
    lines = [(_relative(path, prefix.site_packages), *row) for path, row in rows.items()]
    lines.append((_relative(own_path, prefix.site_packages), "", None))
    for path, hash_, size in sorted(lines):
        writer.writerow((path, hash_, "" if size is None else size))
    return output.getvalue().encode()


def _relative(path: str, folder: str) -> str:
    inside = path.startswith(folder + "/")
    return path[len(folder) + 1 :] if inside else posixpath.relpath("/" + path, "/" + folder)


def format_digest(digest: bytes) -> str:
    """``digest`` in RECORD's notation: URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _check_script(name: str, label: str) -> None:
    if not _SCRIPT.fullmatch(name) or name in {".", ".."}:
        raise LayerError(f"{name!r} cannot be the name of a script", where=label)
    if _RESERVED.fullmatch(name):
        raise LayerError(f"its script {name!r} would replace the interpreter", where=label)
