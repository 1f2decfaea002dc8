"""The parts of a root's state, each compared with the program that would have made it where that is at hand."""

from __future__ import annotations

import hashlib
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from layerforge.errors import LayerError
from layerforge.sources.debian.certificates import certificate_state, subject_hash
from layerforge.sources.debian.deb import ControlFile
from layerforge.sources.debian.dpkg import database_state, status_stanza
from layerforge.sources.debian.facts import decode_facts, encode_facts, read_facts
from layerforge.sources.debian.loader_cache import CacheEntry, LoaderCache, encode_cache
from layerforge.sources.debian.pam import pam_state
from layerforge.sources.debian.rootstate import DebFacts
from layerforge.sources.debian.slim import DPKG_CONFIG, is_dropped
from layerforge.sources.debian.soname import read_soname
from tests.conftest import require
from tests.debian_samples import file_member, make_deb, special_member

TRIPLET = "x86_64-linux-gnu"


def facts(name: str = "p", record: str = "", **members: str) -> DebFacts:
    control = {key: ControlFile(0o755, text.encode()) for key, text in members.items()}
    return DebFacts(record or name, {"Package": name, "Version": "1", "Architecture": "amd64"}, control)


def system_certificates() -> list[Path]:
    return sorted(Path("/usr/share/ca-certificates/mozilla").glob("*.crt"))


def test_subject_hashes_are_openssls() -> None:
    paths = system_certificates()
    require(paths and shutil.which("openssl"), "openssl or ca-certificates is not installed")
    for path in paths:
        command = ["openssl", "x509", "-noout", "-subject_hash", "-in", str(path)]
        expected = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        assert subject_hash(path.read_bytes()) == expected, path


def test_python_finds_certificates_by_our_links(tmp_path: Path) -> None:
    paths = system_certificates()
    require(paths, "ca-certificates is not installed")
    files = {f"usr/share/ca-certificates/mozilla/{path.name}": path.read_bytes() for path in paths}
    entries = certificate_state(files)
    bundle = tmp_path / "bundle"
    bundle.write_bytes(entries["etc/ssl/certs/ca-certificates.crt"].content)
    assert len(ssl.create_default_context(cafile=str(bundle)).get_ca_certs()) == len(paths)
    hashed = [path for path, entry in entries.items() if path.endswith(".0") and entry.kind == "symlink"]
    assert all(f"etc/ssl/certs/{entries[path].target}" in entries for path in hashed)
    assert len([path for path in entries if path.endswith(".pem")]) == len(paths)


def test_certificates_with_the_same_subject_are_numbered() -> None:
    paths = system_certificates()
    require(paths, "ca-certificates is not installed")
    data = paths[0].read_bytes()
    entries = certificate_state({f"usr/share/ca-certificates/{name} (x).crt": data for name in "ab"})
    links = {path: entry.target for path, entry in entries.items() if path[-2:] in (".0", ".1")}
    assert sorted(links.values()) == ["a_=x=.pem", "b_=x=.pem"]


def test_damaged_certificates_are_refused() -> None:
    with pytest.raises(LayerError, match=r"x\.pem: a damaged certificate"):
        certificate_state({"usr/share/ca-certificates/x.crt": b"rubbish"})
    assert certificate_state({}) == {}


def test_ldconfig_reads_our_cache_in_its_own_order(tmp_path: Path) -> None:
    program = shutil.which("ldconfig", path="/sbin:/usr/sbin:/bin")
    require(program, "ldconfig is not installed")
    names = [
        "libz.so.1",
        "libc.so.6",
        "liba-2.10.so",
        "liba-2.9.so",
        "libstdc++.so.6",
        "ld-linux-x86-64.so.2",
        "libA.so",
    ]
    cache = tmp_path / "cache"
    cache.write_bytes(encode_cache(LoaderCache(tuple(CacheEntry(name, f"/lib/{name}", 0x303) for name in names))))
    shown = subprocess.run([str(program), "-p", "-C", str(cache)], capture_output=True, text=True, check=True).stdout
    found = [line.split()[0] for line in shown.splitlines() if "=>" in line]
    assert sorted(found) == sorted(names)
    assert found.index("libz.so.1") < found.index("liba-2.10.so") < found.index("liba-2.9.so")
    assert all("(libc6,x86-64)" in line for line in shown.splitlines() if "=>" in line)


