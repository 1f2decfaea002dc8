"""User names and passwords for package indexes and mirrors: from their URLs, the environment, ``.netrc`` and keyring.

They are looked up when a connection is made and are part of nothing that is written: a lock has URLs without them.
What an index's URL has serves for every file of the same scheme, host and port, as with pip and uv.
Sources: https://pip.pypa.io/en/stable/topics/authentication/ and uv's ``docs/concepts/authentication``.
"""

from __future__ import annotations

import base64
import functools
import netrc
import os
import re
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from layerforge.sources.pip_settings import PipSettings, read_pip_settings
from layerforge.sources.uv import KEYRINGS, expand, read_settings

_PATIENCE = 60  # seconds that a keyring may take, which may ask its user


class Login(msgspec.Struct, frozen=True):
    """A user name and password; never print one."""

    user: str
    password: str

    @property
    def header(self) -> str:
        """The value of ``Authorization`` (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


_guard = threading.Lock()
_learned: dict[str, None] = {}


def learn_indexes(urls: Iterable[str], environment: Mapping[str, str] = os.environ) -> None:
    """Remember, in this process, the indexes that a project names, whose URLs may hold ``${NAME}``."""
    with _guard:
        _learned.update(dict.fromkeys(expand(url, environment) for url in urls if "://" in url))


def find_login(url: str, environment: Mapping[str, str] = os.environ) -> Login | None:
    """What opens ``url``: its own user information, that of an index on the same server, ``.netrc`` or keyring."""
    parts = urlsplit(url)
    own = _read_login(parts)
    if own is not None and own.password:
        return own
    indexes = [index for index in _known_indexes(environment) if _origin(urlsplit(index)) == _origin(parts)]
    indexes.sort(key=lambda index: not parts.path.startswith(urlsplit(index).path.removesuffix("simple")))
    logins = [login for index in indexes if (login := _read_login(urlsplit(index)))]
    for login in logins:
        if login.password:
            return login
    user = own.user if own is not None else logins[0].user if logins else ""
    found = _ask_netrc(parts.hostname or "", user, environment)
    if found is None and indexes and uses_keyring(environment):
        found = _ask_keyring(indexes[0], parts.netloc.rpartition("@")[2], user)
    return found or own or (logins[0] if logins else None)


def uses_keyring(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether pip or uv is told to ask a keyring."""
    word = environment.get("UV_KEYRING_PROVIDER") or read_pip_settings(environment).keyring_provider
    return word in KEYRINGS


def _read_login(parts: SplitResult) -> Login | None:
    if parts.username is None:
        return None
    return Login(unquote(parts.username), unquote(parts.password or ""))


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)


def _known_indexes(environment: Mapping[str, str]) -> list[str]:
    with _guard:
        learned = list(_learned)
    pip: PipSettings = read_pip_settings(environment)
    return [*learned, *uv_indexes(environment), *filter(None, [pip.index_url]), *pip.extra_index_urls, *pip.find_links]


def uv_indexes(environment: Mapping[str, str]) -> Iterator[str]:
    """The indexes that uv is told of, with the passwords that its variables give."""
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"):
        for word in environment.get(variable, "").split():
            name, _, url = word.rpartition("=") if re.match(r"[\w.-]+=\w+://", word) else ("", "", word)
            yield _add_login(url, name, environment)
    for table in read_settings(environment):
        listed = table.get("index", [])
        for entry in listed if isinstance(listed, list) else []:
            if isinstance(entry, dict) and isinstance(entry.get("url"), str):
                yield _add_login(entry["url"], str(entry.get("name", "")), environment)
        urls = (table.get("index-url"), *(table.get("extra-index-url") or ()))
        yield from (url for url in urls if isinstance(url, str))


def _add_login(url: str, name: str, environment: Mapping[str, str]) -> str:
    """``url`` with the user and password that uv's variables for the index ``name`` give."""
    word = re.sub(r"[^A-Z0-9]", "_", name.upper())
    user, password = (environment.get(f"UV_INDEX_{word}_{what}", "") for what in ("USERNAME", "PASSWORD"))
    if not name or not (user or password):
        return url
    parts = urlsplit(url)
    quoted = ":".join(re.sub(r"[^\w.~-]", lambda m: f"%{ord(m[0]):02X}", text) for text in (user, password))
    return parts._replace(netloc=f"{quoted}@{parts.netloc.rpartition('@')[2]}").geturl()


def _ask_netrc(host: str, user: str, environment: Mapping[str, str]) -> Login | None:
    path = environment.get("NETRC") or str(Path(environment.get("HOME") or "/") / ".netrc")
    try:
        found = netrc.netrc(path).authenticators(host)
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return None
    if not found or (user and found[0] != user):
        return None
    return Login(found[0], found[2] or "")


@functools.lru_cache(maxsize=64)
def _ask_keyring(index: str, host: str, user: str) -> Login | None:
    """What the program ``keyring`` knows of an index or its host; it is asked once."""
    place = urlsplit(index)
    address = place._replace(netloc=place.netloc.rpartition("@")[2]).geturl()
    for service in (address, host):
        command = ["keyring", "get", service, user] if user else ["keyring", "--mode", "creds", "get", service]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        lines = done.stdout.splitlines()
        if done.returncode == 0 and len(lines) == (1 if user else 2):
            return Login(user or lines[0], lines[-1])
    return None
