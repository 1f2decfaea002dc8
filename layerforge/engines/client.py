"""What Docker and Podman have in common: a command-line client that pulls, runs and removes.

The client is driven by python-on-whales, imported late: it takes half a second. An image is handed over by letting the
engine pull it, by digest, from a :class:`~layerforge.engines.blobserver.BlobServer`, so that only layers that it lacks
travel.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from layerforge.engines.blobserver import BlobServer
from layerforge.engines.image import Image, check_port, format_url, read_image
from layerforge.engines.log import LogTail
from layerforge.engines.protocol import CONTAINER_PORT, LOOPBACK
from layerforge.errors import EngineError
from layerforge.oci import Descriptor
from layerforge.progress import Reporter
from layerforge.store import Store

if TYPE_CHECKING:
    from python_on_whales import DockerClient

OWNER_LABEL = "run.layerforge.owner"
"""On a container: the process that will remove it. When that is gone, the next one does."""

_PROBE_SECONDS = 15


class ClientEngine:
    """An engine behind the command-line client at ``program``."""

    def __init__(self, name: str, program: str, pull_options: Sequence[str] = ()) -> None:
        self.name = name
        self.program = program
        self._pull_options = tuple(pull_options)

    def start(
        self,
        store: Store,
        manifest: Descriptor,
        *,
        environment: Mapping[str, str],
        port: int | None = None,
        host: str = LOOPBACK,
        command: Sequence[str] | None = None,
        reporter: Reporter,
    ) -> ClientContainer:
        """See :class:`layerforge.engines.protocol.Engine`."""
        image = read_image(store, manifest)
        if port is not None:
            check_port(host, port)
        client = self._open_client()
        with translate_client_errors(self.name, "cannot start the image"):
            remove_orphans(client)
            identifier = self._load(client, store, image, reporter)
            name = f"layerforge-{secrets.token_hex(6)}"
            address = f"[{host}]" if ":" in host else host
            try:
                client.container.run(
                    identifier,
                    list(command or ()),
                    detach=True,
                    name=name,
                    envs={**environment, "PORT": str(CONTAINER_PORT)},
                    publish=[(f"{address}:{port or ''}", CONTAINER_PORT)],
                    labels={OWNER_LABEL: describe_process(os.getpid())},
                    pull="never",
                )
                return ClientContainer(self.name, client, name, host)
            except BaseException:  # Ctrl-C too: the engine may have got further than the client said
                _remove(client, name)
                raise

    @property
    def _call(self) -> list[str]:
        """The start of every command line. Nobody has to log in to the blob server, and Podman stops at a file of
        credentials that the environment names but that is not there."""
        forget = ["env", "--unset=DOCKER_CONFIG", "--unset=REGISTRY_AUTH_FILE"] if self.name == "podman" else []
        return [*forget, self.program]

    def _open_client(self) -> DockerClient:
        from python_on_whales import DockerClient

        return DockerClient(client_call=self._call, client_type="podman" if self.name == "podman" else "docker")

    def _load(self, client: DockerClient, store: Store, image: Image, reporter: Reporter) -> str:
        """See that the engine has ``image``; the name to run it by, which is its content's digest."""
        # The classic stores name an image by the digest of its configuration, containerd's by that of its manifest.
        names = (image.manifest.config.digest, image.descriptor.digest)
        for name in names:
            if client.image.exists(name):
                return name
        task = f"load into {self.name}"
        reporter.start(task)
        with BlobServer(store, reporter=reporter, task=task) as server:
            reference = f"{server.address}/layerforge@{image.descriptor.digest}"
            pull = [*self._call, "pull", "--quiet", *self._pull_options, reference]
            pulled = subprocess.run(pull, capture_output=True, text=True, errors="replace", check=False)
        if pulled.returncode:
            if server.failures:
                raise server.failures[0]
            hint = "an engine on another machine or in another network cannot reach this one's loopback address: "
            raise EngineError(
                f"{self.name} cannot load the image: {_last_line(pulled.stderr)}",
                hint=hint + "use the sandbox (LAYERFORGE_ENGINE=sandbox), or push the image and run it there",
            )
        reporter.finish(task, "loaded")
        client.image.tag(reference, f"layerforge:{image.descriptor.digest.short}")
        untag = [*self._call, "image", "rm", "--no-prune", reference]  # the address means nothing from here on
        subprocess.run(
            untag if self.name == "docker" else [word for word in untag if word != "--no-prune"],
            capture_output=True,
            check=False,
        )
        return next(
            (name for name in names if client.image.exists(name)), f"layerforge:{image.descriptor.digest.short}"
        )


