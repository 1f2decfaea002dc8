from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import marshal
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from layerforge.errors import LayerError, LayerforgeError, VerificationError
from layerforge.layers import wheels
from layerforge.layers.remarks import read_remarks
from layerforge.layers.step import Step
from layerforge.layers.wheel_plan import installation_key, list_wheel_paths
from layerforge.layers.wheels import WheelFile, WheelsRecipe
from layerforge.oci import Digest
from tests.layer_bench import MINOR, SITE, TAG, Make
from tests.wheel_samples import make_wheel, record_line, save_wheel

BIG = b"".join(hashlib.sha256(struct.pack("<I", number)).digest() for number in range(40_000))  # 1.3 MB, incompressible


def test_files_land_in_site_packages(make: Make) -> None:
    made = make(make_wheel(files={"sample/__init__.py": b"A = 1\n", "sample/big.bin": BIG, "top.py": b""}))
    assert made.files[f"{SITE}/sample/__init__.py"] == b"A = 1\n"
    assert made.files[f"{SITE}/sample/big.bin"] == BIG
    assert made.files[f"{SITE}/top.py"] == b""
    assert made.files[f"{SITE}/sample-1.0.dist-info/INSTALLER"] == b"layerforge\n"
    assert all(member.mode == 0o644 for member in made.members.values() if member.isfile())


def test_files_come_in_order_of_their_paths(make: Make) -> None:
    made = make(make_wheel(files={"b.txt": b"", "a/z": b"", "a-b/c": b"", "a/b": BIG}))
    written = [path for path in made.files if not path.endswith(".pyc")]
    assert written == sorted(written)


def test_large_members_are_the_wheel_s_own_stream(make: Make) -> None:
    wheel = make_wheel(files={"sample/big.bin": BIG, "sample/small.txt": b"small"})
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        info = archive.getinfo("sample/big.bin")
    start = info.header_offset + 30 + len(info.filename)
    stream = wheel[start : start + info.compress_size]
    small = wheel[: info.header_offset]
    data = make(wheel).data
    assert stream in data
    assert not small or small not in data


def test_stored_members(make: Make) -> None:
    files = {"sample/stored.bin": BIG * 4, "sample/small.bin": BIG[:500]}
    made = make(make_wheel(files=files, stored=tuple(files)))
    assert made.files[f"{SITE}/sample/stored.bin"] == BIG * 4
    assert made.files[f"{SITE}/sample/small.bin"] == BIG[:500]


def test_data_descriptors(make: Make) -> None:
    made = make(make_wheel(files={"sample/big.bin": BIG, "a.py": b"1\n"}, unseekable=True))
    assert made.files[f"{SITE}/sample/big.bin"] == BIG


def test_zip64_records(make: Make) -> None:
    output = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(make_wheel())) as source, zipfile.ZipFile(output, "w") as target:
        for info in source.infolist():
            with target.open(zipfile.ZipInfo(info.filename), "w", force_zip64=True) as file:
                file.write(source.read(info))
    assert make(output.getvalue()).files[f"{SITE}/sample/__init__.py"] == b"VALUE = 1\n"


def test_schemes(make: Make) -> None:
    base = "sample-1.0.data"
    made = make(
        make_wheel(
            files={
                f"{base}/purelib/pure.py": b"",
                f"{base}/platlib/plat.so": b"",
                f"{base}/headers/sample.h": b"",
                f"{base}/data/etc/jupyter/conf.json": b"",
                f"{base}/data/bin/tool": b"#!/bin/sh\n",
                f"{base}/scripts/run": b"#!python -u\nprint(1)\n",
                f"{base}/scripts/native": b"\x7fELF" + BIG,
                "other-1.0.data/scripts/x": b"",
            },
            executable=(f"{base}/data/bin/tool",),
        )
    )
    assert {f"{SITE}/pure.py", f"{SITE}/plat.so", f"{SITE}/other-1.0.data/scripts/x"} <= set(made.files)
    assert f"usr/local/include/site/python{MINOR}/sample/sample.h" in made.files
    assert "usr/local/etc/jupyter/conf.json" in made.files
    assert made.members["usr/local/bin/tool"].mode == 0o755
    assert made.files["usr/local/bin/run"] == b"#!/usr/local/bin/python\nprint(1)\n"
    assert made.files["usr/local/bin/native"] == b"\x7fELF" + BIG
    assert made.members["usr/local/bin/run"].mode == made.members["usr/local/bin/native"].mode == 0o755


