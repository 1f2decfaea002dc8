"""Maintainer scripts, read and not run: what the scripts of packages would do to a root where they are installed.

``configure`` takes the packages in dpkg's order and evaluates their scripts (``layerforge.shell``) against a ``World``,
the model of the root. Commands are emulated, one module for each family (``registry``).
"""
