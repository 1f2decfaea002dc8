from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tomli
import uv
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from packaging.pylock import Pylock, is_valid_pylock_path

from layerforge.errors import LockError
from layerforge.lock import (
    Lock,
    LockedBase,
    LockedDeb,
    LockedFile,
    LockedPython,
    LockedSource,
    LockedWheel,
    PlatformLock,
    Wanted,
)
from layerforge.lockfile import FORMAT, decode_lock, encode_lock
from layerforge.oci import Digest

NAME = "pylock.layerforge.toml"


def make_wheel(name: str, version: str = "1.0", tag: str = "py3-none-any", bin_: str = "bin.1") -> LockedWheel:
    filename = f"{name.replace('-', '_')}-{version}-{tag}.whl"
    url = f"https://files.example.org/{filename}"
    return LockedWheel(name, version, filename, url, 1234, Digest.of(filename.encode()), bin_)


def make_deb(name: str, version: str = "1.0-1") -> LockedDeb:
    path = f"pool/main/{name[0]}/{name}/{name}_{version}_amd64.deb"
    return LockedDeb(name, version, "amd64", "debian", path, 99, Digest.of(path.encode()))


def make_platform(platform: str = "linux/amd64", packages: tuple[LockedWheel, ...] | None = None) -> PlatformLock:
    return PlatformLock(
        platform=platform,
        release="trixie",
        python=LockedPython("3.13", "3.13.5", "debian"),
        base=(make_deb("base-files"), make_deb("libc6", "2.41-12+deb13u1")),
        interpreter=(make_deb("python3.13", "3.13.5-2"),),
        system=(make_deb("ffmpeg", "7.1"),),
        packages=packages if packages is not None else (make_wheel("numpy", bin_="numpy"), make_wheel("six")),
        runtime=(make_wheel("granian", tag="cp313-cp313-manylinux_2_17_x86_64", bin_=""),),
    )


LOCK = Lock(Wanted("3.13"), (make_platform(),))
TEXT = encode_lock(LOCK).decode()

# -- values, any of them ---------------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"), max_size=20)
words = st.from_regex(r"[a-z][a-z0-9]{0,6}(-[a-z0-9]{1,4})?", fullmatch=True)
versions = st.from_regex(r"[0-9]{1,2}\.[0-9]{1,2}", fullmatch=True)
sizes = st.integers(0, 2**62)
digests = st.binary(min_size=32, max_size=32).map(lambda data: Digest.from_hex(data.hex()))
debs = st.builds(LockedDeb, texts, texts, texts, texts, texts, sizes, digests)
runtimes = st.builds(LockedWheel, texts, texts, texts, texts, sizes, digests, texts)


@st.composite
def packages(draw: st.DrawFn, tags: tuple[str, ...] = ("py3-none-any",)) -> tuple[LockedWheel, ...]:
    wheels = []
    for name in draw(st.lists(words, unique=True, max_size=5)):
        wheel = make_wheel(name, draw(versions), draw(st.sampled_from(tags)))
        if wheel.filename.endswith("any.whl"):  # the same for every platform, as an index would have it
            wheels.append(replace(wheel, bin=draw(texts)))
        else:
            wheels.append(replace(wheel, digest=draw(digests), size=draw(sizes), bin=draw(texts)))
    return tuple(wheels)


files = st.builds(LockedFile, texts, texts, sizes, digests)
pythons = st.builds(LockedPython, st.sampled_from(["3.9", "3.10", "3.13"]), *[texts] * 4, st.none() | files)
wishes = st.builds(Wanted, texts, texts, texts, *[st.lists(texts, max_size=3).map(tuple)] * 3, sizes)
images = st.none() | st.builds(LockedBase, texts, digests, sizes, texts)


