"""What a base image is: its distribution and release, its C library, its Pythons. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from layerforge.base_image import BaseImage, merge_environment
from layerforge.sources.base.root import BaseRoot

GLIBC = {
    "bullseye": 31,
    "bookworm": 36,
    "trixie": 41,
    "focal": 31,
    "jammy": 35,
    "noble": 39,
}
"""The minor version of glibc 2 in releases of Debian and Ubuntu. Source: packages.debian.org, packages.ubuntu.com."""

_UBUNTU = {"20.04": "focal", "22.04": "jammy", "24.04": "noble"}
_PYTHON = re.compile(r"(?:(.*)/)?bin/python(3\.\d+)")
_PATCH_LEVEL = re.compile(rb'#define\s+PY_VERSION\s+"(\d+\.\d+\.\d+)')
_DEBUERREOTYPE = re.compile(r"debian\.sh --arch '\w+' out/ '([a-z]+)'")
"""How Debian's own images say in their history which release they are (docker-library, ``debian``)."""


class FoundPython(msgspec.Struct, frozen=True):
    """A Python whose program is in ``home`` (``/usr/local/bin``) of the base; ``version`` as exactly as it is known."""

    home: str
    version: str

    @property
    def minor(self) -> str:
        """As ``3.13``."""
        return ".".join(self.version.split(".")[:2])


class BaseFacts(msgspec.Struct, frozen=True):
    """``distribution`` is ``debian`` or ``ubuntu``, ``release`` its code name; both empty for something else.

    ``name`` is for people. ``glibc`` is the minor version of glibc 2, 0 if there is none; ``musl``: there is that.
    ``pythons`` are in the order in which PATH finds them. ``has_dpkg``: packages can be added.
    """

    distribution: str
    release: str
    name: str
    glibc: int
    musl: bool
    pythons: tuple[FoundPython, ...]
    has_dpkg: bool


def guess_facts(base: BaseImage) -> BaseFacts | None:
    """What the configuration alone gives away, for which no layer need be read: official Python images on Debian.

    Others are not guessed at. (docker-library's ``python`` sets PYTHON_VERSION and the key or hash of its source.)
    """
    variables = base.env
    version = variables.get("PYTHON_VERSION", "")
    if not re.fullmatch(r"3\.\d+\.\d+", version) or not variables.keys() & {"PYTHON_SHA256", "GPG_KEY"}:
        return None
    if "/usr/local/bin" not in variables.get("PATH", "").split(":"):
        return None
    release = next((m[1] for entry in base.history if (m := _DEBUERREOTYPE.search(entry.created_by))), "")
    if release not in GLIBC:
        return None
    pythons = (FoundPython("/usr/local/bin", version),)
    return BaseFacts("debian", release, f"Debian {release}", GLIBC[release], False, pythons, True)


def describe_base(root: BaseRoot, base: BaseImage) -> BaseFacts:
    """What the files say."""
    release = read_os_release(root)
    distribution, code_name = _find_release(release)
    packages = root.read("var/lib/dpkg/status") or b""
    return BaseFacts(
        distribution=distribution,
        release=code_name,
        name=release.get("PRETTY_NAME") or release.get("NAME") or "a system without /etc/os-release",
        glibc=_find_glibc(root),
        musl=any(re.fullmatch(r"(?:usr/)?lib/ld-musl-\w+\.so\.1", path) for path in root.paths),
        pythons=tuple(find_pythons(root, base)),
        has_dpkg=bool(packages.strip()),
    )


def read_os_release(root: BaseRoot) -> dict[str, str]:
    """The fields of ``/etc/os-release`` (os-release(5)); none where there is no such file."""
    data = root.read("etc/os-release")
    if data is None:
        data = root.read("usr/lib/os-release") or b""
    fields: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            quoted = re.fullmatch(r"([\"'])(.*)\1", value)
            fields[name] = re.sub(r"\\(.)", r"\1", quoted[2] if quoted else value)
    return fields


def _find_release(fields: dict[str, str]) -> tuple[str, str]:
    """Distribution and code name; a derivative of Ubuntu that keeps its packages names the release it is made from."""
    if fields.get("ID") == "debian":
        return "debian", fields.get("VERSION_CODENAME", "")
    if fields.get("ID") == "ubuntu" or "ubuntu" in fields.get("ID_LIKE", "").split():
        known = fields.get("UBUNTU_CODENAME") or (
            fields.get("VERSION_CODENAME", "") if fields["ID"] == "ubuntu" else ""
        )
        return "ubuntu", known or _UBUNTU.get(fields.get("VERSION_ID", ""), "")
    return "", ""


def _find_glibc(root: BaseRoot) -> int:
    """As the library itself says; else as its file's name does (before 2.34 it was ``libc-2.31.so``)."""
    for path, version in root.versions.items():
        if version.startswith("2.") and "libc" in path.rpartition("/")[2]:
            return int(version.split(".")[1])
    for path in root.paths:
        if match := re.fullmatch(r"(?:usr/)?lib(?:64|/[\w-]+)?/libc-2\.(\d+)\.so", path):
            return int(match[1])
    return 0


def find_pythons(root: BaseRoot, base: BaseImage) -> Iterator[FoundPython]:
    """Every installation of CPython 3, those in PATH first. A virtual environment is none."""
    found: dict[str, FoundPython] = {}
    for path in root.paths:
        match = _PYTHON.fullmatch(path)
        if match is None or root.find(path) is None:
            continue
        prefix, minor = match[1] or "", match[2]
        if root.find(f"{prefix}/lib/python{minor}/encodings") or root.find(f"{prefix}/lib/python{minor}/os.py"):
            home = f"/{prefix}/bin" if prefix else "/bin"
            real = root.resolve(f"{prefix}/bin") or ""
            if f"/{real}" == home:
                found[path] = FoundPython(home, _find_version(root, base, prefix, minor))
    order = {folder: rank for rank, folder in enumerate(merge_environment(base.env, {})["PATH"].split(":"))}
    return iter(sorted(found.values(), key=lambda python: (order.get(python.home, len(order)), python.home)))


def _find_version(root: BaseRoot, base: BaseImage, prefix: str, minor: str) -> str:
    """The exact version: of the header, of the program, of the configuration; else the minor version."""
    header = root.read(f"{prefix}/include/python{minor}/patchlevel.h") or b""
    if match := _PATCH_LEVEL.search(header):
        return match[1].decode()
    for path in (f"{prefix}/bin/python{minor}", *(f"{prefix}/lib/libpython{minor}.so{end}" for end in (".1.0", ""))):
        version = root.versions.get(root.resolve(path) or "", "")
        if version.startswith(f"{minor}."):
            return version
    named = base.env.get("PYTHON_VERSION", "")
    return named if prefix == "usr/local" and named.startswith(f"{minor}.") else minor
