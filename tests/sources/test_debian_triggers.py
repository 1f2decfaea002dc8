from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest

from layerforge.errors import LayerError
from layerforge.sources.debian.keystore import PATH, keystore_state
from layerforge.sources.debian.mime_state import mime_state
from layerforge.sources.debian.mime_types import Match, read_types
from layerforge.sources.debian.plugins import gio_state, input_method_state, pixbuf_state
from layerforge.sources.debian.rootstate import Entries
from layerforge.sources.debian.schemas import FOLDER as SCHEMA_FOLDER
from layerforge.sources.debian.schemas import schema_state
from layerforge.sources.debian.triggers import TRIGGERS, Installed, trusted_by_java, unknown_plugins
from layerforge.sources.debian.variant import encode_variant, parse_variant
from tests.conftest import require
from tests.fidelity.decoded import decode_gvdb, decode_keystore, decode_mime_cache

LIB = "usr/lib/x86_64-linux-gnu"
LOADERS = f"{LIB}/gdk-pixbuf-2.0/2.10.0"
TYPES = b"""<?xml version="1.0"?>
<mime-info xmlns="http://www.freedesktop.org/standards/shared-mime-info">
  <mime-type type="application/x-layer">
    <comment>a layer</comment>
    <generic-icon name="package-x-generic"/>
    <glob pattern="*.Layer"/> <glob pattern="*.LFX" case-sensitive="true" weight="60"/> <glob pattern="layerfile"/>
    <glob pattern="l[0-9]*.y"/>
    <magic priority="70"><match type="string" offset="0:4" value="LAY\\x45\\n">
      <match type="big16" offset="8" value="0x0102" mask="0xff00"/><match type="host32" offset="1" value="010"/>
    </match></magic>
    <alias type="application/layer"/> <sub-class-of type="text/plain"/> <root-XML namespaceURI="urn:l" localName="l"/>
    <treemagic><treematch path="layers" type="directory" non-empty="true"/></treemagic>
  </mime-type>
  <mime-type type="text/plain"><glob pattern="*.txt"/><icon name="text"/></mime-type>
  <mime-type type="image/old"><glob-deleteall/><magic-deleteall/></mime-type>
</mime-info>"""
FILES = {"usr/share/mime/packages/layers.xml": TYPES}


def text(entries: Entries, path: str) -> str:
    return entries[path].content.decode()


def test_image_loaders_are_listed_with_what_they_can_do() -> None:
    entries, unknown = pixbuf_state([f"{LOADERS}/loaders/libpixbufloader-{name}.so" for name in ("svg", "new")], "2.4")
    cache = text(entries, f"{LOADERS}/loaders.cache")
    assert f'"/{LOADERS}/loaders/libpixbufloader-svg.so"\n"svg" 6 ' in cache and "new" not in cache
    assert '"svg" "svgz" "svg.gz" ""\n' in cache and cache.endswith("\n\n\n")
    assert unknown == (f"{LOADERS}/loaders/libpixbufloader-new.so",)


def test_modules_of_gio_and_input_methods() -> None:
    names = ("libgiognutls.so", "libdconfsettings.so", "libother.so")
    entries, unknown = gio_state(f"{LIB}/gio/modules/{name}" for name in names)
    expected = "libdconfsettings.so: gsettings-backend\nlibgiognutls.so: gio-tls-backend\n"
    assert text(entries, f"{LIB}/gio/modules/giomodule.cache") == expected and len(unknown) == 1
    folder = f"{LIB}/gtk-3.0/3.0.0"
    entries, unknown = input_method_state([f"{folder}/immodules/im-thai.so", "usr/lib/im-thai.so"], "3.24", "libgtk")
    cache = text(entries, f"{folder}/immodules.cache")
    assert f'"/{folder}/immodules/im-thai.so" \n"thai" "Thai-Lao" "gtk30" "/usr/share/locale" "lo:th" \n\n' in cache
    assert f"ModulesPath = /{folder}/linux/immodules:/{folder}/immodules:" in cache and unknown == ()


def test_mime_types_are_read() -> None:
    found = read_types(FILES)
    assert found.types == {"application/x-layer", "text/plain", "image/old"}
    assert sorted(found.globs) == ["*.LFX", "*.layer", "*.txt", "__NOGLOBS__", "l[0-9]*.y", "layerfile"]
    children = (Match(8, 1, 1, b"\1\2", b"\xff\0"), Match(1, 1, 4, b"\0\0\0\x08"))
    assert found.magic[1].matches == (Match(0, 5, 1, b"LAYE\n", b"", children),)


