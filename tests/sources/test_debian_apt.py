"""What the resolver chooses is what the release's own apt chooses, from the same index upon the same base."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator

import pytest

from layerforge.errors import ResolveError
from layerforge.sources.debian.installed import parse_status
from layerforge.sources.debian.mirrors import find_mirrors
from layerforge.sources.debian.resolve import resolve
from layerforge.sources.interpreters.interpreter import host_architecture
from layerforge.store import Store
from tests.conftest import require
from tests.debian_apt import Apt, Snapshot, described

pytestmark = pytest.mark.network

RELEASES = ("trixie", "bookworm")

NAMED = (
    *("ffmpeg", "libgl1", "libglib2.0-0", "libsndfile1", "git", "build-essential", "cmake", "espeak-ng", "sox"),
    *("tesseract-ocr", "poppler-utils", "imagemagick", "libopenmpi-dev", "libsm6", "libxext6", "libxrender1", "wget"),
    *("curl", "unzip", "ninja-build", "pkg-config", "libgomp1", "libopenblas-dev", "libsox-dev", "portaudio19-dev"),
    *("graphviz", "libreoffice-writer", "chromium", "libmagic1", "libgl1-mesa-dri", "libegl1", "libavcodec-dev"),
    *("libhdf5-dev", "nodejs", "npm", "python3-opencv", "default-jre", "rubberband-cli", "fonts-noto-cjk", "aria2"),
)
"""The forty packages that models name most."""

OTHERS = (
    *("zip", "libxml2-dev", "libxslt1-dev", "libffi-dev", "libssl-dev", "libjpeg-dev", "libpng-dev", "libtiff-dev"),
    *("libfreetype-dev", "libgeos-dev", "libproj-dev", "gdal-bin", "libgdal-dev", "libsqlite3-dev", "libpq-dev"),
    *("libboost-all-dev", "libeigen3-dev", "libfftw3-dev", "libgsl-dev", "liblapack-dev", "libsuitesparse-dev"),
    *(
        "mecab",
        "mecab-ipadic-utf8",
        "libmecab-dev",
        "swig",
        "g++",
        "gfortran",
        "clang",
        "llvm-dev",
        "lld",
        "mesa-utils",
    ),
    *("xvfb", "x11-apps", "libgtk-3-dev", "qtbase5-dev", "libqt5gui5", "libavformat-dev", "libavdevice-dev"),
    *("gstreamer1.0-plugins-good", "libasound2-dev", "pulseaudio", "jackd2", "libportaudio2", "libsamplerate0-dev"),
    *("openssh-client", "rsync", "sudo", "vim", "nano", "htop", "tmux", "locales", "fontconfig", "fonts-dejavu"),
    *("texlive-latex-base", "pandoc", "ghostscript", "inkscape", "libvips-dev", "libvips42", "libopencv-dev"),
    *("libgoogle-perftools-dev", "protobuf-compiler", "libprotobuf-dev", "libopenexr-dev", "libturbojpeg0"),
    *("exiftool", "mediainfo", "libzbar0", "libdmtx0b", "weasyprint", "blender", "povray", "octave", "r-base-core"),
    *("golang-go", "rustc", "cargo", "ruby", "php-cli", "maven", "postgresql-client", "redis-server", "nginx"),
    *("systemd", "dbus", "network-manager", "cups", "exim4", "default-mta", "xserver-xorg", "firefox-esr", "vlc"),
)


def generate_sets(count: int, seed: int = 20250101) -> list[tuple[str, ...]]:
    """The forty alone, then combinations of two to seven, the same each time."""
    sets = [(name,) for name in NAMED]
    source = random.Random(seed)
    while len(sets) < count:
        pool = NAMED + OTHERS if len(sets) % 3 else OTHERS
        sets.append(tuple(source.sample(pool, source.randint(2, 7))))
    return sets


SETS = generate_sets(150)
QUICK = (*SETS[:40:8], *SETS[45:150:21])
"""A sample that takes a few seconds."""


OLD_BASE = (
    *(("build-essential",), ("libssl-dev", "curl"), ("python3-dev",), ("perl",)),
    *(("libglib2.0-dev",), ("ffmpeg", "libc6-dev"), ("libsqlite3-dev", "zlib1g-dev")),
)
"""Installed upon a base older than the archive; most need newer versions of what is installed there."""

AGED = {"glibc", "openssl", "perl", "python3.11", "python3.13", "systemd", "util-linux", "xz-utils", "zlib", "sqlite3"}
"""The source packages of which that base has an older version."""


@pytest.fixture(scope="module", params=RELEASES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Snapshot, Apt]]:
    require(shutil.which("dpkg-deb"), "dpkg-deb is not installed")
    mirrors = find_mirrors()
    require(all(mirrors.urls.get(archive) for archive in ("debian", "debian-security")), "no Debian mirrors configured")
    folder = tmp_path_factory.mktemp("apt")
    snapshot = Snapshot(request.param, host_architecture(), mirrors)
    store = Store(folder / "store")
    yield snapshot, Apt(folder / "apt", snapshot, store, mirrors)
    store.close()


def compare(pair: tuple[Snapshot, Apt], roots: tuple[str, ...]) -> str:
    """How the two differ; empty where they agree. Both may refuse, but for the same set."""
    snapshot, apt = pair
    theirs = apt.install(roots)
    try:
        ours = described(resolve(snapshot.index, roots, installed=snapshot.installed))
    except ResolveError as error:
        return "" if isinstance(theirs, str) else f"refused here: {error}"
    if isinstance(theirs, str):
        return f"refused by apt: {theirs[-500:]}"
    return "" if ours == theirs else f"only apt: {sorted(theirs - ours)}; only here: {sorted(ours - theirs)}"


def test_a_sample_of_sets_is_what_apt_chooses(pair: tuple[Snapshot, Apt]) -> None:
    assert {roots: difference for roots in QUICK if (difference := compare(pair, roots))} == {}


@pytest.mark.slow
def test_every_set_is_what_apt_chooses(pair: tuple[Snapshot, Apt]) -> None:
    assert {roots: difference for roots in SETS if (difference := compare(pair, roots))} == {}


def test_a_base_older_than_the_archive_is_upgraded_where_apt_upgrades_it(pair: tuple[Snapshot, Apt]) -> None:
    snapshot, apt = pair
    stanzas = dict(zip(snapshot.installed, snapshot.stanzas(snapshot.installed), strict=True))
    for package, stanza in stanzas.items():
        if package.source[0] in AGED:
            stanzas[package] = stanza.replace(package.version, f"{package.version}~old")
    base = parse_status("\n\n".join(stanzas.values()))
    apt.set_status(stanzas.values())
    try:
        upgraded = 0
        for roots in OLD_BASE:
            ours = resolve(snapshot.index, roots, installed=base)
            assert described(ours) == apt.install(roots), roots
            upgraded += len({package.name for package in ours} & {package.name for package in base})
        assert upgraded > 20
    finally:
        apt.set_status(snapshot.stanzas(snapshot.installed))
