"""Podman."""

from __future__ import annotations

from layerforge.engines.client import ClientEngine, find_programs, probe_client


class Podman(ClientEngine):
    """Podman, which needs no daemon."""

    name = "podman"

    def __init__(self) -> None:
        super().__init__("podman", "podman", pull_options=("--tls-verify=false",))

    def find_obstacle(self) -> str:
        """Why Podman cannot be used; empty when it can."""
        reasons = []
        for program in find_programs("podman"):
            reason = probe_client(program, "info", "--format", "{{.Host.Arch}}")
            if not reason:
                self.program = program
                return ""
            reasons.append(f"{program}: {reason}")
        return "; ".join(reasons) or "not installed"
