"""Starting the worker. Nothing but what starting takes is imported: the model loads while the server still imports."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from typing import NamedTuple

from layerforge_runtime import __file__ as _package

# The SDK is imported from our own folder whatever the model's packages hold; see isolated/layerforge_worker.
_BOOTSTRAP = """
import sys
root, sdk, *arguments = sys.argv[1:]
del sys.argv[1:]
if not sys.path[0]:
    del sys.path[0]
kept = sys.path[:]
sys.path[:0] = [root, sdk]
from layerforge_worker.main import main
sys.path[:] = kept if sdk in kept else [*kept, sdk]
main(int(arguments[0]), int(arguments[1]), *arguments[2:])
"""


class Job(NamedTuple):
    """What a worker is to do: ``mode`` is "predict" or "train", ``reference`` names the model as ``file.py:Name``,
    ``trainer`` what trains beside it, if anything does.
    """

    mode: str
    reference: str
    trainer: str = ""


class Worker(NamedTuple):
    """A worker process: its id (and process group), our ends of its socket, of the pipe that asks for health checks and
    of the one that takes its output, a folder for files, and when it was started.
    """

    pid: int
    connection: socket.socket
    control: int
    output: int
    folder: str
    started: float


def find_sdk() -> str:
    """The folder with the package ``cog``: ``sdk`` beside ``lib`` in an image, beside our package in a checkout."""
    library = os.path.dirname(os.path.dirname(os.path.abspath(_package)))
    beside = os.path.join(os.path.dirname(library), "sdk")
    return beside if os.path.isdir(beside) else library


def spawn_worker(job: Job, folder: str = "") -> Worker:
    """Start the process that does ``job``, in a process group of its own; files go to ``folder``, or to a new one.

    Its interpreter is this one, but with the environment and the packages that the model is meant to have.
    """
    folder = folder or _make_folder()
    ours, theirs = socket.socketpair()
    theirs.set_inheritable(True)
    # One pipe for both: what was printed first comes first, whichever stream it was printed to.
    output, output_end = os.pipe()
    control_end, control = os.pipe()
    os.set_inheritable(control_end, True)
    root = os.path.join(os.path.dirname(os.path.abspath(_package)), "isolated")
    descriptors = (str(theirs.fileno()), str(control_end))
    command = [sys.executable, "-c", _BOOTSTRAP, root, find_sdk(), *descriptors, *job, folder]
    started = time.time()
    pid = os.posix_spawn(
        sys.executable,
        command,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output_end, 1),
            (os.POSIX_SPAWN_DUP2, output_end, 2),
        ],
        setpgroup=0,
        setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1],
    )
    theirs.close()
    os.close(output_end)
    os.close(control_end)
    return Worker(pid, ours, control, output, folder, started)


def _make_folder() -> str:
    """A new folder for files of predictions. (``tempfile`` does the same, but is slow to import.)"""
    base = next(filter(None, map(os.environ.get, ("TMPDIR", "TEMP", "TMP"))), "/tmp")
    path = os.path.join(base, f"layerforge-{os.urandom(8).hex()}")
    try:
        os.mkdir(path, 0o700)
    except OSError as error:
        sys.exit(f"error: there is no folder for files of predictions: {error}\nhint: set TMPDIR to one")
    return path
