"""Unpacked layers as overlayfs wants its lower folders, and what it does with them, done by copying.

A removed name is a character device 0/0, an emptied folder has the attribute ``user.overlay.opaque``.
Source: the kernel's ``Documentation/filesystems/overlayfs.rst``.
"""

# The functions of os are the system calls meant here.
# ruff: noqa: PTH101, PTH102, PTH108, PTH112, PTH114, PTH115, PTH116, PTH211

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path

from layerforge.errors import EngineError
from layerforge.store import translate_os_errors

OPAQUE = "user.overlay.opaque"
CAPABILITY = "security.capability"
"""The extended attribute that says what a program may do whoever starts it (capabilities(7))."""

_CHUNK = 1 << 20


def is_whiteout(status: os.stat_result) -> bool:
    """Whether this is the mark of a removed name."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def make_whiteout(path: str) -> None:
    """Mark the name ``path`` as removed. Takes no privilege since Linux 5.8."""
    try:
        os.mknod(path, stat.S_IFCHR, 0)
    except OSError as error:
        hint = "point LAYERFORGE_HOME at a disk of its own: a container's root cannot hold such marks"
        raise EngineError(f"cannot mark a removed file: {error.strerror}", where=path, hint=hint) from error


def is_opaque(folder: str) -> bool:
    """Whether ``folder`` hides what lower layers have in it."""
    try:
        return os.getxattr(folder, OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        return False


def make_opaque(folder: str) -> None:
    """Let ``folder`` hide what lower layers have in it."""
    try:
        os.setxattr(folder, OPAQUE, b"y", follow_symlinks=False)
    except OSError as error:
        hint = "point LAYERFORGE_HOME at a disk whose file system has user attributes (ext4, xfs, btrfs)"
        raise EngineError(f"cannot mark an emptied folder: {error.strerror}", where=folder, hint=hint) from error


def set_capability(path: str, value: bytes) -> None:
    """Give the program ``path`` capabilities, where this process may and the file system keeps them."""
    with contextlib.suppress(OSError):
        os.setxattr(path, CAPABILITY, value, follow_symlinks=False)


def _copy_capability(source: str, target: str) -> None:
    """After owner and mode have been set: both take it away."""
    with contextlib.suppress(OSError):
        set_capability(target, os.getxattr(source, CAPABILITY, follow_symlinks=False))


def flatten(layers: list[Path], root: Path) -> None:
    """Copy unpacked ``layers``, bottom first, over each other into the empty folder ``root``: overlayfs by hand.

    Each container has a copy of its own, because it may write into any file; where the file system can share blocks
    between copies (btrfs, xfs), it does.

    Raises:
        StoreError: the disk is full.
    """
    with translate_os_errors(root):
        for layer in layers:
            _copy_over(str(layer), str(root))


def _copy_over(source: str, target: str) -> None:
    with os.scandir(source) as entries:
        for entry in entries:
            destination = f"{target}/{entry.name}"
            status = entry.stat(follow_symlinks=False)
            is_folder = stat.S_ISDIR(status.st_mode)
            if is_folder and os.path.isdir(destination) and not os.path.islink(destination):
                if is_opaque(entry.path):
                    remove_tree(destination)
                    os.mkdir(destination)
            else:
                _remove(destination)
                if is_folder:
                    os.mkdir(destination)
            if is_whiteout(status):
                continue
            if is_folder:
                _copy_over(entry.path, destination)
            elif stat.S_ISLNK(status.st_mode):
                os.symlink(os.readlink(entry.path), destination)
            elif stat.S_ISREG(status.st_mode):
                _copy_file(entry.path, destination, status.st_size)
            else:
                os.mkfifo(destination)
            _copy_status(status, destination)
            if stat.S_ISREG(status.st_mode):
                _copy_capability(entry.path, destination)
    _copy_status(os.stat(source), target)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        remove_tree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _copy_file(source: str, target: str, size: int) -> None:
    with open(source, "rb") as reader, open(target, "wb") as writer:
        left = size
        try:
            while left:
                copied = os.copy_file_range(reader.fileno(), writer.fileno(), min(left, 1 << 30))
                if not copied:
                    break
                left -= copied
        except OSError:
            reader.seek(0)
            writer.seek(0)
            writer.truncate()
            shutil.copyfileobj(reader, writer, _CHUNK)


def _copy_status(status: os.stat_result, target: str) -> None:
    if os.geteuid() == 0:
        os.lchown(target, status.st_uid, status.st_gid)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(target, stat.S_IMODE(status.st_mode))


def remove_tree(path: str | Path) -> None:
    """Remove ``path`` and all below it, folders closed to their owner included; errors are passed over."""
    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        for folder, names, _ in os.walk(path):
            for name in names:
                with contextlib.suppress(OSError):
                    os.chmod(f"{folder}/{name}", 0o700)
        shutil.rmtree(path, ignore_errors=True)
