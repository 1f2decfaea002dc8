"""Which mirrors of Debian and Ubuntu, and which keyrings, this machine is set up to use.

The code names no mirror: addresses come from the host's apt sources (``sources.list(5)``, both the deb822 and the
one-line form), or from ``LAYERFORGE_DEBIAN_MIRROR`` and its companions (:data:`SETTINGS`). An archive serves every
suite, so a bookworm host gives the mirror for trixie too. Each distribution's keys are good for its own archives only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
from debian.deb822 import Deb822

from layerforge.errors import SourceError

DEBIAN, UBUNTU = "debian", "ubuntu"

ARCHIVES = {
    "debian": DEBIAN,
    "debian-security": DEBIAN,
    "ubuntu": UBUNTU,
    "ubuntu-ports": UBUNTU,
}
"""The archives, one of which a LockedDeb names, and whose they are. ``ubuntu-ports`` has what is not amd64."""

SETTINGS = {archive: f"LAYERFORGE_{archive.upper().replace('-', '_')}_MIRROR" for archive in ARCHIVES}
KEYRING_SETTING = "LAYERFORGE_DEBIAN_KEYRING"
KEYRING_SETTINGS = {DEBIAN: KEYRING_SETTING, UBUNTU: "LAYERFORGE_UBUNTU_KEYRING"}

_SUITES = frozenset(
    (
        *("oldoldstable", "oldstable", "stable", "testing"),
        *("buster", "bullseye", "bookworm", "trixie", "forky", "duke"),
    )
)
_POCKETS = re.compile(r"-(updates|backports|proposed-updates|security)$|/updates$")
_KEYRINGS = {
    name: tuple(f"usr/share/keyrings/{name}-archive-keyring.{end}" for end in ("pgp", "gpg"))
    for name in (DEBIAN, UBUNTU)
}


class SourceEntry(msgspec.Struct, frozen=True):
    """One binary entry of apt's sources: where, what, and whose signature is accepted (paths or armoured keys)."""

    urls: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: tuple[str, ...] = ()


class Mirrors(msgspec.Struct, frozen=True):
    """Base URLs for each archive, best first, and the certificates (OpenPGP, as files or text) that may sign it.

    ``keys`` are Debian's, ``ubuntu_keys`` those of Ubuntu's archives.
    """

    urls: dict[str, tuple[str, ...]]
    keys: tuple[bytes, ...]
    ubuntu_keys: tuple[bytes, ...] = ()

    def of(self, archive: str) -> tuple[str, ...]:
        """The base URLs of ``archive``, without a slash at the end.

        Raises:
            SourceError: none is configured.
        """
        urls = self.urls.get(archive, ())
        if not urls:
            setting = SETTINGS.get(archive, SETTINGS["debian"])
            hint = f"set {setting} to the base URL of a mirror of '{archive}', or add it to this machine's apt sources"
            name = ARCHIVES.get(archive, DEBIAN).capitalize()
            raise SourceError(f"no mirror of the {name} archive '{archive}' is configured", hint=hint)
        return urls


