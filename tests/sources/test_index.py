from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace
from packaging.pylock import PackageWheel

from layerforge.errors import ResolveError, SourceError, VerificationError
from layerforge.lock import LockedWheel
from layerforge.oci import LINUX_AMD64, LINUX_ARM64, Digest, Platform
from layerforge.request import ProjectFolder
from layerforge.requirements import Requirements, parse_packages, parse_requirements
from layerforge.sources.compile import Question, compile_requirements
from layerforge.sources.complaints import explain_failure
from layerforge.sources.index import lock_packages
from layerforge.sources.local import digest_local, find_local_wheel, lock_local_wheel
from layerforge.sources.pip_settings import PipSettings, read_pip_settings
from layerforge.sources.tags import Target, choose_wheel, list_tags
from layerforge.store import Store
from tests.conftest import free_port
from tests.wheel_samples import make_wheel


class Notes:
    """A Reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def start(self, task: str, total: int | None = None) -> None: ...
    def advance(self, task: str, amount: int) -> None: ...
    def finish(self, task: str, outcome: str) -> None: ...
    def warn(self, text: str, hint: str = "") -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None: ...

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")  # uv would not ask again for ten minutes
        super().end_headers()


class LocalIndex:
    """A package index (PEP 503) on loopback over a folder of made-up wheels."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(root)))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def add(
        self, name: str, version: str = "1.0", tag: str = "py3-none-any", *, hashed: bool = True, **other: Any
    ) -> str:
        """Publish a wheel (or, with the tag ``sdist``, a source archive); its sha256."""
        stem = name.replace("-", "_")
        if tag == "sdist":
            filename, data = f"{stem}-{version}.tar.gz", b"source"
        else:
            filename, data = f"{stem}-{version}-{tag}.whl", make_wheel(stem, version, **other)
        digest = hashlib.sha256(data).hexdigest()
        folder = self.root / "simple" / name
        folder.mkdir(parents=True, exist_ok=True)
        (self.root / filename).write_bytes(data)
        fragment = f"#sha256={digest}" if hashed else ""
        with (folder / "index.html").open("a") as page:
            page.write(f'<a href="/{filename}{fragment}">{filename}</a><br>\n')
        return digest


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalIndex]:
    """An empty index, which the machine's pip is configured for."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_")) or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    root = tmp_path / "index"
    root.mkdir()
    local = LocalIndex(root)
    monkeypatch.setenv("PIP_INDEX_URL", f"{local.url}/simple")
    yield local
    local.server.shutdown()
    local.server.server_close()


HERE = ProjectFolder(Path())


def ask(*entries: str) -> Requirements:
    return parse_packages(
        [(entry, number) for number, entry in enumerate(entries, 3)], "cog.yaml", ProjectFolder(Path())
    )


def lock(
    *entries: str | Requirements,
    platform: Platform = LINUX_AMD64,
    python: str = "3.13.5",
    glibc: int = 41,
    previous: tuple[LockedWheel, ...] = (),
    reporter: Notes | None = None,
    project: Path = Path(),
) -> tuple[LockedWheel, ...]:
    first = entries[0]
    asked = first if isinstance(first, Requirements) else ask(*(str(entry) for entry in entries))
    return lock_packages(asked, Target(python, platform, glibc), previous, reporter or Notes(), project=project)


class FaultyIndex:
    """A server in an index's place, which answers in one wrong way to everything."""

    ANSWERS: ClassVar = {
        "page": (200, "text/html", b"<html><h1>Sign in</h1><form></form></html>"),
        "text": (200, "text/plain", b"hello"),
        "json": (200, "application/vnd.pypi.simple.v1+json", b'{"files": 3'),
        "500": (500, "text/plain", b"oops"),
        "401": (401, "text/plain", b""),
        "403": (403, "text/plain", b""),
        "yanked": (
            200,
            "text/html",
            b'<a data-yanked="broken" href="/app-1.0-py3-none-any.whl">app-1.0-py3-none-any.whl</a>',
        ),
        "vanished": (200, "text/html", b'<a href="/app-1.0-py3-none-any.whl">app-1.0-py3-none-any.whl</a>'),
    }

    def __init__(self, kind: str) -> None:
        status, media_type, body = self.ANSWERS[kind]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                gone = self.path.endswith(".whl")
                self.send_response(404 if gone else status)
                self.send_header("Content-Type", media_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, format: str, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}/simple"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def names(wheels: tuple[LockedWheel, ...]) -> list[str]:
    return [f"{wheel.name} {wheel.version}" for wheel in wheels]


