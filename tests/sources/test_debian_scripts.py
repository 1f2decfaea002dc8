"""Maintainer scripts, read: each family of commands, compared with the real programs where they can run on a folder."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from layerforge.layers.root_state import RootState, root_state
from layerforge.sources.debian.deb import ControlFile
from layerforge.sources.debian.loader_cache import CacheEntry, LoaderCache, decode_cache, encode_cache
from layerforge.sources.debian.ownership import settle_ownership
from layerforge.sources.debian.rootstate import DebFacts, Library, Listed, Origin, RootBase
from layerforge.sources.debian.scripts.configure import configure
from layerforge.sources.debian.scripts.order import configuration_order
from layerforge.sources.debian.scripts.world import World
from tests.conftest import require

FOLDERS = ("etc", "root", "tmp", "usr", "usr/bin", "usr/sbin", "usr/share", "var", "var/lib", "var/lib/dpkg")


def package(name: str = "p", files: dict[str, bytes] | None = None, fields: str = "", **members: str) -> DebFacts:
    """A package with these files and control files; a script's text gets its first line."""
    control = {
        key: ControlFile(0o755, (f"#!/bin/sh\n{text}" if "inst" in key or key == "config" else text).encode())
        for key, text in members.items()
    }
    stanza = {"Package": name, "Version": "1", "Architecture": "amd64"}
    stanza |= dict(line.split(": ", 1) for line in fields.splitlines())
    contents = files or {}
    listed = [Listed(path, "dir", 0o755) for path in FOLDERS]
    listed += [Listed(path, "file", 0o755, size=len(data)) for path, data in contents.items()]
    return DebFacts(name, stanza, control, files=contents, paths=tuple(listed))


def state(*packages: DebFacts, base: RootBase | None = None, certificates: tuple[str, ...] = ()) -> RootState:
    return root_state(settle_ownership(packages), "trixie", "amd64", base=base, certificates=certificates)


def text(found: RootState, path: str) -> str:
    return found.entries[path].content.decode()


def output(script: str, files: dict[str, bytes] | None = None) -> tuple[str, list[str]]:
    """What a script prints, and its warnings."""
    found = state(package(files=files, postinst=f"{{ {script}\n}} > /out"))
    entry = found.entries.get("out")  # none where what is printed is not known
    return entry.content.decode() if entry else "", [str(warning) for warning in found.warnings]


# -- text -----------------------------------------------------------------------------------------------------------

SAMPLE = b"# comment\nroot:x:0:0:root:/root:/bin/bash\n\nkey = Value \n  indented\tline\nkey2=b.c\nroot2:y:1\n"
TEXT_COMMANDS = [
    "grep -c root f",
    "grep -q nothing f; echo $?",
    "grep '^key[0-9]* *=' f",
    "grep -E '(root|key)2?:?' f",
    "grep -vx '' f | grep -n x || true; grep -F 'b.c' f",
    "grep -o '[a-z]*=' f; grep -i VALUE f; grep -w root f",
    "sed 's/root/ROOT/g; s/^key *= *\\(.*[^ ]\\) *$/[\\1]/' f",
    "sed -e '/^#/d' -e '/^$/d' f",
    "sed -n '/^root/p' f",
    "sed -n 's|^root:\\([^:]*\\):.*|\\1|p' f",
    "sed '2,4d' f; sed '$d' f; sed -n '2,/key2/p' f",
    "sed '0,/^#/d' f; sed '0,/root/ s/root/x/' f",
    "sed -E 's/([a-z]+)2?=(.)/\\2\\1&/' f",
    "sed 's/x/&&/2;s,/,|,g' f; sed 2q f; sed '/key2/a after' f; sed '/^root/!d' f; sed '1i\\\nfirst' f",
    "sed '/root/{s/root/a/;s/$/!/}' f; sed y/ab/AB/ f",
    "cut -d: -f1,3- f; cut -d: -f2 -s f; cut -c2-4 f",
    "tr a-z A-Z < f; tr -d '\\n' < f; tr -s ' \\t' '  ' < f; echo a,b | tr , '\\n'",
    "head -n 2 f; head -1 f; tail -n 1 f; tail -n +6 f; wc -l < f",
    "LC_ALL=C sort f; printf '3\\n10\\n3\\n' | sort -n | uniq; printf 'b\\na\\nb\\n' | sort -u",
    "printf 'a\\na\\nb\\n' | uniq -c; printf 'a\\na\\nb\\n' | uniq -d",
    "basename /a/b.conf .conf; basename /a/b/; dirname /a/b; dirname a; dirname /a; dirname /",
    "expr 3 + 4; expr abc : 'a\\(.\\)c'; expr abc : ab; expr 2 \\< 1 || true",
    "seq 3; seq 2 4; printf 'a b\\nc\\n' | xargs echo x; printf 'a b' | xargs -n1 echo",
    "awk '{print $2}' f; awk -F: '/^root/ {print $1}' f; cat f | awk -F: '{print $NF}'",
]


