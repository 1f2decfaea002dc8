"""A built wheel as the same bytes whichever backend wrote it: order, times, modes and compression are ours.

Members are stored, since they are compressed when they become a layer, and zlib's output differs between its builds.
Source: https://packaging.python.org/en/latest/specifications/binary-distribution-format/
"""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

from layerforge.errors import LayerError

_TIME = (1980, 1, 2, 0, 0, 0)


def write_canonical(source: Path, target: Path) -> None:
    """Write the wheel at ``source`` to ``target``.

    Raises:
        LayerError: it is no zip file, or holds a member twice.
    """
    try:
        with zipfile.ZipFile(source) as built, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as wheel:
            members = [member for member in built.infolist() if not member.is_dir()]
            names = [member.filename for member in members]
            if len(set(names)) < len(names):
                raise LayerError("holds a member twice", where=source.name)
            for member in sorted(members, key=lambda each: (".dist-info/" in each.filename, each.filename)):
                entry = zipfile.ZipInfo(member.filename, _TIME)
                is_program = (member.external_attr >> 16) & 0o111
                entry.create_system = 3  # Unix, where the mode below means something
                entry.external_attr = (stat.S_IFREG | (0o755 if is_program else 0o644)) << 16
                wheel.writestr(entry, built.read(member))
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise LayerError(f"the backend wrote no wheel: {error}", where=source.name) from error
