"""Started as a file by ``cog.server.http``, in an interpreter whose path is the standard library alone."""

import os
import sys


def _prepare() -> None:
    package = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, os.path.dirname(package))
    sys.path.append(os.path.join(package, "isolated"))  # for the form of the frames, which the worker has too
    if packages := os.environ.pop("LAYERFORGE_LIBRARY", ""):
        sys.path.append(packages)


if __name__ == "__main__":
    _prepare()
    from layerforge_runtime.settings import read_settings
    from layerforge_runtime.spawn import spawn_worker

    settings = read_settings(sys.argv[1:], os.environ)
    # The worker loads the model while this process still imports the HTTP server.
    worker = spawn_worker(settings.job)

    from layerforge_runtime.app import run

    sys.exit(run(settings, worker))