def test_entry_points_become_scripts_that_run(make: Make, tmp_path: Path) -> None:
    entry_points = "[console_scripts]\nhello = sample.cli:App.main [extra]\n[gui_scripts]\nshow=sample.cli:show\n"
    entry_points += "[other.group]\nx = y:z\n"
    code = b"class App:\n    @staticmethod\n    def main(): print('ran'); return 7\nshow = App.main\n"
    made = make(make_wheel(files={"sample/__init__.py": b"", "sample/cli.py": code}, entry_points=entry_points))
    script = made.files["usr/local/bin/hello"]
    assert script.startswith(b"#!/usr/local/bin/python\n")
    assert made.members["usr/local/bin/hello"].mode == 0o755
    assert "usr/local/bin/show" in made.files
    assert "usr/local/bin/x" not in made.files
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample/cli.py").write_bytes(code)
    (tmp_path / "hello").write_bytes(script)
    done = subprocess.run([sys.executable, "hello"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("ran\n", 7)


def test_a_generated_script_replaces_one_of_the_same_name(make: Make) -> None:
    files = {"sample-1.0.data/scripts/hello": b"#!python\nold\n"}
    made = make(make_wheel(files=files, entry_points="[console_scripts]\nhello = sample:main\n"))
    assert b"from sample import main" in made.files["usr/local/bin/hello"]


def test_executable_bits_are_kept(make: Make) -> None:
    made = make(make_wheel(files={"sample/tool": b"x", "sample/big": BIG}, executable=("sample/tool", "sample/big")))
    assert made.members[f"{SITE}/sample/tool"].mode == made.members[f"{SITE}/sample/big"].mode == 0o755


def test_record_lists_what_is_installed(make: Make) -> None:
    made = make(
        make_wheel(
            files={
                "sample/__init__.py": b"A = 1\n",
                'odd, "name".txt': b"x",
                "sample/__pycache__/old.cpython-39.pyc": b"stale",
                "sample-1.0.data/scripts/run": b"#!python\n",
            },
            entry_points="[console_scripts]\nhello = sample:main\n",
        )
    )
    rows = list(csv.reader(made.files[f"{SITE}/sample-1.0.dist-info/RECORD"].decode().splitlines()))
    listed = {row[0]: row[1:] for row in rows}
    assert [row[0] for row in rows] == sorted(listed)
    installed = {path for path in made.files if "__pycache__" not in path}
    assert {str(Path("/", SITE, path).resolve())[1:] for path in listed} == installed
    assert listed.pop("sample-1.0.dist-info/RECORD") == ["", ""]
    for path, (digest, size) in listed.items():
        content = made.files[str(Path("/", SITE, path).resolve())[1:]]
        assert record_line("x", content).strip() == f"x,{digest},{size}"


def test_private_wheels_bring_only_what_is_imported(make: Make) -> None:
    wheel = make_wheel(
        files={"sample/__init__.py": b"A = 1\n", "sample-1.0.data/scripts/run": b"", "sample-1.0.data/data/etc/x": b""},
        entry_points="[console_scripts]\nhello = sample:main\n",
    )
    made = make(wheel, private="opt/private/lib")
    assert "opt/private/lib/sample/__init__.py" in made.files
    assert f"opt/private/lib/sample/__pycache__/__init__.{TAG}.pyc" in made.files
    assert all(path.startswith("opt/private/lib/") for path in made.files)


# -- bytecode --------------------------------------------------------------------------------------------------


def test_bytecode_is_unchecked_and_names_the_source(make: Make) -> None:
    source = b"import sys\n\ndef f():\n    return sys.path\n"
    made = make(make_wheel(files={"sample/mod.py": source}))
    pyc = made.files[f"{SITE}/sample/__pycache__/mod.{TAG}.pyc"]
    assert pyc[:4] == importlib.util.MAGIC_NUMBER
    assert struct.unpack("<I", pyc[4:8])[0] == 1  # PEP 552: hash-based, unchecked
    assert pyc[8:16] == importlib.util.source_hash(source)
    assert marshal.loads(pyc[16:]).co_filename.endswith(f"{SITE}/sample/mod.py")


def test_what_does_not_compile_has_no_bytecode_and_does_no_harm(make: Make) -> None:
    files = {"sample/ok.py": b"", "sample/template.py": b"class {{ name }}:\n", "sample/nul.py": b"\0"}
    made = make(make_wheel(files=files))
    assert [path for path in made.files if path.endswith(".pyc")] == [f"{SITE}/sample/__pycache__/ok.{TAG}.pyc"]
    assert f"{SITE}/sample/template.py" in made.files


def test_sources_are_compiled_in_batches(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "_COMPILE_BATCH", 1000)
    files = {f"sample/m{index:02}.py": b"#" * 300 for index in range(20)} | {"sample/huge.py": b"#" * 2000}
    made = make(make_wheel(files=files))
    assert max(made.bench.batches) <= 1000
    assert sum(made.bench.batches) == 20 * 300
    assert sum(path.endswith(".pyc") for path in made.files) == 20


def test_a_bin_that_is_made_anew_compiles_only_what_is_new(make: Make) -> None:
    one = make_wheel("one", files={"one/a.py": b"A = 1\n" * 10, "one/bad.py": b"def broken(:\n"})
    two = make_wheel("two", files={"two/b.py": b"B = 2\n"})
    three = make_wheel("three", files={"three/c.py": b"C = 3\n" * 3, "one/a.py": b"A = 1\n" * 10})
    first = make(one, two)
    again = make(one, three, before=first)
    fresh = make(one, three)
    assert again.bench.batches == [len(b"C = 3\n" * 3)]
    assert len(fresh.bench.batches) == 1
    assert fresh.bench.batches > again.bench.batches
    assert (again.data, again.layer) == (fresh.data, fresh.layer)
    alone = make(one)
    assert alone.bench.kept == {}, "the layer of a single wheel is never made for the sake of another"


# -- several wheels in one layer -------------------------------------------------------------------------------


def test_the_order_of_the_archive_does_not_matter(make: Make) -> None:
    files = {"b.py": b"1\n", "a/c.py": b"2\n", "a/b.bin": BIG}
    first, second = make_wheel(files=files), make_wheel(files=dict(reversed(files.items())))
    assert first != second
    record = f"{SITE}/sample-1.0.dist-info/RECORD"
    one, other = make(first), make(second)
    assert one.files[record] == other.files[record]
    assert one.layer.diff_id == other.layer.diff_id


def test_equal_files_of_two_wheels_are_written_once(make: Make) -> None:
    one = make_wheel("one", files={"space/__init__.py": b"", "space/one.py": b""})
    two = make_wheel("two", files={"space/__init__.py": b"", "space/two.py": b""})
    made = make(one, two)
    assert {f"{SITE}/space/{name}.py" for name in ("__init__", "one", "two")} <= set(made.files)
    assert read_remarks(made.layer.descriptor.annotations) == ()


def test_of_different_files_under_one_path_the_one_installed_later_wins(make: Make) -> None:
    one = make_wheel("one", files={"shared/__init__.py": b"1\n"})
    two = make_wheel("two", files={"shared/__init__.py": b"2\n"})
    made = make(one, two)
    assert made.files[f"{SITE}/shared/__init__.py"] == b"1\n", "wheel0 comes before wheel1, so it is installed later"
    (remark,) = read_remarks(made.layer.descriptor.annotations)
    told = f"wheel1 and wheel0 both install /{SITE}/shared/__init__.py, and differently: the latter's is used"
    assert remark.text == told
    assert remark.hint


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("zebra-1-py3-none-any.whl", "ant-1-py3-none-any.whl"),
        ("opencv_python_headless-5-cp39-abi3-any.whl", "opencv_python-5-cp39-abi3-any.whl"),
        ("b_c-1-py3-none-any.whl", "B.A-1-py3-none-any.whl"),
    ],
)
def test_wheels_are_installed_in_pip_s_order(first: str, then: str) -> None:
    assert sorted([then, first], key=installation_key) == sorted([first, then], key=installation_key) == [first, then]


