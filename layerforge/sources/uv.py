"""Runs ``uv``: the one program, the settings that reach it, and where it looks for packages."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli
import uv

from layerforge.errors import SourceError
from layerforge.requirements import Requirements
from layerforge.sources.pip_settings import PipSettings

# Nothing else of the environment reaches uv: a UV_CONSTRAINT or UV_EXCLUDE_NEWER of one machine would silently
# change what is locked there.
_PASSED_ON = re.compile(
    r"PATH|HOME|TMPDIR|LANG|XDG_\w+|SSL_\w+|\w+_proxy|\w+_PROXY|NETRC|USER|LOGNAME|SYSTEMROOT"
    r"|UV_(DEFAULT_INDEX|INDEX|INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|INDEX_\w+_(USERNAME|PASSWORD)|INDEX_STRATEGY"
    r"|KEYRING_PROVIDER|INSECURE_HOST|CONFIG_FILE|CACHE_DIR|NO_CACHE|OFFLINE|HTTP_\w+|CONCURRENT_\w+)"
)

KEYRINGS = frozenset({"subprocess", "import", "auto"})
"""pip's words for asking a keyring."""

_finding = threading.Lock()


def find_program() -> str:
    """The ``uv`` that came with Layerforge.

    Asked by one thread at a time: uv asks ``sysconfig``, whose table is filled on first use without a lock before
    Python 3.12, so that a second thread may find it half empty.
    """
    with _finding:
        return uv.find_uv_bin()


def run_uv(
    arguments: Sequence[str], folder: Path, pip: PipSettings, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run ``uv`` in ``folder`` and wait. It cannot execute a line of Python: who wants something built asks for it.

    Raises:
        SourceError: it cannot be run.
    """
    command = [find_program(), *arguments]
    try:
        return subprocess.run(
            command, cwd=folder, env=_environment(environment, pip), capture_output=True, text=True, check=False
        )
    except OSError as error:
        hint = "install uv into the environment that Layerforge runs in"
        raise SourceError(f"uv cannot be run: {error.strerror}", where=command[0], hint=hint) from error


def _environment(environment: Mapping[str, str], pip: PipSettings) -> dict[str, str]:
    passed = {name: value for name, value in environment.items() if _PASSED_ON.fullmatch(name)}
    if pip.certificates and "SSL_CERT_FILE" not in passed:
        passed["SSL_CERT_FILE"] = pip.certificates
    # The second is the first one's name before uv 0.11; each is ignored where it is not known. PYTHONHOME stops every
    # interpreter that uv starts to build something; the one that it asks about itself is started with -I.
    own = {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1", "UV_PYTHON_DOWNLOADS": "never", "PYTHONHOME": "/nonexistent"}
    return {**passed, **own}


def index_options(requirements: Requirements, project: Path, pip: PipSettings, env: Mapping[str, str]) -> list[str]:
    """Where to look: what the project says, else uv's own settings, else pip's."""
    if has_indexes(env):
        pip = PipSettings(keyring_provider=pip.keyring_provider)
    options: list[str] = []
    default = requirements.index_url or pip.index_url
    if default:
        options += ["--default-index", expand(default, env)]
    for url in (*requirements.extra_index_urls, *pip.extra_index_urls):
        options += ["--index", expand(url, env)]
    for url in (*requirements.find_links, *pip.find_links):
        options += ["--find-links", expand(url, env) if "://" in url else str(project / url)]
    for host in (*requirements.trusted_hosts, *pip.trusted_hosts):
        options += ["--allow-insecure-host", host]
    if requirements.no_index or pip.no_index:
        options.append("--no-index")
    if "UV_KEYRING_PROVIDER" not in env and pip.keyring_provider in KEYRINGS:
        options += ["--keyring-provider", "subprocess"]
    if "UV_INDEX_STRATEGY" not in env:  # as pip does: an extra index adds versions, it does not hide any
        options += ["--index-strategy", "unsafe-best-match"]
    return options


def has_indexes(environment: Mapping[str, str]) -> bool:
    """Whether uv is told of indexes by its own variables or files."""
    if any(environment.get(name) for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")):
        return True
    keys = ("index", "index-url", "extra-index-url", "no-index")
    return any(key in table for table in read_settings(environment) for key in keys)


def read_settings(environment: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The tables of uv's own files that may name indexes; what cannot be read is passed over."""
    home = Path(environment.get("HOME") or "/")
    user = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    for path in (Path(environment.get("UV_CONFIG_FILE") or "/etc/uv/uv.toml"), user / "uv/uv.toml"):
        try:
            document = tomli.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError):
            continue
        yield document
        if isinstance(document.get("pip"), dict):
            yield document["pip"]


def expand(url: str, environment: Mapping[str, str]) -> str:
    """``url`` with pip's ``${NAME}`` replaced; a name that is not set stays as it is."""
    return re.sub(r"\$\{([A-Z0-9_]+)\}", lambda match: environment.get(match[1], match[0]), url)


def pip_settings_for_uv(settings: PipSettings) -> tuple[PipSettings, tuple[str, ...]]:
    """pip's settings, less the folders of packages, which uv must not use; and those of them that hold wheels."""
    remote = tuple(link for link in settings.find_links if "://" in link and not link.startswith("file:"))
    folders = [link for link in settings.find_links if link not in remote]
    full = tuple(
        link for link in folders if (path := Path(link.removeprefix("file://"))).is_dir() and any(path.glob("*.whl"))
    )
    return PipSettings(
        index_url=settings.index_url,
        extra_index_urls=settings.extra_index_urls,
        find_links=remote,
        trusted_hosts=settings.trusted_hosts,
        no_index=settings.no_index,
        certificates=settings.certificates,
        keyring_provider=settings.keyring_provider,
    ), full