def test_text_files_of_mime_types() -> None:
    entries = mime_state(FILES, "2.4")
    assert text(entries, "usr/share/mime/aliases") == "application/layer application/x-layer\n"
    assert text(entries, "usr/share/mime/subclasses") == "application/x-layer text/plain\n"
    globs = text(entries, "usr/share/mime/globs2").splitlines()[2:]
    assert globs[:3] == ["0:image/old:__NOGLOBS__", "60:application/x-layer:*.LFX:cs", "60:application/x-layer:*.LFX"]
    assert b"[0:image/old]\n>0=\0\x0b__NOMAGIC__\n" in entries["usr/share/mime/magic"].content
    assert b"[70:application/x-layer]\n>0=\0\x05LAYE\n+5\n1>8=\0\2\1\2&\xff\0\n1>1=\0\4\0\0\0\x08~4\n" in (
        entries["usr/share/mime/magic"].content
    )
    assert text(entries, "usr/share/mime/treemagic").endswith(
        '[50:application/x-layer]\n>"layers"=directory,non-empty\n'
    )


def test_the_cache_of_mime_types_says_the_same() -> None:
    found = decode_mime_cache(mime_state(FILES, "2.4")["usr/share/mime/mime.cache"].content)
    assert found["aliases"] == [("application/layer", "application/x-layer")]
    assert found["parents"] == [("application/x-layer", ["text/plain"])]
    assert found["literals"] == [("__NOGLOBS__", "image/old", 0), ("layerfile", "application/x-layer", 50)]
    assert found["globs"] == [("l[0-9]*.y", "application/x-layer", 50)]
    leaf = ("X", [("F", [("L", [(".", [("application/x-layer", 0x100 | 60)])])])])
    assert leaf in found["suffixes"] and found["namespaces"] == [("urn:l", "l", "application/x-layer")]
    assert [(rule[0], rule[1], len(rule[2][0][-1])) for rule in found["magic"]] == [
        (0, "image/old", 0),
        (70, "application/x-layer", 2),
    ]


def test_glib_finds_types_by_the_cache(tmp_path: Path) -> None:
    program = shutil.which("gio")
    require(program, "gio is not installed")
    for path, entry in mime_state(FILES, "2.4").items():
        target = tmp_path / path.removeprefix("usr/share/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.name == "mime.cache":
            target.write_bytes(entry.content)
    samples = {"a.layer": b"x", "layerfile": b"x", "A.TXT": b"x", "nothing": b"..LAYE\n.\1\7", "l7.y": b"x"}
    found = {}
    for name, content in samples.items():
        (tmp_path / name).write_bytes(content)
        environment = {"XDG_DATA_DIRS": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "none"), "LC_ALL": "C.UTF-8"}
        command = [str(program), "info", "-a", "standard::content-type", str(tmp_path / name)]
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        found[name] = said.strip().rpartition(" ")[2]
    layer = "application/x-layer"
    assert found == {"a.layer": layer, "layerfile": layer, "A.TXT": "text/plain", "nothing": layer, "l7.y": layer}


@pytest.mark.parametrize("content", [b"<mime-info", TYPES.replace(b'offset="8"', b""), TYPES.replace(b"010", b"x")])
def test_damaged_types_are_refused(content: bytes) -> None:
    with pytest.raises(LayerError, match="a damaged list of MIME types") as caught:
        mime_state({"usr/share/mime/packages/bad.xml": content}, "1")
    assert caught.value.where == "usr/share/mime/packages/bad.xml"


def test_java_trusts_the_certificates() -> None:
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(b"der" * 40) + b"-----END CERTIFICATE-----\n"
    data = keystore_state([("B_Root.pem", pem), ("a.pem", pem), ("empty.pem", b"")])[PATH].content
    magic, version, found, rest = decode_keystore(data)
    assert (magic, version, rest) == (0xFEEDFEED, 2, 20)
    assert found == dict.fromkeys(("debian:a.pem", "debian:b_root.pem"), (2, b"X.509", b"der" * 40))


