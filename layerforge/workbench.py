"""What layers are made with: downloads by digest, files of the project, the image's own Python compiler."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from layerforge.base_image import BaseImage
from layerforge.errors import SourceError
from layerforge.layers.step import FORMAT
from layerforge.lock import Lock, LockedDeb, LockedFile, LockedPython, LockedWheel, PlatformLock
from layerforge.oci import Digest
from layerforge.platforms import host_platform
from layerforge.progress import Reporter
from layerforge.runtime_files import PREFIX, runtime_root
from layerforge.sources.addresses import list_addresses
from layerforge.sources.base.fetch import load_base, lock_base
from layerforge.sources.base.files import read_base_files
from layerforge.sources.base.programs import unpack_libraries, unpack_python
from layerforge.sources.base.scan import scan_base
from layerforge.sources.debian import debian_urls, lock_debian
from layerforge.sources.debian.facts import TOPIC, decode_facts, encode_facts, read_facts
from layerforge.sources.debian.rootstate import DebFacts, RootBase
from layerforge.sources.download import download, find_download
from layerforge.sources.interpreters import Interpreter, PythonSource
from layerforge.sources.interpreters.packages import Unpacking
from layerforge.sources.local import find_local_wheel
from layerforge.sources.pythons.archive import archive_urls
from layerforge.sources.pythons.mirrors import read_archive_settings
from layerforge.sources.pythons.standalone import find_standalone
from layerforge.store import Store
from layerforge.verify import VerifiedReader


class LocalWorkbench:
    """The Workbench of a real build of the platform ``section`` of ``lock``. ``project`` is the model's folder.

    ``image`` is the base image that ``section`` names. With ``build_network``, what must be built again from source may
    reach the network.

    Use it as a context manager; threads end with it.
    """

    def __init__(
        self,
        store: Store,
        lock: Lock,
        section: PlatformLock,
        project: Path,
        reporter: Reporter,
        image: BaseImage | None = None,
        *,
        build_network: bool = False,
    ) -> None:
        self.reporter = reporter
        self.compressors = ThreadPoolExecutor(os.cpu_count() or 1)
        self._store = store
        self._project = project
        self._lock = lock
        self._section = section
        self._debs = {deb.digest: deb for deb in section.debs}
        self._wheels = {wheel.digest: wheel for wheel in (*section.packages, *section.runtime)}
        self._image = image
        self._build_network = build_network
        self._archives: dict[Digest, LockedFile] = {}
        self._add_archive(section.python)
        self._interpreter = Interpreter(store, section, self.material, self._find_host_python, self._unpack_base_python)

    def __enter__(self) -> LocalWorkbench:
        return self

    def __exit__(self, *_: object) -> None:
        self.compressors.shutdown(cancel_futures=True)

    def material(self, digest: Digest) -> Path:
        """The verified local file of a download of the lock."""
        item = self._debs.get(digest) or self._archives.get(digest) or self._wheels[digest]
        if isinstance(item, LockedWheel) and item.path:
            return find_local_wheel(self._store, self._project, item)
        found = find_download(self._store, digest, item.size)  # asked for often, and finding mirrors takes its time
        if found is not None:
            return found
        if isinstance(item, LockedWheel) and item.source is not None:
            return self._restore(item)
        return download(self._store, _urls(item), digest, size=item.size, name=_name(item), reporter=self.reporter)

    def _restore(self, wheel: LockedWheel) -> Path:
        """A wheel that was built from source, and that the store lacks: it is built again."""
        from layerforge.from_source.opening import open_restorer  # it needs workbenches itself

        network = self._build_network
        builder = open_restorer(self._store, self._lock, self._section, self._project, self.reporter, network=network)
        return builder.restore(wheel)

    def facts(self, digest: Digest) -> DebFacts:
        """The facts about a Debian package, kept or read now."""
        kept = self._store.find_note(TOPIC, digest)
        facts = decode_facts(kept) if kept is not None else None
        if facts is None:
            facts = read_facts(self.material(digest), where=_name(self._debs[digest]), digest=digest)
            self.keep_facts(digest, facts)
        return facts

    def keep_facts(self, digest: Digest, facts: DebFacts) -> None:
        """Keep facts in the store."""
        self._store.keep_note(TOPIC, digest, encode_facts(facts))

    def expect_packages(self, debs: Sequence[Digest]) -> AbstractContextManager[Callable[[Digest], Unpacking | None]]:
        """Packages that the interpreter consists of are unpacked while a layer reads them."""
        return self._interpreter.expect_packages(debs)

    def project_path(self, path: str) -> Path:
        """Where a file of the project lies on this machine."""
        if path.startswith(PREFIX):
            return runtime_root() / path.removeprefix(PREFIX)
        return self._project / path

    def open_project_file(self, path: str, digest: Digest) -> BinaryIO:
        """A file of the project for reading; reading to its end verifies the digest."""
        try:
            file = self.project_path(path).open("rb", buffering=0)
        except OSError as error:
            raise SourceError(f"cannot be read: {error.strerror}", where=path) from error
        return cast(BinaryIO, VerifiedReader(file, digest, what=path))

    def compile_bytecode(self, minor: str, sources: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
        """Unchecked-hash bytecode for the image's Python."""
        return self._interpreter.compile_bytecode(minor, sources)

    def find_bytecode(self, minor: str, wheel: Digest) -> dict[str, bytes | None]:
        """What is kept of the bytecode of ``wheel`` for exactly this Python."""
        note = self._store.find_note(self._bytecode_topic(minor), wheel)
        try:
            return msgspec.msgpack.decode(zlib.decompress(note), type=dict[str, bytes | None]) if note else {}
        except (zlib.error, msgspec.DecodeError):  # torn by a power cut: as good as absent
            return {}

    def keep_bytecode(self, minor: str, wheel: Digest, compiled: Mapping[str, bytes | None]) -> None:
        """Keep bytecode of ``wheel`` in the store."""
        note = zlib.compress(msgspec.msgpack.encode(compiled), 1)
        self._store.keep_note(self._bytecode_topic(minor), wheel, note)

    def _bytecode_topic(self, minor: str) -> str:
        python = self._section.python
        return f"bytecode-{FORMAT}-{minor}-{python.provider}-{python.version}"

    def base_root(self) -> RootBase:
        """The root of the base image; its layers are read once."""
        assert self._image is not None, "only a plan upon a base asks for it"
        root = scan_base(self._image, self._store, self.reporter)
        return RootBase(root.paths, root.contents)

    def base_files(self, paths: Collection[str]) -> dict[str, bytes]:
        """Contents of files of the base image; the layers that have them are read."""
        assert self._image is not None, "only a plan upon a base asks for it"
        root = scan_base(self._image, self._store, self.reporter)
        return read_base_files(self._image, root, paths, self._store, self.reporter)

    def _unpack_base_python(self) -> Path:
        """The base's Python for this machine: where the image is for another one, that of the same base for this."""
        image, python, host = self._image, self._section.python, host_platform()
        assert image is not None, "a lock with a base's Python names the base"
        if self._section.platform != str(host):
            assert self._section.image is not None
            here = next((each.image for each in self._lock.platforms if each.platform == str(host)), None)
            if here is not None:
                image = load_base(here, host, self._store, self.reporter)
            else:
                _, image = lock_base(self._section.image.reference, host, self._store, self.reporter)
        root = scan_base(image, self._store, self.reporter)
        if python.provider != "base":  # an interpreter that is added needs the base's libraries only
            return unpack_libraries(image, root, self._store, self.reporter)
        return unpack_python(image, root, python.home, python.minor, self._store, self.reporter)

    def _find_host_python(self) -> PythonSource:
        """The same interpreter for this machine: the lock's, else what its provider has now."""
        wanted = self._section.python
        host = host_platform()
        section = next((section for section in self._lock.platforms if section.platform == str(host)), None)
        if section is not None and (section.python.minor, section.python.provider) == (wanted.minor, wanted.provider):
            source = PythonSource(section.python, section.debs, section.image is not None)
        elif wanted.provider == "standalone":
            answer = find_standalone(wanted.version, host, None, self._store, self.reporter)
            if not isinstance(answer, LockedPython):
                hint = f"build the image for {host} too, or on a machine of the image's architecture"
                raise SourceError(f"no Python {wanted.version} for this machine: {answer.text}", hint=hint)
            source = PythonSource(answer, ())
        else:
            found = lock_debian(wanted.minor, host, self._store, self.reporter)
            source = PythonSource(wanted, found.base + found.interpreter)
        self._debs |= {deb.digest: deb for deb in source.debs}
        self._add_archive(source.python)
        return source

    def _add_archive(self, python: LockedPython) -> None:
        if python.archive is not None:
            self._archives[python.archive.digest] = python.archive


def _urls(item: LockedDeb | LockedFile | LockedWheel) -> Iterable[str]:
    if isinstance(item, LockedDeb):
        return debian_urls(item)
    return archive_urls(item, read_archive_settings()) if isinstance(item, LockedFile) else list_addresses(item)


def _name(item: LockedDeb | LockedFile | LockedWheel) -> str:
    return item.path.rpartition("/")[2] if isinstance(item, LockedDeb) else item.filename
