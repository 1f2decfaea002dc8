"""Runs ``uv pip compile``: the settings it is given, and what its complaints mean."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import tomli
import uv

from layerforge.errors import LayerforgeError, ResolveError, SourceError
from layerforge.lock import LockedWheel
from layerforge.progress import Reporter
from layerforge.requirements import Requirements
from layerforge.sources.http import redact
from layerforge.sources.pip_settings import PipSettings, read_pip_settings

_NEWEST_GLIBC = 40
"""The newest ``manylinux_2_N`` that ``--python-platform`` accepts in every uv that we accept."""

# Nothing else of the environment reaches uv: a UV_CONSTRAINT or UV_EXCLUDE_NEWER of one machine would silently
# change what is locked there.
_PASSED_ON = re.compile(
    r"PATH|HOME|TMPDIR|LANG|XDG_\w+|SSL_\w+|\w+_proxy|\w+_PROXY|NETRC|USER|LOGNAME|SYSTEMROOT"
    r"|UV_(DEFAULT_INDEX|INDEX|INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|INDEX_\w+_(USERNAME|PASSWORD)|INDEX_STRATEGY"
    r"|KEYRING_PROVIDER|INSECURE_HOST|CONFIG_FILE|CACHE_DIR|NO_CACHE|OFFLINE|HTTP_\w+|CONCURRENT_\w+)"
)


_finding = threading.Lock()


def find_program() -> str:
    """The ``uv`` that came with Layerforge.

    Asked by one thread at a time: uv asks ``sysconfig``, whose table is filled on first use without a lock before
    Python 3.12, so that a second thread may find it half empty.
    """
    with _finding:
        return uv.find_uv_bin()


class Question(msgspec.Struct, frozen=True):
    """What is to be resolved, for which Python, machine (``x86_64``) and glibc (``2.<glibc>``)."""

    requirements: Requirements
    python: str
    machine: str
    glibc: int
    previous: tuple[LockedWheel, ...]


def compile_requirements(question: Question, reporter: Reporter, environment: Mapping[str, str] = os.environ) -> str:
    """The text of the ``pylock.toml`` that uv answers with.

    Raises:
        ResolveError: there is no answer; with uv's explanation.
        SourceError: uv cannot reach an index, or cannot be run.
    """
    settings = _settings_for_uv(environment, reporter)
    with tempfile.TemporaryDirectory(prefix="layerforge-uv-") as name:
        folder = Path(name)
        (folder / "requirements.in").write_text(_lines(question.requirements.lines), "utf-8")
        (folder / "constraints.in").write_text(_lines(question.requirements.constraints), "utf-8")
        if question.previous:  # an output file that exists already is what uv takes its preferences from
            (folder / "pylock.toml").write_text(_preferences(question), "utf-8")
        command = [*_command(question), *_index_options(question.requirements, settings, environment)]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=_environment(environment, settings),
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            hint = "install uv into the environment that Layerforge runs in"
            raise SourceError(f"uv cannot be run: {error.strerror}", where=command[0], hint=hint) from error
        if done.returncode:
            raise explain_failure(done.stderr, question)
        return (folder / "pylock.toml").read_text("utf-8")


def _command(question: Question) -> list[str]:
    platform = f"{question.machine}-manylinux_2_{min(question.glibc, _NEWEST_GLIBC)}"
    command = [find_program(), "pip", "compile", "requirements.in", "--constraints", "constraints.in"]
    command += ["--format", "pylock.toml", "--output-file", "pylock.toml", "--no-header", "--no-build"]
    command += ["--python", sys.executable, "--python-version", question.python, "--python-platform", platform]
    command += ["--color", "never", "--no-progress", "--quiet"]
    if question.requirements.prereleases:
        command += ["--prerelease", "allow"]
    return command


def _lines(lines: tuple[msgspec.Struct, ...]) -> str:
    return "".join(f"{line.text}\n" for line in lines)  # type: ignore[attr-defined]


def _preferences(question: Question) -> str:
    lines = ['lock-version = "1.0"', 'created-by = "layerforge"']
    for wheel in question.previous:
        lines += ["[[packages]]", f'name = "{wheel.name}"', f'version = "{wheel.version}"']
        lines.append(f'wheels = [{{ url = "{wheel.url}", hashes = {{ sha256 = "{wheel.digest.hex}" }} }}]')
    return "\n".join(lines) + "\n"


# -- settings --------------------------------------------------------------------------------------------------


def _settings_for_uv(environment: Mapping[str, str], reporter: Reporter) -> PipSettings:
    """pip's settings, less what uv cannot or must not use."""
    settings = read_pip_settings(environment)
    remote = tuple(link for link in settings.find_links if "://" in link and not link.startswith("file:"))
    for link in settings.find_links:
        path = Path(link.removeprefix("file://"))
        if link not in remote and path.is_dir() and any(path.glob("*.whl")):
            reporter.note(f"wheels in {link} (pip's find-links) are not used: a lock names only what others can fetch")
    return msgspec.structs.replace(settings, find_links=remote)


