"""Configuration files that people changed in a base: they are what dpkg leaves of them when the package is upgraded."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from layerforge.layers.root_state import root_state
from layerforge.sources.debian.control import parse_fields
from layerforge.sources.debian.facts import read_facts
from layerforge.sources.debian.ownership import settle_ownership
from layerforge.sources.debian.rootstate import RootBase, RootEntry
from tests.conftest import require
from tests.debian_samples import file_member, make_deb, special_member
from tests.installed_roots import read_base

OLD = dict.fromkeys(("kept", "changed", "edited", "both", "same", "gone", "gone2", "mode", "dropped", "link"), b"1")
NEW = dict.fromkeys(("kept", "edited", "gone"), b"1")
NEW |= dict.fromkeys(("changed", "both", "same", "gone2", "mode", "made", "fresh", "equal", "link"), b"2")


def write_deb(folder: Path, version: str, conffiles: dict[str, bytes]) -> Path:
    members = [special_member(f"./{path}", tarfile.DIRTYPE) for path in ("", "etc", "etc/p")]
    members += [file_member(f"./etc/p/{name}", data) for name, data in conffiles.items()]
    fields = {"Package": "p", "Version": version, "Maintainer": "A <a@example.org>", "Description": "sample"}
    listed = "".join(f"/etc/p/{name}\n" for name in conffiles).encode()
    path = folder / f"{version}.deb"
    path.write_bytes(make_deb(fields, members, control={"conffiles": listed}))
    return path


def install(deb: Path, folder: Path) -> None:
    options = ["--force-unsafe-io", "--force-confold", "--log=/dev/null", "--no-triggers"]
    done = subprocess.run(["dpkg", f"--root={folder}", *options, "-i", str(deb)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def read_tree(folder: Path) -> dict[str, tuple[str, int]]:
    """Content or target, and mode, of everything below ``etc/p``."""
    found = {}
    for path in sorted((folder / "etc/p").iterdir()):
        is_link = path.is_symlink()
        text = f"-> {path.readlink()}" if is_link else path.read_text()
        found[str(path.relative_to(folder))] = (text, 0o777 if is_link else path.stat().st_mode & 0o7777)
    return found


def status_conffiles(text: str) -> list[str]:
    """Lines of the field. dpkg never configures what it unpacked beside a link, so it has that file's old sum."""
    return sorted(line for line in parse_fields(text)["Conffiles"].split("\n") if "/link " not in line)


@pytest.mark.parametrize("prepared", ["changed by people", "untouched"])
def test_an_upgrade_leaves_what_dpkg_leaves(prepared: str, tmp_path: Path) -> None:
    require(shutil.which("dpkg"), "dpkg is not installed")
    require(os.geteuid() == 0, "dpkg installs as root only")
    root = tmp_path / "root"
    for name in ("updates", "info"):
        (root / "var/lib/dpkg" / name).mkdir(parents=True)
    for name in ("status", "available"):
        (root / "var/lib/dpkg" / name).touch()
    install(write_deb(tmp_path, "1", OLD), root)
    files = root / "etc/p"
    if prepared == "changed by people":
        for name, data in {"edited": "x", "both": "x", "same": "2", "made": "x", "equal": "2"}.items():
            (files / name).write_text(data)
        for name in ("gone", "gone2"):
            (files / name).unlink()
        (files / "mode").chmod(0o600)
        (files / "both").chmod(0o640)
        (files / "link").rename(files / "elsewhere")
        (files / "link").symlink_to("elsewhere")
    base = read_base(root)
    deb = write_deb(tmp_path, "2", NEW)
    install(deb, root)
    state = root_state(settle_ownership((read_facts(deb),)), "trixie", "amd64", base=base)
    ours = read_tree_of_layers(base, state.entries)
    theirs = read_tree(root)
    theirs.pop("etc/p/link.dpkg-new", None)  # dpkg forgets what it unpacked beside a link
    assert ours == theirs
    real = (root / "var/lib/dpkg/status").read_text()
    assert status_conffiles(state.entries["var/lib/dpkg/status"].content.decode()) == status_conffiles(real)
    if prepared == "untouched":
        assert not [path for path in state.entries if path.startswith("etc/p")]


def read_tree_of_layers(base: RootBase, entries: dict[str, RootEntry]) -> dict[str, tuple[str, int]]:
    """The base, the new package's files over it, and the entries of the layer ``root`` over both."""
    found = {
        path: (f"-> {item.target}" if item.kind == "symlink" else base.contents[path].decode(), item.mode)
        for path, item in base.paths.items()
        if path.startswith("etc/p/")
    }
    found |= {f"etc/p/{name}": (data.decode(), 0o644) for name, data in NEW.items()}
    for path, entry in entries.items():
        if not path.startswith("etc/p/"):
            continue
        if entry.kind == "absent":
            del found[path]
        elif entry.kind == "symlink":
            found[path] = (f"-> {entry.target}", 0o777)
        else:
            data = NEW[entry.origin.path.rpartition("/")[2]] if entry.origin else entry.content
            found[path] = (data.decode(), entry.mode)
    return dict(sorted(found.items()))
