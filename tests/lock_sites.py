"""A whole world on loopback for tests of the lock: a signed Debian archive and a package index, both tiny."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.debian_samples import SigningKey, make_deb, serve, write_suite
from tests.wheel_samples import make_wheel

ESSENTIAL = ("base-files", "apt", "ca-certificates", "netbase", "tzdata", "python3.13")


class Site:
    """What is on the two servers, and every path that was asked for at ``debian`` and ``python``."""

    def __init__(self, root: Path, key: SigningKey) -> None:
        self._root = root
        self._key = key
        self.debian: list[str] = []
        self.python: list[str] = []
        self.packages = dict.fromkeys(ESSENTIAL, "1")
        self.relations: dict[str, dict[str, str]] = {}
        self.environment: dict[str, str] = {}

    def publish(self) -> None:
        """Write Debian's indexes anew, and the packages that are not there yet."""
        stanzas = [self._publish_package(name, version) for name, version in self.packages.items()]
        for folder, suite, items in (
            ("debian", "trixie", stanzas),
            ("debian", "trixie-updates", []),
            ("security", "trixie-security", []),
        ):
            write_suite(self._root / folder, suite, items, self._key)

    def pool_path(self, name: str, version: str) -> Path:
        """Where a .deb lies."""
        return self._root / "debian" / f"pool/main/{name}_{version}.deb"

    def _publish_package(self, name: str, version: str) -> str:
        version = f"3.13.{version}-1" if name == "python3.13" else version
        fields = {"Package": name, "Version": version, "Architecture": "amd64", **self.relations.get(name, {})}
        if name == "base-files":
            fields["Essential"] = "yes"
        path = self.pool_path(name, version)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(make_deb(fields))
        data = path.read_bytes()
        fields |= {"Filename": f"pool/main/{path.name}", "Size": str(len(data))}
        fields["SHA256"] = hashlib.sha256(data).hexdigest()
        return "".join(f"{field}: {value}\n" for field, value in fields.items())

    def add_wheel(self, name: str, version: str = "1.0", requires: tuple[str, ...] = ()) -> str:
        """Put a wheel into the index; its sha256."""
        filename, data = f"{name}-{version}-py3-none-any.whl", make_wheel(name, version, requires=requires)
        folder = self._root / "python" / "simple" / name
        folder.mkdir(parents=True, exist_ok=True)
        (self._root / "python" / filename).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        with (folder / "index.html").open("a") as page:
            page.write(f'<a href="/{filename}#sha256={digest}">{filename}</a><br>\n')
        return digest

    def forget(self) -> None:
        """Forget what was asked for so far."""
        self.debian.clear()
        self.python.clear()


@contextmanager
def serve_site(root: Path, *, runtime: bool = True) -> Iterator[Site]:
    """A Site with Python 3.13's Debian packages and, unless that is not wanted, the runtime's wheels."""
    key = SigningKey()
    site = Site(root, key)
    (root / "keyring.pgp").parent.mkdir(parents=True, exist_ok=True)
    (root / "keyring.pgp").write_bytes(key.certificate)
    (root / "python").mkdir()
    for name, version in (("granian", "2.6.0"), ("msgspec", "0.20.0"), ("click", "8.3.0")) if runtime else ():
        site.add_wheel(name, version)
    site.publish()
    with serve(root) as (debian, asked), serve(root / "python") as (python, wanted):
        site.debian, site.python = asked, wanted
        site.environment = {
            "LAYERFORGE_DEBIAN_MIRROR": f"{debian}/debian",
            "LAYERFORGE_DEBIAN_SECURITY_MIRROR": f"{debian}/security",
            "LAYERFORGE_DEBIAN_KEYRING": str(root / "keyring.pgp"),
            "PIP_INDEX_URL": f"{python}/simple",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_EXTRA_INDEX_URL": "",
            "PIP_FIND_LINKS": "",
            "HOME": str(root),
            "XDG_CONFIG_HOME": str(root / "config"),
            "UV_NO_CACHE": "1",
            "UV_DEFAULT_INDEX": "",
            "UV_INDEX": "",
            "UV_INDEX_URL": "",
            "UV_EXTRA_INDEX_URL": "",
        }
        yield site


def write_model(folder: Path, packages: str = "", system: str = "", python: str = "3.13") -> Path:
    """A model's folder; ``packages`` and ``system`` are YAML lists."""
    folder.mkdir(exist_ok=True)
    lines = ["build:", f'  python_version: "{python}"']
    lines += [f"  python_packages: {packages}"] if packages else []
    lines += [f"  system_packages: {system}"] if system else []
    (folder / "cog.yaml").write_text("\n".join([*lines, 'run: "run.py:Runner"\n']))
    (folder / "run.py").write_text(
        "from cog import BaseRunner\n\n\nclass Runner(BaseRunner):\n    def run(self) -> str:\n        return 'x'\n"
    )
    return folder
