"""From requirements to wheels: ``uv`` decides on versions, and for each of them one wheel is chosen for the platform.

What an index has only as a source archive, and what is taken from repositories and folders, is built first.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
from packaging.pylock import Package, PackageSdist, PackageWheel, Pylock
from packaging.tags import Tag

from layerforge.errors import ImageError, LayerforgeError, ResolveError, SourceError
from layerforge.lock import LockedSource, LockedWheel
from layerforge.oci import Digest
from layerforge.progress import Reporter
from layerforge.requirements import PROVIDED, Origin, RequirementLine, Requirements
from layerforge.requirements.places import describe
from layerforge.sources.builder import Builder, Order
from layerforge.sources.compile import Metadata, Question, compile_requirements
from layerforge.sources.export import export_lock
from layerforge.sources.http import open_url, redact, without_user
from layerforge.sources.local import digest_file_of, lock_local_wheel, read_metadata
from layerforge.sources.tags import Target, choose_wheel
from layerforge.sources.uv import expand

_CHUNK = 1 << 18


def lock_packages(
    requirements: Requirements,
    target: Target,
    previous: Sequence[LockedWheel],
    reporter: Reporter,
    *,
    project: Path = Path(),
    builder: Builder | None = None,
    task: str = "resolve packages",
) -> tuple[LockedWheel, ...]:
    """The wheels that satisfy ``requirements``, sorted by name, with ``bin`` empty.

    A package of ``previous`` keeps its version, and its wheel, as long as it still fits. Files that are asked for are
    in the folder ``project``. Without ``builder``, there must be wheels. ``task`` is what the Reporter calls the work.

    Raises:
        ResolveError: they contradict each other, or a package has no wheel for the platform and cannot be built.
        SourceError: the index cannot be reached, or gave something unusable.
    """
    if requirements.is_empty:
        return ()
    target.machine  # noqa: B018  # refuses platforms that have no wheels
    reporter.start(task)
    asker = _Asker(requirements, target, previous, reporter, project, builder)
    chosen = asker.lock()
    reporter.finish(task, f"{len(chosen)} packages")
    return tuple(sorted(chosen, key=lambda wheel: wheel.name))


class _Asker:
    """One resolution."""

    def __init__(
        self,
        requirements: Requirements,
        target: Target,
        previous: Sequence[LockedWheel],
        reporter: Reporter,
        project: Path,
        builder: Builder | None,
    ) -> None:
        self._requirements = requirements
        self._target = target
        self._previous = tuple(previous)
        self._kept = {wheel.name: wheel for wheel in previous}
        self._reporter = reporter
        self._project = project
        self._builder = builder

    def lock(self) -> list[LockedWheel]:
        if self._requirements.frozen:
            return self._lock_frozen()
        given = self._provide_origins()
        with tempfile.TemporaryDirectory(prefix="layerforge-wheels-") as name:
            found = self._resolve(given, Path(name))
        by_name = {wheel.name: wheel for wheel in given.values()}
        ranks = self._target.rank_tags()
        chosen = (by_name.get(package.name) or self._choose(package, ranks) for package in found.packages)
        return list(chosen)

    def _lock_frozen(self) -> list[LockedWheel]:
        """What a lock of uv's says, as far as it is for this target."""
        found = export_lock(self._requirements, self._target, self._project)
        ranks = self._target.rank_tags()
        chosen = []
        for package in found.packages:
            if package.name in PROVIDED:
                self._reporter.note(f"{self._requirements.frozen}: {package.name} left out: the image has its own")
            elif (origin := self._find_place(package)) is not None:
                text = describe(package.name, (), origin, "")
                line = RequirementLine(text, package.name, (), self._requirements.frozen, 0, origin=origin)
                chosen.append(self._provide(line))
            else:
                chosen.append(self._choose(package, ranks))
        return chosen

    def _find_place(self, package: Package) -> Origin | None:
        """Where a package of a lock of uv's is to be taken from, if not from an index or from a wheel's URL."""
        beside = self._requirements.frozen
        if package.vcs is not None:
            vcs = package.vcs
            return Origin("git", vcs.url or "", reference=vcs.commit_id, subdirectory=vcs.subdirectory or "")
        if package.directory is not None:
            path = self._find_beside(beside, package.directory.path)
            return Origin("folder", path=path, editable=bool(package.directory.editable))
        archive = package.archive
        if archive is None or (archive.url and urlsplit(archive.url).path.endswith(".whl")):
            return None
        path = self._find_beside(beside, archive.path) if archive.path else ""
        kind = "wheel" if path.endswith(".whl") else "archive"
        return Origin(kind, archive.url or "", path, subdirectory=archive.subdirectory or "")

    def _find_beside(self, beside: str, place: str) -> str:
        path = Path(place) if place.startswith("/") else (self._project / beside).parent / place
        return self._find_in_project(os.path.normpath(path.absolute()))

    def _resolve(self, given: Mapping[str, LockedWheel], folder: Path) -> Pylock:
        target = self._target
        files: dict[str, Path] = {}
        for number, (text, wheel) in enumerate(given.items()):
            place = folder / str(number) / wheel.filename
            place.parent.mkdir()
            place.symlink_to(self._locate(wheel))
            files[text] = place
        question = Question(
            self._requirements, target.python, target.machine, target.glibc, self._previous, self._project, files
        )
        return compile_requirements(question, self._reporter, self._inquire if self._builder is not None else None)

    def _locate(self, wheel: LockedWheel) -> Path:
        if wheel.path:
            return (self._project / wheel.path).absolute()
        assert self._builder is not None
        return self._builder.find(wheel)

    def _provide_origins(self) -> dict[str, LockedWheel]:
        """The wheels of the requirements that name files, folders and repositories, by the requirement's text."""
        given: dict[str, LockedWheel] = {}
        lines: list[RequirementLine] = []
        for line in self._requirements.lines:
            if line.origin is None or (line.origin.url and not line.origin.is_built):
                lines.append(line)
            elif self._target.accepts(line.marker):
                wheel = self._provide(line)
                if wheel.name in PROVIDED:
                    self._reporter.note(f"{line.where}: {wheel.name} left out: the image has Layerforge's own")
                    continue
                given[line.text] = wheel
                lines.append(msgspec.structs.replace(line, name=wheel.name))
        self._requirements = msgspec.structs.replace(self._requirements, lines=tuple(lines))
        return given

    def _provide(self, line: RequirementLine) -> LockedWheel:
        assert line.origin is not None
        if not line.origin.is_built:
            wheel = lock_local_wheel(self._project, line.origin.path, line.where)
            if line.hashes and wheel.digest.hex not in line.hashes:
                message = f"{line.origin.path} has the sha256 {wheel.digest.hex}, which is not among the hashes given"
                raise ResolveError(message, where=line.where, hint="mend --hash, or put the right file there")
            self._check_tags(wheel, line)
            return wheel
        if self._builder is None:
            raise ResolveError(f"{line.text} would have to be built", where=line.where)
        before = self._find_pinned(line)
        source = before or self._builder.pin(line.origin, line.hashes, line.where)
        wheel = self._builder.build(Order(source, line.name, line.settings, line.where))
        if line.name and wheel.name != line.name:
            message = f"this is {wheel.name} {wheel.version}, not {line.name}"
            raise ResolveError(message, where=line.where, hint=f"write `{wheel.name} @ …`")
        return wheel

    def _find_pinned(self, line: RequirementLine) -> LockedSource | None:
        """The commit that the last lock has for the same branch or tag."""
        origin = line.origin
        assert origin is not None
        for wheel in self._previous:
            source = wheel.source
            if source is None or source.kind != "git" or origin.kind != "git":
                continue
            same = (source.url, source.reference, source.subdirectory)
            if same == (without_user(origin.url), origin.reference, origin.subdirectory):
                return source
        return None

    def _check_tags(self, wheel: LockedWheel, line: RequirementLine) -> None:
        if choose_wheel([PackageWheel(name=wheel.filename, path=wheel.path, hashes={})], self._target.rank_tags()):
            return
        hint = "add a wheel for it with an environment marker, or leave the platform out"
        target = f"{self._target.platform} with Python {self._target.python}"
        raise ResolveError(f"{wheel.filename} is not for {target}", where=line.where, hint=hint)

    # -- packages of an index ----------------------------------------------------------------------------------

    def _inquire(self, name: str, sdist: PackageSdist) -> Metadata:
        wheel = self._build(name, sdist)
        assert self._builder is not None
        return read_metadata(self._builder.find(wheel), wheel.filename)

    def _build(self, name: str, sdist: PackageSdist) -> LockedWheel:
        """The wheel built from an index's source archive; the one locked before, if that is the same archive."""
        origin = self._requirements.find_origin(name)
        where = origin.where if origin else ""
        assert self._builder is not None
        if not sdist.url or urlsplit(sdist.url).scheme not in ("http", "https"):
            path = self._find_in_project(sdist.path or sdist.url or "")
            digest, size = digest_file_of(self._project, path)
            source = LockedSource("sdist", path=path, size=size, digest=digest)
        else:
            digest_, size_ = sdist.hashes.get("sha256", ""), sdist.size
            if not digest_:
                digest_, size_ = _hash_url(sdist.url)
            elif not size_:
                size_ = _measure_url(sdist.url)
            source = LockedSource("sdist", _public(sdist.url), size=size_, digest=_parse_digest(digest_, sdist.url))
        settings = origin.settings if origin else ()
        return self._builder.build(Order(source, name, settings, where))

    def _choose(self, package: Package, ranks: Mapping[Tag, int]) -> LockedWheel:
        requirements = self._requirements
        accepted = _accepted_hashes(requirements, package.name)
        kept = self._kept.get(package.name)
        must_build = requirements.must_build(package.name)
        candidates = () if must_build else _list_wheels(package)
        wheel = choose_wheel(candidates, ranks, accepted, kept)
        if wheel is not None:
            return self._lock_wheel(package, wheel, kept)
        sdist = package.sdist
        wanted = not accepted or (sdist is not None and sdist.hashes.get("sha256", "") in accepted)
        if sdist is not None and wanted and self._builder is not None and requirements.may_build(package.name):
            return self._build(package.name, sdist)
        raise self._no_wheel(package, candidates, accepted)

    def _lock_wheel(self, package: Package, wheel: PackageWheel, kept: LockedWheel | None) -> LockedWheel:
        if not wheel.url or urlsplit(wheel.url).scheme not in ("http", "https"):
            path = self._find_in_project(wheel.path or wheel.url or "")
            return lock_local_wheel(self._project, path, "")
        url = _public(wheel.url)
        digest, size = wheel.hashes.get("sha256", ""), wheel.size
        if kept is not None and digest == kept.digest.hex:
            size = size or kept.size
        if not digest:
            digest, size = _hash_url(wheel.url)
        elif not size:
            size = _measure_url(wheel.url)
        version = str(package.version or wheel.filename.split("-")[1])
        return LockedWheel(package.name, version, wheel.filename, url, size, _parse_digest(digest, url), "")

    def _find_in_project(self, place: str) -> str:
        """The path in the project of a file that uv names by URL or path."""
        path = Path(unquote(urlsplit(place).path) if place.startswith("file:") else place)
        root = self._project.absolute()
        for candidate in (path, path.resolve()):
            for folder in (root, root.resolve()):
                if candidate.is_relative_to(folder):
                    return candidate.relative_to(folder).as_posix()
        hint = "a lock holds only what every machine can fetch: take it from a server, or copy it into the project"
        raise SourceError(f"{path.name} is only to be had at {place}", hint=hint)

    def _no_wheel(
        self, package: Package, candidates: Sequence[PackageWheel], accepted: frozenset[str]
    ) -> LayerforgeError:
        origin = self._requirements.find_origin(package.name)
        where = origin.where if origin else ""
        platform, python = self._target.platform, self._target.python
        if accepted:
            hint = "add the digest of the wheel for this platform with --hash, or remove the hashes"
            message = f"no wheel of {package.name} {package.version} for {platform} has one of the hashes given"
            return ResolveError(message, where=where, hint=hint)
        message = f"{package.name} {package.version} has no wheel for {platform} and Python {python}"
        tags = sorted({"-".join(re.sub(r"\.whl$", "", wheel.filename).split("-")[-3:]) for wheel in candidates})
        if tags:
            message += f"; there are wheels for: {', '.join(tags[:6])}{', …' if len(tags) > 6 else ''}"
        return ResolveError(message, where=where, hint="ask for a version that has one")