# -- resolving -------------------------------------------------------------------------------------------------


def test_dependencies_are_locked_with_url_size_and_digest(index: LocalIndex) -> None:
    index.add("app", requires=("Lib-Two>=1", "only-windows; sys_platform == 'win32'"))
    digest = index.add("lib-two", "1.5")
    wheels = lock("app")
    assert names(wheels) == ["app 1.0", "lib-two 1.5"]
    filename = "lib_two-1.5-py3-none-any.whl"
    size = (index.root / filename).stat().st_size
    expected = LockedWheel("lib-two", "1.5", filename, f"{index.url}/{filename}", size, Digest.from_hex(digest), "")
    assert wheels[1] == expected


def test_an_index_without_digests_is_read_once_to_make_them(index: LocalIndex) -> None:
    digest = index.add("app", hashed=False)
    assert lock("app")[0].digest.hex == digest


def test_wheels_by_url(index: LocalIndex) -> None:
    digest = index.add("app", "2.0+local")
    (wheel,) = lock(f"{index.url}/app-2.0%2Blocal-py3-none-any.whl")
    assert (wheel.name, wheel.version, wheel.digest.hex) == ("app", "2.0+local", digest)


def test_nothing_asked_nothing_done() -> None:
    assert lock(Requirements()) == ()


def test_markers_go_by_the_target_and_not_by_this_machine(index: LocalIndex) -> None:
    for name in ("old", "new", "arm"):
        index.add(name)
    entries = ("old; python_version<'3.12'", "new; python_full_version>='3.13.2'", "arm; platform_machine=='aarch64'")
    assert names(lock(*entries)) == ["new 1.0"]
    assert names(lock(*entries, python="3.11.2", glibc=36)) == ["old 1.0"]
    assert names(lock(*entries, platform=LINUX_ARM64)) == ["arm 1.0", "new 1.0"]


def test_the_wheel_is_the_platform_s(index: LocalIndex) -> None:
    for tag in (
        "cp313-cp313-manylinux_2_28_x86_64",
        "cp313-cp313-manylinux_2_28_aarch64",
        "cp312-cp312-manylinux_2_28_x86_64",
        "cp313-cp313-musllinux_1_2_x86_64",
        "cp313-cp313-win_amd64",
        "cp313-cp313t-manylinux_2_28_x86_64",
    ):
        index.add("native", tag=tag)
    assert lock("native")[0].filename == "native-1.0-cp313-cp313-manylinux_2_28_x86_64.whl"
    assert lock("native", platform=LINUX_ARM64)[0].filename == "native-1.0-cp313-cp313-manylinux_2_28_aarch64.whl"


def test_wheels_for_a_newer_glibc_than_the_release_has_are_left(index: LocalIndex) -> None:
    index.add("native", "2.0", "cp311-cp311-manylinux_2_38_x86_64")
    index.add("native", "1.0", "cp311-cp311-manylinux_2_36_x86_64")
    assert names(lock("native", python="3.11", glibc=36)) == ["native 1.0"]
    assert names(lock("native", python="3.11", glibc=41)) == ["native 2.0"]


def test_locked_versions_stay(index: LocalIndex) -> None:
    index.add("app")
    index.add("lib", "1.0")
    first = lock("app", "lib")
    index.add("lib", "2.0")
    index.add("app", "1.1")
    index.add("extra", requires=("lib",))
    assert lock("app", "lib", "extra", previous=first)[0::2] == first
    assert names(lock("app", "lib", "extra")) == ["app 1.1", "extra 1.0", "lib 2.0"]
    assert names(lock("app", "lib>1", previous=first)) == ["app 1.0", "lib 2.0"]


def test_a_locked_wheel_stays_though_a_better_one_has_come(index: LocalIndex) -> None:
    index.add("app")
    first = lock("app")
    index.add("app", tag="cp313-cp313-manylinux_2_28_x86_64")
    assert lock("app", previous=first) == first
    assert lock("app")[0].filename == "app-1.0-cp313-cp313-manylinux_2_28_x86_64.whl"


