"""The image's own Python on this machine: unpacked from where it comes from, for compiling bytecode."""

from layerforge.sources.interpreters.interpreter import Interpreter, PythonSource, host_architecture

__all__ = ["Interpreter", "PythonSource", "host_architecture"]
