from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from layerforge.engines import sandbox
from layerforge.engines.image import find_free_port, read_image
from layerforge.engines.sandbox import Sandbox, SandboxContainer, choose_ways, find_signal, make_order
from layerforge.errors import EngineError
from layerforge.oci import Descriptor
from layerforge.progress import SILENCE
from layerforge.store import Store

pytestmark = pytest.mark.sandbox
MakeImage = Callable[..., Descriptor]
WAYS = ["namespaces", "namespaces over a copy", "chroot"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, require: Callable[..., None]) -> str:
    require(os.geteuid() == 0, "these ways of entering an image are root's")
    chosen: str = request.param
    if chosen != "chroot":
        probe = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False)
        require(not probe.returncode, "this machine refuses namespaces")
    monkeypatch.setattr(sandbox, "WAYS", tuple(way for way in sandbox.WAYS if way.name == chosen))
    return chosen


def read(url: str, seconds: float = 10) -> bytes:
    """What ``url`` gives, once something answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return f"{error.code}".encode()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def wait_until(condition: Callable[[], object], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(autouse=True)
def _mark(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets :func:`processes_in` know the processes of this test, whatever namespace they are in."""
    monkeypatch.setenv("LAYERFORGE_TEST_MARK", str(store.root))


def start(store: Store, image: Descriptor, **options: Any) -> SandboxContainer:
    """Start ``image`` with the mark in its environment."""
    environment = {"LAYERFORGE_TEST_MARK": str(store.root), **options.pop("environment", {})}
    return Sandbox().start(store, image, environment=environment, reporter=SILENCE, **options)


def processes_in(store: Store) -> list[str]:
    """Command lines of the keepers and the containers of this test's store."""
    found = []
    mark = f"LAYERFORGE_TEST_MARK={store.root}\0".encode()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                if mark in (process / "environ").read_bytes() + b"\0":
                    found.append((process / "cmdline").read_text())
    return found


def assert_nothing_is_left(store: Store) -> None:
    assert str(store.root) not in Path("/proc/self/mounts").read_text()
    assert not processes_in(store)
    assert not list(store.scratch.iterdir())


def test_runs_an_image(store: Store, make_image: MakeImage, way: str) -> None:
    image = make_image()
    with start(store, image, environment={"A": "2"}) as container:
        assert read(f"{container.url}/index.html") == b"upper"
        assert read(f"{container.url}/new") == b"written\n"
        assert read(f"{container.url}/arguments") == b"one\n"
        assert read(f"{container.url}/gone") == b"404"
        assert read(f"{container.url}/old/gone") == b"404"
        assert read(f"{container.url}/old/kept") == b"upper"
        if way != "chroot":
            assert read(f"{container.url}/first") == b"/bin/sh\0/serve\0one\0"
        assert container.is_running()
        assert container.wait(0) is None
    assert not container.is_running()
    assert container.wait() == 3
    port = container.url.rpartition(":")[2]
    assert container.logs() == f"A=2 port={port} uid=0 cwd=/work home=/root\nbye\n"
    assert_nothing_is_left(store)


def test_each_container_starts_afresh(store: Store, make_image: MakeImage, way: str) -> None:
    image = make_image()
    spoil = ("sh", "-c", "echo spoiled > /www/index.html; echo left > /www/left; sed -i s/e/x/ /serve; rm -f /gone")
    with start(store, image, command=spoil) as container:
        assert container.wait(10) is not None
    with start(store, image) as container:
        assert read(f"{container.url}/index.html") == b"upper"
        assert read(f"{container.url}/left") == b"404"


def test_has_what_programs_expect(store: Store, make_image: MakeImage, way: str) -> None:
    command = (
        "sh",
        "-c",
        "echo x > /dev/null; head -c 3 /dev/urandom | wc -c; cat /etc/hosts; ls -d /tmp /dev/shm; id",
    )
    with start(store, make_image(), command=command) as container:
        assert container.wait(10) == 0, container.logs()
    lines = container.logs()
    assert lines.startswith("3\n")
    assert Path("/etc/hosts").read_text() in lines
    assert "/dev/shm\n/tmp\n" in lines


