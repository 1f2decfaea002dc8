"""Debian packages and archives for tests: made in memory, signed with throwaway keys, served on loopback."""

from __future__ import annotations

import functools
import hashlib
import io
import lzma
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pysequoia

from layerforge.oci import Digest
from layerforge.sources.debian.facts import decode_facts, encode_facts, read_facts
from layerforge.sources.debian.rootstate import DebFacts

Member = tuple[tarfile.TarInfo, bytes]


def file_member(path: str, content: bytes = b"", *, mode: int = 0o644, uid: int = 0, gid: int = 0) -> Member:
    info = tarfile.TarInfo(path)
    info.size, info.mode, info.uid, info.gid = len(content), mode, uid, gid
    return info, content


def special_member(path: str, kind: bytes, target: str = "", *, mode: int = 0o755, gid: int = 0) -> Member:
    """A directory, link or device."""
    info = tarfile.TarInfo(path)
    info.type, info.linkname, info.mode, info.gid = kind, target, mode, gid
    return info, b""


def make_tar(members: list[Member]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def make_ar(members: list[tuple[str, bytes]]) -> bytes:
    parts = [b"!<arch>\n"]
    for name, content in members:
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n"
        parts += [header.encode(), content, b"\n" * (len(content) % 2)]
    return b"".join(parts)


def make_deb(
    fields: Mapping[str, str] | None = None,
    members: list[Member] | None = None,
    *,
    control: Mapping[str, bytes] | None = None,
    data_name: str = "data.tar.xz",
    data: bytes | None = None,
) -> bytes:
    """A package. ``members`` go into its data archive, ``control`` beside the control file."""
    stanza = {"Package": "sample", "Version": "1.0-1", "Architecture": "amd64", **(fields or {})}
    text = "".join(f"{name}: {value}\n" for name, value in stanza.items()).encode()
    files = [file_member("./control", text)]
    scripts = ("preinst", "postinst", "prerm", "postrm")
    for name, content in (control or {}).items():
        files.append(file_member(f"./{name}", content, mode=0o755 if name in scripts else 0o644))
    body = data if data is not None else lzma.compress(make_tar(members or []))
    return make_ar([("debian-binary", b"2.0\n"), ("control.tar.xz", lzma.compress(make_tar(files))), (data_name, body)])


def make_stanza(name: str, version: str = "1", **fields: str) -> str:
    """A stanza of a Packages file; ``_`` in a field's name stands for ``-``."""
    digest = hashlib.sha256(f"{name} {version}".encode()).hexdigest()
    base = {"Package": name, "Version": version, "Architecture": "amd64"}
    base |= {key.replace("_", "-"): value for key, value in fields.items()}
    base |= {"Filename": f"pool/main/{name}_{version}.deb", "Size": "1", "SHA256": digest}
    return "".join(f"{key}: {value}\n" for key, value in base.items())


class FactKeeper:
    """The part of a Workbench that keeps facts about packages; counts those that were read for their facts alone."""

    def __init__(self, material: Callable[[Digest], Path]) -> None:
        self._material = material
        self.kept: dict[Digest, bytes] = {}
        self.reread: list[Digest] = []

    def facts(self, digest: Digest) -> DebFacts:
        if digest not in self.kept:
            self.reread.append(digest)
            self.keep_facts(digest, read_facts(self._material(digest)))
        facts = decode_facts(self.kept[digest])
        assert facts is not None
        return facts

    def keep_facts(self, digest: Digest, facts: DebFacts) -> None:
        self.kept[digest] = encode_facts(facts)

    def expect_packages(self, debs: Sequence[Digest]) -> AbstractContextManager[Callable[[Digest], None]]:
        return nullcontext(lambda digest: None)


class SigningKey:
    """A key that signs Release files."""

    def __init__(self) -> None:
        self._key = pysequoia.Tsk.generate("Archive <archive@example.org>")
        self.certificate = bytes(self._key.extract_certificate())

    def clearsign(self, text: str) -> bytes:
        return bytes(pysequoia.sign(self._key.signer(), text.encode(), mode=pysequoia.SignatureMode.CLEAR))

    def sign(self, text: str) -> bytes:
        return bytes(pysequoia.sign(self._key.signer(), text.encode(), mode=pysequoia.SignatureMode.DETACHED))


def make_release(suite: str, files: Mapping[str, bytes], **fields: str) -> str:
    """A Release file that names ``files``."""
    head = {"Suite": "stable", "Codename": suite, "Architectures": "all amd64", **fields}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in head.items()]
    lines.append("SHA256:")
    lines += [f" {hashlib.sha256(data).hexdigest()} {len(data)} {path}" for path, data in files.items()]
    return "\n".join(lines) + "\n"


def write_suite(root: Path, suite: str, stanzas: list[str], key: SigningKey, **fields: str) -> Path:
    """A suite's folder below ``root`` with a signed index; its path."""
    folder = root / "dists" / suite
    index = lzma.compress("\n".join(stanzas).encode())
    path = folder / "main/binary-amd64/Packages.xz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(index)
    text = make_release(suite, {"main/binary-amd64/Packages.xz": index}, **fields)
    (folder / "InRelease").write_bytes(key.clearsign(text))
    return folder


class _Quiet(SimpleHTTPRequestHandler):
    requested: list[str]

    def __init__(self, *arguments: object, requested: list[str], directory: str) -> None:
        self.requested = requested
        super().__init__(*arguments, directory=directory)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.requested.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a server for ``folder`` on a free loopback port, and the paths asked for so far."""
    requested: list[str] = []
    handler = functools.partial(_Quiet, requested=requested, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", requested
        finally:
            server.shutdown()
            thread.join()
