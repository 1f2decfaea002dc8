"""What the two sides run on: a registry for each, a Docker Engine, and the measuring of a program.

Everything here is a context manager that stops what it started, also after an error, Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class BenchmarkError(Exception):
    """The benchmark cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Measurement:
    """One run: wall-clock seconds, peak resident bytes of the program, and bytes that its registry grew by.

    ``processor`` are the seconds of processors that the program and what it started took; 0 where unknown.
    """

    seconds: float
    peak_memory: int
    pushed: int = 0
    processor: float = 0.0


def find_program(name: str, package: str) -> str:
    """The path of a program.

    Raises:
        BenchmarkError: it is not installed; ``package`` is the Debian package that has it.
    """
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        raise BenchmarkError(f"{name} is not installed: apt-get install {package}")
    return path


def find_docker_client() -> str:
    """A Docker client that can build with BuildKit: one from before 23.0, or one that has buildx."""
    for folder in ["/usr/bin", *os.environ.get("PATH", "").split(os.pathsep)]:
        client = shutil.which("docker", path=folder)
        if client is None:
            continue
        version = subprocess.run([client, "--version"], capture_output=True, text=True).stdout
        major = version.removeprefix("Docker version ").partition(".")[0]
        has_buildx = subprocess.run([client, "buildx", "version"], capture_output=True).returncode == 0
        if has_buildx or (major.isdigit() and int(major) < 23):
            return client
    raise BenchmarkError("no docker client that can use BuildKit: apt-get install docker.io (and docker-buildx)")


@contextlib.contextmanager
def make_scratch(parent: Path | None) -> Iterator[Path]:
    """A temporary folder, and what is mounted in it, gone afterwards. Its path is short: sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="lf-bench-", dir=parent))
    try:
        yield folder
    finally:
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((m for m in mounts if m.startswith(f"{folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", mount], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM unwinds the stack as Ctrl-C does, so that everything is stopped."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _started(command: Sequence[str], log: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    # In a session of its own, so that Ctrl-C reaches this process alone and the order of shutting down is ours.
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=env, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until(is_ready: list[str] | int, process: subprocess.Popen[bytes], log: Path, env: Mapping[str, str]) -> None:
    """Wait for a port to accept connections, or for a command to succeed."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if isinstance(is_ready, int):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", is_ready), 1):
                return
        elif subprocess.run(is_ready, capture_output=True, env=env).returncode == 0:
            return
        time.sleep(0.05)
    raise BenchmarkError(f"{process.args!r} does not start:\n{log.read_text(errors='replace')[-2000:]}")


@dataclass(frozen=True)
class Registry:
    """A running registry."""

    address: str  # host:port
    data: Path

    def stored_bytes(self) -> int:
        """Size of all that the registry has stored."""
        return sum(path.stat().st_size for path in self.data.rglob("*") if path.is_file())


@contextlib.contextmanager
def start_registry(folder: Path) -> Iterator[Registry]:
    """A real, empty docker-registry on a free loopback port, with its data under ``folder``."""
    program = find_program("docker-registry", "docker-registry")
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    configuration = folder / "config.yml"
    configuration.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: '{folder}/data'}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    log = folder / "log"
    with _started([program, "serve", str(configuration)], log, os.environ) as process:
        _wait_until(port, process, log, os.environ)
        yield Registry(f"127.0.0.1:{port}", folder / "data")


@dataclass(frozen=True)
class Engine:
    """A running Docker Engine with data folders of its own."""

    client: str
    env: Mapping[str, str]
    log: Path
    pid: int

    def call(self, *arguments: str | Path) -> str:
        """Run the client without measuring, and return what it printed."""
        command = [self.client, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=self.env)
        if done.returncode:
            raise BenchmarkError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
        return done.stdout.strip()

    def measure(self, *commands: Sequence[str]) -> Measurement:
        """Run the client with each of ``commands``; the memory is the engine's, not the client's."""
        processes = [self.pid, *_children(self.pid)]
        for process in processes:
            Path(f"/proc/{process}/clear_refs").write_text("5")  # proc(5): resets VmHWM
        seconds = sum(measure([self.client, *command], self.env, self.log).seconds for command in commands)
        return Measurement(seconds, sum(_peak_memory(process) for process in processes))


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] + [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        if task.name != str(pid)
        for child in (task / "children").read_text().split()
    ]


def _peak_memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


@contextlib.contextmanager
def start_engine(folder: Path) -> Iterator[Engine]:
    """A real Docker Engine on a socket of its own; it makes no networks and leaves the machine's firewall alone."""
    if os.geteuid():
        raise BenchmarkError("dockerd can only be started by root: run the benchmark as root, or with sudo")
    program, client = find_program("dockerd", "docker.io"), find_docker_client()
    for name in ("client", "data", "exec"):
        (folder / name).mkdir(parents=True)
    (folder / "daemon.json").write_text("{}")
    address, log = f"unix://{folder}/docker.sock", folder / "log"
    env = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}
    env |= {"DOCKER_HOST": address, "DOCKER_CONFIG": f"{folder}/client"}
    env |= {"DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"}
    command = [program, "--host", address, "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"]
    command += ["--pidfile", f"{folder}/pid", "--config-file", f"{folder}/daemon.json"]
    command += ["--bridge=none", "--iptables=false", "--ip6tables=false"]
    with _started(command, log, env) as process:
        _wait_until([client, "info"], process, log, env)
        yield Engine(client, env, folder / "client.log", process.pid)


def measure(command: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path | None = None) -> Measurement:
    """Run ``command`` and measure it. What it prints goes to ``log``.

    Raises:
        BenchmarkError: it failed; the message ends with what it printed last.
    """
    os.sync()  # so that it does not wait for the disk to take what something else wrote
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=env, cwd=cwd)
        try:
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode:
        tail = log.read_text(errors="replace")[-3000:]
        raise BenchmarkError(f"{' '.join(command)} failed ({process.returncode}):\n{tail}")
    return Measurement(seconds, usage.ru_maxrss * 1024, processor=usage.ru_utime + usage.ru_stime)


def describe_machine() -> dict[str, str]:
    """What the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name"))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": f"{len(os.sched_getaffinity(0))} cores, {next(names, platform.machine())}",
        "memory": f"{memory / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
