"""Git repositories, by the machine's own ``git``: what a branch or tag means, and the files of a commit.

User names and passwords reach git through its environment (``GIT_CONFIG_…``), where no list of processes shows them.
Source: ``git-config(1)``, ``url.<base>.insteadOf``, and ``git-fetch(1)``.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from layerforge.errors import SourceError
from layerforge.sources.credentials import find_login
from layerforge.sources.http import without_user
from layerforge.sources.uv import expand

_COMMIT = re.compile(r"[0-9a-f]{40}")
_PATIENCE = 1800  # seconds


def find_commit(url: str, reference: str, where: str, environment: Mapping[str, str] = os.environ) -> str:
    """The commit that ``reference`` (a branch, a tag, a commit; empty: the default branch) means at ``url`` now.

    ``url`` may hold ``${NAME}``. ``where`` is the requirement's place.

    Raises:
        SourceError: the repository cannot be reached, or has no such reference.
    """
    if _COMMIT.fullmatch(reference.lower()):
        return reference.lower()
    wanted = reference or "HEAD"
    names = [f"refs/tags/{wanted}^{{}}", f"refs/tags/{wanted}", f"refs/heads/{wanted}", wanted]
    listing = _run(["ls-remote", _public(url, environment)], url, where, environment)
    found: dict[str, str] = {}
    for line in listing.splitlines():
        commit, _, name = line.partition("\t")
        found[name] = commit
    for name in names:
        if name in found:
            return found[name]
    if re.fullmatch(r"[0-9a-f]{7,39}", wanted):
        hint = "write the whole commit, 40 digits: servers do not tell what a short one means"
    else:
        hint = "mend the branch or tag behind the @"
    raise SourceError(f"there is no {wanted} in {_public(url, environment)}", where=where, hint=hint)


def check_out(url: str, commit: str, folder: Path, where: str, environment: Mapping[str, str] = os.environ) -> None:
    """Put the files of ``commit``, submodules included, into the new folder ``folder``.

    Raises:
        SourceError: the repository cannot be reached, or lacks the commit.
    """
    folder.mkdir(parents=True)
    address = _public(url, environment)

    def git(*words: str) -> str:
        return _run(["-C", str(folder), *words], url, where, environment)

    git("init", "--quiet")
    git("remote", "add", "origin", address)
    try:
        git("fetch", "--quiet", "--depth=1", "--no-tags", "origin", commit)
    except SourceError:  # a server that gives no commit that no name points at
        git("fetch", "--quiet", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*")
    git("checkout", "--quiet", "--detach", commit)
    if (folder / ".gitmodules").is_file():
        git("submodule", "--quiet", "update", "--init", "--recursive", "--depth=1")
    if _wants_history(folder):
        shallow = (folder / ".git/shallow").exists()
        git("fetch", "--quiet", "--tags", *(["--unshallow"] if shallow else []), "origin")
        described = git("describe", "--tags", "--long", "--always", commit).strip()
        # What setuptools_scm and its kin read where there is no repository; the room for building has no git.
        lines = (f"node: {commit}", f"describe-name: {described}" if "-g" in described else "", "")
        (folder / ".git_archival.txt").write_text("\n".join(filter(None, lines)) + "\n")


def _wants_history(folder: Path) -> bool:
    """Whether the version comes from the repository's tags."""
    paths = [folder / name for name in ("pyproject.toml", "setup.py", "setup.cfg")]
    texts = [path.read_text("utf-8", "replace") for path in paths if path.is_file()]
    return any(re.search(r"setuptools[_-]scm|hatch-vcs|vcs_versioning", text) for text in texts)


def _public(url: str, environment: Mapping[str, str]) -> str:
    """The address as git is told it: with the user of SSH, without any other."""
    expanded = expand(url, environment)
    return expanded if expanded.startswith("ssh://") else without_user(expanded)


def _run(words: list[str], url: str, where: str, environment: Mapping[str, str]) -> str:
    variables = {**environment, "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "0", "LC_ALL": "C.UTF-8"}
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # of a hook that called us
        variables.pop(name, None)
    variables.setdefault("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
    expanded = expand(url, environment)
    login = None if expanded.startswith(("ssh://", "git://")) else find_login(expanded, environment)
    if login is not None:
        count = int(variables.get("GIT_CONFIG_COUNT") or 0)
        host = re.match(r"\w+://[^/]+/?", without_user(expanded))
        scope = host[0] if host else ""
        variables |= {
            "GIT_CONFIG_COUNT": str(count + 1),
            f"GIT_CONFIG_KEY_{count}": f"http.{scope}.extraHeader",
            f"GIT_CONFIG_VALUE_{count}": f"Authorization: {login.header}",
        }
    try:
        done = subprocess.run(
            ["git", *words],
            env=variables,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_PATIENCE,
            check=False,
        )
    except FileNotFoundError as error:
        raise SourceError("there is no `git` on this machine", where=where, hint="install git") from error
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"git took more than {_PATIENCE} s", where=where) from error
    if done.returncode:
        raise _explain(done.stderr.decode("utf-8", "replace"), _public(url, environment), where)
    return done.stdout.decode("utf-8", "replace")


def _explain(said: str, address: str, where: str) -> SourceError:
    said = re.sub(r"(\w+://)[^/\s@]*@", r"\1", said)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told = [line.removeprefix("fatal: ") for line in lines if line.startswith(("fatal:", "error:"))] or lines[-1:]
    reason = told[0] if told else "no reason given"
    hint = "check the address and the network"
    if re.search(
        r"could not read Username|Authentication failed|403|Permission denied|terminal prompts disabled", said
    ):
        hint = "give a token as ${NAME} in the URL, a login in ~/.netrc, or an SSH key for git+ssh://"
    elif re.search(r"not our ref|couldn't find remote ref|unadvertised|did not match|not a tree", said):
        hint = "the commit has vanished from the repository: lock again"
    return SourceError(f"git cannot read {address}: {reason}", where=where, hint=hint)