def test_the_real_cache_is_reproduced(tmp_path: Path) -> None:
    """This machine's own cache, sorted by ldconfig, must come out in the same order."""
    program = shutil.which("ldconfig", path="/sbin:/usr/sbin:/bin")
    require(program and Path("/etc/ld.so.cache").exists(), "there is no ld.so.cache")
    real = subprocess.run([str(program), "-p"], capture_output=True, text=True, check=True).stdout
    found = [line.split() for line in real.splitlines() if "(libc6,x86-64)" in line]
    expected = list(dict.fromkeys(words[0] for words in found))
    require(expected, "this is not an amd64 machine")
    cache = tmp_path / "cache"
    entries = {words[0]: CacheEntry(words[0], words[-1], 0x303) for words in found[::-1]}
    cache.write_bytes(encode_cache(LoaderCache(tuple(entries.values()))))
    ours = subprocess.run([str(program), "-p", "-C", str(cache)], capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in ours.splitlines() if "=>" in line] == expected


def test_the_cache_says_who_made_it_and_keeps_each_ending_once(tmp_path: Path) -> None:
    entries = (CacheEntry("liba.so", "/opt/lib/liba.so", 0x303), CacheEntry("a.so", "/lib/a.so", 0x303))
    plain, named = encode_cache(LoaderCache(entries)), encode_cache(LoaderCache(entries, "a writer"))
    assert named.startswith(plain[:32]) and named.endswith(b"a writer") and named.count(b"a.so\0") == 2
    program = shutil.which("ldconfig", path="/sbin:/usr/sbin:/bin")
    require(program, "ldconfig is not installed")
    (tmp_path / "cache").write_bytes(named)
    shown = subprocess.run([str(program), "-p", "-C", str(tmp_path / "cache")], capture_output=True, text=True)
    assert "a.so (libc6,x86-64) => /lib/a.so" in shown.stdout and "Cache generated by: a writer" in shown.stdout


def test_sonames() -> None:
    libraries = sorted(Path(f"/usr/lib/{TRIPLET}").glob("libc.so.6"))
    require(libraries, "this is not an amd64 Debian machine")
    data = libraries[0].read_bytes()
    assert read_soname(data, "other.so", "amd64") == "libc.so.6"
    assert read_soname(data, "other.so", "arm64") is None
    assert read_soname(b"/* GNU ld script */", "libc.so", "amd64") is None
    with pytest.raises(LayerError, match="damaged library"):
        read_soname(data[:100], "libc.so.6", "amd64")


def test_pam_stacks() -> None:
    template = "$auth_primary\nauth requisite pam_deny.so\n$auth_additional\n"
    files = {f"usr/share/pam/common-{name}": template.replace("auth", name).encode() for name in ("auth", "account")}
    files |= {
        "usr/share/pam/common-password": b"$password_primary\n",
        "usr/share/pam/common-session": b"$session_primary\n",
    }
    files["usr/share/pam/common-session-noninteractive"] = b"$session_nonint_primary\n$session_nonint_additional\n"
    files["usr/share/pam-configs/unix"] = (
        b"Name: Unix\nDefault: yes\nPriority: 256\nAuth-Type: Primary\nAuth:\n\t[success=end]\tpam_unix.so try\n"
        b"Auth-Initial:\n\t[success=end]\tpam_unix.so\nSession-Type: Additional\nSession:\n\trequired\tpam_unix.so\n"
    )
    files["usr/share/pam-configs/low"] = (
        b"Name: Low\nDefault: yes\nPriority: 1\nAuth-Type: Primary\nAuth:\n\t[success=end]\tpam_low.so use\n"
    )
    files["usr/share/pam-configs/off"] = b"Name: Off\nDefault: no\nAuth-Type: Primary\nAuth:\n\trequired pam_off.so\n"
    entries = pam_state(files)
    assert entries["etc/pam.d/common-auth"].content.decode() == (
        "auth\t[success=2]\tpam_unix.so \nauth\t[success=1]\tpam_low.so use\nauth requisite pam_deny.so\n"
    )
    assert b"session\trequired\tpam_unix.so \n" in entries["etc/pam.d/common-session-noninteractive"].content
    assert b"account\t[default=1]\t\t\tpam_permit.so\n" in entries["etc/pam.d/common-account"].content
    assert entries["var/lib/pam/seen"].content == b"unix\nlow\noff\n"
    assert pam_state({}) == {}


def test_status_stanzas() -> None:
    package = DebFacts(
        "p",
        {
            "Package": "p",
            "Homepage": "h",
            "Version": "1",
            "Description": "d\n more",
            "Depends": "x",
            "Essential": "yes",
        },
        {},
        conffiles=(("etc/p", "0" * 32),),
    )
    assert status_stanza(package) == (
        "Package: p\nEssential: yes\nStatus: install ok installed\nVersion: 1\nDepends: x\n"
        f"Conffiles:\n /etc/p {'0' * 32}\nDescription: d\n more\nHomepage: h\n"
    )


