"""What the complaints of ``uv pip compile`` mean for the user."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from layerforge.errors import LayerforgeError, ResolveError, SourceError
from layerforge.requirements import Requirements
from layerforge.sources.http import redact

_LONGEST = 600
"""Characters of uv's explanation that are shown: it grows with every version that was tried."""

_LOGIN_HINT = "give the index's user name and password in its URL (as ${NAME}), in ~/.netrc or to a keyring"


def explain_failure(stderr: str, requirements: Requirements, python: str, machine: str) -> LayerforgeError:
    """What uv's ``stderr`` means for the user who asked for ``requirements``, for ``python`` on ``machine``."""
    text = re.sub(r"https?://[^\s`'\")]+", lambda match: redact(match[0]), stderr)
    text = re.sub(r"file://\S*?/(?=[^/\s]+\.whl)", "", text)
    paragraphs = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("warning:")]
    causes = [line.removeprefix("cause:").strip() for line in paragraphs if not line.startswith(("error:", "hint:"))]
    told = [line.removeprefix("hint:").strip() for line in paragraphs if line.startswith("hint:")]
    where = _find_origin("\n".join((*causes, *told)), requirements)
    if "No solution found" not in text:
        return _explain_unreachable(paragraphs, causes)
    explanation = re.sub(r"^(╰─▶|├─▶|\s)*", "", " ".join(causes))
    refused = re.search(r"\((https?://\S+)\) could not be queried .*?(\d{3} [\w ]+)", "\n".join(told))
    if refused:
        return SourceError(f"the package index refused: {refused[2]}", where=refused[1], hint=_LOGIN_HINT)
    return (
        _explain_format(explanation, told, where, f"Python {python} on {machine}")
        or _explain_absence(explanation, where)
        or ResolveError(
            f"no set of packages fits: {_trim(explanation)}",
            where=where,
            hint=_suggest(explanation, requirements),
        )
    )


def _explain_format(explanation: str, told: list[str], where: str, target: str) -> ResolveError | None:
    pattern = r"(?:all versions of )?(\S+?)(?:[=<>!~]=?(\S+))? (?:has|have) no (?:usable )?wheels"
    missing = re.search(pattern, explanation)
    if not missing:
        return None
    name = f"{missing[1]} {missing[2]}" if missing[2] else missing[1]
    tags = next((line for line in told if "only found wheels" in line), "")
    found = tags.partition("but we ")[2] or "the index has its source, or wheels for other machines or versions"
    hint = "ask for a version that has one, or for another build.python_version"
    return ResolveError(f"{name} has no wheel for {target}: {found}", where=where, hint=hint)


def _explain_absence(explanation: str, where: str) -> LayerforgeError | None:
    absent = re.search(r"(\S+) was not found in the (?:package registry|provided package locations)", explanation)
    if absent:
        hint = "check the spelling; a package of a private index needs its --extra-index-url"
        return ResolveError(f"{absent[1]} is not in the package index", where=where, hint=hint)
    empty = re.search(r"Because there are no versions of (\S+) and ", explanation)
    if empty:
        hint = "is it an index (…/simple), and no sign-in page? Give its user name and password in ~/.netrc"
        return SourceError(f"the package index lists no files of {empty[1]}", where=where, hint=hint)
    yanked = re.search(r"Because (\S+?)==(\S+) was yanked(?: \(reason: (.*?)\))?", explanation)
    if yanked:
        reason = f": {yanked[3]}" if yanked[3] else ""
        message = f"{yanked[1]} {yanked[2]} has been withdrawn by its authors (yanked{reason})"
        hint = f"ask for another version, or write `{yanked[1]}=={yanked[2]}` if it must be this one"
        return ResolveError(message, where=where, hint=hint)
    none = re.search(r"Because there (?:is|are) no versions? of (\S+?)((?:[<>=!~]=?[^\s,]+,?)+)", explanation)
    if none and "depends on" not in explanation:
        message = f"there is no {none[1]}{none[2].rstrip(',')} in the package index"
        return ResolveError(message, where=where, hint="ask for another version")
    return None


def _trim(explanation: str) -> str:
    """What uv says without its formulas, and the end of it where it is long: there the requirements are."""
    text = re.sub(r",? we can conclude that your requirements are unsatisfiable\.?$", ".", explanation)
    text = re.sub(r", we can conclude that ", ", so ", text)
    text = re.sub(r"\(\d+\)", "", text)
    if len(text) <= _LONGEST:
        return text
    sentences = re.split(r"(?<=\.) (?=And because|Because)", text)
    while len(sentences) > 2 and len(" ".join(sentences)) > _LONGEST:
        sentences.pop(0)
    return "… " + " ".join(sentences)[-_LONGEST:]


def _suggest(explanation: str, requirements: Requirements) -> str:
    """Which of the requirements named could be loosened, each with its place."""
    lines = [line for line in (*requirements.lines, *requirements.constraints) if _find_name(line.name, explanation)]
    if len(lines) < 2:
        return "loosen one of the requirements named"
    return "loosen one of " + ", ".join(f"{line.text} ({line.where})" for line in lines[:4])


def _explain_unreachable(paragraphs: list[str], causes: list[str]) -> LayerforgeError:
    whole = "\n".join(paragraphs)
    address = re.search(r"https?://\S+", whole)
    reason = causes[-1] if causes else whole.removeprefix("error:").strip()
    if address is None:
        return ResolveError(f"uv: {reason or 'failed without a word'}", hint="is the requirement written correctly?")
    where = urlsplit(address[0].rstrip("`'\").,:")).geturl()
    if re.search(r"Unsupported `Content-Type`|unexpected (?:JSON|HTML)|invalid (?:JSON|HTML)|Failed to parse", whole):
        hint = "check its URL (…/simple) and the login: a sign-in page looks like this"
        return SourceError("this is not the answer of a package index", where=where, hint=hint)
    hint = "check the network, the proxy, and the index in pip's or uv's settings (pip config list)"
    if re.search(r"certificate|UnknownIssuer", whole):
        hint = "the system does not trust this server's certificate: set SSL_CERT_FILE to your site's CA bundle"
    elif re.search(r"\b(401|403)\b", whole):
        hint = _LOGIN_HINT
    elif re.search(r"\b5\d\d\b", whole):
        hint = "the server is at fault: try again later, or take another index"
    elif re.search(r"\b(404|410)\b", whole):
        hint = "the index lists a file that has vanished: ask for another version"
    return SourceError(f"the package index gave no answer: {reason}", where=where, hint=hint)


def _find_name(name: str, text: str) -> re.Match[str] | None:
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text, re.IGNORECASE) if name else None


def _find_origin(text: str, requirements: Requirements) -> str:
    """``file:line`` of the requirement that is named first in ``text``, else nothing."""
    lines = (*requirements.lines, *requirements.constraints)
    found = [(match.start(), line.where) for line in lines if (match := _find_name(line.name, text))]
    return min(found)[1] if found else ""