SCHEMA = b"""<schemalist gettext-domain="d">
  <enum id="e"><value nick="one" value="1"/><value nick="two" value="2"/></enum>
  <flags id="f"><value nick="none" value="0"/><value nick="bit" value="4"/></flags>
  <schema id="org.example" path="/org/example/">
    <key name="number" type="u"><default>0x10</default><range min="1" max="90"/></key>
    <key name="name" type="s"><default l10n="messages" context="c"> 'it\\'s' </default></key>
    <key name="kind" enum="e"><default>"two"</default><aliases><alias value="zwei" target="two"/></aliases></key>
    <key name="bits" flags="f"><default>['bit']</default></key>
    <key name="pairs" type="a{sv}"><default>{'a': &lt;1&gt;, 'b': &lt;@as []&gt;}</default></key>
    <key name="rows" type="a(sid)"><default>[('x', -3, 1.5), ('', 0, 2e3)]</default></key>
    <key name="choice" type="s"><default>'red'</default><choices><choice value="red"/></choices></key>
    <key name="perhaps" type="mas"><default>just ['x']</default></key>
    <child name="below" schema="org.example.below"/>
  </schema>
  <schema id="org.example.below"><key name="on" type="b"><default>true</default></key></schema>
</schemalist>"""
SCHEMAS = {
    f"{SCHEMA_FOLDER}org.example.gschema.xml": SCHEMA,
    f"{SCHEMA_FOLDER}bad.gschema.xml": SCHEMA.replace(b"org.example", b"org.bad").replace(b"0x10", b"'x'"),
    f"{SCHEMA_FOLDER}10_a.gschema.override": b"[org.example]\nnumber=42\nnone=1\n[org.example.below:GNOME]\non=false\n",
}


def test_schemas_are_compiled_as_glib_does(tmp_path: Path) -> None:
    program = shutil.which("glib-compile-schemas")
    require(program, "glib-compile-schemas is not installed")
    for path, data in SCHEMAS.items():
        (tmp_path / path.rpartition("/")[2]).write_bytes(data)
    subprocess.run([str(program), str(tmp_path)], check=True, capture_output=True)
    theirs = decode_gvdb((tmp_path / "gschemas.compiled").read_bytes())
    ours = decode_gvdb(schema_state(SCHEMAS)[f"{SCHEMA_FOLDER}gschemas.compiled"].content)
    assert set(ours[1]) == {"", "org.example", "org.example.below"} and len(ours[1]["org.example"]) == 12
    assert ours == theirs


def test_nothing_is_compiled_where_there_are_no_schemas() -> None:
    assert schema_state({f"{SCHEMA_FOLDER}a.gschema.override": b"[a]\nb=1\n"}) == {}


@pytest.mark.parametrize(
    ("text", "kind"), [("1", "s"), ("[1, 'x']", "ai"), ("(1,)", "(ii)"), ("300", "y"), ("'a' 'b'", "s"), ("<", "v")]
)
def test_what_is_no_value_is_refused(text: str, kind: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        encode_variant(parse_variant(text, kind), kind)


def test_what_is_installed_decides_what_is_made() -> None:
    loaders = {f"{LOADERS}/loaders/libpixbufloader-{name}.so": None for name in ("gif", "odd")}
    versions = {"shared-mime-info": "1:2.4-5+b2", "libgdk-pixbuf-2.0-0": "2.42.12+dfsg-4"}
    root = Installed({**FILES, **loaders}, versions)
    entries = {path: entry for make in TRIGGERS.values() for path, entry in make(root).items()}
    assert text(entries, "usr/share/mime/version") == "2.4\n"
    assert "from gdk-pixbuf-2.42.12\n" in text(entries, f"{LOADERS}/loaders.cache")
    assert unknown_plugins(root) == (f"{LOADERS}/loaders/libpixbufloader-odd.so",)
    assert trusted_by_java(root, {"a.crt": b""}) == {}
    assert PATH in trusted_by_java(Installed({}, {"ca-certificates-java": "1"}), {"usr/share/a.crt": b""})


def test_a_base_whose_types_are_not_known_keeps_its_own_files() -> None:
    root = Installed({**FILES, "usr/share/mime/packages/base.xml": None}, {"shared-mime-info": "2.4"})
    assert TRIGGERS["update-mime-database"](root) == {}
