"""The Docker Engine."""

from __future__ import annotations

import subprocess

from layerforge.engines.client import ClientEngine, find_programs, probe_client


class Docker(ClientEngine):
    """Docker, through the first client called ``docker`` that an engine answers."""

    name = "docker"

    def __init__(self) -> None:
        super().__init__("docker", "docker")

    def find_obstacle(self) -> str:
        """Why Docker cannot be used: no client, no permission, no daemon. Empty when it can."""
        reasons = []
        for program in find_programs("docker"):
            reason = (
                "it is Podman"
                if _is_podman(program)
                else probe_client(program, "version", "--format", "{{.Server.Version}}")
            )
            if not reason:
                self.program = program
                return ""
            reasons.append(f"{program}: {reason}")
        return "; ".join(reasons) or "not installed"


def _is_podman(program: str) -> bool:
    """Whether this is the ``podman-docker`` package's stand-in."""
    try:
        version = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=15, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return "podman" in version.stdout.lower()