@st.composite
def locks(draw: st.DrawFn) -> Lock:
    chosen = draw(st.lists(st.sampled_from(["linux/amd64", "linux/arm64", "linux/arm/v7"]), unique=True, max_size=3))
    platforms = []
    for platform in chosen:
        tags = ("py3-none-any", f"cp313-cp313-linux_{platform.partition('/')[2].replace('/', '')}")
        several = st.lists(debs, max_size=3).map(tuple)
        fields = (draw(texts), draw(pythons), draw(several), draw(several), draw(several), draw(packages(tags)))
        runtime = draw(st.lists(runtimes, max_size=2).map(tuple))
        platforms.append(PlatformLock(platform, *fields, runtime, draw(images)))
    platforms.sort(key=lambda platform: platform.platform)
    return Lock(draw(wishes), tuple(platforms))


@settings(max_examples=150, deadline=None)
@given(locks())
def test_what_is_written_is_read(lock: Lock) -> None:
    data = encode_lock(lock)
    assert decode_lock(data, NAME) == lock
    assert encode_lock(decode_lock(data, NAME)) == data
    Pylock.from_dict(tomli.loads(data.decode()))


# -- the file --------------------------------------------------------------------------------------------------


def test_the_file_is_a_pylock() -> None:
    assert is_valid_pylock_path(Path(NAME))
    lock = Pylock.from_dict(tomli.loads(TEXT))
    assert lock.created_by == "layerforge"
    assert str(lock.requires_python) == "==3.13.*"
    assert [str(package.name) for package in lock.packages] == ["numpy", "six"]
    wheel = lock.packages[0].wheels[0]  # type: ignore[index]
    assert (wheel.url, wheel.size) == ("https://files.example.org/numpy-1.0-py3-none-any.whl", 1234)
    assert wheel.hashes == {"sha256": Digest.of(b"numpy-1.0-py3-none-any.whl").hex}


def test_one_package_a_line() -> None:
    upgraded = replace(LOCK.platforms[0], base=(make_deb("base-files"), make_deb("libc6", "2.41-13")))
    before, after = TEXT.splitlines(), encode_lock(replace(LOCK, platforms=(upgraded,))).decode().splitlines()
    assert len(before) == len(after)
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1


def test_platforms_share_what_is_the_same_and_mark_what_is_not() -> None:
    pure = make_wheel("six")
    intel, arm = (make_wheel("numpy", tag=f"cp313-cp313-manylinux_2_28_{m}") for m in ("x86_64", "aarch64"))
    only, other = make_wheel("triton"), make_wheel("six", "2.0")
    first = make_platform("linux/amd64", (intel, pure, only))
    lock = Lock(Wanted("3.13"), (first, make_platform("linux/arm64", (arm, pure))))
    document = tomli.loads(encode_lock(lock).decode())
    found = {package["name"]: package for package in document["packages"]}
    assert len(found["numpy"]["wheels"]) == 2
    assert len(found["six"]["wheels"]) == 1
    assert "marker" not in found["six"]
    assert found["triton"]["marker"] == "sys_platform == 'linux' and platform_machine == 'x86_64'"
    assert decode_lock(encode_lock(lock), NAME) == lock
    lock = Lock(Wanted("3.13"), (first, make_platform("linux/arm64", (arm, other))))
    markers = {
        p["version"]: p["marker"] for p in tomli.loads(encode_lock(lock).decode())["packages"] if "six" in p["name"]
    }
    assert "x86_64" in markers["1.0"]
    assert "aarch64" in markers["2.0"]
    assert decode_lock(encode_lock(lock), NAME) == lock


def test_two_files_of_one_name_cannot_be_told_apart() -> None:
    other = replace(make_wheel("six"), digest=Digest.of(b"other"))
    lock = Lock(Wanted("3.13"), (make_platform(packages=(make_wheel("six"),)), make_platform("linux/arm64", (other,))))
    with pytest.raises(LockError, match="not the same file"):
        encode_lock(lock)


