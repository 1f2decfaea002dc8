"""What a base holds: its layers put together, read once, its release, its C library and its Pythons."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

import pytest

from layerforge.base_image import BaseImage
from layerforge.errors import LayerError, StoreError, VerificationError
from layerforge.layers.tar import Layer, TarWriter
from layerforge.oci import (
    LAYER_GZIP,
    LAYER_TAR,
    LAYER_ZSTD,
    LINUX_AMD64,
    MANIFEST,
    ContainerConfig,
    Descriptor,
    Digest,
    History,
)
from layerforge.progress import SILENCE
from layerforge.sources.base.distributions import list_replaced
from layerforge.sources.base.facts import FoundPython, describe_base, guess_facts, read_os_release
from layerforge.sources.base.fetch import lock_base
from layerforge.sources.base.files import read_base_files
from layerforge.sources.base.programs import choose_files, unpack_python
from layerforge.sources.base.python import find_base_python
from layerforge.sources.base.root import BaseRoot
from layerforge.sources.base.scan import scan_base
from layerforge.sources.debian.deb import ControlFile
from layerforge.sources.debian.rootstate import DebFacts, Listed, RootBase
from layerforge.sources.debian.upgrades import list_left_behind
from layerforge.store import Store
from tests.base_samples import (
    BOOKWORM,
    JAMMY,
    MINOR,
    VERSION,
    files_layer,
    push_base,
    put_base,
    python_layer,
    recompress,
    system_layer,
)
from tests.debian_samples import file_member, make_tar, special_member
from tests.made_images import write_layer
from tests.registry_servers import Proxy


def base_of(*layers: Layer, env: tuple[str, ...] = (), history: tuple[History, ...] = ()) -> BaseImage:
    container = ContainerConfig(env=env)
    nothing = Descriptor(MANIFEST, Digest.of(repr(layers).encode()), 1)
    return BaseImage("registry.example.org/base:1", nothing, nothing, layers, history, container)


def scan(store: Store, *layers: Layer, env: tuple[str, ...] = ()) -> BaseRoot:
    return scan_base(base_of(*layers, env=env), store)


def raw_layer(store: Store, data: bytes) -> Layer:
    stored = gzip.compress(data)
    return Layer(store.put_bytes(stored, LAYER_GZIP), Digest.of(data))


def test_whiteouts_take_away_what_is_below(store: Store) -> None:
    below = files_layer(store, {"etc/a": "1", "etc/b": "2", "etc/d/x": "3", "etc/d/y": "4", "etc/whole/z": "5"})
    above = files_layer(
        store,
        {"etc/.wh.a": "", "etc/d/.wh..wh..opq": "", "etc/d/new": "6", "etc/.wh.whole": "", "etc/b": "7"},
    )
    root = scan(store, below, above)
    files = {path for path, entry in root.paths.items() if entry.kind == "file"}
    assert files == {"etc/b", "etc/d/new"}
    assert root.contents == {"etc/b": b"7", "etc/d/new": b"6"}
    assert root.layers["etc/b"] == 1
    assert not any(".wh." in path for path in root.paths)


def test_an_opaque_folder_keeps_what_its_own_layer_puts_there(store: Store) -> None:
    below = files_layer(store, {"etc/d/old": "1"})
    above = files_layer(store, {"etc/d/first": "2", "etc/d/.wh..wh..opq": ""})
    assert {path for path in scan(store, below, above).paths if path.startswith("etc/d/")} == {"etc/d/first"}


def test_a_file_in_place_of_a_folder_removes_the_folder(store: Store) -> None:
    below, above = files_layer(store, {"etc/d/x": "1"}), files_layer(store, {"etc/d": "2"})
    root = scan(store, below, above)
    assert "etc/d/x" not in root.paths
    assert root.read("etc/d") == b"2"


def test_links_are_followed(store: Store) -> None:
    links = {"lib": "usr/lib", "etc/os-release": "../lib/os-release"}
    merged = files_layer(store, {"usr/lib/os-release": BOOKWORM}, links)
    inside = raw_layer(store, make_tar([file_member("lib/other", b"x")]))
    above = files_layer(store, {"etc/loop-a": "y"}, {"etc/loop": "loop", "etc/up": "../../../etc/loop-a"})
    root = scan(store, merged, inside, above)
    assert root.read("etc/os-release") == BOOKWORM.encode()
    assert root.resolve("lib/other") == "usr/lib/other"
    assert root.read("etc/up") == b"y"
    assert root.resolve("etc/loop") is None
    assert root.resolve("nothing/here") is None


def test_hard_links_have_the_content_of_their_file(store: Store) -> None:
    def fill(tar: TarWriter) -> None:
        tar.file("etc/one", b"content")
        tar.hardlink("etc/two", "etc/one")

    root = scan(store, write_layer(store, fill))
    assert root.read("etc/two") == b"content"


@pytest.mark.parametrize("media_type", [LAYER_GZIP, LAYER_TAR, LAYER_ZSTD])
def test_every_compression(store: Store, media_type: str) -> None:
    layer = files_layer(store, {"etc/name": "x" * 100_000})
    stored = layer if media_type == LAYER_GZIP else recompress(store, layer, media_type)
    assert stored.descriptor.media_type == media_type
    assert scan(store, stored).read("etc/name") == b"x" * 100_000


def test_layers_are_read_once(store: Store, registry: str, tmp_path: Path) -> None:
    shop = Store(tmp_path / "shop")
    shared = system_layer(shop, BOOKWORM)
    first = put_base(shop, [shared, files_layer(shop, {"etc/one": "1"})])
    second = put_base(shop, [shared, files_layer(shop, {"etc/two": "2"})])
    push_base(shop, first, f"{registry}/scan/one:1")
    push_base(shop, second, f"{registry}/scan/two:1")
    with Proxy(registry) as proxy:

        def read(name: str) -> tuple[BaseRoot, int]:
            before = len(proxy.requests)
            _, base = lock_base(f"{proxy.address}/scan/{name}:1", LINUX_AMD64, store)
            root = scan_base(base, store)
            layers = {layer.descriptor.digest for layer in base.layers}
            asked = proxy.requests[before:]
            return root, sum(any(digest in request.path for digest in layers) for request in asked)

        assert read("one")[1] == 2
        root, asked = read("two")
        assert asked == 1  # the one that is not shared
        assert root.read("etc/two") == b"2"
        assert root.read("etc/os-release") == BOOKWORM.encode()
        assert read("one")[1] == 0
    assert len(list((store.root / "blobs/sha256").iterdir())) == 4  # two manifests, two configurations, no layer


def test_damage_is_found(store: Store) -> None:
    good = files_layer(store, {"etc/name": "x"})
    wrong = Layer(good.descriptor, Digest.of(b"another"))
    with pytest.raises(VerificationError, match="the configuration says"):
        scan(store, wrong)
    garbage = store.put_bytes(b"\x1f\x8b garbage", LAYER_GZIP)
    with pytest.raises(LayerError, match="not a valid archive"):
        scan(store, Layer(garbage, Digest.of(b"")))
    with pytest.raises(LayerError, match="leaves the root"):
        scan(store, raw_layer(store, make_tar([file_member("../etc/passwd", b"x")])))
    cut = make_tar([file_member("etc/x", b"x" * 5000)])[:2000]
    with pytest.raises(LayerError):
        scan(store, raw_layer(store, cut))
    with pytest.raises(StoreError):
        scan(store, Layer(Descriptor(LAYER_GZIP, Digest.of(b"nowhere"), 3), Digest.of(b"")))
    assert not (store.root / "notes").exists() or not list((store.root / "notes").glob("base-layer-*/*"))


def test_devices_and_fifos_are_no_trouble(store: Store) -> None:
    members = [special_member("dev/null", tarfile.CHRTYPE), special_member("run/pipe", tarfile.FIFOTYPE)]
    root = scan(store, raw_layer(store, make_tar(members)))
    assert {entry.kind for entry in root.paths.values()} == {"device", "fifo"}


# -- facts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "distribution", "release"),
    [
        (BOOKWORM, "debian", "bookworm"),
        (JAMMY, "ubuntu", "jammy"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\nUBUNTU_CODENAME=noble\nVERSION_CODENAME=wilma\n', "ubuntu", "noble"),
        ("ID=ubuntu\nVERSION_ID='20.04'\n", "ubuntu", "focal"),
        ("ID=raspbian\nID_LIKE=debian\nVERSION_CODENAME=bookworm\n", "", ""),
        ('ID=alpine\nPRETTY_NAME="Alpine Linux v3.20"\n', "", ""),
        ("", "", ""),
    ],
)
def test_releases(store: Store, text: str, distribution: str, release: str) -> None:
    layer = files_layer(store, {"usr/lib/os-release": text}, {"etc/os-release": "../usr/lib/os-release"})
    base = base_of(layer)
    facts = describe_base(scan_base(base, store), base)
    assert (facts.distribution, facts.release) == (distribution, release)


def test_quotes_in_os_release(store: Store) -> None:
    root = scan(
        store, files_layer(store, {"etc/os-release": '# c\nNAME=\'A "B"\'\nPRETTY_NAME="x \\$y"\n\nnonsense\n'})
    )
    assert read_os_release(root) == {"NAME": 'A "B"', "PRETTY_NAME": "x $y"}


def test_c_libraries(store: Store) -> None:
    text = b"\0" * 5000 + b"GNU C Library (Ubuntu GLIBC 2.35-0ubuntu3) stable release version 2.35.\n"
    for files, glibc, musl in (
        ({"usr/lib/x86_64-linux-gnu/libc.so.6": text}, 35, False),
        ({"lib/x86_64-linux-gnu/libc-2.31.so": b"\x7fELF"}, 31, False),
        ({"lib/ld-musl-x86_64.so.1": b"\x7fELF"}, 0, True),
        ({}, 0, False),
    ):
        base = base_of(files_layer(store, files))
        facts = describe_base(scan_base(base, store), base)
        assert (facts.glibc, facts.musl) == (glibc, musl)


def test_pythons(store: Store) -> None:
    files = {
        "usr/bin/python3.11": b"\x7fELF..\0" + b"3.11.2\0",
        "usr/lib/python3.11/encodings/__init__.py": b"",
        "opt/conda/bin/python3.10": b"\x7fELF",
        "opt/conda/lib/python3.10/os.py": b"",
        "opt/conda/include/python3.10/patchlevel.h": b'#define PY_VERSION      "3.10.14"\n',
        "usr/local/bin/python3.12": b"\x7fELF",
        "usr/local/lib/python3.12/os.py": b"",
        "opt/none/bin/python3.13": b"\x7fELF",
    }
    links = {"opt/venv/bin/python3.11": "/usr/bin/python3.11", "bin": "usr/bin"}
    layer = files_layer(store, files, links)
    env = ("PATH=/opt/conda/bin:/usr/local/bin:/usr/bin", "PYTHON_VERSION=3.12.4")
    base = base_of(layer, env=env)
    facts = describe_base(scan_base(base, store), base)
    assert facts.pythons == (
        FoundPython("/usr/local/bin", "3.12.4"),
        FoundPython("/opt/conda/bin", "3.10.14"),
        FoundPython("/usr/bin", "3.11.2"),
    )
    locked = find_base_python("3.10", facts)
    assert not isinstance(locked, str)
    assert (locked.provider, locked.home, locked.version) == ("base", "/opt/conda/bin", "3.10.14")
    exact = find_base_python("3.11.2", facts)
    assert not isinstance(exact, str)
    assert find_base_python("3.1", facts) == find_base_python("3.11.1", facts)
    assert "Python 3.11.2 in /usr/bin" in str(find_base_python("3.11.1", facts))


def test_an_official_python_image_says_enough_in_its_configuration() -> None:
    env = ("PATH=/usr/local/bin:/usr/bin", "PYTHON_VERSION=3.12.4", "GPG_KEY=7169605F62C751356D054A26A821E680E5FA6305")
    line = "# debian.sh --arch 'amd64' out/ 'bookworm' '@1720396800'"
    facts = guess_facts(base_of(env=env, history=(History(created_by=line),)))
    assert facts is not None
    assert (facts.release, facts.glibc, facts.pythons) == ("bookworm", 36, (FoundPython("/usr/local/bin", "3.12.4"),))
    alpine = base_of(env=env, history=(History(created_by="ADD alpine-minirootfs-3.20.1-x86_64.tar.gz / # buildkit"),))
    assert guess_facts(alpine) is None
    assert guess_facts(base_of(env=env[:2], history=(History(created_by=line),))) is None


def test_chosen_files_are_read_from_the_layers_that_have_them(store: Store) -> None:
    below = files_layer(store, {"usr/bin/old": "old", "usr/bin/tool": "1"}, {"bin": "usr/bin"})
    above = write_layer(
        store, lambda tar: (tar.file("usr/bin/tool", b"2"), tar.hardlink("usr/bin/same", "usr/bin/tool"))
    )
    base = base_of(below, above)
    root = scan_base(base, store)
    found = read_base_files(base, root, ["usr/bin/same", "usr/bin/tool", "usr/bin/old"], store, SILENCE)
    assert found == {"usr/bin/tool": b"2", "usr/bin/same": b"2", "usr/bin/old": b"old"}
    store.blob_path(below.descriptor.digest).write_bytes(b"torn")
    assert read_base_files(base, root, ["usr/bin/tool"], store, SILENCE) == {"usr/bin/tool": b"2"}


def test_the_python_of_a_base_is_made_to_run_here(store: Store) -> None:
    base = base_of(system_layer(store), python_layer(store), env=("PATH=/usr/local/bin",))
    root = scan_base(base, store)
    facts = describe_base(root, base)
    assert facts.pythons == (FoundPython("/usr/local/bin", VERSION),)
    assert facts.glibc >= 17
    folder = unpack_python(base, root, "/usr/local/bin", MINOR, store)
    assert (folder / f"prefix/bin/python{MINOR}").exists()
    assert (folder / f"prefix/lib/python{MINOR}/encodings/utf_8.py").exists()
    assert any((folder / "libraries").glob("ld-*.so*"))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert unpack_python(base, root, "/usr/local/bin", MINOR, store) == folder
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert not any("test" in Path(file.destination).parts for file in choose_files(root, "/usr/local/bin", MINOR))


# -- what ours take the place of ---------------------------------------------------------------------------------


def test_packages_that_ours_replace_are_taken_away(store: Store) -> None:
    site = "usr/local/lib/python3.12/site-packages"
    files = {
        f"{site}/setuptools/__init__.py": "",
        f"{site}/setuptools/__pycache__/x.cpython-312.pyc": "",
        f"{site}/setuptools-65.5.1.dist-info/METADATA": "",
        f"{site}/setuptools-65.5.1.dist-info/RECORD": "setuptools/__init__.py,sha256=x,0\n"
        "setuptools-65.5.1.dist-info/RECORD,,\n../../../bin/easy,,\n../../../../../etc/passwd,,\nnot/there.py,,\n",
        f"{site}/google/one.py": "",
        f"{site}/google/two.py": "",
        f"{site}/Google_One-1.dist-info/RECORD": "google/one.py,,\nGoogle_One-1.dist-info/RECORD,,\n",
        f"{site}/pip/__init__.py": "",
        f"{site}/pip-24.0.dist-info/RECORD": "pip/__init__.py,,\n",
        "usr/local/bin/easy": "",
        "etc/passwd": "",
    }
    root = scan(store, files_layer(store, files))
    base = RootBase(root.paths, root.contents)
    assert list_replaced(base, site, frozenset({"setuptools", "google-one", "numpy"})) == [
        "usr/local/bin/easy",
        f"{site}/Google_One-1.dist-info",
        f"{site}/google/one.py",
        f"{site}/setuptools",
        f"{site}/setuptools-65.5.1.dist-info",
    ]
    assert list_replaced(base, site, frozenset({"numpy"})) == []


def test_an_upgrade_takes_away_what_the_old_version_had(store: Store) -> None:
    files = {
        "var/lib/dpkg/info/libx:amd64.list": "/.\n/lib\n/lib/libx.so.1.0\n"
        "/usr/share/x\n/usr/share/x/shared\n/etc/x.conf\n",
        "var/lib/dpkg/info/libx:amd64.conffiles": "/etc/x.conf\n",
        "var/lib/dpkg/info/libx:amd64.postrm": "",
        "var/lib/dpkg/info/other.list": "/usr/share/x/shared\n",
        "usr/lib/libx.so.1.0": "",
        "usr/share/x/shared": "",
        "etc/x.conf": "",
    }
    root = scan(store, files_layer(store, files, {"lib": "usr/lib"}))
    control = {"control": ControlFile(0o644, b""), "md5sums": ControlFile(0o644, b"")}
    fields = {"Package": "libx", "Architecture": "amd64", "Multi-Arch": "same"}
    fresh = DebFacts("libx:amd64", fields, control, paths=(Listed("usr/lib/libx.so.1.1", "file", 0o644),))
    base = RootBase(root.paths, root.contents)
    assert list_left_behind([fresh], base) == [
        "usr/lib/libx.so.1.0",
        "var/lib/dpkg/info/libx:amd64.conffiles",
        "var/lib/dpkg/info/libx:amd64.postrm",
    ]
    another = DebFacts("new", {"Package": "new", "Architecture": "all"}, control)
    assert list_left_behind([another], base) == []