def test_constraints_and_hashes(index: LocalIndex, tmp_path: Path) -> None:
    good = index.add("app", "1.0")
    index.add("app", "2.0")
    (tmp_path / "pins.txt").write_text("app<2")
    files = ProjectFolder(tmp_path)
    asked = parse_requirements(f"app --hash=sha256:{good}\n-c pins.txt", "requirements.txt", files)
    assert names(lock(asked)) == ["app 1.0"]
    asked = parse_requirements(f"app==2.0 --hash=sha256:{good}", "requirements.txt", files)
    with pytest.raises(ResolveError, match="has one of the hashes given") as caught:
        lock(asked)
    assert caught.value.where == "requirements.txt:1"


def test_the_surroundings_do_not_change_the_answer(
    index: LocalIndex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    index.add("app", "1.0")
    index.add("app", "2.0")
    expected = lock("app")
    (tmp_path / "pins.txt").write_text("app<2\n")
    monkeypatch.setenv("UV_CONSTRAINT", str(tmp_path / "pins.txt"))
    monkeypatch.setenv("UV_RESOLUTION", "lowest")
    monkeypatch.setenv("UV_EXCLUDE_NEWER", "2001-01-01")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "uv.toml").write_text('resolution = "lowest"\n')
    assert lock("app") == expected


# -- where to look ---------------------------------------------------------------------------------------------


def test_an_extra_index_adds_versions(index: LocalIndex, tmp_path: Path) -> None:
    index.add("app", "1.0")
    index.add("other", "3.0")
    (tmp_path / "extra").mkdir()
    extra = LocalIndex(tmp_path / "extra")
    extra.add("app", "2.0+cu121")
    extra.add("other", "1.0")
    try:
        assert names(lock(f"app --extra-index-url {extra.url}/simple", "other")) == ["app 2.0+cu121", "other 3.0"]
    finally:
        extra.server.shutdown()
        extra.server.server_close()


def test_find_links(index: LocalIndex) -> None:
    index.add("app", "1.0")
    (index.root / "page.html").write_text('<a href="/linked-1.0-py3-none-any.whl">linked-1.0-py3-none-any.whl</a>')
    (index.root / "linked-1.0-py3-none-any.whl").write_bytes(make_wheel("linked"))
    assert names(lock("linked", f"app -f {index.url}/page.html")) == ["app 1.0", "linked 1.0"]