def test_names_that_differ_in_case_only_are_two_files(make: Make) -> None:
    made = make(make_wheel(files={"sample/Readme.py": b"1\n", "sample/readme.py": b"2\n", "Sample/x.py": b"3\n"}))
    assert (made.files[f"{SITE}/sample/Readme.py"], made.files[f"{SITE}/sample/readme.py"]) == (b"1\n", b"2\n")
    assert made.files[f"{SITE}/Sample/x.py"] == b"3\n"
    assert f"{SITE}/sample/__pycache__/Readme.{TAG}.pyc" in made.files


def test_namespaces_of_several_wheels_and_pth_files_work(make: Make, tmp_path: Path) -> None:
    one = make_wheel("one", files={"space/one/__init__.py": b"NAME = 1\n", "one.pth": b"import sys; sys.added = 1\n"})
    two = make_wheel("two", files={"space/two.py": b"NAME = 2\n", "two.pth": b"folder\n", "folder/deep.py": b"\n"})
    made = make(one, two)
    for path, content in made.files.items():
        target = tmp_path / "root" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    script = f"import site, sys; site.addsitedir({str(tmp_path / 'root' / SITE)!r})\n"
    script += "import space.one, space.two, deep; print(space.one.NAME, space.two.NAME, sys.added)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("1 2 1\n", "")


