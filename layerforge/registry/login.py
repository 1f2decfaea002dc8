"""Logging in and out, as ``docker login`` does: checked with the registry, then kept where Docker keeps it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

from layerforge.errors import LayerforgeError, RegistryError
from layerforge.progress import Reporter
from layerforge.reference import Reference
from layerforge.registry.credentials import HELPER_SECONDS, Credentials, config_path, find_helper, key_of
from layerforge.registry.retry import Retry
from layerforge.registry.session import Session


def check_login(registry: str, credentials: Credentials, reporter: Reporter) -> None:
    """Ask the registry whether it knows this user.

    Raises:
        RegistryError: it does not, or cannot be reached.
    """
    session = Session(Reference(registry, ""), None, Retry(reporter, threading.Event()), reporter, credentials)
    try:
        answer = session.ask("GET", "/v2/", "")
        if answer.status == 401:
            hint = "check user name and password; some registries want a token in place of the password"
            raise RegistryError("the registry does not know this user and password", where=registry, hint=hint)
        if answer.status != 200:
            raise session.refuse(answer, "")
    finally:
        session.close()


def keep_login(registry: str, credentials: Credentials) -> str:
    """Keep the credentials for ``registry``; where they are now, for people.

    Raises:
        LayerforgeError: the configuration or the helper refuses.
    """
    path, config = _read_config()
    key = key_of(registry)
    helper = find_helper(config, key)
    if helper:
        entry = {"ServerURL": key, "Username": credentials.username, "Secret": credentials.password}
        _call(helper, "store", json.dumps(entry).encode())
        _section(config, "auths").setdefault(key, {})
        _write_config(path, config)
        return f"docker-credential-{helper}"
    pair = f"{credentials.username}:{credentials.password}".encode()
    _section(config, "auths")[key] = {"auth": base64.b64encode(pair).decode()}
    _write_config(path, config)
    return str(path)


def forget_login(registry: str) -> bool:
    """Remove the credentials for ``registry``; whether there were any.

    Raises:
        LayerforgeError: the configuration or the helper refuses.
    """
    path, config = _read_config()
    key = key_of(registry)
    helper = find_helper(config, key)
    known = _section(config, "auths").pop(key, None) is not None
    if helper:
        _call(helper, "erase", key.encode())
    if known:
        _write_config(path, config)
    return known or bool(helper)


def _read_config() -> tuple[Path, dict[str, Any]]:
    path = Path(os.path.realpath(config_path()))
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        return path, {}
    except (OSError, ValueError) as error:
        hint = "mend or remove the file"
        raise LayerforgeError(f"Docker's configuration cannot be read: {error}", where=str(path), hint=hint) from error
    if not isinstance(config, dict):
        raise LayerforgeError("Docker's configuration is not a JSON object", where=str(path), hint="mend it")
    return path, config


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    section = config.setdefault(name, {})
    if not isinstance(section, dict):
        raise LayerforgeError(f"{name} of Docker's configuration is not a JSON object", where=str(config_path()))
    return section


def _write_config(path: Path, config: dict[str, Any]) -> None:
    """Replace the file; what else is in it stays. Only its owner can read it."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".config-")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(config, file, indent="\t")
                file.write("\n")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise LayerforgeError(f"cannot be written: {error.strerror}", where=str(path)) from error


def _call(helper: str, verb: str, data: bytes) -> None:
    program = f"docker-credential-{helper}"
    hint = f"install it, or change {config_path()}"
    try:
        result = subprocess.run([program, verb], input=data, capture_output=True, timeout=HELPER_SECONDS, check=False)
    except FileNotFoundError as error:
        raise LayerforgeError("the credential helper is not installed", where=program, hint=hint) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LayerforgeError(f"the credential helper failed: {error}", where=program, hint=hint) from error
    if result.returncode:
        said = (result.stdout.strip() or result.stderr.strip()).decode("utf-8", "replace")[:200]
        if verb == "erase" and "not found" in said:
            return
        raise LayerforgeError(f"the credential helper failed: {said or result.returncode}", where=program, hint=hint)
