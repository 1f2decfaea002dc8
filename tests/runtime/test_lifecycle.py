"""From start to end: setup, signals, crashes, and the options of the command line."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.harness import RUNTIME, Answer, Serve, Server

SLEEPER = """
import time
class Runner:
    def run(self, seconds: float = 0.0) -> str:
        time.sleep(seconds)
        return "slept"
"""


def in_background(server: Server, **inputs: Any) -> tuple[threading.Thread, list[Answer]]:
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(server.request("POST", "/predictions", {"input": inputs})))
    thread.start()
    server.wait_for("BUSY")
    return thread, answers


def test_health_while_setting_up_and_after(serve: Serve, tmp_path: Path) -> None:
    server = serve(
        """
        import os, time
        class Runner:
            def setup(self):
                print("loading")
                while not os.path.exists("weights"):
                    time.sleep(0.01)
            def run(self) -> str:
                return "x"
        """,
        wait=False,
    )
    health = server.wait_for("STARTING")
    assert health["setup"]["status"] == "starting"
    assert "completed_at" not in health["setup"]
    answer = server.request("POST", "/predictions", {"input": {}})
    assert answer.status == 503
    assert answer.json["error"].startswith("Setup has not finished yet")
    (tmp_path / "weights").touch()
    health = server.wait_for("READY")
    assert health["setup"]["status"] == "succeeded"
    assert health["setup"]["logs"] == "loading\n"
    assert health["setup"]["started_at"] < health["setup"]["completed_at"]
    assert health["version"]["python"] == sys.version.split()[0]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "class Runner:\n def run(self): pass\n def setup(self):\n  print('so far'); raise OSError('x')\n",
            "OSError: x",
        ),
        (
            "print('so far')\nimport nothing_of_this_name\n",
            "No module named 'nothing_of_this_name'",
        ),
        ("print('so far')\neval('1 +')\n", "SyntaxError"),
        ("print('so far')\nimport os; os._exit(7)\n", "the worker exited with status 7 during setup"),
        ("print('so far')\nimport sys; sys.exit(7)\n", "SystemExit: 7"),
        ("print('so far')\nclass Runner: pass\n", "Runner has no run() method"),
        ("print('so far')\nclass Other: pass\n", "run.py has no 'Runner'"),
    ],
)
def test_setup_that_fails_says_why(serve: Serve, code: str, message: str) -> None:
    server = serve(code, schema=False, wait=False)
    health = server.wait_for("SETUP_FAILED")
    assert health["setup"]["status"] == "failed"
    assert health["setup"]["logs"].startswith("so far\n")
    assert message in health["setup"]["logs"]
    answer = server.request("POST", "/predictions", {"input": {}})
    assert answer.status == 503
    assert message in answer.json["error"]
    assert server.stop() == 0


def test_setup_that_takes_too_long(serve: Serve) -> None:
    server = serve("import time\ntime.sleep(60)\n", schema=False, wait=False, environment={"COG_SETUP_TIMEOUT": "1"})
    health = server.wait_for("SETUP_FAILED")
    assert "had not finished after 1 seconds" in health["setup"]["logs"]


def test_sigterm_lets_the_running_prediction_finish(serve: Serve) -> None:
    server = serve(SLEEPER)
    thread, answers = in_background(server, seconds=1)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    refused = server.request("POST", "/predictions", {"input": {}})
    assert (refused.status, refused.json["error"]) == (503, "The server is shutting down.")
    assert server.process.wait(5) == 0
    thread.join()
    assert answers[0].json["output"] == "slept"


def test_sigterm_does_not_wait_for_ever(serve: Serve) -> None:
    server = serve(SLEEPER, environment={"COG_SHUTDOWN_GRACE_SECONDS": "1"})
    thread, answers = in_background(server, seconds=60)
    started = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(5) == 0
    assert 0.9 < time.monotonic() - started < 3.5
    thread.join()
    assert answers[0].json["status"] == "failed"
    assert "shut down" in answers[0].json["error"]


def test_sigterm_ends_a_setup_that_still_runs(serve: Serve) -> None:
    server = serve("import time\ntime.sleep(60)\n", schema=False, wait=False)
    server.wait_for("STARTING")
    started = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - started < 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_at_once_and_leaves_nothing(serve: Serve, tmp_path: Path, number: int) -> None:
    server = serve(SLEEPER, environment={"TMPDIR": str(tmp_path)})
    worker = server.worker
    started = time.monotonic()
    server.process.send_signal(number)
    assert server.process.wait(5) == 0
    assert time.monotonic() - started < 1
    assert not Path(f"/proc/{worker}").exists()
    assert not list(tmp_path.glob("layerforge-*"))


def test_a_second_signal_ends_it_at_once(serve: Serve, tmp_path: Path) -> None:
    server = serve(SLEEPER, environment={"TMPDIR": str(tmp_path)})
    thread, _ = in_background_ignoring_errors(server)
    worker = server.worker
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(2) == 1
    thread.join()
    deadline = time.monotonic() + 2
    while Path(f"/proc/{worker}/exe").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{worker}/exe").exists()
    assert not list(tmp_path.glob("layerforge-*"))


def in_background_ignoring_errors(server: Server) -> tuple[threading.Thread, list[Exception]]:
    errors: list[Exception] = []

    def ask() -> None:
        try:
            server.request("POST", "/predictions", {"input": {"seconds": 60}})
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    server.wait_for("BUSY")
    return thread, errors


def test_post_shutdown(serve: Serve) -> None:
    server = serve(SLEEPER)
    assert server.request("POST", "/shutdown").status == 200
    assert server.process.wait(5) == 0


def test_await_explicit_shutdown_ignores_sigterm(serve: Serve) -> None:
    server = serve(SLEEPER, "--await-explicit-shutdown=true")
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert server.output() == "slept"
    server.request("POST", "/shutdown")
    assert server.process.wait(5) == 0


def test_what_setup_leaves_running_does_not_disturb(serve: Serve) -> None:
    server = serve(
        """
        import multiprocessing, os, subprocess, threading, time
        def child(queue):
            queue.put(os.getpid())
        class Runner:
            def setup(self):
                self.sleeper = subprocess.Popen(["sleep", "1000"])
                queue = multiprocessing.get_context("fork").Queue()
                process = multiprocessing.get_context("fork").Process(target=child, args=(queue,))
                process.start()
                self.child = queue.get()
                process.join()
                if os.fork() == 0:  # a daemon of the old school
                    os.setsid()
                    if os.fork():
                        os._exit(0)
                    time.sleep(3)  # it has left the worker's process group, so only the end of a container ends it
                    os._exit(0)
                os.wait()
                threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
            def run(self) -> int:
                return self.sleeper.pid
        """
    )
    sleeper = server.output()
    worker = server.worker
    os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{sleeper}/exe").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{sleeper}/exe").exists()
    server.wait_for("READY")  # with another worker
    assert server.output() != sleeper
    assert server.stop() == 0


@pytest.mark.sandbox
def test_as_process_1_it_reaps_orphans_and_drains(
    serve: Serve, tmp_path: Path, require: Callable[[object, str], None]
) -> None:
    enter = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    require(shutil.which("unshare"), "unshare is not installed")
    probe = subprocess.run([*enter, "true"], capture_output=True, text=True)
    require(probe.returncode == 0, f"no namespaces can be made here: {probe.stderr.strip()}")
    server = serve(
        """
        import glob, os, time
        from cog import BaseRunner
        class Runner(BaseRunner):
            def run(self, what: str = "") -> list[int]:
                if what == "orphans":
                    for _ in range(5):
                        if os.fork() == 0:
                            if os.fork() == 0:
                                time.sleep(0.05)
                            os._exit(3)
                        os.wait()
                if what == "sleep":
                    time.sleep(1)
                states = [open(path).read().rsplit(")", 1)[1].split()[0] for path in glob.glob("/proc/[0-9]*/stat")]
                return [os.getppid(), states.count("Z"), len(states)]
        """,
        prefix=enter,
    )
    assert server.output() == [1, 0, 2]
    server.output(what="orphans")
    time.sleep(0.3)
    assert server.output() == [1, 0, 2]
    answers: list[Answer] = []
    ask = {"input": {"what": "sleep"}}
    thread = threading.Thread(target=lambda: answers.append(server.request("POST", "/predictions", ask)))
    thread.start()
    server.wait_for("BUSY")
    os.kill(server.worker, signal.SIGTERM)  # unshare's only child: the server, process 1 in there
    assert server.process.wait(5) == 0
    thread.join()
    assert answers[0].json["output"] == [1, 0, 2]


def test_a_signal_is_passed_on_if_the_model_handles_it(serve: Serve) -> None:
    server = serve(
        """
        import signal
        from cog import BaseRunner
        class Runner(BaseRunner):
            count = 0
            def setup(self):
                signal.signal(signal.SIGUSR2, self.handle)
            def handle(self, *_):
                self.count += 1
            def run(self) -> int:
                return self.count
        """
    )
    server.process.send_signal(signal.SIGHUP)  # no handler: its default would end the worker
    server.process.send_signal(signal.SIGUSR2)
    time.sleep(0.2)
    assert server.output() == 1


def launch(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("COG_")}
    command = [sys.executable, "-m", "cog.server.http", *arguments]
    variables |= {"PYTHONPATH": str(RUNTIME), **environment}
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=20)


def test_the_command_line() -> None:
    version = launch("--version")
    assert (version.returncode, version.stdout) == (0, "layerforge-runtime 0.1.0\n")
    assert "--upload-url" in launch("--help").stdout
    missing = launch()
    assert missing.returncode == 1
    assert "COG_PREDICT_TYPE_STUB" in missing.stderr
    assert "hint:" in missing.stderr
    training = launch("--x-mode", "train")
    assert training.returncode == 1
    assert "COG_TRAIN_TYPE_STUB is not set" in training.stderr


def test_a_port_in_use_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(SLEEPER)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = launch(
            "--host",
            "127.0.0.1",
            PORT=str(port),
            COG_PREDICT_TYPE_STUB=f"{tmp_path}/run.py:Runner",
            TMPDIR=str(tmp_path),
        )
    assert result.returncode == 1
    assert f"error: cannot listen on 127.0.0.1:{port}: Address already in use" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("layerforge-*"))


def test_console_logs_show_what_the_model_prints_as_it_is(serve: Serve) -> None:
    server = serve(
        "print('hello from setup')\ndef run() -> str:\n    print('hello')\n    return 'x'\n",
        reference="run.py:run",
        environment={"LOG_FORMAT": "console"},
    )
    server.predict()
    lines = server.log.splitlines()
    assert "hello from setup" in lines
    assert "hello" in lines


def test_it_starts_quickly(serve: Serve) -> None:
    started = time.monotonic()
    server = serve(SLEEPER, wait=False)
    server.wait_for("READY")
    assert time.monotonic() - started < 3  # about 0.2 s on an idle machine