def test_triggers_and_order() -> None:
    packages = [
        facts("lib-bin", triggers="interest-noawait /usr/share/x\ninterest ldconfig\nactivate-noawait other\n"),
        facts("lib", record="lib:amd64"),
    ]
    entries = database_state(packages, "amd64")
    assert entries["var/lib/dpkg/triggers/File"].content == b"/usr/share/x lib-bin/noawait\n"
    assert entries["var/lib/dpkg/triggers/ldconfig"].content == b"lib-bin\n"
    status = entries["var/lib/dpkg/status"].content
    assert status.index(b"Package: lib\n") < status.index(b"Package: lib-bin\n")


def test_facts_of_a_package(tmp_path: Path) -> None:
    members = [
        special_member("./etc/", b"5"),
        file_member("./etc/p.conf", b"setting"),
        file_member("./usr/share/base-files/motd", b"hello"),
        file_member("./usr/share/other", b"x"),
        file_member("./lib/x86_64-linux-gnu/libscript.so", b"/* GNU ld script */"),
    ]
    control = {"conffiles": b"/etc/p.conf\n/etc/gone\nremove-on-upgrade /etc/old\n"}
    path = tmp_path / "x.deb"
    path.write_bytes(make_deb({"Package": "p", "Multi-Arch": "same"}, members, control=control))
    read = read_facts(path)
    assert read.record == "p:amd64"
    assert read.conffiles == (
        ("etc/p.conf", hashlib.md5(b"setting").hexdigest()),
        ("etc/gone", "newconffile"),
        ("etc/old", "newconffile remove-on-upgrade"),
    )
    assert read.files == {"usr/share/base-files/motd": b"hello"}
    assert read.libraries == ()
    assert [(item.path, item.kind, item.mode, item.size, item.shipped) for item in read.paths] == [
        ("etc", "dir", 0o755, 0, ""),
        ("etc/p.conf", "file", 0o644, 7, ""),
        ("usr/share/base-files/motd", "file", 0o644, 5, ""),
        ("usr/share/other", "file", 0o644, 1, ""),
        ("usr/lib/x86_64-linux-gnu/libscript.so", "file", 0o644, 19, "lib/x86_64-linux-gnu/libscript.so"),
    ]
    assert decode_facts(encode_facts(read)) == read
    assert decode_facts(encode_facts(read)[:-9]) is None


def test_files_that_the_package_s_scripts_name_are_kept(tmp_path: Path) -> None:
    members = [
        file_member("./usr/share/p/template", b"small"),
        file_member("./usr/share/p/large", bytes((64 << 10) + 1)),
        file_member("./usr/share/p/other", b"x"),
        file_member("./sbin/p-setup", b"#!"),
        file_member("./usr/lib/sysusers.d/p.conf", b"u p"),
        file_member("./usr/share/doc/p/README", b"read"),
    ]
    script = b"cp /usr/share/p/template /usr/share/p/large /etc\n/usr/sbin/p-setup /usr/share/doc/p/README\n"
    path = tmp_path / "x.deb"
    path.write_bytes(
        make_deb({"Package": "p"}, members, control={"postinst": script, "md5sums": b"/usr/share/p/other"})
    )
    read = read_facts(path)
    assert sorted(read.files) == [
        "usr/lib/sysusers.d/p.conf",
        "usr/sbin/p-setup",
        "usr/share/doc/p/README",
        "usr/share/p/template",
    ]
    assert [item.path for item in read.paths if item.is_dropped] == ["usr/share/doc/p/README"]


@pytest.mark.parametrize(
    ("path", "kind", "dropped"),
    [
        ("usr/share/doc/p/copyright", "file", False),
        ("usr/share/doc/p/changelog.gz", "file", True),
        ("usr/share/doc/p/examples/copyright", "file", False),
        ("usr/share/doc/p", "dir", True),
        ("usr/share/doc/libp", "symlink", False),
        ("usr/share/doc/p/NEWS", "symlink", True),
        ("usr/share/man/man1/p.1.gz", "file", True),
        ("usr/share/locale/de/LC_MESSAGES/p.mo", "file", True),
        ("usr/share/locale/locale.alias", "file", False),
        ("usr/share/i18n/x", "file", False),
        ("usr/share/manual", "file", False),
    ],
)
def test_what_is_left_out(path: str, kind: str, dropped: bool) -> None:
    assert is_dropped(path, kind) is dropped


def test_dpkg_is_told_what_is_left_out() -> None:
    assert "path-exclude /usr/share/man/*\n" in DPKG_CONFIG
    assert DPKG_CONFIG.index("path-exclude /usr/share/doc/*") < DPKG_CONFIG.index(
        "path-include /usr/share/doc/*/copyright"
    )