def test_a_file_where_another_has_a_folder_is_refused(make: Make) -> None:
    with pytest.raises(LayerError, match="is a file in one and a folder in the other") as caught:
        make(make_wheel("one", files={"thing": b""}), make_wheel("two", files={"thing/x.py": b""}))
    assert caught.value.where == "wheel0 and wheel1"


def test_paths_can_be_listed_without_writing(tmp_path: Path) -> None:
    one = save_wheel(tmp_path, make_wheel("one", files={"s/__init__.py": b"", "s/a.py": b"1"}), "one-1.0.whl")
    two = save_wheel(tmp_path, make_wheel("two", files={"s/__init__.py": b"", "s/a.py": b"2"}), "two-1.0.whl")
    first, second = (list_wheel_paths(path, path.name, MINOR) for path in (one, two))
    both = first.keys() & second.keys()
    assert both == {f"{SITE}/s/__init__.py", f"{SITE}/s/a.py"}
    assert {path for path in both if first[path] != second[path]} == {f"{SITE}/s/a.py"}


def test_the_key_depends_on_wheels_and_python_alone() -> None:
    file = WheelFile("a-1.whl", Digest.of(b"a"))
    key = Step("packages/a", WheelsRecipe((file,), "3.13")).key
    assert Step("other name", WheelsRecipe((file,), "3.13"), size=5).key == key
    assert Step("packages/a", WheelsRecipe((file,), "3.12")).key != key
    assert Step("packages/a", WheelsRecipe((WheelFile("a-1.whl", Digest.of(b"b")),), "3.13")).key != key


# -- broken wheels ---------------------------------------------------------------------------------------------


def edit_directory(wheel: bytes, name: str, offset: int, value: bytes, *, local: int | None = None) -> bytes:
    """``wheel`` with bytes of the directory's record of ``name`` replaced, and of its own header's at ``local``."""
    data = bytearray(wheel)
    start = wheel.rindex(b"PK\x01\x02", 0, wheel.rindex(name.encode()))
    data[start + offset : start + offset + len(value)] = value
    if local is not None:
        start = wheel.index(name.encode()) - 30
        data[start + local : start + local + len(value)] = value
    return bytes(data)