SDIST = LockedSource("sdist", "https://files.example.org/six-1.0.tar.gz", "", 10, Digest.of(b"sdist"))
SOURCES = (
    SDIST,
    LockedSource("archive", path="vendor/six.zip", size=10, digest=Digest.of(b"zip"), subdirectory="python"),
    LockedSource("git", "https://example.org/six.git", reference="main", commit="a" * 40, subdirectory="python"),
    LockedSource("folder", path="lib/six", editable=True),
)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.kind)
def test_what_is_built_names_its_source_for_any_installer(source: LockedSource) -> None:
    built = replace(make_wheel("six"), url="", source=source)
    lock = Lock(
        Wanted("3.13"), (make_platform(packages=(make_wheel("numpy"), built)), make_platform("linux/arm64", ()))
    )
    data = encode_lock(lock)
    package = Pylock.from_dict(tomli.loads(data.decode())).packages[1]
    assert not package.wheels
    assert [package.sdist, package.archive, package.vcs, package.directory].count(None) == 3
    assert decode_lock(data, NAME) == lock


def test_one_platform_has_a_wheel_and_another_builds_it() -> None:
    wheel = make_wheel("six", tag="cp313-cp313-manylinux_2_28_x86_64")
    built = replace(make_wheel("six", tag="cp313-cp313-linux_aarch64"), url="", source=SDIST)
    lock = Lock(Wanted("3.13"), (make_platform(packages=(wheel,)), make_platform("linux/arm64", (built,))))
    (package,) = Pylock.from_dict(tomli.loads(encode_lock(lock).decode())).packages
    assert package.sdist is not None
    assert [each.name for each in package.wheels or ()] == [wheel.filename]
    assert decode_lock(encode_lock(lock), NAME) == lock


def test_platforms_may_have_one_version_from_two_places() -> None:
    git, wheel = replace(make_wheel("six"), url="", source=SOURCES[2]), make_wheel("six")
    lock = Lock(Wanted("3.13"), (make_platform(packages=(git,)), make_platform("linux/arm64", (wheel,))))
    Pylock.from_dict(tomli.loads(encode_lock(lock).decode()))
    assert decode_lock(encode_lock(lock), NAME) == lock


def test_a_wheel_of_the_project_is_named_by_its_path() -> None:
    wheel = replace(make_wheel("six"), url="", path="wheels/six-1.0-py3-none-any.whl")
    lock = replace(LOCK, platforms=(make_platform(packages=(wheel,)),))
    (package,) = Pylock.from_dict(tomli.loads(encode_lock(lock).decode())).packages
    assert package.wheels is not None
    assert package.wheels[0].path == wheel.path
    assert decode_lock(encode_lock(lock), NAME) == lock


def test_a_built_wheel_without_source_does_not_hold_together() -> None:
    built = replace(make_wheel("six"), url="", source=SDIST)
    text = encode_lock(replace(LOCK, platforms=(make_platform(packages=(built,)),))).decode()
    text = "\n".join(line for line in text.splitlines() if not line.startswith("sdist = "))
    with pytest.raises(LockError, match="does not hold together"):
        decode_lock(text.encode(), NAME)


def test_layout_does_not_matter() -> None:
    text = TEXT.replace("\n", "\r\n").replace("size = 99,", "size = 99 ,") + "# a remark\r\n"
    assert decode_lock(text.encode(), NAME) == LOCK


