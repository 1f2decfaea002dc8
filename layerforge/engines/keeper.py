"""The process between Layerforge and a container of the sandbox: enters it, keeps it, and cleans up after it.

Run as a program of its own (``python -I -S keeper.py STATUS_FD``), standard library only. The first line of stdin is
the order, a JSON object (see :mod:`layerforge.engines.sandbox`); a line ``signal N`` is passed on to the container's
first process; the end of stdin, which comes also when Layerforge is killed, kills the container. On STATUS_FD come
lines of JSON: ``{"started": true}`` or ``{"failed": stage, "reason": text}``, and at the end ``{"exited": status}``.

With namespaces the container's first process is PID 1 of its own PID namespace, so killing it kills everything; with
chroot alone this process is the reaper of everything that it starts (``PR_SET_CHILD_SUBREAPER``).
Sources: ``unshare(2)``, ``pivot_root(2)``, ``user_namespaces(7)``, ``capabilities(7)``, the kernel's ``overlayfs.rst``.
"""

# The functions of os are the system calls meant here.
# ruff: noqa: PTH101, PTH102, PTH103, PTH106, PTH108, PTH112, PTH116, PTH118, PTH120, PTH211

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER = 1, 24, 36
SYS_MOUNT_SETATTR = 442  # the same number on every architecture
AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = -100, 0x8000, 1
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

# What Docker leaves a root process, less MKNOD: no device cgroup stands behind it here.
# chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot audit_write setfcap
CAPABILITIES = frozenset((0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 29, 31))
SYS_CHROOT = 18
LAST_CAPABILITY = 63

READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
"""Below ``/proc``, as Docker has it."""
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}

_libc = ctypes.CDLL(None, use_errno=True)


class Failure(Exception):
    """Entering the container failed at ``stage``."""

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(stage, reason)
        self.stage = stage
        self.reason = reason


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Give an OSError the name of what was being done."""
    try:
        yield
    except OSError as error:
        raise Failure(name, error.strerror or str(error)) from error


def call(function: str, *arguments: Any) -> int:
    """A function of the C library, its errors as OSError."""
    result = int(getattr(_libc, function)(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    encoded = [text.encode() if text else None for text in (source, target, kind)]
    call("mount", *encoded, ctypes.c_ulong(flags), options.encode() or None)


def mount_read_only(target: str) -> None:
    """mount_setattr(2): ``target`` and every mount below it becomes read-only."""
    attributes = _MountAttributes(MOUNT_ATTR_RDONLY, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    call("syscall", SYS_MOUNT_SETATTR, AT_FDCWD, target.encode(), AT_RECURSIVE, ctypes.byref(attributes), size)


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2), which glibc does not wrap."""
    machine = os.uname().machine
    if machine not in SYS_PIVOT_ROOT:
        raise OSError(38, f"pivot_root: unknown architecture {machine}")
    call("syscall", SYS_PIVOT_ROOT[machine], new.encode(), old.encode())


# -- entering ------------------------------------------------------------------------------------------------


def separate(user_namespace: bool) -> None:
    """Give the next child a PID namespace of its own; without privileges, enter a user namespace first."""
    uid, gid = os.geteuid(), os.getegid()
    if user_namespace:
        with stage("user namespace"):
            call("unshare", CLONE_NEWUSER)
            for path, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
                with open(f"/proc/self/{path}", "w") as file:
                    file.write(text)
    with stage("PID namespace"):
        call("unshare", CLONE_NEWPID)


def enter_namespaces(order: dict[str, Any]) -> None:
    """Mount the root in a mount namespace of its own and make it ``/``."""
    with stage("mount namespace"):
        call("unshare", CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS)
        mount("none", "/", "", MS_REC | MS_PRIVATE)
    leave_network(order)
    os.chdir(order["folder"])
    if order["layers"]:
        with stage("overlay"):
            mount_overlay(order["layers"])
    with stage("root"):
        if not order["layers"]:
            mount("root", "root", "", MS_BIND | MS_REC)
        for inside, outside in order.get("shared", {}).items():
            os.makedirs("root" + inside, exist_ok=True)
            mount(outside, "root" + inside, "", MS_BIND)
        os.chdir("root")
        old = f".layerforge-{os.getppid()}-{order['name']}"
        os.mkdir(old, 0o700)
        pivot_root(".", old)
        os.chdir("/")
    mount_kernel_folders("/" + old)
    with stage("root"):
        call("umount2", ("/" + old).encode(), MNT_DETACH)
        os.rmdir("/" + old)


def leave_network(order: dict[str, Any]) -> None:
    """Unless the order says that there shall be one."""
    if not order.get("network", True):
        with stage("network namespace"):
            call("unshare", CLONE_NEWNET)


