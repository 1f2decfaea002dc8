"""The marker for values that are passed through as they are."""


class _OpaqueMarker:
    __slots__ = ()

    def __repr__(self) -> str:
        return "cog.Opaque"


Opaque = _OpaqueMarker()
"""In ``Annotated[T, Opaque]``: treat ``T`` as a JSON object, without looking into it."""
