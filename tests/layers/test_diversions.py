"""Diverted files: layers of made-up packages give the root that dpkg makes of them, whichever it unpacks first."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from layerforge.errors import LayerError
from layerforge.layers import debian, root
from layerforge.layers.step import Recipe
from layerforge.layers.tar import TarWriter
from layerforge.oci import Digest
from layerforge.sources.debian.control import parse_fields
from tests.conftest import require
from tests.debian_samples import FactKeeper, Member, file_member, make_deb, special_member
from tests.installed_roots import read_base

FOLDERS = [
    special_member(f"./{path}", tarfile.DIRTYPE)
    for path in ("", "etc", "usr", "usr/bin", "usr/lib", "var", "var/lib", "var/lib/dpkg")
]


class Sample(msgspec.Struct, frozen=True):
    """A package ``victim`` that ships ``theirs``, and ``taker``, which ships ``ours`` and has these scripts."""

    theirs: tuple[Member, ...]
    ours: tuple[Member, ...]
    preinst: str
    postinst: str = ""
    replaces: str = ""
    conffiles: str = ""


TOOL = (file_member("./usr/bin/tool", b"theirs", mode=0o755), file_member("./usr/bin/more", b"more"))
DIVERT = "dpkg-divert --package taker --add {} --divert /{}.real /{}"
SAMPLES = {
    "renamed": Sample(
        TOOL, (file_member("./usr/bin/tool", b"ours"),), DIVERT.format("--rename", *["usr/bin/tool"] * 2)
    ),
    "not renamed": Sample(
        TOOL,
        (file_member("./usr/bin/tool", b"ours"),),
        'if [ -e "$DPKG_ROOT/usr/bin/tool" ]; then cp -p "$DPKG_ROOT/usr/bin/tool" "$DPKG_ROOT/usr/bin/tool.real"; fi\n'
        + DIVERT.format("--no-rename", *["usr/bin/tool"] * 2),
    ),
    "merged": Sample(
        (file_member("./bin/tool", b"theirs", mode=0o755),),
        (file_member("./bin/tool", b"ours"),),
        DIVERT.format("--rename", "bin/tool", "bin/tool"),
    ),
    "links": Sample(
        (file_member("./usr/bin/more", b"x"), special_member("./usr/bin/tool", tarfile.SYMTYPE, "more")),
        (file_member("./usr/bin/less", b"y"), special_member("./usr/bin/tool", tarfile.SYMTYPE, "less")),
        'name=tool; dpkg-divert --package taker --rename --add --divert "/usr/lib/$name" "/usr/bin/$name"',
    ),
    "a link made by a script": Sample(
        TOOL,
        (file_member("./usr/bin/other", b"ours"),),
        DIVERT.format("--rename", *["usr/bin/tool"] * 2),
        'ln -sf other "$DPKG_ROOT/usr/bin/tool"',
    ),
    "replaced": Sample(
        TOOL,
        (file_member("./usr/bin/tool", b"ours"), file_member("./etc/x", b"x")),
        DIVERT.format("--rename", *["usr/bin/else"] * 2),
        replaces="victim",
    ),
    "replaced and diverted": Sample(
        TOOL,
        (file_member("./usr/bin/tool", b"ours"),),
        DIVERT.format("--rename", *["usr/bin/tool"] * 2),
        replaces="victim",
    ),
    "settings": Sample(
        (file_member("./etc/tool.conf", b"theirs"),),
        (file_member("./etc/tool.conf", b"ours"), file_member("./usr/bin/tool", b"x")),
        DIVERT.format("--rename", "etc/tool.conf", "etc/tool.conf"),
        conffiles="/etc/tool.conf\n",
    ),
    "hard links": Sample(
        (file_member("./usr/bin/more", b"theirs"), special_member("./usr/bin/tool", tarfile.LNKTYPE, "./usr/bin/more")),
        (file_member("./usr/bin/less", b"ours"), special_member("./usr/bin/tool", tarfile.LNKTYPE, "./usr/bin/less")),
        DIVERT.format("--rename", *["usr/bin/tool"] * 2),
    ),
}


def write_samples(sample: Sample, folder: Path) -> dict[str, Path]:
    """The packages of ``sample`` by name, and the one that brings the folders."""
    scripts = {name: f"#!/bin/sh\nset -e\n{text}\n".encode() for name, text in
               (("preinst", sample.preinst), ("postinst", sample.postinst)) if text}  # fmt: skip
    settings = {"conffiles": sample.conffiles.encode()} if sample.conffiles else {}
    common = {"Maintainer": "A <a@example.org>", "Description": "sample"}
    replaces = {"Replaces": sample.replaces} if sample.replaces else {}
    debs = {
        "base-passwd": make_deb({"Package": "base-passwd", **common}, FOLDERS),
        "victim": make_deb({"Package": "victim", **common}, [FOLDERS[0], *sample.theirs], control=settings),
        "taker": make_deb({"Package": "taker", **common, **replaces}, [FOLDERS[0], *sample.ours], control=scripts),
    }
    for name, data in debs.items():
        (folder / f"{name}.deb").write_bytes(data)
    return {name: folder / f"{name}.deb" for name in debs}


def install(debs: tuple[Path, Path, Path], folder: Path) -> Path:
    """The root that dpkg makes of ``debs``, one after another; scripts run here, told where the root is."""
    base, first, second = debs
    prepare(folder)
    unpack((base, first), folder)
    unpack((second,), folder)
    return folder


def prepare(folder: Path) -> None:
    (folder / "var/lib/dpkg/updates").mkdir(parents=True)
    (folder / "var/lib/dpkg/info").mkdir()
    (folder / "usr/bin").mkdir(parents=True)
    (folder / "bin").symlink_to("usr/bin")
    for name in ("status", "available", "diversions"):
        (folder / "var/lib/dpkg" / name).touch()


def unpack(debs: tuple[Path, ...], folder: Path) -> None:
    options = ["--force-script-chrootless", "--force-unsafe-io", "--log=/dev/null", "--no-triggers"]
    done = subprocess.run(["dpkg", f"--root={folder}", *options, "-i", *debs], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


Tree = dict[str, tuple[str, str]]


def read_folder(folder: Path) -> Tree:
    """What is in an installed root: kind and content or target of each path."""
    found: Tree = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            relative = str(path.relative_to(folder))
            if path.is_symlink():
                found[relative] = ("link", str(path.readlink()))
            elif path.is_file():
                found[relative] = ("file", path.read_text())
    return found


def read_layers(layers: Iterable[bytes], below: Tree) -> Tree:
    """The same of layers, lowest first, on top of ``below``."""
    found = dict(below)
    for layer in layers:
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            for member in tar:
                parent, _, name = member.name.rpartition("/")
                if name.startswith(".wh."):
                    found.pop(f"{parent}/{name[4:]}", None)
                elif member.issym():
                    found[member.name] = ("link", member.linkname)
                elif not member.isdir():
                    file = tar.extractfile(member)
                    assert file is not None
                    found[member.name] = ("file", file.read().decode())
    return found


def build(debs: Iterable[Iterable[Path]], folder: Path, base: Path | None = None) -> Tree:
    """The root of layers with these packages and of the layer ``root``, upon the root in ``base`` if given."""
    groups = [tuple(Digest.of(deb.read_bytes()) for deb in group) for group in debs]
    paths = {Digest.of(deb.read_bytes()): deb for deb in folder.glob("*.deb")}
    layers = []
    with ThreadPoolExecutor(2) as threads:
        keeper = FactKeeper(lambda digest: paths[digest])
        bench = SimpleNamespace(
            compressors=threads,
            material=keeper._material,
            facts=keeper.facts,
            keep_facts=keeper.keep_facts,
            base_root=lambda: read_base(base, lambda path: path.startswith(("etc/", "var/lib/dpkg/"))),
            base_files=lambda paths: {path: (base / path).read_bytes() for path in paths},
            expect_packages=keeper.expect_packages,
        )
        recipes: list[Recipe] = [debian.DebianRecipe(group) for group in groups]
        image = Digest.of(b"base") if base else None
        recipes.append(root.RootRecipe(tuple(deb for group in groups for deb in group), "bookworm", "amd64", image))
        for recipe in recipes:
            output = io.BytesIO()
            tar = TarWriter(output, executor=threads)
            (root if isinstance(recipe, root.RootRecipe) else debian).write(recipe, tar, bench)  # type: ignore[arg-type]
            assert tar.finish().descriptor.annotations == {}  # no warnings
            layers.append(output.getvalue())
    return read_layers(layers, read_folder(base) if base else {})


def relevant(tree: Tree) -> Tree:
    """What packages brought, what dpkg lists, and who diverts what."""
    info = ("var/lib/dpkg/info/victim.list", "var/lib/dpkg/info/taker.list", "var/lib/dpkg/diversions")
    return {path: node for path, node in tree.items() if path.startswith(("usr/", "etc/t")) or path in info}


def conffiles(tree: Tree) -> dict[str, str]:
    stanzas = map(parse_fields, tree["var/lib/dpkg/status"][1].split("\n\n"))
    return {each["Package"]: each.get("Conffiles", "") for each in stanzas if each}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_root_is_that_of_dpkg(name: str, tmp_path: Path) -> None:
    require(shutil.which("dpkg"), "dpkg is not installed")
    require(os.geteuid() == 0, "dpkg installs as root only")
    debs = write_samples(SAMPLES[name], tmp_path)
    base, victim, taker = debs["base-passwd"], debs["victim"], debs["taker"]
    real = read_folder(install((base, victim, taker), tmp_path / "victim first"))
    other = read_folder(install((base, taker, victim), tmp_path / "taker first"))
    assert relevant(other) == relevant(real)
    for groups in ([[base, victim, taker]], [[base, victim], [taker]], [[base, taker], [victim]]):
        found = build(groups, tmp_path)
        assert relevant(found) == relevant(real)
        assert conffiles(found) == conffiles(real)


@pytest.mark.parametrize("below", ["victim", "taker"])
@pytest.mark.parametrize("name", ["renamed", "links", "merged", "a link made by a script"])
def test_the_root_upon_a_base_is_that_of_dpkg(name: str, below: str, tmp_path: Path) -> None:
    require(shutil.which("dpkg"), "dpkg is not installed")
    require(os.geteuid() == 0, "dpkg installs as root only")
    debs = write_samples(SAMPLES[name], tmp_path)
    folder = tmp_path / "base"
    prepare(folder)
    unpack((debs["base-passwd"], debs[below]), folder)
    above = debs["taker" if below == "victim" else "victim"]
    found = build([[above]], tmp_path, folder)
    unpack((above,), folder)
    assert relevant(found) == relevant(read_folder(folder))


def test_a_path_that_is_not_diverted_is_refused(tmp_path: Path) -> None:
    preinst = DIVERT.format("--rename", *["usr/bin/else"] * 2)
    debs = write_samples(Sample(TOOL, (file_member("./usr/bin/tool", b"ours"),), preinst), tmp_path)
    with pytest.raises(LayerError, match=r"usr/bin/tool is also a file of package") as caught:
        build([debs.values()], tmp_path)
    assert caught.value.hint.startswith("dpkg would refuse to install these packages together")
