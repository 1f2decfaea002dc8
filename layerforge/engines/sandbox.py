"""The built-in sandbox: runs an image where there is no container engine.

The unpacked layers are stacked by overlayfs under a folder for what the container writes, in namespaces of their own
(mount, PID, IPC, UTS; without root also user). The network is the host's: the model listens on a loopback port. Where
mounting is refused, root enters a private copy with chroot alone. It keeps an honest model in its place; against code
that means harm, use a real engine. :mod:`layerforge.engines.keeper` does the entering, in a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

import msgspec

from layerforge.engines import keeper
from layerforge.engines.image import Image, check_port, find_free_port, format_url, host_architecture, read_image
from layerforge.engines.log import LogTail
from layerforge.engines.protocol import LOOPBACK
from layerforge.engines.tree import flatten, remove_tree
from layerforge.engines.unpack import unpack_layer
from layerforge.errors import EngineError
from layerforge.oci import Descriptor
from layerforge.progress import Reporter
from layerforge.store import Store, translate_os_errors

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HOST_FILES = ("/etc/resolv.conf", "/etc/hosts")
_FINAL_STAGES = frozenset(("command", "user", "working directory"))
"""Stages that fail because of the image, whichever way it is entered."""


class Way(msgspec.Struct, frozen=True):
    """One way of entering an image."""

    name: str
    mode: str
    user_namespace: bool = False
    overlay: bool = False


WAYS = (
    Way("namespaces", "namespaces", overlay=True),
    Way("namespaces over a copy", "namespaces"),
    Way("user namespace", "namespaces", user_namespace=True, overlay=True),
    Way("user namespace over a copy", "namespaces", user_namespace=True),
    Way("chroot", "chroot"),
)
"""Best first. Without root, those with a user namespace are left."""


def choose_ways(root: bool, wanted: str = "") -> tuple[Way, ...]:
    """The ways to try, best first. ``wanted`` (``LAYERFORGE_SANDBOX``) leaves only ``namespaces`` or ``chroot``.

    Raises:
        EngineError: ``wanted`` is something else.
    """
    if wanted not in ("", "namespaces", "chroot"):
        raise EngineError(f"LAYERFORGE_SANDBOX is {wanted!r}", hint="it may be 'namespaces' or 'chroot'")
    possible = WAYS if root else tuple(way for way in WAYS if way.user_namespace)
    return tuple(way for way in possible if wanted in ("", way.mode))


class Sandbox:
    """The engine that is always there."""

    name = "sandbox"

    def find_obstacle(self) -> str:
        """Why an image cannot be entered here; empty when it can."""
        if os.geteuid() == 0:
            return ""  # chroot at least
        command = [sys.executable, "-I", "-S", keeper.__file__, "probe"]
        probe = subprocess.run(command, capture_output=True, text=True, check=False)
        return probe.stderr.strip() if probe.returncode else ""

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
    ) -> SandboxContainer:
        """See :class:`layerforge.engines.protocol.Engine`."""
        image = read_image(store, manifest)
        if image.config.architecture != host_architecture():
            message = f"the image is for {image.config.architecture}, this machine is {host_architecture()}"
            raise EngineError(message, hint=f"build with --platform linux/{host_architecture()}")
        if port is None:
            port = find_free_port(host)
        else:
            check_port(host, port)
        layers = unpack_image(store, image, reporter)
        order = make_order(image, environment, host, port, command)
        stop_signal = find_signal(image.config.config.stop_signal)
        return enter_layers(store, layers, order, reporter, url=format_url(host, port), stop_signal=stop_signal)


def enter_layers(
    store: Store,
    layers: list[Path],
    order: Mapping[str, Any],
    reporter: Reporter,
    *,
    url: str = "",
    stop_signal: int = signal.SIGTERM,
) -> SandboxContainer:
    """Start what ``order`` (:func:`make_order`) says in unpacked ``layers``, bottom first, in the best way there is.

    The order may have more: ``network`` (false: none), and ``shared``, folders of this machine by their path inside,
    which are empty and hold afterwards what was written there.

    Raises:
        EngineError: the image cannot be entered, or its command not started.
    """
    refusals: dict[str, str] = {}
    for way in choose_ways(os.geteuid() == 0, os.environ.get("LAYERFORGE_SANDBOX", "")):
        failed = _try(store, way, layers, order, reporter)
        if isinstance(failed, _Kept):
            return SandboxContainer(failed, url, stop_signal)
        stage, reason = failed
        if stage in _FINAL_STAGES:
            raise _explain(stage, reason, order)
        refusals[way.name] = f"{stage}: {reason}"
    raise EngineError(
        "\n  ".join(("the image cannot be entered", *(f"{name}: {why}" for name, why in refusals.items()))),
        hint="allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
        "kernel.apparmor_restrict_unprivileged_userns), run as root, or install Docker or Podman",
    )


def unpack_image(store: Store, image: Image, reporter: Reporter) -> list[Path]:
    """The folders of the image's layers, bottom first, unpacked where they are not yet.

    Raises:
        EngineError: a layer is malformed.
        StoreError: a layer is missing, or the disk is full.
    """
    layers, diff_ids = image.manifest.layers, image.config.rootfs.diff_ids
    if len(layers) != len(diff_ids):
        raise EngineError(f"{len(layers)} layers but {len(diff_ids)} DiffIDs", where=str(image.descriptor.digest))
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="unpack") as pool:
        folders = [
            pool.submit(unpack_layer, store, layer, diff_id, reporter)
            for layer, diff_id in zip(layers, diff_ids, strict=True)
        ]
        return [folder.result() for folder in folders]


def make_order(
    image: Image, environment: Mapping[str, str], host: str, port: int, command: Sequence[str] | None
) -> dict[str, Any]:
    """What the keeper is told, less how to enter.

    Raises:
        EngineError: there is no command, in the image or given.
    """
    config = image.config.config
    variables = dict(variable.partition("=")[::2] for variable in config.env)
    variables.setdefault("PATH", _DEFAULT_PATH)
    variables.update(environment)
    variables["PORT"] = str(port)
    words = [*config.entrypoint, *(config.cmd if command is None else command)]
    if not words:
        raise EngineError("the image says no command", where=str(image.descriptor.digest))
    if "cog.server.http" in words and "--host" not in words:
        words += ["--host", host or LOOPBACK]  # the network is the host's: do not listen on all of it
    return {
        "command": words,
        "environment": variables,
        "cwd": config.working_dir,
        "user": config.user,
        "files": {path: text for path in _HOST_FILES if (text := _read_text(path)) is not None},
    }


def find_signal(name: str) -> int:
    """The number of an image's ``StopSignal`` (``SIGINT``, ``INT``, ``2``); SIGTERM by default."""
    if name.isdigit():
        return int(name)
    number = getattr(signal, name if name.startswith("SIG") else f"SIG{name}", None)
    return int(number) if isinstance(number, signal.Signals) else int(signal.SIGTERM)


