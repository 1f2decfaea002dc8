"""Who we are to a registry, as Docker remembers it: ``config.json`` and the helper programs it names.

Sources: docker/cli ``cli/config/credentials`` and the protocol of docker/docker-credential-helpers. ``oras`` has a
reader of its own, which passes over ``DOCKER_CONFIG``, identity tokens and Docker Hub's key.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from layerforge.progress import Reporter
from layerforge.reference import DOCKER_HUB

_HUB_KEY = "https://index.docker.io/v1/"
_IDENTITY = "<token>"  # the user name that helpers give for an identity token
HELPER_SECONDS = 60
"""How long a helper may take: it may ask somebody."""


class Credentials(msgspec.Struct, frozen=True):
    """A user name with its password, or an OAuth 2 refresh token, or a bearer token that is used as it is."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, …)"


def config_path() -> Path:
    """Docker's configuration file, from ``DOCKER_CONFIG`` or the home folder."""
    folder = os.environ.get("DOCKER_CONFIG")
    return (Path(folder) if folder else Path.home() / ".docker") / "config.json"


def find_credentials(registry: str, reporter: Reporter) -> Credentials | None:
    """The credentials for the host ``registry``, from its helper, the credentials store or the file itself."""
    path = config_path()
    try:
        document = json.loads(path.read_bytes())
        config: dict[str, Any] = document if isinstance(document, dict) else {}
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reporter.warn(f"{path} cannot be used: {error}", "log in again: docker login " + registry)
        return None
    key = key_of(registry)
    helper = find_helper(config, key)
    if helper:
        found = _ask_helper(helper, key, reporter)
        if found is not None:
            return found
    return _find_entry(_as_dict(config.get("auths")), key)


def key_of(registry: str) -> str:
    """What the host ``registry`` is called in Docker's configuration."""
    return _HUB_KEY if registry == DOCKER_HUB else registry


def find_helper(config: dict[str, Any], key: str) -> str:
    """The helper that keeps the credentials of ``key``, by its name after ``docker-credential-``, or nothing."""
    helper = _as_dict(config.get("credHelpers")).get(key) or config.get("credsStore")
    return helper if isinstance(helper, str) else ""


def _as_dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _find_entry(entries: dict[str, Any], key: str) -> Credentials | None:
    """The entry of this very name, else of one that differs in scheme or path only (``https://host/v1/``)."""
    names = [key, *(name for name in entries if _host(name) == _host(key))]
    for name in names:
        entry = _as_dict(entries.get(name))
        username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
        if entry.get("auth"):
            try:
                text = base64.b64decode(str(entry["auth"])).decode()
            except (binascii.Error, UnicodeDecodeError):
                text = ""
            username, _, password = text.partition(":")
            password = password.rstrip("\0")
        identity, token = str(entry.get("identitytoken") or ""), str(entry.get("registrytoken") or "")
        if username or identity or token:
            return Credentials(username, password, identity, token)
    return None


def _host(name: str) -> str:
    return urlsplit(name if "://" in name else f"//{name}").netloc


def _ask_helper(helper: str, key: str, reporter: Reporter) -> Credentials | None:
    program = f"docker-credential-{helper}"
    try:
        result = subprocess.run([program, "get"], input=key.encode(), capture_output=True, timeout=HELPER_SECONDS)
    except FileNotFoundError:
        reporter.warn(f"the credential helper {program} is not installed", f"{config_path()} names it")
        return None
    except (OSError, subprocess.TimeoutExpired) as error:
        reporter.warn(f"the credential helper {program} failed: {error}")
        return None
    if result.returncode:
        said = (result.stdout.strip() or result.stderr.strip()).decode("utf-8", "replace")[:200]
        if "not found" not in said:
            reporter.warn(f"the credential helper {program} failed: {said or f'status {result.returncode}'}")
        return None
    try:
        answer = json.loads(result.stdout)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        reporter.warn(f"the credential helper {program} gave no credentials that can be understood")
        return None
    return Credentials(identity_token=secret) if username == _IDENTITY else Credentials(username, secret)
