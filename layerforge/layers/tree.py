"""Files of the project (or of the bundled runtime) on their way into a layer."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from layerforge.layers.step import Workbench
from layerforge.layers.tar import CHUNK, TarWriter
from layerforge.oci import Digest

_COMPILE_BATCH = 8 << 20  # bytes of source handed to the compiler at a time


class TreeFile(msgspec.Struct, frozen=True):
    """A file at ``path`` in the image, whose bytes are the project's file ``source``; or a symbolic link."""

    path: str
    source: str
    size: int
    mode: int
    digest: Digest | None = None
    link: str = ""


def write_file(file: TreeFile, tar: TarWriter, bench: Workbench) -> bytes | None:
    """Write ``file``; give back its content when it is Python source, for compiling."""
    if file.link:
        tar.symlink(file.path, file.link)
        return None
    assert file.digest is not None
    if not file.path.endswith(".py"):
        with bench.open_project_file(file.source, file.digest) as reader:
            tar.file(file.path, iter(lambda: reader.read(CHUNK), b""), size=file.size, mode=file.mode)
        return None
    with bench.open_project_file(file.source, file.digest) as reader:
        content = reader.read()
    tar.file(file.path, content, mode=file.mode)
    return content


def write_tree(files: tuple[TreeFile, ...], minor: str, tar: TarWriter, bench: Workbench) -> None:
    """Write ``files`` in order, then the bytecode of the Python files among them.

    ``minor`` is the Python version that the bytecode is for, as ``3.13``; empty for none.
    """
    batch: list[tuple[str, bytes]] = []
    for file in files:
        content = write_file(file, tar, bench)
        if content is None or not minor:
            continue
        batch.append((file.path, content))
        if sum(len(source) for _, source in batch) >= _COMPILE_BATCH:
            _write_bytecode(batch, minor, tar, bench)
            batch.clear()
    _write_bytecode(batch, minor, tar, bench)


def _write_bytecode(batch: list[tuple[str, bytes]], minor: str, tar: TarWriter, bench: Workbench) -> None:
    if not batch:
        return
    for (path, _), code in zip(batch, bench.compile_bytecode(minor, batch), strict=True):
        if code is not None:
            tar.file(bytecode_path(path, minor), code)


def bytecode_path(path: str, minor: str) -> str:
    """Where the bytecode of the module at ``path`` lies (PEP 3147): ``a/__pycache__/b.cpython-313.pyc``."""
    folder, _, name = path.rpartition("/")
    tag = f"cpython-{minor.replace('.', '')}"
    return "/".join(_nonempty(folder, "__pycache__", f"{name.removesuffix('.py')}.{tag}.pyc"))


def _nonempty(*parts: str) -> Iterator[str]:
    return (part for part in parts if part)