def find_mirrors(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> Mirrors:
    """The Mirrors for the machine whose file system is at ``root``."""
    entries = tuple(read_sources(root))
    urls: dict[str, tuple[str, ...]] = {}
    for archive in ARCHIVES:
        named = environment.get(SETTINGS[archive], "")
        found = tuple(named.split()) or tuple(_choose(entries, archive))
        urls[archive] = tuple(url.rstrip("/") for url in found)
    keys = {
        name: tuple(_read_keys(root, entries, name, environment.get(setting, "")))
        for name, setting in KEYRING_SETTINGS.items()
    }
    return Mirrors(urls, keys[DEBIAN], keys[UBUNTU])


def read_sources(root: Path) -> Iterator[SourceEntry]:
    """Every enabled ``deb`` entry of the apt sources below ``root``, in apt's order."""
    folder = root / "etc/apt"
    parts = sorted((folder / "sources.list.d").glob("*")) if (folder / "sources.list.d").is_dir() else []
    for path in (folder / "sources.list", *parts):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        yield from read_entries(path.name, text, root)


def read_entries(name: str, text: str, root: Path | None = None) -> Iterator[SourceEntry]:
    """The enabled ``deb`` entries of a sources file with this name. Without a ``root`` lists of mirrors stay closed."""
    if name.endswith(".list"):
        yield from _read_lines(text, root)
    elif name.endswith(".sources"):
        yield from _read_stanzas(text, root)


def _read_lines(text: str, root: Path | None) -> Iterator[SourceEntry]:
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)([^#]*)", line)
        if match:
            options = dict(re.findall(r"([\w-]+)\+?=(\S+)", match[1] or ""))
            signed_by = tuple(filter(None, options.get("signed-by", "").split(",")))
            yield SourceEntry(_expand((match[2],), root), (match[3],), tuple(match[4].split()), signed_by)


def _read_stanzas(text: str, root: Path | None) -> Iterator[SourceEntry]:
    for stanza in Deb822.iter_paragraphs(text, use_apt_pkg=False):
        fields = {str(key).lower(): str(value) for key, value in stanza.items()}
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").strip().lower() in (
            "no",
            "false",
        ):
            continue
        signed_by = fields.get("signed-by", "")
        keys = (signed_by,) if "BEGIN PGP" in signed_by else tuple(signed_by.replace(",", " ").split())
        urls = _expand(fields.get("uris", "").split(), root)
        yield SourceEntry(
            urls, tuple(fields.get("suites", "").split()), tuple(fields.get("components", "").split()), keys
        )


def _expand(uris: Iterable[str], root: Path | None) -> tuple[str, ...]:
    """Only http and https can be read; ``mirror+file:`` lists (apt-transport-mirror(1)) are opened."""
    urls: list[str] = []
    for uri in uris:
        scheme, _, rest = uri.partition(":")
        if scheme in ("http", "https"):
            urls.append(uri)
        elif scheme == "mirror+file" and root is not None:
            try:
                listing = (root / unquote(rest).lstrip("/")).read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            lines = (line.partition("#")[0].split() for line in listing.splitlines())
            urls += [words[0] for words in lines if words and words[0].startswith(("http://", "https://"))]
    return tuple(urls)


def _choose(entries: Iterable[SourceEntry], archive: str) -> list[str]:
    """The URLs of ``archive``. Others name their suites after Debian's too: address or key must say Debian."""
    found: list[str] = []
    for entry in entries:
        if "main" not in entry.components or not _is_of(entry, archive):
            continue
        by_debian = ARCHIVES[archive] == DEBIAN and any("debian-archive" in key for key in entry.signed_by)
        for url in entry.urls:
            last = urlsplit(url).path.rstrip("/").rpartition("/")[2]
            if (last == archive or (by_debian and last not in ARCHIVES)) and url not in found:
                found.append(url)
    return found


def _is_of(entry: SourceEntry, archive: str) -> bool:
    """Whether the entry is one of the distribution's own. A personal archive's address ends in ``/ubuntu`` too."""
    if ARCHIVES[archive] == DEBIAN:
        return _is_debian(entry.suites, archive)
    foreign = entry.signed_by and not any("ubuntu-archive" in key or "BEGIN PGP" in key for key in entry.signed_by)
    return not foreign and not any("ppa" in urlsplit(url).netloc for url in entry.urls)


def _is_debian(suites: Iterable[str], archive: str) -> bool:
    for suite in suites:
        pocket = _POCKETS.search(suite)
        is_security = pocket is not None and pocket[0] in ("-security", "/updates")
        if _POCKETS.sub("", suite) in _SUITES and is_security == (archive == "debian-security"):
            return True
    return False


def _read_keys(root: Path, entries: Iterable[SourceEntry], distribution: str, setting: str) -> Iterator[bytes]:
    """The contents of the keyrings, each once.

    Raises:
        SourceError: the one that is set cannot be read.
    """
    if setting:
        try:
            yield Path(setting).read_bytes()
        except OSError as error:
            hint = _keyring_hint(distribution)
            raise SourceError(f"cannot read the keyring: {error.strerror}", where=setting, hint=hint) from error
        return
    named = [key for entry in entries if _is_ours(entry, distribution) for key in entry.signed_by]
    yield from dict.fromkeys(key.encode() for key in named if "BEGIN PGP" in key)
    paths = [path.lstrip("/") for path in named if path.startswith("/")]
    contents = []
    for path in dict.fromkeys((*paths, *_KEYRINGS[distribution])):
        try:
            contents.append((root / path).read_bytes())
        except OSError:
            continue
    yield from dict.fromkeys(contents)


def _is_ours(entry: SourceEntry, distribution: str) -> bool:
    return any(_choose((entry,), archive) for archive, owner in ARCHIVES.items() if owner == distribution)


def _keyring_hint(distribution: str) -> str:
    setting = KEYRING_SETTINGS[distribution]
    return f"apt-get install {distribution}-archive-keyring, or set {setting} to a file with its keys"


def require_keys(mirrors: Mirrors, distribution: str = DEBIAN) -> tuple[bytes, ...]:
    """The keys of ``mirrors`` for the archives of ``distribution``.

    Raises:
        SourceError: there are none.
    """
    keys = mirrors.keys if distribution == DEBIAN else mirrors.ubuntu_keys
    if not keys:
        name = distribution.capitalize()
        hint = _keyring_hint(distribution)
        raise SourceError(f"no keyring with {name}'s archive keys on this machine", hint=hint)
    return keys
