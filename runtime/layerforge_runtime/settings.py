"""What the command line and the environment say."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from layerforge_runtime import __version__
from layerforge_runtime.limits import Limits, Terms, read_limits
from layerforge_runtime.spawn import Job

GRACE_SECONDS = 8.0
"""How long running predictions may go on after SIGTERM. ``docker stop`` kills after ten seconds."""

RESTARTS = 5
"""How many crashes in a row are answered with a new worker."""

_SCHEMA_PATHS = (".cog/openapi_schema.json", "/.cog/openapi_schema.json")


class Settings(NamedTuple):
    """``job`` is what workers do, ``restarts`` how often in a row one is started anew after a crash, ``max_queue`` how
    many predictions may wait for a slot. Times are in seconds, 0 for no limit.
    """

    job: Job
    host: str = "0.0.0.0"
    port: int = 5000
    upload_url: str = ""
    await_explicit_shutdown: bool = False
    setup_timeout: float = 0
    max_concurrency: int = 0
    max_queue: int = 0
    restarts: int = RESTARTS
    grace: float = GRACE_SECONDS
    log_level: str = "info"
    log_format: str = "json"
    schema_path: str = ""
    cog_version: str = f"layerforge/{__version__}"
    user_agent: str = f"layerforge/{__version__}"
    webhook_token: str = ""
    deny_private: bool = False
    limits: Limits = Limits()

    @property
    def terms(self) -> Terms:
        """The terms on which files of inputs are fetched."""
        limits = self.limits
        return Terms(
            self.user_agent, limits.download, limits.download_seconds, limits.download_redirects, self.deny_private
        )


def read_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """The settings.

    Environment variables that make no sense are reported on stderr and ignored, as Cog does.

    Raises:
        SystemExit: ``--help`` or ``--version`` was given, an argument is wrong, or no model is named.
    """
    options = _parse(arguments) if arguments else {}
    mode = options.get("mode", "predict")
    trainer = environment.get("COG_TRAIN_TYPE_STUB", "")
    variable = "COG_TRAIN_TYPE_STUB" if mode == "train" else "COG_PREDICT_TYPE_STUB"
    reference = environment.get(variable, "")
    if not reference:
        sys.exit(
            f"error: {variable} is not set, so there is no model to serve\n"
            "hint: set it to the file and the name of the class, for example run.py:Runner"
        )
    level = environment.get("COG_LOG_LEVEL", "info").lower()
    return Settings(
        job=Job(mode, reference, trainer),
        host=options.get("host") or Settings._field_defaults["host"],
        port=_whole(environment, "PORT", 5000, least=0),
        upload_url=options.get("upload_url") or "",
        await_explicit_shutdown=options.get("await_explicit_shutdown") == "true",
        setup_timeout=_whole(environment, "COG_SETUP_TIMEOUT", 0, least=0),
        max_concurrency=_whole(environment, "COG_MAX_CONCURRENCY", 0, least=1),
        max_queue=_whole(environment, "COG_MAX_QUEUE", 0, least=0),
        restarts=_whole(environment, "COG_WORKER_RESTARTS", RESTARTS, least=0),
        grace=_whole(environment, "COG_SHUTDOWN_GRACE_SECONDS", int(GRACE_SECONDS), least=0),
        log_level={"warn": "warning"}.get(level, level),
        log_format=environment.get("LOG_FORMAT", "json"),
        schema_path=environment.get("COG_OPENAPI_SCHEMA") or next(filter(os.path.isfile, _SCHEMA_PATHS), ""),
        cog_version=environment.get("R8_COG_VERSION") or Settings._field_defaults["cog_version"],
        user_agent=environment.get("COG_USER_AGENT") or Settings._field_defaults["user_agent"],
        webhook_token=environment.get("WEBHOOK_AUTH_TOKEN", ""),
        deny_private=_truth(environment.get("COG_DENY_PRIVATE_URLS", "")),
        limits=read_limits(environment),
    )


def _truth(text: str) -> bool:
    return text.strip().lower() not in ("", "0", "false", "no", "off")


def _whole(environment: Mapping[str, str], name: str, default: int, *, least: int) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if text.isdecimal() and int(text) >= least:
        return int(text)
    print(f"warning: {name}={text!r} is not a whole number of at least {least}; using {default}", file=sys.stderr)
    return default


def _parse(arguments: Sequence[str]) -> dict[str, str]:
    import argparse  # takes a while to import, and containers are started without arguments

    parser = argparse.ArgumentParser("python -m cog.server.http", description="Serves a model's predictions over HTTP.")
    parser.add_argument("-v", "--version", action="version", version=f"layerforge-runtime {__version__}")
    parser.add_argument("--host", help="address to listen at (default: 0.0.0.0)")
    parser.add_argument("--upload-url", help="upload output files below this URL instead of returning data URLs")
    parser.add_argument(
        "--await-explicit-shutdown",
        nargs="?",
        const="true",
        default="false",
        type=lambda text: str(_truth(text)).lower(),
        help="ignore SIGTERM; stop at POST /shutdown or SIGINT",
    )
    parser.add_argument("--x-mode", dest="mode", choices=("predict", "train"), default="predict")
    parser.add_argument("--threads", help=argparse.SUPPRESS)  # older images give it; it never had a meaning here
    return vars(parser.parse_args(arguments))