def test_a_folder_of_wheels_on_this_machine_stays_out_of_the_lock(
    index: LocalIndex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    index.add("app", "1.0")
    (tmp_path / "app-9.0-py3-none-any.whl").write_bytes(make_wheel("app", "9.0"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    reporter = Notes()
    assert names(lock("app", reporter=reporter)) == ["app 1.0"]
    assert any("find-links" in note for note in reporter.notes)


def test_an_index_of_local_files_is_refused(index: LocalIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    index.add("app")
    page = index.root / "simple/app/index.html"
    page.write_text(page.read_text().replace('href="/', f'href="file://{index.root}/'))
    monkeypatch.setenv("PIP_INDEX_URL", f"file://{index.root}/simple")
    with pytest.raises(SourceError, match="only to be had at"):
        lock("app")


def test_passwords_do_not_reach_the_lock(index: LocalIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    index.add("app")
    monkeypatch.setenv("TOKEN", "hunter2")
    secret = f"{index.url}/simple".replace("://", "://user:${TOKEN}@")
    (wheel,) = lock(f"app --index-url {secret}")
    assert wheel.url == f"{index.url}/app-1.0-py3-none-any.whl"


def test_uv_s_own_index_comes_before_pip_s(index: LocalIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    index.add("app")
    monkeypatch.setenv("UV_DEFAULT_INDEX", os.environ["PIP_INDEX_URL"])
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{free_port()}/simple")
    assert names(lock("app")) == ["app 1.0"]


def test_pip_settings(tmp_path: Path) -> None:
    home, extra = tmp_path / "home", tmp_path / "extra.conf"
    (home / ".config/pip").mkdir(parents=True)
    (home / ".config/pip/pip.conf").write_text(
        "[global]\nindex-url = https://one.example.org/simple\nextra-index-url =\n    https://a.example.org/%40x\n"
        "    https://b.example.org\n[install]\ntrusted-host = a.example.org\n[unknown]\nindex-url = nonsense\n"
    )
    extra.write_text("[global]\nno_index = yes\ncert = /ca.pem\n")
    environment = {"HOME": str(home), "XDG_CONFIG_DIRS": str(tmp_path), "PIP_CONFIG_FILE": str(extra)}
    settings = read_pip_settings({**environment, "PIP_FIND_LINKS": "/wheels https://links.example.org"})
    assert settings.index_url == "https://one.example.org/simple"
    assert settings.extra_index_urls == ("https://a.example.org/%40x", "https://b.example.org")
    assert settings.find_links == ("/wheels", "https://links.example.org")
    assert settings.trusted_hosts == ("a.example.org",)
    assert settings.no_index
    assert settings.certificates == "/ca.pem"
    assert read_pip_settings({**environment, "PIP_INDEX_URL": "https://env.example.org"}).index_url.endswith(
        "env.example.org"
    )
    assert read_pip_settings({"PIP_CONFIG_FILE": os.devnull, "HOME": str(home)}) == PipSettings()


def test_damaged_pip_settings_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_bytes(b"no section\n\xff")
    assert read_pip_settings({"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "HOME": str(tmp_path)}).index_url == ""


# -- files of the project --------------------------------------------------------------------------------------


def test_a_wheel_of_the_project_is_locked_by_its_path(index: LocalIndex, tmp_path: Path) -> None:
    index.add("lib")
    data = make_wheel("local_tool", "1.0+cu121", requires=("lib",))
    path = "wheels/local_tool-1.0+cu121-py3-none-any.whl"
    (tmp_path / "wheels").mkdir()
    (tmp_path / path).write_bytes(data)
    asked = parse_requirements(f"./{path}", "requirements.txt", ProjectFolder(tmp_path))
    wheels = lock(asked, project=tmp_path)
    assert names(wheels) == ["lib 1.0", "local-tool 1.0+cu121"]
    filename = "local_tool-1.0+cu121-py3-none-any.whl"
    expected = LockedWheel("local-tool", "1.0+cu121", filename, "", len(data), Digest.of(data), "", path)
    assert wheels[1] == expected
    assert lock(asked, project=tmp_path, previous=wheels) == wheels
    wrong = parse_requirements(f"./{path} --hash=sha256:{'0' * 64}", "requirements.txt", ProjectFolder(tmp_path))
    with pytest.raises(ResolveError, match="not among the hashes given"):
        lock(wrong, project=tmp_path)


def test_a_wheel_of_the_project_for_another_platform_is_refused(index: LocalIndex, tmp_path: Path) -> None:
    name = "x-1.0-cp313-cp313-win_amd64.whl"
    (tmp_path / name).write_bytes(make_wheel("x", "1.0"))
    asked = parse_requirements(f"six\n./{name}", "requirements.txt", ProjectFolder(tmp_path))
    with pytest.raises(ResolveError, match="is not for linux/amd64") as caught:
        lock(asked, project=tmp_path)
    assert caught.value.where == "requirements.txt:2"


def test_a_folder_of_wheels_in_the_project(index: LocalIndex, tmp_path: Path) -> None:
    index.add("app", "1.0", requires=("helper",))
    (tmp_path / "vendor").mkdir()
    data = make_wheel("helper", "2.0")
    (tmp_path / "vendor/helper-2.0-py3-none-any.whl").write_bytes(data)
    asked = parse_requirements("--find-links ./vendor\napp", "requirements.txt", ProjectFolder(tmp_path))
    wheels = lock(asked, project=tmp_path)
    assert [(wheel.name, wheel.path, wheel.digest) for wheel in wheels[1:]] == [
        ("helper", "vendor/helper-2.0-py3-none-any.whl", Digest.of(data))
    ]
    before = digest_local(tmp_path, asked)
    (tmp_path / "vendor/helper-2.0-py3-none-any.whl").write_bytes(data + b"x")
    assert digest_local(tmp_path, asked) != before


def test_a_wheel_of_the_project_is_copied_when_it_is_the_one_locked(store: Store, tmp_path: Path) -> None:
    (tmp_path / "x-1.0-py3-none-any.whl").write_bytes(make_wheel("x"))
    wheel = lock_local_wheel(tmp_path, "x-1.0-py3-none-any.whl", "")
    assert find_local_wheel(store, tmp_path, wheel).read_bytes() == make_wheel("x")
    other = replace(wheel, digest=Digest.of(b"other"))
    with pytest.raises(VerificationError) as caught:
        find_local_wheel(store, tmp_path, other)
    assert "lock again" in caught.value.hint
    (tmp_path / "x-1.0-py3-none-any.whl").unlink()
    with pytest.raises(SourceError, match="cannot be read"):
        find_local_wheel(store, tmp_path, other)


# -- errors ----------------------------------------------------------------------------------------------------


def test_contradictions_name_the_requirement(index: LocalIndex) -> None:
    index.add("lib", "1.0")
    index.add("lib", "2.0")
    index.add("app", requires=("lib<2",))
    with pytest.raises(ResolveError, match="app depend on lib<2 and you require app==1") as caught:
        lock("app==1.0", "lib>=2")
    assert caught.value.where in ("cog.yaml:3", "cog.yaml:4")
    assert caught.value.hint


def test_a_package_with_wheels_for_others_only(index: LocalIndex) -> None:
    index.add("native", tag="cp311-cp311-manylinux_2_28_x86_64")
    index.add("native", tag="cp312-cp312-manylinux_2_28_x86_64")
    with pytest.raises(ResolveError, match=r"native 1.0 has no wheel for Python 3.13.5 on x86_64") as caught:
        lock("native==1.0")
    assert "cp311" in caught.value.message
    assert caught.value.where == "cog.yaml:3"


def test_a_package_with_source_only(index: LocalIndex) -> None:
    index.add("source", tag="sdist")
    index.add("app", requires=("source",))
    with pytest.raises(ResolveError, match=r"source 1\.0 has no wheel"):
        lock("app", "source")


def test_an_unknown_package(index: LocalIndex) -> None:
    index.add("app")
    with pytest.raises(ResolveError, match="no-such-package is not in the package index") as caught:
        lock("app", "No_Such.Package")
    assert caught.value.where == "cog.yaml:4"


@pytest.mark.parametrize(
    ("kind", "message", "hint"),
    [
        ("page", "lists no files of app", "sign-in page"),
        ("text", "not the answer of a package index", "sign-in page"),
        ("json", "not the answer of a package index", "sign-in page"),
        ("500", "gave no answer.*500", "the server is at fault"),
        ("401", "the server answered 401", "netrc"),
        ("403", "the server answered 403", "netrc"),
        ("yanked", r"app 1.0 has been withdrawn .*\(yanked: broken\)", "app==1.0"),
        ("vanished", "404", "vanished"),
    ],
)
def test_an_index_that_gives_something_else(
    index: LocalIndex, monkeypatch: pytest.MonkeyPatch, kind: str, message: str, hint: str
) -> None:
    with FaultyIndex(kind) as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        with pytest.raises((ResolveError, SourceError), match=message) as caught:
            lock("app")
    assert hint in caught.value.hint
    assert caught.value.where


def test_a_long_explanation_is_trimmed_and_names_the_lines(index: LocalIndex) -> None:
    for version in range(1, 30):
        index.add("app", f"{version}.0", requires=(f"lib=={version}.5",))
        index.add("lib", f"{version}.0")
    with pytest.raises(ResolveError, match="no set of packages fits") as caught:
        lock("app>=1.0", "lib>=2.0")
    assert len(caught.value.message) < 800
    assert "(cog.yaml:3)" in caught.value.hint or caught.value.where == "cog.yaml:3"


def test_an_unreachable_index(index: LocalIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://user:secret@127.0.0.1:{port}/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(SourceError, match="gave no answer") as caught:
        lock("app")
    assert caught.value.where == f"http://127.0.0.1:{port}/simple/app/"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("platform", [Platform("linux", "riscv64"), Platform("windows", "amd64")])
def test_platforms_without_wheels(platform: Platform) -> None:
    with pytest.raises(ResolveError, match="there are no wheels for"):
        lock("app", platform=platform)


def test_complaints_of_uv_are_translated() -> None:
    question = Question(ask("numpy", "app==1"), "3.13", "x86_64", 41, ())
    tls = (
        "error: Request failed after 3 retries\n  cause: Failed to fetch: `https://u:p@index.example.org/simple/app/`\n"
        "  cause: invalid peer certificate: UnknownIssuer\n"
    )
    error = explain_failure(tls, question.requirements, "3.13", "x86_64")
    assert isinstance(error, SourceError)
    assert (error.where, "SSL_CERT_FILE" in error.hint) == ("https://index.example.org/simple/app/", True)
    denied = "error: Failed to fetch: `https://index.example.org/simple/app/`\n  cause: HTTP status 401 Unauthorized\n"
    assert "netrc" in explain_failure(denied, question.requirements, "3.13", "x86_64").hint
    assert (
        explain_failure("error: something new\n", question.requirements, "3.13", "x86_64").message
        == "uv: something new"
    )


def test_the_question_is_put_the_same_way_each_time(index: LocalIndex) -> None:
    index.add("app")
    question = Question(ask("app"), "3.13", "x86_64", 41, ())
    assert compile_requirements(question, Notes()) == compile_requirements(question, Notes())


# -- tags ------------------------------------------------------------------------------------------------------


def wheel(filename: str, text: str = "") -> PackageWheel:
    digest = hashlib.sha256((text or filename).encode()).hexdigest()
    return PackageWheel(name=filename, url=f"https://example.org/{filename}", hashes={"sha256": digest})


def choose(python: str, machine: str, glibc: int, *tags: str) -> str | None:
    ranks = {tag: rank for rank, tag in enumerate(list_tags(python, machine, glibc))}
    chosen = choose_wheel([wheel(f"x-1-{tag}.whl") for tag in tags], ranks, frozenset(), None)
    return chosen.filename[4:-4] if chosen else None


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (("py3-none-any", "cp313-cp313-manylinux_2_28_x86_64"), 1),
        (("cp39-abi3-manylinux_2_17_x86_64", "cp311-abi3-manylinux_2_17_x86_64"), 1),
        (("cp311-abi3-manylinux2014_x86_64", "cp311-abi3-manylinux_2_34_x86_64"), 1),
        (("cp313-cp313-manylinux1_x86_64", "cp313-cp313-linux_x86_64"), 0),
        (("cp313-none-linux_x86_64",), 0),
        (("py2.py3-none-any",), 0),
        (("2-py3-none-any", "10-py3-none-any"), 1),
        (("cp314-abi3-manylinux_2_17_x86_64",), None),
        (("cp313-cp313-manylinux_2_42_x86_64",), None),
        (("cp313-cp313-musllinux_1_2_x86_64", "cp313-cp313-manylinux_2_17_aarch64"), None),
        (("cp313-cp313t-manylinux_2_17_x86_64", "pp310-none-any", "cp312-cp312-manylinux_2_17_x86_64"), None),
    ],
)
def test_the_best_tag_wins(tags: tuple[str, ...], expected: int | None) -> None:
    assert choose("3.13.5", "x86_64", 41, *tags) == (None if expected is None else tags[expected])


@pytest.mark.parametrize("python", ["3.10", "3.12.4", "3.14.0"])
def test_tags_go_by_the_minor_version_of_python(python: str) -> None:
    interpreter = "cp" + "".join(python.split(".")[:2])
    tags = [str(tag) for tag in list_tags(python, "x86_64", 41)]
    assert tags[0] == f"{interpreter}-{interpreter}-manylinux_2_41_x86_64"
    assert f"{interpreter}-abi3-manylinux2014_x86_64" in tags
    assert "cp39-abi3-manylinux2014_x86_64" in tags
    assert "py3-none-any" in tags
    assert not any(tag.startswith("cp315") or tag.endswith("cp313t") or "-cp313-" in tag for tag in tags)


@pytest.mark.parametrize(
    ("python", "expected"),
    [("3.10.1", "1.0"), ("3.12.4", "2.0"), ("3.14.0", "2.0")],
)
def test_the_version_and_the_wheel_fit_the_python(index: LocalIndex, python: str, expected: str) -> None:
    tag = "cp" + "".join(python.split(".")[:2])
    for known in ("cp310", "cp312", "cp314"):
        index.add("app", "1.0", f"{known}-{known}-manylinux2014_x86_64")
        index.add("app", "2.0", f"{known}-{known}-manylinux2014_x86_64", requires_python=">=3.12.3")
    (wheel,) = lock("app", python=python)
    assert (wheel.version, f"-{tag}-{tag}-" in wheel.filename) == (expected, True)


def test_arm_has_no_tags_from_before_its_time() -> None:
    tags = {str(tag) for tag in list_tags("3.13", "aarch64", 36)}
    assert "cp313-cp313-manylinux2014_aarch64" in tags
    assert not any("manylinux1_" in tag or "manylinux_2_12_" in tag or "_2_37_" in tag for tag in tags)


def test_the_program_is_found_by_many_threads_at_once() -> None:
    """``sysconfig`` fills its table without a lock on older Pythons; a fresh interpreter for each try."""
    script = """
        import sys, threading
        from layerforge.sources.uv import find_program
        sys.setswitchinterval(1e-6)
        failures, barrier = [], threading.Barrier(8)
        def find():
            barrier.wait()
            try:
                find_program()
            except Exception as error:
                failures.append(error)
        threads = [threading.Thread(target=find) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        sys.exit(repr(failures[0]) if failures else 0)
    """
    for _ in range(4):
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
