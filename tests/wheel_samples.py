"""Made-up wheels, sound and broken, for the tests of everything that handles wheels."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

TIME = (2020, 1, 1, 0, 0, 0)


def record_line(name: str, data: bytes) -> str:
    """The line of RECORD for a file."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    output = io.StringIO(newline="")
    csv.writer(output, lineterminator="\n").writerow((name, f"sha256={digest}", len(data)))
    return output.getvalue()


def make_wheel(
    name: str = "sample",
    version: str = "1.0",
    files: Mapping[str, bytes] | None = None,
    *,
    requires: tuple[str, ...] = (),
    requires_python: str = "",
    entry_points: str = "",
    record: str | None = None,
    wheel: str = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    executable: tuple[str, ...] = (),
    stored: tuple[str, ...] = (),
    unseekable: bool = False,
) -> bytes:
    """The bytes of a wheel with ``files``; metadata and RECORD are made to fit unless given."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    if requires_python:
        metadata += f"Requires-Python: {requires_python}\n"
    members = dict(files or {f"{name}/__init__.py": b"VALUE = 1\n"})
    members[f"{info}/METADATA"] = metadata.encode()
    members[f"{info}/WHEEL"] = wheel.encode()
    if entry_points:
        members[f"{info}/entry_points.txt"] = entry_points.encode()
    if record is None:
        record = "".join(record_line(path, data) for path, data in members.items() if not path.endswith("/"))
        record += f"{info}/RECORD,,\n"
    members[f"{info}/RECORD"] = record.encode()
    output = io.BytesIO()
    target = _Unseekable(output) if unseekable else output
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type]
        for path, data in members.items():
            member = zipfile.ZipInfo(path, TIME)
            member.external_attr = (0o100755 if path in executable else 0o100644) << 16
            member.compress_type = zipfile.ZIP_STORED if path in stored else zipfile.ZIP_DEFLATED
            archive.writestr(member, data)
    return output.getvalue()


class _Unseekable:
    """A stream that ``zipfile`` cannot seek in, so that it writes data descriptors."""

    def __init__(self, output: io.BytesIO) -> None:
        self._output = output

    def write(self, data: bytes) -> int:
        return self._output.write(data)

    def flush(self) -> None:
        """Nothing."""


def save_wheel(folder: Path, data: bytes, filename: str = "sample-1.0-py3-none-any.whl") -> Path:
    """``data`` as a file in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / filename
    path.write_bytes(data)
    return path