class ClientContainer:
    """A container of Docker or Podman."""

    def __init__(self, engine: str, client: DockerClient, name: str, host: str) -> None:
        self._engine = engine
        self._client = client
        self._name = name
        self._code: int | None = None
        self._removed = False
        self._url = format_url(host, _find_port(client, name))
        command = [str(word) for word in client.client_config.docker_cmd] + ["logs", "--follow", name]
        self._following = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the terminal's Ctrl-C is not for it
        )
        self._log = LogTail(cast(BinaryIO, self._following.stdout))

    @property
    def url(self) -> str:
        """See :class:`layerforge.engines.protocol.Container`."""
        return self._url

    def logs(self) -> str:
        """See :class:`layerforge.engines.protocol.Container`."""
        if not self.is_running():
            self._log.join(5)
        return self._log.text()

    def follow(self, sink: Callable[[str], object]) -> None:
        """See :class:`layerforge.engines.protocol.Container`."""
        self._log.follow(sink)

    def is_running(self) -> bool:
        """See :class:`layerforge.engines.protocol.Container`."""
        if self._code is not None or self._removed:
            return False
        if self._following.poll() is None:
            return True  # the log ends with the container: no need to ask
        return self._inspect_running()

    def _inspect_running(self) -> bool:
        from python_on_whales.exceptions import DockerException

        try:
            state = self._client.container.inspect(self._name).state
        except DockerException:
            self._code = 137 if self._code is None else self._code
            return False
        if state.status in ("exited", "stopped", "dead"):
            self._code = int(state.exit_code or 0)
            return False
        return True

    def wait(self, timeout: float | None = None) -> int | None:
        """See :class:`layerforge.engines.protocol.Container`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.is_running():
            if deadline is not None and time.monotonic() > deadline:
                return None
            time.sleep(0.1)
        return self._code

    def stop(self, grace: float = 10) -> None:
        """See :class:`layerforge.engines.protocol.Container`."""
        from python_on_whales.utils import run

        if self._removed:
            return
        try:
            with translate_client_errors(self._engine, "cannot stop the container"):
                # Not container.stop: it drops a number of seconds, and no client parses its timedelta (0.81).
                seconds = str(max(math.ceil(grace), 0))
                run([*self._client.client_config.docker_cmd, "container", "stop", "--time", seconds, self._name])
                self._inspect_running()
        finally:
            _remove(self._client, self._name)
            self._removed = True
            self._log.join(5)
            self._following.kill()
            self._following.wait()

    def __enter__(self) -> ClientContainer:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop and remove it."""
        self.stop()


def _find_port(client: DockerClient, name: str) -> int:
    ports = client.container.inspect(name).network_settings.ports or {}
    for binding in ports.get(f"{CONTAINER_PORT}/tcp") or ():
        if binding.get("HostPort"):
            return int(binding["HostPort"])
    last_words = _last_line(cast(str, client.container.logs(name)))
    raise EngineError(f"the container ended at once, or has no port: {last_words or 'it said nothing'}")


def _remove(client: DockerClient, name: str) -> None:
    from python_on_whales.exceptions import DockerException

    with contextlib.suppress(DockerException):
        client.container.remove(name, force=True, volumes=True)


@contextmanager
def translate_client_errors(engine: str, what: str) -> Iterator[None]:
    """Turn what the client says into an EngineError."""
    from python_on_whales.exceptions import DockerException

    try:
        yield
    except DockerException as error:
        raise EngineError(f"{engine} {what}: {_last_line(error.stderr or '') or error.return_code}") from error


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(("Run ", "See '"))]
    return lines[-1][-1000:] if lines else ""


def probe_client(program: str, *arguments: str) -> str:
    """Why the client ``program`` cannot be used: it is missing, or no engine answers it. Empty when one does.

    ``arguments`` are a question that needs the engine to be answered.
    """
    command = [program, *arguments]
    try:
        found = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PROBE_SECONDS, check=False
        )
    except FileNotFoundError:
        return "not installed"
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    except subprocess.TimeoutExpired:
        return f"no answer in {_PROBE_SECONDS} seconds"
    if found.returncode:
        return _last_line(found.stderr) or f"exit status {found.returncode}"
    return ""


def find_programs(name: str) -> list[str]:
    """Every program called ``name`` in PATH and where distributions put them, in that order, each once."""
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin", "/usr/local/bin"]
    found: dict[str, None] = {}
    for folder in folders:
        program = shutil.which(name, path=folder) if folder else None
        if program:
            found.setdefault(os.path.realpath(program), None)
    return list(found)


# -- containers whose owner is gone --------------------------------------------------------------------------


def describe_process(pid: int) -> str:
    """A name for a process of this machine that no later one will have; empty if there is none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - not a path
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
    return f"{boot}/{namespace}/{pid}/{started}"


def is_orphan(label: str) -> bool:
    """Whether ``label`` names a process of this machine, seen from here, that has ended."""
    parts = label.split("/")
    if len(parts) != 4 or not parts[2].isdigit():
        return False
    here = describe_process(os.getpid()).split("/")
    return parts[:2] == here[:2] and describe_process(int(parts[2])) != label


def remove_orphans(client: Any) -> None:
    """Remove the containers of Layerforge processes that were killed before they could do it."""
    for container in client.container.list(all=True, filters=[("label", OWNER_LABEL)]):
        with contextlib.suppress(Exception):  # another process may do the same
            if is_orphan((container.config.labels or {}).get(OWNER_LABEL, "")):
                container.remove(force=True, volumes=True)
