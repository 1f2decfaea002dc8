from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import pytest

from layerforge.errors import LayerError
from layerforge.layers import debian, python, root
from layerforge.layers.step import Recipe, Step
from layerforge.layers.tar import TarWriter
from layerforge.oci import Digest
from layerforge.progress import SILENCE, Reporter
from layerforge.sources.debian.facts import read_facts
from tests.debian_samples import FactKeeper, file_member, make_deb, special_member


class FakeBench:
    """A Workbench over packages in a folder, whose bytecode is the source with a mark."""

    def __init__(self, folder: Path, executor: Executor) -> None:
        self.folder = folder
        self.compressors = executor
        self.reporter: Reporter = SILENCE
        self.keeper = FactKeeper(self.material)
        self.facts, self.keep_facts = self.keeper.facts, self.keeper.keep_facts
        self.expect_packages = self.keeper.expect_packages

    def add(self, data: bytes) -> Digest:
        digest = Digest.of(data)
        (self.folder / digest.hex).write_bytes(data)
        return digest

    def material(self, digest: Digest) -> Path:
        return self.folder / digest.hex

    def open_project_file(self, path: str, digest: Digest) -> io.BytesIO:
        raise NotImplementedError

    def compile_bytecode(self, minor: str, sources: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
        return [None if b"broken" in source else minor.encode() + b":" + source for _, source in sources]


@pytest.fixture
def bench(tmp_path: Path) -> FakeBench:
    with ThreadPoolExecutor(2) as executor:
        yield FakeBench(tmp_path, executor)  # type: ignore[misc]


Make = Callable[[Recipe], tarfile.TarFile]


@pytest.fixture
def make(bench: FakeBench) -> Make:
    writers = {debian.DebianRecipe: debian.write, root.RootRecipe: root.write, python.PythonRecipe: python.write}

    def write(recipe: Recipe) -> tarfile.TarFile:
        output = io.BytesIO()
        writer = TarWriter(output, executor=bench.compressors)
        writers[type(recipe)](recipe, writer, bench)  # type: ignore[operator]
        writer.finish()
        return tarfile.open(fileobj=io.BytesIO(output.getvalue()))

    return write


def names(tar: tarfile.TarFile) -> list[str]:
    return [member.name for member in tar]


def content(tar: tarfile.TarFile, name: str) -> str:
    file = tar.extractfile(name)
    assert file is not None
    return file.read().decode()


def directory(path: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    return special_member(path, tarfile.DIRTYPE, mode=mode)


def test_files_keep_modes_owners_and_links(bench: FakeBench, make: Make) -> None:
    members = [
        directory("./usr/"),
        directory("./usr/private/", 0o700),
        file_member("./usr/private/tool", b"content", mode=0o4755, gid=42),
        special_member("./usr/link", tarfile.SYMTYPE, "private/tool"),
        special_member("./usr/again", tarfile.LNKTYPE, "./usr/private/tool"),
    ]
    with make(debian.DebianRecipe((bench.add(make_deb(members=members)),))) as tar:
        tool = tar.getmember("usr/private/tool")
        assert (tool.mode, tool.uid, tool.gid) == (0o4755, 0, 42)
        assert tar.getmember("usr/private").mode == 0o700
        assert tar.getmember("usr/link").linkname == "private/tool"
        assert tar.getmember("usr/again").islnk() and tar.getmember("usr/again").linkname == "usr/private/tool"


def test_dpkgs_records(bench: FakeBench, make: Make) -> None:
    members = [directory("./"), directory("./usr/"), file_member("./usr/x"), file_member("./usr/share/man/x.1.gz")]
    control = {"postinst": b"#!/bin/sh\n", "md5sums": b"sums", "conffiles": b"/etc/x\n"}
    same = make_deb({"Package": "libx", "Multi-Arch": "same"}, members, control=control)
    with make(debian.DebianRecipe((bench.add(same), bench.add(make_deb({"Package": "plain"}))))) as tar:
        assert content(tar, "var/lib/dpkg/info/libx:amd64.list") == "/.\n/usr\n/usr/x\n/usr/share/man/x.1.gz\n"
        assert tar.getmember("var/lib/dpkg/info/libx:amd64.postinst").mode == 0o755
        assert tar.getmember("var/lib/dpkg/info/libx:amd64.md5sums").mode == 0o644
        assert "var/lib/dpkg/info/libx:amd64.control" not in names(tar)
        assert content(tar, "var/lib/dpkg/info/plain.list") == "/.\n"
        assert "usr/share/man/x.1.gz" not in names(tar)


def test_top_level_folders_are_merged_into_usr(bench: FakeBench, make: Make) -> None:
    members = [
        directory("./lib/"),
        directory("./lib/x86_64-linux-gnu/"),
        file_member("./lib/x86_64-linux-gnu/libx.so.1"),
        special_member("./lib/x86_64-linux-gnu/liby.so", tarfile.LNKTYPE, "./lib/x86_64-linux-gnu/libx.so.1"),
        file_member("./bin/sh"),
        directory("./var/lock/", 0o1777),
        directory("./var/run/"),
        file_member("./library"),
    ]
    with make(debian.DebianRecipe((bench.add(make_deb(members=members)),))) as tar:
        found = names(tar)
        assert tar.getmember("usr/lib/x86_64-linux-gnu/liby.so").linkname == "usr/lib/x86_64-linux-gnu/libx.so.1"
        assert {"usr/bin/sh", "library", "run"} <= set(found)
        assert tar.getmember("run/lock").mode == 0o1777
        assert not {"lib", "bin", "var/run", "var/lock"} & set(found)


def test_facts_collected_while_writing_are_those_read_alone(bench: FakeBench, make: Make) -> None:
    members = [
        directory("./lib/"),
        file_member("./etc/p.conf", b"setting"),
        file_member("./usr/share/base-files/motd", b"hello"),
        file_member("./usr/share/doc/p/changelog", b"dropped"),
        special_member("./usr/link", tarfile.SYMTYPE, "share"),
        special_member("./usr/again", tarfile.LNKTYPE, "./etc/p.conf"),
    ]
    deb = bench.add(make_deb({"Package": "p"}, members, control={"conffiles": b"/etc/p.conf\n"}))
    make(debian.DebianRecipe((deb,))).close()
    facts = bench.facts(deb)
    assert not bench.keeper.reread
    assert facts == read_facts(bench.material(deb))
    assert facts.files and facts.conffiles and len(facts.paths) == 6


def test_the_root_reads_no_package_again(bench: FakeBench, make: Make) -> None:
    files = {"passwd": b"root:*:0:0::/root:/bin/sh\n", "group": b"root:*:0:\n"}
    members = [file_member(f"./usr/share/base-passwd/{name}.master", data) for name, data in files.items()]
    debs = (bench.add(make_deb({"Package": "base-passwd"}, members)), bench.add(make_deb({"Package": "other"})))
    make(debian.DebianRecipe(debs[:1])).close()
    make(root.RootRecipe(debs, "trixie", "amd64")).close()
    assert bench.keeper.reread == [debs[1]]


def test_a_release_that_ships_the_links_keeps_them(bench: FakeBench, make: Make) -> None:
    members = [special_member("./lib", tarfile.SYMTYPE, "usr/lib"), directory("./usr/lib/")]
    with make(debian.DebianRecipe((bench.add(make_deb(members=members)),))) as tar:
        assert tar.getmember("lib").linkname == "usr/lib"


def test_a_file_of_two_packages_is_an_error_that_names_both(bench: FakeBench, make: Make) -> None:
    debs = [bench.add(make_deb({"Package": name}, [file_member("./usr/x", name.encode())])) for name in "ab"]
    with pytest.raises(LayerError, match=r"package b: usr/x is also a file of package a"):
        make(debian.DebianRecipe(tuple(debs)))
    with pytest.raises(LayerError, match=r"package b: usr/x is also a file of package a"):
        make(root.RootRecipe(tuple(debs), "trixie", "amd64"))


ACCOUNTS = [
    file_member("./usr/share/base-passwd/passwd.master", b"root:*:0:0::/root:/bin/sh\n"),
    file_member("./usr/share/base-passwd/group.master", b"root:*:0:\n"),
]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_package_that_replaces_wins_in_any_order(bench: FakeBench, make: Make, order: tuple[int, int]) -> None:
    old = make_deb({"Package": "old", "Version": "1"}, [file_member("./usr/x", b"old"), file_member("./usr/y", b"y")])
    new = make_deb({"Package": "new", "Replaces": "old (<< 2)"}, [*ACCOUNTS, file_member("./usr/x", b"new")])
    debs = tuple([bench.add(old), bench.add(new)][index] for index in order)
    with make(debian.DebianRecipe(debs)) as tar:
        assert content(tar, "usr/x") == "new"
        assert content(tar, "var/lib/dpkg/info/old.list") == "/.\n/usr/y\n"
        assert "/usr/x\n" in content(tar, "var/lib/dpkg/info/new.list")
    with make(root.RootRecipe(debs, "trixie", "amd64")) as tar:  # the two may be in layers of their own
        assert content(tar, "usr/x") == "new"
        assert content(tar, "var/lib/dpkg/info/old.list") == "/.\n/usr/y\n"
        assert "usr/y" not in names(tar)


def test_a_version_that_is_not_replaced_is_a_conflict(bench: FakeBench, make: Make) -> None:
    old = make_deb({"Package": "old", "Version": "2"}, [file_member("./usr/x", b"old")])
    new = make_deb({"Package": "new", "Replaces": "old (<< 2)"}, [file_member("./usr/x", b"new")])
    with pytest.raises(LayerError, match="is also a file of"):
        make(debian.DebianRecipe((bench.add(old), bench.add(new))))


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (file_member("./a", b"1"), file_member("./a", b"2"), "also a file of"),
        (file_member("./a", b"1"), directory("./a/"), "is a folder here"),
        (directory("./a/"), file_member("./a", b"1"), "a folder of"),
        (special_member("./a", tarfile.SYMTYPE, "usr"), directory("./a/"), "is a folder here"),
        (special_member("./a", tarfile.SYMTYPE, "/etc"), file_member("./a/passwd", b"1"), "is a folder here"),
        (special_member("./a", tarfile.SYMTYPE, "/etc"), file_member("./a/b/c", b"1"), "is a folder here"),
        (file_member("./a/b", b"1"), special_member("./a", tarfile.SYMTYPE, "/etc"), "a folder of"),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_paths_that_do_not_fit_together(
    bench: FakeBench,
    make: Make,
    first: tuple[tarfile.TarInfo, bytes],
    second: tuple[tarfile.TarInfo, bytes],
    message: str,
    together: bool,
) -> None:
    """A file cannot be written through a link either, whether one package made it or two."""
    if together:
        debs = (bench.add(make_deb({"Package": "a"}, [first, second])),)
        message = message.replace("also a file of", "there twice")
    else:
        debs = (
            bench.add(make_deb({"Package": "a"}, [first])),
            bench.add(make_deb({"Package": "b"}, [second])),
        )
    recipes: tuple[Recipe, ...] = (debian.DebianRecipe(debs), root.RootRecipe(debs, "trixie", "amd64"))
    for recipe in recipes:
        with pytest.raises(LayerError, match=message):
            make(recipe)


@pytest.mark.parametrize("target", ["./missing", "./usr/later", "./usr/other"])
def test_a_hard_link_needs_a_file_of_its_package_before_it(bench: FakeBench, make: Make, target: str) -> None:
    link = special_member("./usr/link", tarfile.LNKTYPE, target)
    other = make_deb({"Package": "a"}, [file_member("./usr/other", b"x")])
    deb = make_deb({"Package": "b"}, [link, file_member("./usr/later", b"x")])
    with pytest.raises(LayerError, match=r"package b: usr/link is a hard link to"):
        make(debian.DebianRecipe((bench.add(other), bench.add(deb))))


def test_unsafe_and_truncated_packages_are_refused(bench: FakeBench, make: Make) -> None:
    for data in (make_deb(members=[file_member("/etc/x")]), make_deb(members=[file_member("./x", b"y" * 99)])[:-40]):
        with pytest.raises(LayerError):
            make(debian.DebianRecipe((bench.add(data),)))


def test_a_name_that_is_a_path_is_refused(bench: FakeBench, make: Make) -> None:
    with pytest.raises(LayerError, match="a package with the name"):
        make(debian.DebianRecipe((bench.add(make_deb({"Package": "../../x"})),)))


def test_the_bytes_depend_on_the_packages_alone(bench: FakeBench) -> None:
    debs = [bench.add(make_deb({"Package": f"p{n}"}, [file_member(f"./f{n}", bytes(700_000))])) for n in range(12)]
    digests = set()
    for executor in (None, bench.compressors):
        output = io.BytesIO()
        writer = TarWriter(output, executor=executor)
        debian.write(debian.DebianRecipe(tuple(debs)), writer, bench)
        digests.add((writer.finish().diff_id, hashlib.sha256(output.getvalue()).hexdigest()))
    assert len(digests) == 1


def test_every_package_is_part_of_the_key() -> None:
    one, two = Digest.of(b"1"), Digest.of(b"2")
    recipes: list[Recipe] = [
        debian.DebianRecipe((one,)),
        debian.DebianRecipe((one, two)),
        debian.DebianRecipe((two, one)),
    ]
    recipes.append(root.RootRecipe((one,), "trixie", "amd64"))
    recipes.append(root.RootRecipe((one,), "bookworm", "amd64"))
    recipes += [python.PythonRecipe((one,), "3.13", "3.13.5"), python.PythonRecipe((one,), "3.13", "3.13.6")]
    assert len({Step("x", recipe).key for recipe in recipes}) == len(recipes)


def test_modules_are_compiled_for_the_python_of_the_image(bench: FakeBench, make: Make) -> None:
    folder = "usr/lib/python3/dist-packages"
    members = [
        file_member(f"./{folder}/good.py", b"x"),
        file_member(f"./{folder}/broken.py", b"broken"),
        file_member("./usr/share/tool/other.py", b"x"),
    ]
    digest = bench.add(make_deb({"Package": "python3-good"}, members))
    compiled = make(debian.DebianRecipe((digest,), "3.13"))
    assert [name for name in names(compiled) if name.endswith(".pyc")] == [f"{folder}/__pycache__/good.cpython-313.pyc"]
    assert content(compiled, f"{folder}/__pycache__/good.cpython-313.pyc") == "3.13:x"
    assert not any(name.endswith(".pyc") for name in names(make(debian.DebianRecipe((digest,)))))