def _index_options(requirements: Requirements, pip: PipSettings, environment: Mapping[str, str]) -> list[str]:
    """Where to look: what the project says, else uv's own settings, else pip's."""
    if _uv_has_indexes(environment):
        pip = PipSettings()
    options: list[str] = []
    default = requirements.index_url or pip.index_url
    if default:
        options += ["--default-index", _expand(default, environment)]
    for url in (*requirements.extra_index_urls, *pip.extra_index_urls):
        options += ["--index", _expand(url, environment)]
    for url in (*requirements.find_links, *pip.find_links):
        options += ["--find-links", _expand(url, environment)]
    for host in (*requirements.trusted_hosts, *pip.trusted_hosts):
        options += ["--allow-insecure-host", host]
    if requirements.no_index or pip.no_index:
        options.append("--no-index")
    if "UV_INDEX_STRATEGY" not in environment:  # as pip does: an extra index adds versions, it does not hide any
        options += ["--index-strategy", "unsafe-best-match"]
    return options


def _uv_has_indexes(environment: Mapping[str, str]) -> bool:
    """Whether uv is told of indexes by its own variables or files."""
    if any(environment.get(name) for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")):
        return True
    home = Path(environment.get("HOME") or "/")
    user = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    for path in (Path(environment.get("UV_CONFIG_FILE") or "/etc/uv/uv.toml"), user / "uv/uv.toml"):
        try:
            document = tomli.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError):
            continue
        tables = (document, document.get("pip", {}))
        if any(key in table for table in tables for key in ("index", "index-url", "extra-index-url", "no-index")):
            return True
    return False


def _environment(environment: Mapping[str, str], pip: PipSettings) -> dict[str, str]:
    passed = {name: value for name, value in environment.items() if _PASSED_ON.fullmatch(name)}
    if pip.certificates and "SSL_CERT_FILE" not in passed:
        passed["SSL_CERT_FILE"] = pip.certificates
    # The second is the first one's name before uv 0.11; each is ignored where it is not known.
    return {**passed, "UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1", "UV_PYTHON_DOWNLOADS": "never"}


def _expand(url: str, environment: Mapping[str, str]) -> str:
    """``url`` with pip's ``${NAME}`` replaced; a name that is not set stays as it is."""
    return re.sub(r"\$\{([A-Z0-9_]+)\}", lambda match: environment.get(match[1], match[0]), url)


# -- complaints ------------------------------------------------------------------------------------------------


def explain_failure(stderr: str, question: Question) -> LayerforgeError:
    """What uv's ``stderr`` means for the user."""
    text = re.sub(r"https?://[^\s`'\")]+", lambda match: redact(match[0]), stderr)
    paragraphs = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("warning:")]
    causes = [line.removeprefix("cause:").strip() for line in paragraphs if not line.startswith(("error:", "hint:"))]
    told = [line.removeprefix("hint:").strip() for line in paragraphs if line.startswith("hint:")]
    where = _find_origin("\n".join((*causes, *told)), question.requirements)
    if "No solution found" not in text:
        return _explain_unreachable(paragraphs, causes)
    explanation = re.sub(r"^(╰─▶|├─▶|\s)*", "", " ".join(causes))
    explanation = re.sub(r", we can conclude that your requirements are unsatisfiable\.$", ".", explanation)
    target = f"Python {question.python} on {question.machine}"
    missing = re.search(
        r"(?:all versions of )?(\S+?)(?:[=<>!~]=?(\S+))? (?:has|have) no (?:usable )?wheels", explanation
    )
    if missing:
        name = f"{missing[1]} {missing[2]}" if missing[2] else missing[1]
        tags = next((line for line in told if "only found wheels" in line), "")
        found = tags.partition("but we ")[2] or "the index has its source, or wheels for other machines or versions"
        return ResolveError(
            f"{name} has no wheel for {target}: {found}",
            where=where,
            hint="ask for a version that has one, or for another build.python_version",
        )
    absent = re.search(r"(\S+) was not found in the (?:package registry|provided package locations)", explanation)
    if absent:
        hint = "check the spelling; a package of a private index needs its --extra-index-url"
        return ResolveError(f"{absent[1]} is not in the package index", where=where, hint=hint)
    return ResolveError(
        f"no set of packages fits: {explanation}", where=where, hint="loosen one of the requirements named"
    )


def _explain_unreachable(paragraphs: list[str], causes: list[str]) -> LayerforgeError:
    whole = "\n".join(paragraphs)
    address = re.search(r"https?://\S+", whole)
    reason = causes[-1] if causes else whole.removeprefix("error:").strip()
    if address is None:
        return ResolveError(f"uv: {reason or 'failed without a word'}", hint="is the requirement written correctly?")
    hint = "check the network, the proxy, and the index in pip's or uv's settings (pip config list)"
    if re.search(r"certificate|UnknownIssuer", whole):
        hint = "the system does not trust this server's certificate: set SSL_CERT_FILE to your site's CA bundle"
    elif re.search(r"\b(401|403)\b", whole):
        hint = "give the index's user name and password in its URL, in ~/.netrc or to a keyring"
    where = address[0].rstrip("`'\").,:")
    return SourceError(f"the package index gave no answer: {reason}", where=urlsplit(where).geturl(), hint=hint)


def _find_origin(text: str, requirements: Requirements) -> str:
    """``file:line`` of the requirement that is named first in ``text``, else nothing."""
    found = [
        (match.start(), line.where)
        for line in requirements.lines
        if (match := re.search(rf"(?<![\w.-]){re.escape(line.name)}(?![\w-])", text, re.IGNORECASE))
    ]
    return min(found)[1] if found else ""