@pytest.mark.network
def test_uv_can_read_it(tmp_path: Path) -> None:
    wheel = make_wheel("six")
    minor = f"3.{sys.version_info.minor}"
    platform = replace(make_platform(packages=(wheel,)), python=LockedPython(minor, f"{minor}.0", "debian"))
    path = tmp_path / NAME
    path.write_bytes(encode_lock(Lock(Wanted("3.13"), (platform,))))
    command = [
        uv.find_uv_bin(),
        "pip",
        "install",
        "--dry-run",
        "--offline",
        "--no-cache",
        "--target",
        str(tmp_path / "t"),
    ]
    command += ["--python", sys.executable, "--python-platform", "x86_64-manylinux_2_28", "-r", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "six==1.0" in done.stderr or wheel.url in done.stderr, done.stderr


# -- refusals --------------------------------------------------------------------------------------------------


def line_of(text: str, needle: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if needle in line)


SIX = "six-1.0-py3-none-any.whl"
EDITS = {
    "an unknown key": ("[tool.layerforge]\n", "[tool.layerforge]\nextra = 1\n", "unknown field `extra`", ""),
    "another size": ("size = 1234, hashes", "size = 1.5, hashes", "Unexpected type float", ""),
    "a package more": (
        "[tool.layerforge]\n",
        '[[packages]]\nname = "evil"\nversion = "1"\nwheels = []\n[tool.layerforge]\n',
        "Exactly one of|evil",
        "",
    ),
    "a marker": ('name = "six"\nversion', 'name = "six"\nmarker = "os_name == \'nt\'"\nversion', "marker", '"six"'),
    "a wheel's hash": (Digest.of(SIX.encode()).hex, "0123", "not a sha256 digest", ""),
    "another version": (
        'name = "six"\nversion = "1.0"',
        'name = "six"\nversion = "2.0"',
        "not consistent",
        'version = "2.0"',
    ),
    "a package's wheel": (f'wheel = "{SIX}"', 'wheel = "six-9.whl"', "'six-9.whl', which no", '"six-9.whl"'),
    "a package twice": (
        f'    {{ name = "six", wheel = "{SIX}", bin = "bin.1" }},\n',
        f'    {{ name = "six", wheel = "{SIX}", bin = "bin.1" }},\n' * 2,
        "has 'six' twice",
        "",
    ),
    "a platform's name": ('platform = "linux/amd64"', 'platform = "linux/arm64"', "environments", ""),
    "the environments": ("environments = [", "environments = [\"os_name == 'nt'\", ", "environments", ""),
    "who made it": ('created-by = "layerforge"', 'created-by = "me"', "created-by", ""),
    "a deb's digest": ('sha256 = "', 'sha256 = "x', "not a sha256 digest", ""),
    "inputs": ('inputs = "sha256:', 'inputs = "md5:', "inputs", ""),
}


@pytest.mark.parametrize("case", EDITS)
def test_edits_are_refused(case: str) -> None:
    old, new, message, at = EDITS[case]
    assert old in TEXT
    with pytest.raises(LockError, match=message) as caught:
        decode_lock(TEXT.replace(old, new).encode(), NAME)
    assert caught.value.where.split(":")[0] == NAME
    if at:
        assert caught.value.where == f"{NAME}:{line_of(TEXT.replace(old, new), at)}"
    assert "layerforge lock" in caught.value.hint


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(TEXT) - 1), st.characters(codec="ascii"))
def test_no_edit_is_misread(position: int, character: str) -> None:
    """Any one character replaced gives the same lock, another whole one, or a LockError; never a traceback."""
    try:
        lock = decode_lock((TEXT[:position] + character + TEXT[position + 1 :]).encode(), NAME)
    except LockError as error:
        assert error.where.startswith(NAME)
    else:
        assert decode_lock(encode_lock(lock), NAME) == lock


def test_broken_toml_has_a_line() -> None:
    number = line_of(TEXT, '"six"')
    broken = TEXT.replace('name = "six"', "<<<<<<< HEAD", 1)
    with pytest.raises(LockError, match="not valid TOML") as caught:
        decode_lock(broken.encode(), NAME)
    assert caught.value.where == f"{NAME}:{number}"


def test_a_newer_format_is_named() -> None:
    with pytest.raises(LockError, match=f"format {FORMAT + 1}; this Layerforge knows {FORMAT}") as caught:
        decode_lock(TEXT.replace(f"format = {FORMAT}", f"format = {FORMAT + 1}\nnews = []").encode(), NAME)
    assert "layerforge lock --upgrade" in caught.value.hint


@pytest.mark.parametrize("data", [b"", b'lock-version = "1.0"\ncreated-by = "uv"\npackages = []\n', b"tool = 1"])
def test_another_program_s_lock_is_refused(data: bytes) -> None:
    with pytest.raises(LockError, match=r"no \[tool.layerforge\]"):
        decode_lock(data, NAME)


def test_text_in_another_encoding_is_refused() -> None:
    with pytest.raises(LockError, match="not UTF-8"):
        decode_lock(TEXT.encode("utf-16"), NAME)
