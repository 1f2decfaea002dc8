"""Writing the entries of a layer into a folder, trusting none of them.

Nothing is written outside the folder, no link is followed on the way to a name, no device is made. Whiteouts become
what overlayfs understands. Source: OCI image specification, ``layer.md``.
"""

# The functions of os are the system calls meant here.
# ruff: noqa: PTH101, PTH102, PTH108, PTH112, PTH114, PTH211

from __future__ import annotations

import contextlib
import os
import stat
import tarfile
from pathlib import Path

from layerforge.engines.tree import (
    CAPABILITY,
    is_whiteout,
    make_opaque,
    make_whiteout,
    remove_tree,
    set_capability,
)
from layerforge.errors import EngineError

WHITEOUT = ".wh."
_OPAQUE_MARK = ".wh..wh..opq"
_CHUNK = 1 << 20


def extract(archive: tarfile.TarFile, folder: Path, *, where: str = "") -> None:
    """Write the entries of a layer's ``archive`` (opened as a stream) below ``folder``, which is empty.

    As root, owners, all mode bits and capabilities of programs are kept; else everything belongs to the user, and
    setuid and setgid are dropped.

    Raises:
        EngineError: an entry would be outside ``folder`` or behind a link, or is a hard link to nothing.
    """
    extraction = _Extraction(folder, where)
    for entry in archive:
        archive.members = []  # type: ignore[attr-defined]  # tarfile would keep every entry in memory
        extraction.add(archive, entry)
    extraction.finish()


class _Extraction:
    def __init__(self, folder: Path, where: str) -> None:
        self._root = str(folder)
        self._where = where
        self._privileged = os.geteuid() == 0
        self._folders: dict[str, tarfile.TarInfo | None] = {
            "": None
        }  # real directories, and what to give them at the end

    def add(self, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        path = self._normalise(entry.name)
        if not path:
            if entry.isdir():
                self._folders[""] = entry
            return
        parent, _, name = path.rpartition("/")
        self._enter(parent, path)
        target = f"{self._root}/{path}"
        if name == _OPAQUE_MARK:
            make_opaque(f"{self._root}/{parent}")
        elif name.startswith(WHITEOUT):
            self._white_out(f"{self._root}/{parent}/{name[len(WHITEOUT) :]}")
        elif entry.isdir():
            self._make_folder(path)
            self._folders[path] = entry
        elif entry.isreg():
            self._make_way(path)
            self._write_file(archive, entry, target)
        elif entry.issym():
            self._make_way(path)
            os.symlink(entry.linkname, target)
            self._own(target, entry)
        elif entry.islnk():
            self._link(entry, path)
        elif entry.isfifo():
            self._make_way(path)
            os.mkfifo(target)
            self._settle(target, entry)
        # Devices are passed over: the sandbox has its own.

    def finish(self) -> None:
        """Modes and times of directories, which could otherwise keep their content out, deepest first."""
        for path in sorted(self._folders, reverse=True):
            entry = self._folders[path]
            if entry is not None:
                self._settle(f"{self._root}/{path}", entry)
            elif not path:
                os.chmod(self._root, 0o755)

    def _normalise(self, name: str) -> str:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts or "\0" in name:
            raise self._refuse(name, "leaves its folder")
        return "/".join(parts)

    def _refuse(self, name: str, why: str) -> EngineError:
        return EngineError(f"refusing to unpack: {name!r} {why}", where=self._where)

    def _enter(self, folder: str, path: str) -> None:
        """See that ``folder`` and all above it are directories and not links to some."""
        if folder in self._folders:
            return
        self._enter(folder.rpartition("/")[0], path)
        target = f"{self._root}/{folder}"
        try:
            status = os.lstat(target)
        except FileNotFoundError:
            os.mkdir(target, 0o755)
        else:
            if not stat.S_ISDIR(status.st_mode):
                raise self._refuse(path, f"is behind {folder!r}, which is not a directory")
        self._folders[folder] = None

    def _make_folder(self, path: str) -> None:
        target = f"{self._root}/{path}"
        if path in self._folders:
            return
        try:
            status = os.lstat(target)
        except FileNotFoundError:
            os.mkdir(target, 0o755)
            return
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(target)
            os.mkdir(target, 0o755)
            if is_whiteout(status):
                make_opaque(target)

    def _make_way(self, path: str) -> None:
        """Remove what the archive itself has put at ``path`` before: the last entry of a name counts."""
        target = f"{self._root}/{path}"
        try:
            os.unlink(target)
        except FileNotFoundError:
            pass
        except (IsADirectoryError, PermissionError):
            remove_tree(target)
            self._folders = {k: v for k, v in self._folders.items() if k != path and not k.startswith(path + "/")}

    def _write_file(self, archive: tarfile.TarFile, entry: tarfile.TarInfo, target: str) -> None:
        source = archive.extractfile(entry)
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb", buffering=0) as file:
            left = entry.size
            while left and source is not None:
                chunk = source.read(min(left, _CHUNK))
                if not chunk:
                    raise tarfile.ReadError("unexpected end of data")
                view = memoryview(chunk)
                while view:
                    view = view[file.write(view) :]
                left -= len(chunk)
        self._settle(target, entry)

    def _link(self, entry: tarfile.TarInfo, path: str) -> None:
        source = self._normalise(entry.linkname)
        parent = source.rpartition("/")[0]
        self._enter(parent, entry.linkname)
        try:
            status = os.lstat(f"{self._root}/{source}")
        except FileNotFoundError:
            raise self._refuse(path, f"is a hard link to {entry.linkname!r}, which this layer does not have") from None
        if stat.S_ISDIR(status.st_mode):
            raise self._refuse(path, f"is a hard link to the directory {entry.linkname!r}")
        if source != path:
            self._make_way(path)
            os.link(f"{self._root}/{source}", f"{self._root}/{path}", follow_symlinks=False)

    def _white_out(self, target: str) -> None:
        if os.path.lexists(target):  # whiteouts are about the layers below
            if os.path.isdir(target) and not os.path.islink(target):
                make_opaque(target)
            return
        make_whiteout(target)

    def _own(self, target: str, entry: tarfile.TarInfo) -> None:
        if self._privileged:
            os.lchown(target, entry.uid, entry.gid)

    def _settle(self, target: str, entry: tarfile.TarInfo) -> None:
        self._own(target, entry)
        ours = entry.mode & 0o1777 | (0o700 if entry.isdir() else 0o600)
        os.chmod(target, entry.mode & 0o7777 if self._privileged else ours)
        capability = entry.pax_headers.get(f"SCHILY.xattr.{CAPABILITY}") if entry.isreg() else None
        if capability and self._privileged:
            set_capability(target, capability.encode("utf-8", "surrogateescape"))
        with contextlib.suppress(OSError, OverflowError):
            os.utime(target, (entry.mtime, entry.mtime))