def _accepted_hashes(requirements: Requirements, name: str) -> frozenset[str]:
    lines: Iterable[RequirementLine] = (*requirements.lines, *requirements.constraints)
    return frozenset(digest for line in lines if line.name == name for digest in line.hashes)


def _list_wheels(package: Package) -> tuple[PackageWheel, ...]:
    if package.archive is not None:
        url = package.archive.url or ""
        filename = unquote(urlsplit(url or package.archive.path or "").path.rpartition("/")[2])
        hashes = package.archive.hashes
        if url:
            return (PackageWheel(name=filename, url=url, size=package.archive.size, hashes=hashes),)
        return (PackageWheel(name=filename, path=package.archive.path, size=package.archive.size, hashes=hashes),)
    return tuple(package.wheels or ())


def _public(url: str) -> str:
    return without_user(url).partition("#")[0]


def _parse_digest(digest: str, url: str) -> Digest:
    try:
        return Digest.from_hex(digest)
    except ImageError as error:
        raise SourceError(f"the index gave {digest!r} as its sha256", where=redact(url)) from error


def _measure_url(url: str) -> int:
    """The size in bytes of what is at ``url``, for indexes that do not say."""
    with open_url(url) as response:
        size = response.headers.get("Content-Length", "")
    if not size.isdecimal():
        raise SourceError("the index does not say how large this file is", where=redact(url))
    return int(size)


def measure(url: str) -> tuple[Digest, int]:
    """Digest and size in bytes of what is at ``url``, which may hold ``${NAME}``.

    Raises:
        SourceError: it cannot be had.
    """
    digest, size = _hash_url(expand(url, os.environ))
    return Digest.from_hex(digest), size


def _hash_url(url: str) -> tuple[str, int]:
    hasher, size = hashlib.sha256(), 0
    with open_url(url) as response:
        while chunk := response.read(_CHUNK):
            hasher.update(chunk)
            size += len(chunk)
    return hasher.hexdigest(), size