@pytest.mark.parametrize("command", TEXT_COMMANDS)
def test_text_programs_print_what_the_real_ones_do(command: str, tmp_path: Path) -> None:
    require(shutil.which("dash"), "dash is not installed")
    (tmp_path / "f").write_bytes(SAMPLE)
    real = subprocess.run(
        ["dash", "-c", command], cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert output(f"cd /tmp\n{command}", {"tmp/f": SAMPLE}) == (real.stdout, [])


FILE_SCRIPTS = [
    "mkdir -p a/b c; echo x > a/b/f; cp a/b/f c; cp -a a d; mv c/f c/g; ln -s ../a c/l; cat c/l/b/f; rm -r a; ls c d",
    "umask 077; touch x; mkdir y; umask 022; touch z; chmod u+x,g=r x; chmod 4755 z; stat -c '%a %n' x y z",
    "install -d -m 750 q; install -m 640 /dev/null q/f; echo new > q/f; stat -c %a q q/f; cat q/*",
    "echo a > f; ln f h; ln -sf f s; ln -sfn q s; readlink s; rmdir q 2>/dev/null || echo no; [ -L s ] && echo link",
    "mkdir -p e; echo 1 > e/1; echo 2 > e/2; for f in e/*; do cat $f; done; find e -name 2; find e -type f | sort",
    "echo a > f; echo b >> f; sed -i s/a/c/ f; cat f; cmp -s f f && echo same; [ f -nt g ] && echo newer",
    "cat > f <<E\n$(echo 1)\nE\nmv f g; [ -s g ] && cat g; cp g h; ls -d h; realpath -m /x/../y; cat no || echo $?",
]


@pytest.mark.parametrize("script", FILE_SCRIPTS)
def test_files_become_what_the_real_programs_make(script: str, tmp_path: Path) -> None:
    require(shutil.which("dash"), "dash is not installed")
    real = subprocess.run(
        ["dash", "-c", script], cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert output(f"cd /tmp\n{script}") == (real.stdout, [])


# -- accounts -------------------------------------------------------------------------------------------------------

PASSWD = b"root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n"
ACCOUNTS = {
    "etc/passwd": PASSWD,
    "etc/group": b"root:x:0:\naudio:x:29:\nnogroup:x:65534:\n",
    "etc/shadow": b"root:*:1:0:99999:7:::\nnobody:*:1:0:99999:7:::\n",
    "etc/gshadow": b"root:*::\naudio:*::\nnogroup:*::\n",
}


def test_users_and_groups_of_any_package() -> None:
    script = """set -e
    adduser --system --quiet --home /var/lib/one --no-create-home --gecos 'The One' one
    addgroup --system team
    adduser --system --group --home /run/two two
    adduser two audio
    useradd --system --user-group --no-create-home --shell /bin/false three
    usermod -a -G audio three
    getent passwd one >/dev/null || exit 7
    id -u two > /uid
    systemd-sysusers four.conf
    chown two:team /run/two
    """
    sysusers = b'#comment\nu four - "Number Four" /var/lib/four -\nm four team\ng five 77\n'
    found = state(package(files={**ACCOUNTS, "usr/lib/sysusers.d/four.conf": sysusers}, postinst=script))
    assert not found.warnings
    assert text(found, "etc/passwd").splitlines()[2:] == [
        "one:x:100:65534:The One:/var/lib/one:/usr/sbin/nologin",
        "two:x:101:101::/run/two:/usr/sbin/nologin",
        "three:x:999:999::/home/three:/bin/false",
        "four:x:998:998:Number Four:/var/lib/four:/usr/sbin/nologin",
    ]
    assert text(found, "etc/group").splitlines()[1:] == [
        "audio:x:29:two,three",
        "nogroup:x:65534:",
        "team:x:100:four",
        "two:x:101:",
        "three:x:999:",
        "five:x:77:",
        "four:x:998:",
    ]
    assert text(found, "etc/gshadow").splitlines()[1] == "audio:*::two,three"
    assert text(found, "etc/shadow").splitlines()[-1] == "four:!*:3653::::::"
    assert text(found, "uid") == "101\n"
    assert (found.entries["run/two"].uid, found.entries["run/two"].gid) == (101, 100)


def test_temporary_files_of_packages() -> None:
    lines = (
        b"d /var/cache/x 2750 root audio -\nL /etc/l - - - - ../there\nf /etc/f 0600 - - - text\\n\nd /run/%b 1 - -\n"
    )
    found = state(
        package(files={**ACCOUNTS, "usr/lib/tmpfiles.d/x.conf": lines}, postinst="systemd-tmpfiles --create x.conf")
    )
    assert (found.entries["var/cache/x"].mode, found.entries["var/cache/x"].gid) == (0o2750, 29)
    assert found.entries["etc/l"].target == "../there"
    assert (text(found, "etc/f"), found.entries["etc/f"].mode) == ("text\n", 0o600)


# -- dpkg's family --------------------------------------------------------------------------------------------------


def test_alternatives_are_those_of_the_real_program(tmp_path: Path) -> None:
    program = shutil.which("update-alternatives")
    require(program, "update-alternatives is not installed")
    calls = [
        "--install /usr/bin/ed ed /usr/bin/low 10 --slave /usr/bin/s.ed s.ed /usr/bin/low.s",
        "--install /usr/bin/ed ed /usr/bin/high 20 --slave /usr/bin/s.ed s.ed /usr/bin/gone",
        "--install /usr/bin/ed ed /usr/bin/mid 15",
        "--install /usr/bin/vi vi /usr/bin/low -5",
        "--install /usr/bin/vi vi /usr/bin/mid -5",
        "--set vi /usr/bin/mid",
        "--install /usr/bin/x x /usr/bin/low 1",
        "--remove x /usr/bin/low",
    ]
    names = ("low", "high", "mid", "low.s")
    for folder in ("usr/bin", "etc/alternatives", "var/lib/dpkg/alternatives", "var/log"):
        (tmp_path / folder).mkdir(parents=True)
    for name in names:
        (tmp_path / "usr/bin" / name).touch()
    for call in calls:
        subprocess.run(
            [str(program), "--quiet", "--root", str(tmp_path), *call.split()], check=True, capture_output=True
        )
    script = "set -e\n" + "\n".join(f"update-alternatives {call}" for call in calls)
    found = state(package(files={f"usr/bin/{name}": b"" for name in names}, postinst=script))
    assert not found.warnings
    for name in ("ed", "vi"):
        real = (tmp_path / "var/lib/dpkg/alternatives" / name).read_text()
        assert text(found, f"var/lib/dpkg/alternatives/{name}") == real
    links = {str(path.relative_to(tmp_path)): str(path.readlink()) for path in tmp_path.rglob("*") if path.is_symlink()}
    assert {path: entry.target for path, entry in found.entries.items() if entry.kind == "symlink"} == links


def test_a_candidate_that_is_missing_is_a_failure_unless_it_was_left_out() -> None:
    call = "set -e\nupdate-alternatives --install /usr/bin/ed ed {} 10\necho done > /done"
    assert "done" not in state(package(postinst=call.format("/usr/bin/none"))).entries
    assert "done" in state(package(postinst=call.format("/usr/share/man/man1/none.1.gz"))).entries


def test_diversions_are_those_of_the_real_program(tmp_path: Path) -> None:
    program = shutil.which("dpkg-divert")
    require(program, "dpkg-divert is not installed")
    (tmp_path / "var/lib/dpkg/updates").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").touch()
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/tool").touch()
    calls = [
        "--package p --add --rename --divert /usr/bin/tool.real /usr/bin/tool",
        "--package p --add --no-rename /usr/bin/other",
        "--package p --add --no-rename --divert /x /usr/bin/gone",
        "--package p --remove --no-rename /usr/bin/gone",
    ]
    for call in calls:
        subprocess.run([str(program), "--quiet", "--root", str(tmp_path), *call.split()], check=True)
    script = "set -e\n" + "\n".join(f"dpkg-divert --quiet {call}" for call in calls)
    script += '\n[ "$(dpkg-divert --listpackage /usr/bin/other)" = p ]; dpkg-divert --truename /usr/bin/tool > /name'
    victim = package("victim", files={"usr/bin/tool": b"#!"})
    found = state(victim, package("z", preinst=script.replace("--package p", "--package z").replace("= p", "= z")))
    real = (tmp_path / "var/lib/dpkg/diversions").read_text()
    groups = [tuple(real.splitlines()[n : n + 3]) for n in range(0, len(real.splitlines()), 3)]
    ours = text(found, "var/lib/dpkg/diversions").replace("\nz\n", "\np\n").splitlines()
    assert sorted(tuple(ours[n : n + 3]) for n in range(0, len(ours), 3)) == sorted(groups)
    assert (tmp_path / "usr/bin/tool.real").exists() and found.entries["usr/bin/tool.real"].content == b"#!"
    assert found.entries["usr/bin/tool"].kind == "absent"
    assert text(found, "name") == "/usr/bin/tool.real\n"


def test_owners_that_are_overridden() -> None:
    script = "dpkg-statoverride --list /usr/bin/x || dpkg-statoverride --update --add root audio 2755 /usr/bin/x"
    large = package(files={**ACCOUNTS}, postinst=script)
    listed = (*large.paths, Listed("usr/bin/x", "file", 0o755, size=9, shipped="bin/x"))
    found = state(DebFacts(large.record, large.fields, large.control, files=large.files, paths=listed))
    assert text(found, "var/lib/dpkg/statoverride") == "root audio 2755 /usr/bin/x\n"
    entry = found.entries["usr/bin/x"]
    assert (entry.mode, entry.gid, entry.origin) == (0o2755, 29, Origin("p", "bin/x"))


def test_versions_are_compared_as_dpkg_does() -> None:
    program = shutil.which("dpkg")
    require(program, "dpkg is not installed")
    versions = ("", "1.0-1", "1.0~rc1", "1:0.5", "2")
    for left in versions:
        for right in versions:
            for operator in ("lt", "le-nl", "gt", "ge-nl", "eq", ">>", "<<"):
                arguments = ["--compare-versions", left, operator, right]
                real = subprocess.run([str(program), *arguments], check=False).returncode
                assert output(f"dpkg --compare-versions '{left}' '{operator}' '{right}'; echo $?")[0] == f"{real}\n"


def test_questions_have_their_defaults() -> None:
    templates = "Template: p/zone\nType: select\nDefault: UTC\n\nTemplate: p/names\nType: string\nChoices: ${all}\n"
    config = "db_input high p/zone || true\ndb_go\ndb_subst p/names all a, b\ndb_set p/names a\n"
    script = """set -e
    . /usr/share/debconf/confmodule
    db_get p/zone; echo "$RET" > /zone
    db_metaget p/names choices; echo "$RET" >> /zone
    db_get p/names; echo "$RET" >> /zone
    db_get p/none || echo none >> /zone
    db_stop"""
    found = state(package(templates=templates, config=config, postinst=script))
    assert text(found, "zone") == "UTC\na, b\na\nnone\n" and not found.warnings


def test_paper_is_that_of_the_default_locale() -> None:
    templates = "Template: libpaper/defaultpaper\nType: select\nChoices: letter, a4\n"
    script = ". /usr/share/debconf/confmodule\ndb_get libpaper/defaultpaper\necho $RET > /etc/papersize"
    assert text(state(package("libpaper1", postinst=script, templates=templates)), "etc/papersize") == "a4\n"


def test_git_learns_about_large_files() -> None:
    git, program = package("git", {"usr/bin/git": b"\0"}), {"usr/bin/git-lfs": b"\0"}
    script = "git lfs install --system"
    found = state(git, package("git-lfs", program, postinst=f"{script} --skip-repo > /dev/null 2>&1"))
    assert text(found, "etc/gitconfig").splitlines()[:2] == ['[filter "lfs"]', "\tclean = git-lfs clean -- %f"]
    assert found.warnings == ()
    again = state(git, package("git-lfs", program, postinst=f"{script}; {script}"))
    assert text(again, "etc/gitconfig") == text(found, "etc/gitconfig")
    assert "etc/gitconfig" not in state(package("git-lfs", program, postinst=script)).entries
    other = state(package("git", {"usr/bin/git": b"\0"}, postinst="git config --system a.b c"))
    assert [str(warning) for warning in other.warnings] == [
        'git: its postinst runs "git config --system a.b c": not done here (this use of git is not emulated)'
    ]


def test_triggers_reach_scripts_once() -> None:
    looker = package(
        "looker", postinst='echo "$1 $2" >> /said', triggers="interest-noawait /usr/share/x\ninterest named\n"
    )
    bringer = package("bringer", files={"usr/share/x/y": b""}, postinst="dpkg-trigger --no-await named")
    assert text(state(looker, bringer), "said") == "configure \ntriggered /usr/share/x named\n"


def test_dependencies_are_configured_first() -> None:
    packages = [
        package("a", fields="Depends: virtual, c"),
        package("b", fields="Provides: virtual\nDepends: a"),
        package("c", fields="Pre-Depends: d"),
        package("d"),
        package("e", fields="Essential: yes\nDepends: d"),
    ]
    first, rest = configuration_order(packages)
    assert [each.name for each in first] == ["d", "e"]
    assert [each.name for each in rest] == ["b", "c", "a"]


# -- what is not known ----------------------------------------------------------------------------------------------

TOOL = {"usr/sbin/foo-register": b"\x7fELF", "usr/bin/big": b"x"}


def test_what_is_not_emulated_is_said_with_what_it_would_have_been() -> None:
    _, warnings = output('name="a b"; foo-register --system "$name"; foo-register --system "$name"', TOOL)
    assert warnings == ["p: its postinst runs \"foo-register --system 'a b'\": not done here"]


def test_a_branch_on_what_is_not_known_is_said_and_not_taken() -> None:
    said, warnings = output('if [ "$(foo-register)" = yes ]; then touch /yes; x=1; fi; echo "<${x:-}>"', TOOL)
    assert said == ""  # what is printed is not known, so the file is not made
    assert [warning for warning in warnings if "depends on this" in warning]


def test_what_is_not_known_and_makes_no_difference_is_not_said() -> None:
    script = 'd=$(date); [ "$d" = monday ] && echo monday >&2; case $d in m*) x=1;; *) x=2;; esac; uname -n >/dev/null'
    assert output(f"{script}; echo done") == ("done\n", [])


def test_programs_that_are_not_there_fail_as_they_would() -> None:
    assert output("none || echo $?; command -v none || echo no; [ -x /usr/bin/none ] || echo no") == (
        "127\nno\nno\n",
        [],
    )


@pytest.mark.parametrize("script", ["while :; do :; done", "f() { f; }; f", 'x=xx; while :; do x="$x$x"; done', "$("])
def test_no_script_hangs_a_build(script: str) -> None:
    found = state(package(postinst=f"touch /before\n{script}"))
    assert len(found.warnings) == 1


def test_scripts_in_other_languages_are_said() -> None:
    member = ControlFile(0o755, b"#!/usr/bin/perl -w\nuse strict;")
    found = state(DebFacts("p", package().fields, {"postinst": member}))
    assert (
        str(found.warnings[0])
        == 'p: its postinst runs "postinst configure": not done here (a script for /usr/bin/perl -w)'
    )


# -- upon a base ----------------------------------------------------------------------------------------------------


LIBRARIES = "usr/lib/x86_64-linux-gnu"


def base() -> RootBase:
    contents = {
        **ACCOUNTS,
        "var/lib/dpkg/status": b"Package: base\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2\n\n",
        "var/lib/dpkg/info/base.postinst": b'#!/bin/sh\n[ "$1" = triggered ] && echo "$2" > /told\n',
        "var/lib/dpkg/info/base.triggers": b"interest /usr/share/x\n",
        "var/lib/dpkg/triggers/File": b"/usr/share/x base\n",
        "etc/ld.so.cache": encode_cache(
            LoaderCache((CacheEntry("libbase.so.1", f"/{LIBRARIES}/libbase.so.1", 0x303),), "the base's writer")
        ),
        "etc/ssl/certs/ca-certificates.crt": b"BUNDLE\n",
        "etc/ca-certificates.conf": b"mozilla/X.crt\n",
    }
    paths = {path: Listed(path, "dir", 0o755) for path in (*FOLDERS, "etc/ssl", "etc/ssl/certs", "usr/local")}
    paths |= {path: Listed(path, "file", 0o644, size=len(data)) for path, data in contents.items()}
    library = f"{LIBRARIES}/libbase.so.1.2"
    paths[library] = Listed(library, "file", 0o644, size=9)
    paths[f"{LIBRARIES}/libbase.so.1"] = Listed(f"{LIBRARIES}/libbase.so.1", "symlink", 0o777, target="libbase.so.1.2")
    return RootBase(paths, contents)


def test_a_base_is_added_to() -> None:
    added = package("new", files={"usr/share/x/y": b"1"}, postinst="adduser --system new; touch /usr/bin/made")
    library = Library(LIBRARIES, "libnew.so.2", "libnew.so.2")
    paths = (
        *added.paths,
        Listed(f"{LIBRARIES}/libnew.so.2", "file", 0o644, size=9),
        Listed(f"{LIBRARIES}/libbase.so", "symlink", 0o777, target="libbase.so.1"),
    )
    added = DebFacts(added.record, added.fields, added.control, (), (library,), added.files, paths)
    found = state(added, base=base())
    assert not found.warnings
    assert text(found, "etc/passwd") == PASSWD.decode() + "new:x:100:65534::/nonexistent:/usr/sbin/nologin\n"
    assert [line for line in text(found, "var/lib/dpkg/status").splitlines() if line.startswith("Package")] == [
        "Package: base",
        "Package: new",
    ]
    assert text(found, "told") == "/usr/share/x\n"
    cache = decode_cache(found.entries["etc/ld.so.cache"].content)
    assert [entry.soname for entry in cache.entries] == ["libnew.so.2", "libbase.so.1", "libbase.so"]
    assert cache.writer == "the base's writer"
    assert not {"etc/machine-id", "etc/ssl/certs/ca-certificates.crt"} & found.entries.keys()


def test_nothing_of_a_base_changes_without_packages() -> None:
    assert state(base=base()).entries == {}


def test_certificates_of_the_site_join_the_bundle() -> None:
    paths = sorted(Path("/usr/share/ca-certificates/mozilla").glob("*.crt"))
    require(paths, "ca-certificates is not installed")
    certificate = paths[0].read_text()
    upon = state(base=base(), certificates=(certificate,))
    assert text(upon, "etc/ssl/certs/ca-certificates.crt") == "BUNDLE\n" + certificate
    assert text(upon, "usr/local/share/ca-certificates/layerforge-1.crt") == certificate
    link = next(path for path, entry in upon.entries.items() if entry.target == "layerforge-1.pem")
    assert link.endswith(".0")
    assert text(state(package(), certificates=(certificate,)), "etc/ssl/certs/ca-certificates.crt") == certificate


@pytest.mark.parametrize(
    ("place", "link", "is_alone"),
    [
        ("etc/ssl/certs/ca-certificates.crt", "", False),
        ("etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "etc/pki/tls/certs/ca-bundle.crt", False),
        ("", "", True),
    ],
)
def test_the_sites_certificate_upon_a_base_without_the_package(place: str, link: str, is_alone: bool) -> None:
    paths = sorted(Path("/usr/share/ca-certificates/mozilla").glob("*.crt"))
    require(len(paths) > 2, "ca-certificates is not installed")
    public, packaged, site = (path.read_text() for path in paths[:3])
    contents = {"etc/group": b"root:x:0:\n", **({place: public.encode()} if place else {})}
    listed = {path: Listed(path, "file", 0o644, size=len(data)) for path, data in contents.items()}
    if link:
        listed[link] = Listed(link, "symlink", 0o777, target=f"/{place}")
    below = RootBase(listed, contents)
    found = state(base=below, certificates=(site,))
    bundle = text(found, "etc/ssl/certs/ca-certificates.crt")
    assert bundle == (site if is_alone else public + site)
    assert found.trusts_site_alone is is_alone
    program = {"usr/sbin/update-ca-certificates": b"", "usr/share/ca-certificates/mozilla/x.crt": packaged.encode()}
    script = "echo mozilla/x.crt > /etc/ca-certificates.conf; update-ca-certificates"
    mended = state(package("ca-certificates", program, postinst=script), base=below, certificates=(site,))
    assert text(mended, "etc/ssl/certs/ca-certificates.crt") == packaged + site
    assert not mended.trusts_site_alone


def test_the_world_follows_links() -> None:
    world = World("amd64")
    configure(
        [package(postinst="ln -s usr/bin /bin; ln -s loop /loop; echo x > /bin/f; cat /loop/x || echo y > /usr/y")],
        world,
    )
    assert world.read("/bin/../bin/f") == b"x\n"
    assert world.real("/bin/f") == "/usr/bin/f" and world.read("usr/y") == b"y\n"