def mount_overlay(layers: int) -> None:
    """Stack ``layers`` folders, ``0`` at the bottom, and something writable, at ``root``.

    The upper folder is on disk; where that file system cannot hold one (another overlay, as in a container), in memory.
    """
    lower = ":".join(str(number) for number in reversed(range(layers)))
    try:
        mount("overlay", "root", "overlay", 0, f"lowerdir={lower},upperdir=upper,workdir=work,userxattr")
    except OSError:
        mount("tmpfs", "memory", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
        for name in ("upper", "work"):
            os.mkdir(f"memory/{name}")
        options = f"lowerdir={lower},upperdir=memory/upper,workdir=memory/work"
        try:
            mount("overlay", "root", "overlay", 0, options + ",userxattr")
        except OSError:
            if os.getuid() != 0:
                raise
            mount("overlay", "root", "overlay", 0, options)  # a kernel before 5.11


def mount_kernel_folders(old: str) -> None:
    """``/proc``, ``/dev`` and ``/sys``, from inside; ``old`` is where the host's root is."""
    for name in ("proc", "dev", "sys"):
        os.makedirs("/" + name, exist_ok=True)
    with stage("/proc"):
        try:
            mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        except OSError:  # the host's is masked, as in a container: its own view is all there is
            mount(old + "/proc", "/proc", "", MS_BIND | MS_REC)
        for name in READ_ONLY:  # the kernel's own settings, which root could otherwise change without any capability
            with contextlib.suppress(OSError):
                mount(f"/proc/{name}", f"/proc/{name}", "", MS_BIND | MS_REC)
                mount_read_only(f"/proc/{name}")
    with stage("/dev"):
        mount("tmpfs", "/dev", "tmpfs", MS_NOSUID, "mode=755,size=65536k")
        for name in DEVICES:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.stat(f"{old}/dev/{name}")
                os.close(os.open(f"/dev/{name}", os.O_CREAT | os.O_WRONLY, 0o666))
                mount(f"{old}/dev/{name}", f"/dev/{name}", "", MS_BIND)
        for name in ("pts", "shm"):
            os.mkdir(f"/dev/{name}")
        mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
        with contextlib.suppress(OSError):  # terminals are a comfort
            mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
        for name, target in DEVICE_LINKS.items():
            os.symlink(target, f"/dev/{name}")
    try:
        mount(old + "/sys", "/sys", "", MS_BIND | MS_REC)
    except OSError:
        return
    try:
        mount_read_only("/sys")
    except OSError:  # a kernel before 5.12: rather none than a writable one
        call("umount2", b"/sys", MNT_DETACH)


def enter_chroot(order: dict[str, Any]) -> None:
    """Make the private copy in ``root`` this process's ``/``; nothing is mounted."""
    leave_network(order)
    with stage("chroot"):
        for inside in order.get("shared", {}):
            os.makedirs(order["folder"] + "/root" + inside, exist_ok=True)
        os.chroot(os.path.join(order["folder"], "root"))
        os.chdir("/")
    with stage("/dev"):
        os.makedirs("/dev/shm", exist_ok=True)
        os.chmod("/dev/shm", 0o1777)
        for name, (major, minor) in DEVICES.items():
            path = f"/dev/{name}"
            if os.path.lexists(path):
                continue
            try:
                os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
                os.chmod(path, 0o666)
            except PermissionError:
                if name == "null":  # better a file that swallows than no /dev/null
                    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o666))


def furnish(files: dict[str, str]) -> None:
    """Write the host's ``files`` (path to content) and make ``/tmp``."""
    with stage("files of the host"):
        if not os.path.isdir("/tmp"):
            os.makedirs("/tmp", exist_ok=True)
            os.chmod("/tmp", 0o1777)
        for path, content in files.items():
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(content)


def become_user(user: str, environment: dict[str, str]) -> None:
    """Take on ``user`` (the image's ``User``: name or number, perhaps with ``:group``), and its home."""
    name, _, group = user.partition(":")
    record = find_record("/etc/passwd", name or "0", id_column=2)
    environment.setdefault(
        "HOME", record[5] if len(record) > 5 and record[5] else "/root" if name in ("", "0") else "/"
    )
    if not user:
        return
    uid = int(record[2] if record else require_number(name, "user"))
    gid = int(record[3]) if record else 0
    if group:
        group_record = find_record("/etc/group", group, id_column=2)
        gid = int(group_record[2] if group_record else require_number(group, "group"))
    if (uid, gid) != (0, 0):
        with stage("user"):
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)


def find_record(path: str, key: str, id_column: int) -> list[str]:
    """The fields of the line of ``path`` whose name or number is ``key``; empty if there is none."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.rstrip("\n").split(":")
            if len(fields) > id_column and key in (fields[0], fields[id_column]):
                return fields
    return []


def require_number(text: str, what: str) -> str:
    """``text`` if it is a number.

    Raises:
        Failure: it is the name of a ``what`` that the image does not know.
    """
    if not text.isdigit():
        raise Failure("user", f"the image has no {what} {text!r}")
    return text


def drop_capabilities(keep: frozenset[int]) -> None:
    """Take from this process, for good, what a container's root does not need."""
    for capability in range(LAST_CAPABILITY + 1):
        if capability not in keep:
            with contextlib.suppress(OSError):
                call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)


