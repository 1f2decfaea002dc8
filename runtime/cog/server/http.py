"""``python -m cog.server.http``: becomes the server, in an interpreter that sees none of the model's packages.

Only what the interpreter has already loaded is imported here: this runs with the model's folder first on ``sys.path``,
where a file named like a module of the standard library may lie.
"""

import os
import sys


def find_server() -> str:
    """The server's ``__main__.py``: in ``lib`` beside the SDK's folder in an image, beside ``cog`` in a checkout.

    Raises:
        SystemExit: it is in neither place.
    """
    sdk = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    for folder in (os.path.join(os.path.dirname(sdk), "lib"), sdk):
        program = os.path.join(folder, "layerforge_runtime", "__main__.py")
        if os.path.isfile(program):
            return program
    sys.exit(f"cog.server.http: the server is neither in {os.path.dirname(sdk)}/lib nor in {sdk}")


def main() -> None:
    """Replace this process by the server."""
    program = find_server()
    library = os.path.dirname(os.path.dirname(program))
    if not os.path.isdir(os.path.join(library, "granian")):
        # A checkout: the server's packages are in this interpreter's own site-packages.
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        os.environ["LAYERFORGE_LIBRARY"] = os.path.join(sys.prefix, "lib", version, "site-packages")
    sys.stdout.flush()
    sys.stderr.flush()
    # -I -S: no PYTHON* variables, no site-packages, no folder of the model's.
    os.execv(sys.executable, [sys.executable, "-I", "-S", program, *sys.argv[1:]])


if __name__ == "__main__":
    main()