def _read_text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None


class _Kept(msgspec.Struct):
    """A keeper whose container runs."""

    process: subprocess.Popen[bytes]
    status: IO[bytes]
    folder: Path


def _try(
    store: Store, way: Way, layers: list[Path], order: Mapping[str, Any], reporter: Reporter
) -> _Kept | tuple[str, str]:
    """Enter ``way``; or the stage that failed, and why."""
    with translate_os_errors(store.root):
        folder = Path(tempfile.mkdtemp(prefix="container-", dir=store.scratch))
        for name in ("root", "upper", "work", "memory"):
            (folder / name).mkdir()
            (folder / name).chmod(0o755)
        # Short names: all of them together must fit the single page of mount(2)'s options.
        for number, layer in enumerate(layers):
            (folder / str(number)).symlink_to(layer)
    try:
        if not way.overlay:
            reporter.note("overlay mounts are refused here: copying the image's files for this run")
            flatten(layers, folder / "root")
        document = {
            **order,
            "mode": way.mode,
            "user_namespace": way.user_namespace,
            "folder": str(folder),
            "name": folder.name,
            "layers": len(layers) if way.overlay else 0,
        }
        if way.user_namespace and order["user"].partition(":")[0] not in ("", "0", "root"):
            reporter.warn(f"the image's user {order['user']!r} does not exist in a user namespace: running as its root")
            document["user"] = ""
        kept = _start_keeper(document, folder)
    except BaseException:
        remove_tree(folder)
        raise
    if not isinstance(kept, _Kept):
        remove_tree(folder)
    return kept