def run_inside(order: dict[str, Any]) -> NoReturn:
    """In the child: enter, and become the image's command."""
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.setsid()
    environment = dict(order["environment"])
    chroot = order["mode"] == "chroot"
    os.umask(0o022)
    if chroot:
        enter_chroot(order)
    else:
        enter_namespaces(order)
    furnish(order["files"])
    drop_capabilities(CAPABILITIES - {SYS_CHROOT} if chroot else CAPABILITIES)
    with stage("working directory"):
        os.makedirs(order["cwd"] or "/", exist_ok=True)
        os.chdir(order["cwd"] or "/")
    become_user(order["user"], environment)
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # a change of user has cleared it
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    with stage("command"):
        os.execvpe(order["command"][0], order["command"], environment)


# -- keeping -------------------------------------------------------------------------------------------------


def start(order: dict[str, Any]) -> int:
    """Fork the container's first process and wait until it has become the image's command.

    Raises:
        Failure: it has not; nothing of it is left.
    """
    if order["mode"] == "namespaces":
        separate(order["user_namespace"])
    else:
        call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    reader, writer = os.pipe()  # closed by the exec, unless there is something to say
    pid = os.fork()
    if pid == 0:
        try:
            run_inside(order)
        except Failure as failure:
            os.write(writer, json.dumps([failure.stage, failure.reason]).encode())
        except BaseException as error:
            os.write(writer, json.dumps(["sandbox", f"{type(error).__name__}: {error}"]).encode())
        finally:
            os._exit(127)
    os.close(writer)
    with open(reader, "rb") as pipe:
        message = pipe.read()
    if message:
        os.waitpid(pid, 0)
        raise Failure(*json.loads(message))
    return pid


def keep(pid: int, commands: int, wakeup: int) -> int:
    """Wait for ``pid`` to end, passing on what comes in on ``commands``. Returns its exit status, as a shell has it."""
    pending = b""
    status: int | None = None
    while status is None:
        ready, _, _ = select.select([fd for fd in (commands, wakeup) if fd >= 0], [], [])
        if wakeup in ready:
            os.read(wakeup, 512)
        if commands in ready:
            data = os.read(commands, 4096)
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                os.kill(pid, int(line.split()[-1]))
            if not data:
                commands = -1
                os.kill(pid, signal.SIGKILL)
        status = reap(pid)
    return 128 - status if status < 0 else status


def reap(pid: int) -> int | None:
    """Collect every child that has ended; the exit code of ``pid`` if it is among them."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            ended, status = os.waitpid(-1, os.WNOHANG)
            if ended == 0:
                break
            if ended == pid:
                found = os.waitstatus_to_exitcode(status)
    return found


def kill_orphans() -> None:
    """Kill whatever has become this process's child, until nothing has."""
    with contextlib.suppress(ChildProcessError):
        while True:
            with contextlib.suppress(OSError), open(f"/proc/self/task/{os.getpid()}/children") as file:
                for child in file.read().split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(child), signal.SIGKILL)
            os.waitpid(-1, 0)


def remove_tree(path: str) -> None:
    """Remove ``path`` and everything below, folders that their owner may not enter included."""
    for folder, names, _ in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                os.chmod(os.path.join(folder, name), 0o700)
    shutil.rmtree(path, ignore_errors=True)


def main(status: int) -> int:
    """Carry out the order on stdin."""
    os.set_inheritable(status, False)

    def say(**message: Any) -> None:
        with contextlib.suppress(OSError):
            os.write(status, json.dumps(message).encode() + b"\n")

    wakeup, wakeup_writer = os.pipe()
    for end in (wakeup, wakeup_writer):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for Layerforge, which then stops us
    signal.set_wakeup_fd(wakeup_writer)

    commands = os.dup(0)
    order = b""
    while not order.endswith(b"\n"):
        data = os.read(commands, 1 << 16)
        if not data:
            return 0
        order += data
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)  # the container's stdin
    document = json.loads(order)
    try:
        pid = start(document)
    except Failure as failure:
        say(failed=failure.stage, reason=failure.reason)
        return 1
    say(started=True)
    # Only the container writes to its log from here on: the log ends when the container does.
    for fd in (1, 2):
        os.dup2(null, fd)
    code = keep(pid, commands, wakeup)
    kill_orphans()
    if document["mode"] == "chroot":
        for inside, outside in document.get("shared", {}).items():
            shutil.copytree(document["folder"] + "/root" + inside, outside, symlinks=True, dirs_exist_ok=True)
    remove_tree(document["folder"])
    say(exited=code)
    return 0


def probe() -> int:
    """Try what an unprivileged container needs, for :meth:`layerforge.engines.sandbox.Sandbox.find_obstacle`."""
    try:
        separate(user_namespace=True)
        with stage("mount namespace"):
            call("unshare", CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS)
            mount("none", "/", "", MS_REC | MS_PRIVATE)
    except Failure as failure:
        print(f"{failure.stage}: {failure.reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(probe() if sys.argv[1] == "probe" else main(int(sys.argv[1])))
