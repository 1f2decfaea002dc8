"""The layer of whole-root state upon a base: dpkg's record is the base's and ours; an upgrade leaves nothing behind."""

from __future__ import annotations

import io
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

from layerforge.layers.root import RootRecipe, write
from layerforge.layers.tar import TarWriter
from layerforge.oci import Digest
from layerforge.sources.debian.rootstate import Listed, RootBase
from tests.debian_samples import FactKeeper, file_member, make_deb

STATUS = """Package: libx
Status: install ok installed
Architecture: amd64
Version: 1

Package: other
Status: install ok installed
Architecture: all
Version: 5
"""
CONTENTS = {
    "var/lib/dpkg/status": STATUS,
    "var/lib/dpkg/info/libx.list": "/.\n/usr\n/usr/lib\n/usr/lib/libx.so.1\n/usr/share/x/kept\n",
    "var/lib/dpkg/info/libx.postrm": "#!/bin/sh\n",
    "var/lib/dpkg/info/other.list": "/usr/share/x/kept\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
    "etc/group": "root:x:0:\n",
    "usr/lib/libx.so.1": "",
    "usr/share/x/kept": "",
}


def make(folder: Path) -> tarfile.TarFile:
    data = make_deb(
        {"Package": "libx", "Version": "2"}, [file_member("./usr/lib/libx.so.2", b"x")], control={"md5sums": b""}
    )
    digest = Digest.of(data)
    (folder / digest.hex).write_bytes(data)
    base = RootBase(
        {path: Listed(path, "file", 0o644) for path in CONTENTS},
        {path: content.encode() for path, content in CONTENTS.items()},
    )
    output = io.BytesIO()
    with ThreadPoolExecutor(2) as threads:
        keeper = FactKeeper(lambda digest: folder / digest.hex)
        bench = SimpleNamespace(
            compressors=threads,
            facts=keeper.facts,
            material=lambda digest: folder / digest.hex,
            base_root=lambda: base,
        )
        writer = TarWriter(output)
        write(RootRecipe((digest,), "bookworm", "amd64", Digest.of(b"base")), writer, bench)  # type: ignore[arg-type]
        writer.finish()
    return tarfile.open(fileobj=io.BytesIO(output.getvalue()))


def test_an_upgrade_upon_a_base(tmp_path: Path) -> None:
    layer = make(tmp_path)
    status = layer.extractfile("var/lib/dpkg/status")
    assert status is not None
    stanzas = [
        dict(line.split(": ", 1) for line in part.splitlines()) for part in status.read().decode().strip().split("\n\n")
    ]
    assert [(stanza["Package"], stanza["Version"]) for stanza in stanzas] == [("libx", "2"), ("other", "5")]
    whiteouts = {name for name in layer.getnames() if "/.wh." in name}
    assert whiteouts == {"usr/lib/.wh.libx.so.1", "var/lib/dpkg/info/.wh.libx.postrm"}
    assert "etc/passwd" not in layer.getnames()  # nothing of the base is repeated that did not change