def break_content(wheel: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        info = archive.getinfo(name)
    middle = info.header_offset + 30 + len(name) + info.compress_size // 2
    return wheel[:middle] + bytes([wheel[middle] ^ 0xFF]) + wheel[middle + 1 :]


def add_twice(wheel: bytes, content: bytes = b"VALUE = 2\n") -> bytes:
    output = io.BytesIO(wheel)
    with zipfile.ZipFile(output, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("sample/__init__.py", content)
    return output.getvalue()


def with_link(wheel: bytes) -> bytes:
    output = io.BytesIO(wheel)
    with zipfile.ZipFile(output, "a") as archive:
        info = zipfile.ZipInfo("sample/link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return output.getvalue()


def with_overlap(wheel: bytes) -> bytes:
    """Two directory records for the bytes of one member (D. Fifield, "A better zip bomb", 2019)."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        offsets = [info.header_offset for info in archive.infolist()]
    return edit_directory(wheel, "sample-1.0.dist-info/METADATA", 42, struct.pack("<I", offsets[0]))


def bomb() -> bytes:
    """Announces 2 GiB; that a member is no longer than announced is checked while it is inflated."""
    return edit_directory(SOUND, "sample/text.txt", 24, struct.pack("<I", 1 << 31), local=22)


NAME = "sample/__init__.py"
SOUND = make_wheel(files={NAME: b"VALUE = 1\n" * 5, "sample/big.bin": BIG, "sample/text.txt": b"text " * 50_000})
LONG = "x" * 300

BROKEN: dict[str, tuple[Callable[[], bytes], type[LayerforgeError], str]] = {
    "not a zip": (lambda: b"<html>Not found</html>", LayerError, "not a readable zip"),
    "empty": (lambda: b"", LayerError, "not a readable zip"),
    "cut off": (lambda: SOUND[: len(SOUND) // 2], LayerError, "not a readable zip"),
    "middle lost": (lambda: SOUND[:2000] + SOUND[3000:], LayerError, "not a readable zip|points outside"),
    "damaged small member": (lambda: break_content(SOUND, NAME), LayerError, "__init__.py is damaged"),
    "damaged large member": (lambda: break_content(SOUND, "sample/big.bin"), LayerError, "big.bin"),
    "wrong CRC": (lambda: edit_directory(SOUND, NAME, 16, b"1234", local=14), LayerError, "size or CRC"),
    "wrong CRC of a large member": (
        lambda: edit_directory(SOUND, "sample/big.bin", 16, b"1234", local=14),
        LayerError,
        "size or CRC",
    ),
    "larger than announced": (
        lambda: edit_directory(SOUND, NAME, 24, struct.pack("<I", 5), local=22),
        LayerError,
        "damaged",
    ),
    "smaller than announced": (
        lambda: edit_directory(SOUND, NAME, 24, struct.pack("<I", 5000), local=22),
        LayerError,
        "damaged",
    ),
    "local header with another size": (
        lambda: edit_directory(SOUND, NAME, 24, struct.pack("<I", 5)),
        LayerError,
        "contradicts",
    ),
    "local header with another name": (
        lambda: SOUND.replace(NAME.encode(), b"sample/__evil__.py", 1),
        LayerError,
        "contradicts",
    ),
    "encrypted": (lambda: edit_directory(SOUND, NAME, 8, b"\x01\x00", local=6), LayerError, "encrypted"),
    "another method": (lambda: edit_directory(SOUND, NAME, 10, b"\x0e\x00", local=8), LayerError, "method 14"),
    "a member twice": (lambda: add_twice(SOUND), LayerError, "twice, with different contents"),
    "members that overlap": (lambda: with_overlap(SOUND), LayerError, "shares bytes"),
    "a symbolic link": (lambda: with_link(SOUND), LayerError, "is a link"),
    "a bomb": (bomb, LayerError, "unpacks to"),
    "out of the root": (lambda: make_wheel(files={"../../evil.py": b""}), LayerError, "not a name"),
    "dots inside": (lambda: make_wheel(files={"a/../../../evil.py": b""}), LayerError, "not a name"),
    "absolute": (lambda: make_wheel(files={"/etc/passwd": b""}), LayerError, "not a name"),
    "backslash": (lambda: make_wheel(files={"a\\..\\evil.py": b""}), LayerError, "not a name"),
    "empty component": (lambda: make_wheel(files={"a//b": b""}), LayerError, "not a name"),
    "a very long name": (lambda: make_wheel(files={LONG: b""}), LayerError, "longer than a file name"),
    "wrong hash in RECORD": (
        lambda: make_wheel(record=f"{record_line(NAME, b'other')}sample-1.0.dist-info/RECORD,,\n"),
        VerificationError,
        "RECORD says",
    ),
    "wrong hash in RECORD, large": (
        lambda: make_wheel(files={"sample/big.bin": BIG}, record=record_line("sample/big.bin", b"other")),
        VerificationError,
        "RECORD says",
    ),
    "wrong hash in RECORD, stored": (
        lambda: make_wheel(
            files={"sample/big.bin": BIG * 4}, stored=("sample/big.bin",), record=record_line("sample/big.bin", b"x")
        ),
        VerificationError,
        "RECORD says",
    ),
    "weak hash in RECORD": (lambda: make_wheel(record=f"{NAME},md5=abc,5\n"), LayerError, "unsuitable kind: 'md5'"),
    "malformed RECORD": (lambda: make_wheel(record="just one field\n"), LayerError, "RECORD is malformed"),
    "no dist-info": (lambda: without("sample-1.0.dist-info/"), LayerError, "0 .dist-info folders"),
    "two dist-infos": (lambda: make_wheel(files={"b-1.dist-info/METADATA": b""}), LayerError, "2 .dist-info folders"),
    "no RECORD": (lambda: without("sample-1.0.dist-info/RECORD"), LayerError, "has no .*RECORD"),
    "no WHEEL": (lambda: without("sample-1.0.dist-info/WHEEL"), LayerError, "has no .*WHEEL"),
    "a later format": (lambda: make_wheel(wheel="Wheel-Version: 2.0\n"), LayerError, "wheel format '2.0'"),
    "unknown scheme": (lambda: make_wheel(files={"sample-1.0.data/secrets/x": b""}), LayerError, "no data scheme"),
    "malformed entry points": (lambda: make_wheel(entry_points="[console_scripts\n"), LayerError, "entry_points.txt"),
    "entry point without function": (
        lambda: make_wheel(entry_points="[console_scripts]\nx = sample\n"),
        LayerError,
        "entry_points.txt",
    ),
    "a script outside of bin": (
        lambda: make_wheel(entry_points="[console_scripts]\n../../evil = sample:x\n"),
        LayerError,
        "name of a script",
    ),
    "a script named python": (
        lambda: make_wheel(entry_points="[console_scripts]\npython3 = sample:x\n"),
        LayerError,
        "replace the interpreter",
    ),
    "data that replaces python": (
        lambda: make_wheel(files={"sample-1.0.data/data/bin/python": b""}),
        LayerError,
        "replace the interpreter",
    ),
    "data that unmakes the environment": (
        lambda: make_wheel(files={"sample-1.0.data/data/pyvenv.cfg": b""}),
        LayerError,
        "virtual environment",
    ),
    "two members for one path": (
        lambda: make_wheel(files={"a.py": b"1", "sample-1.0.data/purelib/a.py": b"2"}),
        LayerError,
        "both become",
    ),
}


def without(prefix: str) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(make_wheel())) as source, zipfile.ZipFile(output, "w") as target:
        for info in source.infolist():
            if not info.filename.startswith(prefix):
                target.writestr(info.filename, source.read(info))
    return output.getvalue()


@pytest.mark.parametrize("case", BROKEN)
def test_broken_wheels_are_named(case: str, make: Make) -> None:
    build, kind, message = BROKEN[case]
    wheel = build()
    with pytest.raises(kind, match=message) as caught:
        make(wheel)
    assert caught.value.where == "wheel0"


def test_a_member_that_is_twice_the_same_does_no_harm(make: Make) -> None:
    made = make(add_twice(SOUND, b"VALUE = 1\n" * 5))
    assert made.files[f"{SITE}/{NAME}"] == b"VALUE = 1\n" * 5
    assert made.layer.diff_id == make(SOUND).layer.diff_id


def test_the_metadata_of_another_package_is_refused(make: Make, tmp_path: Path) -> None:
    wheel = save_wheel(tmp_path, make_wheel("other"), "sample-1.0-py3-none-any.whl")
    with pytest.raises(LayerError, match=r"metadata of another package: other-1\.0\.dist-info"):
        make(wheel)
    make(save_wheel(tmp_path, make_wheel("Some.Thing"), "some_thing-1.0-py3-none-any.whl"))


def test_files_that_record_does_not_know_are_told(make: Make) -> None:
    info = "sample-1.0.dist-info"
    listed = record_line(NAME, b"A = 1\n") + f"{info}/METADATA,,\n{info}/RECORD,,\ngone.py,sha256=x,1\n"
    made = make(make_wheel(files={NAME: b"A = 1\n"}, record=listed))
    assert [remark.text for remark in read_remarks(made.layer.descriptor.annotations)] == [
        f"wheel0: RECORD has no hash of 2 files ({info}/METADATA, …): only CRC and size were checked",
        "wheel0: RECORD lists gone.py that the wheel does not have",
    ]
    assert read_remarks(make(make_wheel()).layer.descriptor.annotations) == ()


def test_the_sound_wheel_is_sound(make: Make) -> None:
    assert make(SOUND).files[f"{SITE}/sample/big.bin"] == BIG
