"""Why a build failed, and which system packages it lacks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from layerforge.errors import ResolveError
from layerforge.from_source.debian_names import HEADERS, LIBRARIES, PROGRAMS

_PATTERNS = (
    (PROGRAMS, re.compile(r"(?:command|error:|unable to execute) '([\w.+-]+)'(?: failed)?: No such file")),
    (PROGRAMS, re.compile(r"No such file or directory: '(?:/usr/bin/)?([\w.+-]+)'")),
    (PROGRAMS, re.compile(r"(?:^|[\s:/])([\w.+-]+)(?: executable|:(?: command)?) not found", re.MULTILINE)),
    (PROGRAMS, re.compile(r"[Uu]nable to (?:find|locate)(?: the)? (?:command|program|compiler) ['\"`]?([\w.+-]+)")),
    (PROGRAMS, re.compile(r"Program ['\"]?([\w.+-]+)['\"]? (?:not found|found: NO)")),
    (PROGRAMS, re.compile(r"(?:Problem with the|could not find) (CMake|Ninja|pkg-config|Git)\b", re.IGNORECASE)),
    (PROGRAMS, re.compile(r"Unknown compiler\(s\): \[\[['\"]([\w.+-]+)")),
    (PROGRAMS, re.compile(r"(Cargo), the Rust package manager, is not installed|can't find Rust (compiler)")),
    (HEADERS, re.compile(r"fatal error: ([\w./+-]+): No such file")),
    (LIBRARIES, re.compile(r"cannot find -l([\w.+-]+)")),
    (LIBRARIES, re.compile(r"No package '([\w.+-]+)' found")),
    (LIBRARIES, re.compile(r"Package ['\"]?([\w.+-]+)['\"]?,? (?:was not found|required by)")),
    (LIBRARIES, re.compile(r"Dependency ['\"]?([\w.+-]+)['\"]? not found|Dependency lookup for ([\w.+-]+) .*failed")),
    (LIBRARIES, re.compile(r"[Cc]ould (?:NOT|not) find ([\w.+-]+)(?: \(missing|,)")),
)

_CHATTER = re.compile(r"\s*(?:File \"|Traceback|During handling|return |raise |self\.|\^|running |creating |copying )")
_OFFLINE = re.compile(r"not known|Temporary failure in name resolution|Network is unreachable|NameResolutionError")
_LINES = 12
"""The lines of a log that are shown."""


def suggest_packages(log: str) -> tuple[str, ...]:
    """The Debian packages whose absence ``log`` complains about, sorted."""
    return tuple(sorted(set(_find_packages(log))))


def _find_packages(log: str) -> Iterator[str]:
    for table, pattern in _PATTERNS:
        for match in pattern.finditer(log):
            word = next(group for group in match.groups() if group)
            word = {"compiler": "rustc"}.get(word, word)
            found = table.get(word) or table.get(word.lower()) or table.get(word.rpartition("/")[2])
            if found:
                yield found


def find_unknown(log: str) -> tuple[str, ...]:
    """Headers and libraries that are missing and on no list here, so that the user can look for them."""
    names = [
        next(group for group in match.groups() if group)
        for table, pattern in _PATTERNS
        if table is not PROGRAMS
        for match in pattern.finditer(log)
    ]
    known = {**HEADERS, **LIBRARIES}
    return tuple(dict.fromkeys(name for name in names if name not in known and name.lower() not in known))


def summarize_log(log: str) -> str:
    """The last lines of a log that say something, indented."""
    lines = [line.rstrip() for line in log.splitlines() if line.strip() and not _CHATTER.match(line)]
    errors = [line for line in lines if re.search(r"\berror\b|Error|not found|No such file", line)]
    shown = (errors or lines)[-_LINES:]
    return "\n".join(f"  {line[:200]}" for line in shown)


def explain_log(what: str, log: str, status: int, where: str, *, network: bool, debian: bool) -> ResolveError:
    """Why ``what`` cannot be built, from the end of what building it said, and what to do about it.

    ``network`` tells whether there was one, ``debian`` whether the Python is Debian's, whose headers are a package.
    """
    packages, unknown = suggest_packages(log), find_unknown(log)
    if debian and packages == ("build-essential",):  # the headers would be missed next
        packages = (*packages, "python3-dev")
    hint = "ask for a version that has a wheel, or put a wheel into the project"
    if packages:
        hint = f"add to build.system_packages: {', '.join(packages)}"
    elif unknown:
        hint = f"add the Debian package with {unknown[0]} to build.system_packages (search on packages.debian.org)"
    elif not network and _OFFLINE.search(log):
        hint = "it wants the network: allow it with `layerforge: {build_network: true}`"
    message = f"{what} cannot be built from source (exit status {status}):\n{summarize_log(log)}"
    return ResolveError(message, where=where, hint=hint)
