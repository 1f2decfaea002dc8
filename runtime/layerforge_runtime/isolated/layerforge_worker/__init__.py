"""The process that runs a model's code. It needs the standard library and the SDK only.

The server starts it with ``python -c`` (see ``layerforge_runtime/spawn.py``): this package's folder is on ``sys.path``
only while the package is imported, and the model's folder only after that, so neither can shadow the other.
"""
