"""Which package meets which relation: names, versions, what is provided, and architectures.

Sources: Policy 7.5 (Provides), https://wiki.debian.org/Multiarch/HOWTO, and apt where these are silent
(``apt-pkg/deb/deblistparser.cc``). Packages of ``Architecture: all`` count as those of the image's own architecture.
"""

from __future__ import annotations

from layerforge.sources.debian.control import Package, Relation, is_within


def meets(package: Package, relation: Relation, asker: str, native: str) -> bool:
    """Whether ``package``, by its own name or by one that it provides, meets a relation of a package for ``asker``.

    ``asker`` and ``native`` are architectures; ``native`` is the image's.
    """
    if package.name == relation.name and is_within(package.version, relation.operator, relation.version):
        return _reaches(package, relation.qualifier, asker, native)
    return any(
        is_provided(provided, relation)
        and (
            provided.qualifier == (relation.qualifier or asker)
            if provided.qualifier
            else _reaches(package, relation.qualifier, asker, native)
        )
        for provided in package.provides
    )


def _reaches(package: Package, qualifier: str, asker: str, native: str) -> bool:
    """``name:any`` accepts only packages that say so (Multi-Arch: allowed)."""
    if qualifier == "any":
        return package.multi_arch == "allowed"
    own = _resolve(package.architecture, native)
    if qualifier:
        return own == _resolve(qualifier, native)
    return package.multi_arch == "foreign" or own == _resolve(asker, native)


def _resolve(architecture: str, native: str) -> str:
    return native if architecture in ("all", "native") else architecture


def offends(package: Package, relation: Relation, native: str) -> bool:
    """Whether a Conflicts or Breaks is about ``package``: on all architectures, unless it names one."""
    is_limited = relation.qualifier not in ("", "any")
    if is_limited and _resolve(package.architecture, native) != _resolve(relation.qualifier, native):
        return False
    if package.name == relation.name:
        return is_within(package.version, relation.operator, relation.version)
    return any(is_provided(provided, relation) for provided in package.provides)


def is_provided(provided: Relation, wanted: Relation) -> bool:
    """Whether an entry of Provides meets a relation to that name.

    Policy 7.5: a condition on the version is met by a versioned Provides only.
    """
    if provided.name != wanted.name:
        return False
    return not wanted.operator or (
        provided.operator == "=" and is_within(provided.version, wanted.operator, wanted.version)
    )