def _start_keeper(document: Mapping[str, Any], folder: Path) -> _Kept | tuple[str, str]:
    reader, writer = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__, str(writer)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(writer,),
            cwd="/",
            start_new_session=True,
        )
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    status = os.fdopen(reader, "rb")
    try:
        _send(process, json.dumps(document))
        line = status.readline()
    except BaseException:
        _discard(process, status)
        raise
    message = json.loads(line) if line else {"failed": "sandbox", "reason": "the keeper ended"}
    if message.get("started"):
        return _Kept(process, status, folder)
    output = _discard(process, status)
    return message["failed"], message["reason"] if line else output.decode(errors="replace")[-2000:]


def _send(process: subprocess.Popen[bytes], line: str) -> None:
    stdin = cast(IO[bytes], process.stdin)
    with contextlib.suppress(BrokenPipeError):
        stdin.write(line.encode() + b"\n")
        stdin.flush()


def _discard(process: subprocess.Popen[bytes], status: IO[bytes]) -> bytes:
    with contextlib.suppress(BrokenPipeError):
        cast(IO[bytes], process.stdin).close()
    output = cast(IO[bytes], process.stdout).read()
    cast(IO[bytes], process.stdout).close()
    process.wait()
    status.close()
    return output


def _explain(stage: str, reason: str, order: Mapping[str, Any]) -> EngineError:
    if stage == "command":
        return EngineError(f"{order['command'][0]!r} cannot be started in the image: {reason}")
    return EngineError(f"{stage}: {reason}")


class SandboxContainer:
    """A container of the sandbox."""

    def __init__(self, kept: _Kept, url: str, stop_signal: int) -> None:
        self._process = kept.process
        self._status = kept.status
        self._folder = kept.folder
        self._url = url
        self._stop_signal = stop_signal
        self._log = LogTail(cast(IO[bytes], kept.process.stdout))  # type: ignore[arg-type]
        self._code: int | None = None

    @property
    def url(self) -> str:
        """See :class:`layerforge.engines.protocol.Container`."""
        return self._url

    def logs(self) -> str:
        """See :class:`layerforge.engines.protocol.Container`."""
        if not self.is_running():
            self._log.join(2)
        return self._log.text()

    def follow(self, sink: Callable[[str], object]) -> None:
        """See :class:`layerforge.engines.protocol.Container`."""
        self._log.follow(sink)

    def is_running(self) -> bool:
        """See :class:`layerforge.engines.protocol.Container`."""
        return self._process.poll() is None

    def wait(self, timeout: float | None = None) -> int | None:
        """See :class:`layerforge.engines.protocol.Container`."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        if self._code is None:
            line = self._status.readline()
            self._code = int(json.loads(line)["exited"]) if line else 137  # the keeper was killed, and all with it
        return self._code

    def stop(self, grace: float = 10) -> None:
        """See :class:`layerforge.engines.protocol.Container`."""
        try:
            if self.is_running():
                _send(self._process, f"signal {self._stop_signal}")
                self.wait(grace)
        finally:
            with contextlib.suppress(BrokenPipeError):
                cast(IO[bytes], self._process.stdin).close()  # kills what is left
            self.wait()
            self._log.join(5)
            self._status.close()
            remove_tree(self._folder)

    def __enter__(self) -> SandboxContainer:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()