def test_the_host_is_out_of_sight(store: Store, make_image: MakeImage, way: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("here")
    files = "/proc/sys/kernel/core_pattern /proc/sysrq-trigger /sys/kernel/mm/transparent_hugepage/enabled"
    watch = f"; for f in {files}; do ( : >> $f ) && echo writable; done"
    command = (
        "sh",
        "-c",
        f"cat {secret}; ls /; ps; mount -t tmpfs none /tmp && echo mounted; ls -d /.layerforge*" + watch,
    )
    with start(store, make_image(), command=command) as container:
        container.wait(10)
    lines = container.logs().splitlines()
    assert "here" not in lines
    assert "mounted" not in lines
    assert "writable" not in lines
    assert "home" not in lines
    if way != "chroot":
        assert not [line for line in lines if "python" in line]  # it sees only its own processes


@pytest.mark.parametrize("user", ["user", "1000:100", "1000:users"])
def test_takes_on_the_user_of_the_image(store: Store, make_image: MakeImage, way: str, user: str) -> None:
    command = ("sh", "-c", 'id -u; id -g; echo "$HOME"')
    image = make_image(user=user)
    with start(store, image, command=command) as container:
        assert container.wait(10) == 0
    assert container.logs() == f"1000\n{1000 if user == 'user' else 100}\n/home/user\n"


def test_an_unknown_user_is_an_error(store: Store, make_image: MakeImage, way: str) -> None:
    with pytest.raises(EngineError, match="no user 'nobody'"):
        start(store, make_image(user="nobody"))
    assert_nothing_is_left(store)


def test_an_unknown_command_is_an_error(store: Store, make_image: MakeImage, way: str) -> None:
    with pytest.raises(EngineError, match="'nothing' cannot be started in the image: No such file"):
        start(store, make_image(), command=["nothing"])
    assert_nothing_is_left(store)


def test_kills_what_does_not_stop(store: Store, make_image: MakeImage, way: str) -> None:
    command = (
        "sh",
        "-c",
        "trap '' TERM; sleep 1000 & (sleep 1001 & sleep 1002) & echo up; while :; do sleep 1003; done",
    )
    container = start(store, make_image(), command=command)
    assert wait_until(lambda: "up" in container.logs())
    before = time.monotonic()
    container.stop(0.3)
    assert time.monotonic() - before < 5
    assert container.wait() == 137
    container.stop()
    assert_nothing_is_left(store)


def test_nothing_outlives_the_first_process(store: Store, make_image: MakeImage, way: str) -> None:
    command = ("sh", "-c", "(sleep 1000 & sleep 1001 &) ; echo over")
    with start(store, make_image(), command=command) as container:
        assert container.wait(10) == 0
        assert wait_until(lambda: not processes_in(store))
    assert container.logs() == "over\n"


SCRIPT = """
import os, sys, time
from pathlib import Path
from layerforge.engines.sandbox import Sandbox
from layerforge.oci import Descriptor, MANIFEST, Digest
from layerforge.progress import SILENCE
from layerforge.store import Store
home, digest, size = sys.argv[1:]
store = Store(Path(home))
image = Descriptor(MANIFEST, Digest(digest), int(size))
mark = os.environ["LAYERFORGE_TEST_MARK"]
container = Sandbox().start(
    store, image, environment={"A": "3", "LAYERFORGE_TEST_MARK": mark}, reporter=SILENCE
)
print(container.url, flush=True)
if sys.stdin.readline() == "stop\\n":
    container.stop()
    print(container.wait(), container.logs(), sep="\\n", end="")
    store.close()
"""


def test_nothing_outlives_a_killed_layerforge(
    store: Store, make_image: MakeImage, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = make_image()
    monkeypatch.setenv("LAYERFORGE_SANDBOX", "chroot" if way == "chroot" else "namespaces")
    command = [sys.executable, "-c", SCRIPT, str(store.root), image.digest, str(image.size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert read(f"{url}/index.html") == b"upper"
        assert processes_in(store)
        process.kill()
    assert wait_until(lambda: not processes_in(store))
    with pytest.raises(OSError):
        urllib.request.urlopen(url, timeout=5)
    left = [path for path in (store.root / "tmp").rglob("*") if path.name.startswith("container-")]
    assert wait_until(lambda: not any(path.exists() for path in left))


def test_nothing_outlives_a_killed_keeper(store: Store, make_image: MakeImage, way: str) -> None:
    container = start(store, make_image())
    assert read(f"{container.url}/index.html") == b"upper"
    container._process.send_signal(signal.SIGKILL)
    if way != "chroot":  # with chroot alone, only the first process dies with its keeper
        assert wait_until(lambda: not processes_in(store))
        assert container.wait(5) == 137
    else:
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if str((process / "root").readlink()).startswith(str(store.root)):
                    os.kill(int(process.name), signal.SIGKILL)
    container.stop()
    assert_nothing_is_left(store)


def test_a_store_on_an_overlay(
    store: Store, make_image: MakeImage, require: Callable[..., None], tmp_path: Path
) -> None:
    """As in a container whose home is part of its root: overlayfs cannot write to itself, so writes go to memory."""
    require(os.geteuid() == 0, "only root can mount")
    image = make_image(whiteouts=False)
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={store.root},upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    mount = f'mount -t overlay overlay -o {options} {store.root} && exec "$@"'
    command = [sys.executable, "-c", SCRIPT, str(store.root), image.digest, str(image.size)]
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", mount, "sh", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "LAYERFORGE_SANDBOX": "namespaces"},
    )
    with process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert read(f"{url}/index.html") == b"upper"
        assert read(f"{url}/new") == b"written\n"
        process.communicate("stop\n", timeout=30)
    assert not processes_in(store)


# -- without root --------------------------------------------------------------------------------------------


@pytest.fixture
def nobody(require: Callable[..., None]) -> Iterator[list[str]]:
    """The start of a command line that runs as an unprivileged user, who may read this test's Python."""
    require(os.geteuid() == 0, "only root can become somebody else")
    require(shutil.which("setpriv"), "setpriv (util-linux) is not installed")
    prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    probe = subprocess.run([*prefix, "unshare", "--user", "--mount", "true"], capture_output=True, check=False)
    require(not probe.returncode, "this machine gives nobody a user namespace")
    yield [*prefix, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


def test_runs_an_image_without_root(store: Store, make_image: MakeImage, nobody: list[str]) -> None:
    image = make_image()
    home = Path(tempfile.mkdtemp(prefix="lf-sandbox-"))
    try:
        shutil.copytree(store.root, home / "store", symlinks=True)
        subprocess.run(["chown", "-R", "65534:65534", str(home)], check=True)
        command = [*nobody, sys.executable, "-c", SCRIPT, str(home / "store"), image.digest, str(image.size)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/") as process:
            assert process.stdout is not None and process.stdin is not None
            url = process.stdout.readline().strip()
            assert read(f"{url}/index.html") == b"upper"
            assert read(f"{url}/gone") == b"404"
            assert read(f"{url}/old/gone") == b"404"
            output, _ = process.communicate("stop\n", timeout=30)
        port = url.rpartition(":")[2]
        assert output.splitlines() == ["3", f"A=3 port={port} uid=0 cwd=/work home=/root", "bye"]
        assert not processes_in(store)
        assert not list((home / "store/tmp").iterdir())
    finally:
        shutil.rmtree(home)


def test_says_that_it_can_be_used(nobody: list[str]) -> None:
    script = "from layerforge.engines.sandbox import Sandbox; print(repr(Sandbox().find_obstacle()))"
    command = [*nobody, sys.executable, "-c", script]
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout == "''\n"


def test_says_what_is_missing(store: Store, make_image: MakeImage, require: Callable[..., None]) -> None:
    """A root without any right, in a user namespace that may have no other below it."""
    image = make_image()
    enter = ["unshare", "--user", "--map-root-user"]
    require(not subprocess.run([*enter, "true"], check=False).returncode, "this machine has no user namespaces")
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all -- "$@"'
    command = [sys.executable, "-c", SCRIPT, str(store.root), image.digest, str(image.size)]
    ended = subprocess.run([*enter, "sh", "-c", forbid, "sh", *command], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "EngineError: the image cannot be entered\n" in ended.stderr
    for line in (
        "  namespaces: PID namespace: Operation not permitted\n",
        "  user namespace: user namespace: No space left on device\n",
        "  chroot: chroot: Operation not permitted\n",
    ):
        assert line in ended.stderr


# -- pure ----------------------------------------------------------------------------------------------------


def test_the_ways_to_try() -> None:
    assert [way.name for way in choose_ways(True)][:2] == ["namespaces", "namespaces over a copy"]
    assert [way.name for way in choose_ways(True)][-1] == "chroot"
    assert [way.name for way in choose_ways(True, "chroot")] == ["chroot"]
    assert all(way.user_namespace for way in choose_ways(False))
    assert choose_ways(False, "chroot") == ()
    with pytest.raises(EngineError, match="LAYERFORGE_SANDBOX"):
        choose_ways(True, "jail")


@pytest.mark.parametrize(("name", "number"), [("", 15), ("SIGINT", 2), ("INT", 2), ("9", 9), ("SIGNOTHING", 15)])
def test_stop_signals(name: str, number: int) -> None:
    assert find_signal(name) == number


def order_for(store: Store, make_image: MakeImage, command: list[str] | None, **options: Any) -> dict[str, Any]:
    image = read_image(store, make_image(**options))
    return make_order(image, {"B": "b"}, "127.0.0.1", 1234, command)


def test_the_order(store: Store, make_image: MakeImage) -> None:
    order = order_for(store, make_image, ["x"], entrypoint=("enter", "-v"))
    assert order["command"] == ["enter", "-v", "x"]
    assert order["environment"] == {"PATH": "/bin", "A": "1", "B": "b", "PORT": "1234"}
    assert json.loads(json.dumps(order)) == order


def test_a_cog_server_listens_on_loopback_only(store: Store, make_image: MakeImage) -> None:
    server = ["python", "-m", "cog.server.http"]
    assert order_for(store, make_image, server)["command"] == [*server, "--host", "127.0.0.1"]
    told = [*server, "--host", "0.0.0.0"]
    assert order_for(store, make_image, told)["command"] == told


def test_an_image_without_a_command(store: Store, make_image: MakeImage) -> None:
    with pytest.raises(EngineError, match="no command"):
        order_for(store, make_image, None, cmd=())


def test_an_image_for_another_machine(store: Store, make_image: MakeImage) -> None:
    with pytest.raises(EngineError, match="the image is for s390x"):
        start(store, make_image(architecture="s390x"))


def test_a_port_that_is_taken(store: Store, make_image: MakeImage) -> None:
    import socket

    port = find_free_port("127.0.0.1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(EngineError, match=f"port {port}"):
            start(store, make_image(), port=port)
