"""Builds wheels from sources, once: the store keeps each, and which source, Python and system it is of."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from layerforge.errors import ImageError, ResolveError, VerificationError
from layerforge.from_source import backend_program
from layerforge.from_source.canonical import write_canonical
from layerforge.from_source.failures import explain_log
from layerforge.from_source.git import check_out, find_commit
from layerforge.from_source.project_file import read_build_system
from layerforge.from_source.room import OUT, Room
from layerforge.from_source.trees import copy_folder, settle_tree, unpack_archive
from layerforge.lock import LockedSource, LockedWheel
from layerforge.oci import Digest, decode, encode
from layerforge.platforms import host_platform
from layerforge.requirements import Origin, RequirementLine, Requirements, normalise_name
from layerforge.requirements.values import without_user
from layerforge.sources.builder import Order
from layerforge.sources.download import download
from layerforge.sources.index import lock_packages, measure
from layerforge.sources.local import digest_file_of, digest_folder, find_local_file
from layerforge.sources.tags import Target
from layerforge.store import digest_file

REVISION = 1
"""Raised by hand when the same source should give another wheel."""

_SOURCE = "/layerforge/source"
_PROGRAM, _ORDER = "layerforge/build.py", "layerforge/order.json"


class SourceBuilder:
    """Builds for ``target``. See :class:`layerforge.sources.builder.Builder`.

    ``open_room`` gives the surroundings of this machine's platform; it is asked when something must be built.
    ``requirements`` say where packages that a build needs are looked for. Safe to use from several threads.
    """

    def __init__(self, target: Target, requirements: Requirements, open_room: Callable[[], Room]) -> None:
        self._target = target
        self._requirements = msgspec.structs.replace(
            requirements, lines=(), constraints=(), no_binary=(), frozen="", require_hashes=False, notices=()
        )
        self._open_room = open_room
        self._room: Room | None = None
        self._guard = threading.RLock()
        self._open: list[str] = []

    @property
    def room(self) -> Room:
        """The surroundings."""
        with self._guard:
            if self._room is None:
                self._room = self._open_room()
            return self._room

    def pin(self, origin: Origin, hashes: tuple[str, ...], where: str) -> LockedSource:
        """See :class:`layerforge.sources.builder.Builder`."""
        below = origin.subdirectory
        if origin.kind == "git":
            commit = find_commit(origin.url, origin.reference, where)
            url = without_user(origin.url)
            return LockedSource("git", url, reference=origin.reference, commit=commit, subdirectory=below)
        if origin.kind == "folder":
            return LockedSource("folder", path=origin.path, subdirectory=below, editable=origin.editable)
        if origin.path:
            digest, size = digest_file_of(self.room.project, origin.path)
        else:
            digest, size = measure(origin.url)
        if hashes and digest.hex not in hashes:
            message = f"{origin.path or without_user(origin.url)} has the sha256 {digest.hex}, not one of those given"
            raise ResolveError(message, where=where, hint="mend --hash, or see why the file is another one")
        url = without_user(origin.url).partition("#")[0]
        return LockedSource("archive", url, origin.path, size, digest, subdirectory=below)

    def find(self, wheel: LockedWheel) -> Path:
        """See :class:`layerforge.sources.builder.Builder`."""
        return self.room.store.material_path(wheel.digest)

    def build(self, order: Order) -> LockedWheel:
        """See :class:`layerforge.sources.builder.Builder`."""
        with self._guard:
            key = self._key(order)
            note = self.room.store.find_note("built", key)
            if note is not None:
                try:
                    wheel = decode(note, LockedWheel)
                    if self.find(wheel).exists():
                        return wheel
                except ImageError:  # torn: as good as absent
                    pass
            with self.room.store.key_lock(key):
                wheel = self._build(order)
                self.room.store.keep_note("built", key, encode(wheel))
                return wheel

    def restore(self, wheel: LockedWheel) -> Path:
        """The file of a wheel that a lock has, built again where the store lacks it.

        Raises:
            VerificationError: what is built here is not what the lock has.
            ResolveError, SourceError: it cannot be built.
        """
        path = self.find(wheel)
        if path.exists():
            return path
        assert wheel.source is not None
        built = self.build(Order(wheel.source, wheel.name))
        if built.digest != wheel.digest:
            hint = (
                "carry the wheel here from the machine that made the lock (export-store, import-store), or lock again"
            )
            message = f"built again, it is not the file in the lock (sha256 {built.digest.hex})"
            raise VerificationError(message, where=wheel.filename, hint=hint)
        return path

    # -- one build ---------------------------------------------------------------------------------------------

    def _key(self, order: Order) -> Digest:
        """What decides the wheel: the source, the Python, the platform, and the system below by its packages' names."""
        source = msgspec.structs.replace(order.source, reference="")
        section = self.room.section
        local: Any = ""
        if source.kind == "folder":
            local = digest_folder(self.room.project / source.path, editable=source.editable)
        image = str(section.image.manifest) if section.image is not None else ""
        below = (section.platform, section.release, image, tuple(deb.name for deb in section.system))
        wanted = (self._target.minor, str(self._target.platform), below, self.room.network)
        return Digest.of(encode((REVISION, source, local, order.settings, wanted)))

    def _build(self, order: Order) -> LockedWheel:
        what = order.name or order.source.url or order.source.path
        if what in self._open:
            chain = " → ".join([*self._open[self._open.index(what) :], what])
            raise ResolveError(
                f"building goes in circles: {chain}", where=order.where, hint="add a wheel of one of them"
            )
        self._open.append(what)
        task = f"build {what}"
        room = self.room
        room.reporter.start(task)
        try:
            folder = Path(tempfile.mkdtemp(dir=room.store.scratch))
            try:
                wheel = self._build_in(folder, order, what)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            self._open.pop()
        room.reporter.finish(task, "built")
        return wheel

    def _build_in(self, folder: Path, order: Order, what: str) -> LockedWheel:
        place = f"/src/{order.source.path}".removesuffix("/.") if order.source.editable else _SOURCE
        tree, out = folder / "tree", folder / "out"
        (tree / "layerforge").mkdir(parents=True)
        source = self._fetch(order, folder / "fetched")
        top = tree / place[1:]
        top.parent.mkdir(parents=True, exist_ok=True)
        source.rename(top)
        inside = top / order.source.subdirectory
        system = read_build_system(inside, what, order.where)
        shutil.copyfile(backend_program.__file__, tree / _PROGRAM)
        below = f"/{order.source.subdirectory}" if order.source.subdirectory else ""
        document = {
            "source": place + below,
            "backend": system.backend,
            "backend_path": system.backend_path,
            "settings": _merge_settings(order.settings),
            "editable": order.source.editable,
        }
        requires = system.requires
        for _ in range(3):
            wheels = self._lock_requires(requires, order)
            (tree / _ORDER).write_text(json.dumps({**document, "provided": requires}), "utf-8")
            settle_tree(tree)
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            answer = self._call_backend(wheels, tree, out, order, what)
            if "wheel" in answer:
                return self._keep(out / answer["wheel"], answer, wheels, order, what)
            requires = tuple(dict.fromkeys((*requires, *answer["requires"])))
        raise ResolveError(f"{what} wants other packages each time that it is built", where=order.where)

    def _call_backend(
        self, wheels: tuple[LockedWheel, ...], tree: Path, out: Path, order: Order, what: str
    ) -> dict[str, Any]:
        command = ("python", "-s", f"/{_PROGRAM}", f"/{_ORDER}", OUT)
        status, log = self.room.run(wheels, tree, command, out)
        path = out / "answer.json"
        if status == 0 and path.is_file():
            answer: dict[str, Any] = json.loads(path.read_text("utf-8"))
            return answer
        debian = self.room.section.python.provider == "debian"
        raise explain_log(what, log, status, order.where, network=self.room.network, debian=debian)

    def _fetch(self, order: Order, folder: Path) -> Path:
        """The source of ``order`` as a folder of its own."""
        source, room = order.source, self.room
        if source.kind == "git":
            check_out(source.url, source.commit, folder, order.where)
            shutil.rmtree(folder / ".git")
            return folder
        if source.kind == "folder":
            copy_folder(room.project / source.path, folder, weights=not source.editable)
            return folder
        assert source.digest is not None
        name = (source.path or source.url).rpartition("/")[2]
        if source.path:
            path = find_local_file(room.store, room.project, source.path, source.digest, source.size)
        else:
            urls = (source.url,)
            path = download(room.store, urls, source.digest, size=source.size, name=name, reporter=room.reporter)
        return unpack_archive(path, name, folder)

    def _lock_requires(self, requires: tuple[str, ...], order: Order) -> tuple[LockedWheel, ...]:
        """The wheels that building takes: those that the lock names, else what fits ``requires`` now."""
        texts = order.source.requires or requires
        where = order.where or order.name
        lines = tuple(RequirementLine(text, _name(text), (), where, 0) for text in texts)
        wanted = msgspec.structs.replace(self._requirements, lines=lines)
        room = self.room
        target = self._host_target()
        builder = self if target == self._target else SourceBuilder(target, self._requirements, lambda: room)
        task = f"resolve what building {order.name or 'it'} takes"
        wheels = lock_packages(wanted, target, (), room.reporter, project=room.project, builder=builder, task=task)
        return tuple(msgspec.structs.replace(wheel, bin=f"build/{wheel.name}") for wheel in wheels)

    def _host_target(self) -> Target:
        section = self.room.section
        if section.platform == str(self._target.platform):
            return self._target
        return Target(section.python.version, host_platform(), self._target.glibc)

    def _keep(
        self, built: Path, answer: dict[str, Any], wheels: tuple[LockedWheel, ...], order: Order, what: str
    ) -> LockedWheel:
        """Put what the backend has written into the store."""
        try:
            name, version, _, tags = parse_wheel_filename(built.name)
        except InvalidWheelFilename as error:
            raise ResolveError(f"the backend of {what} has written {built.name}", where=order.where) from error
        if order.name and canonicalize_name(order.name) != name:
            raise ResolveError(f"this is {name} {version}, not {order.name}", where=order.where, hint=f"write `{name}`")
        if answer.get("built"):
            message = (
                f"{what} has compiled parts ({answer['built'][0]}), which an editable installation has no place for"
            )
            raise ResolveError(message, where=order.where, hint="leave out -e")
        self._check_tags(tags, what, built.name, order)
        store = self.room.store
        with store.write_blob() as blob:
            path = built.with_suffix(".canonical")
            write_canonical(built, path)
            digest, size = digest_file(path)
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    blob.write(chunk)
            blob.commit(digest, folder="materials")
        pins = order.source.requires or tuple(f"{wheel.name}=={wheel.version}" for wheel in wheels)
        source = msgspec.structs.replace(order.source, requires=pins)
        return LockedWheel(str(name), str(version), built.name, "", size, digest, "", source=source)

    def _check_tags(self, tags: frozenset[Tag], what: str, filename: str, order: Order) -> None:
        ranks = self._target.rank_tags()
        if any(tag in ranks for tag in tags):
            return
        target, here = self._target.platform, self.room.section.platform
        if str(target) != here:
            message = f"{what} has no wheel for {target}, and building it on {here} gives one for {here} only"
            hint = f"lock and build {target} on a machine of that kind, or ask for a version that has a wheel"
            raise ResolveError(message, where=order.where, hint=hint)
        raise ResolveError(f"{filename}, as built, is not for {target}", where=order.where)


def _name(requirement: str) -> str:
    try:
        return normalise_name(Requirement(requirement).name)
    except InvalidRequirement:
        return ""


def _merge_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """``name=value`` pairs as backends get them: a list where a name is repeated."""
    merged: dict[str, Any] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        before = merged.get(name)
        merged[name] = value if before is None else [*(before if isinstance(before, list) else [before]), value]
    return merged
