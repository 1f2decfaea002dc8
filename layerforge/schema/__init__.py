"""The OpenAPI document of a model, from its source alone. Pure: files come through a function, nothing is imported."""

from layerforge.schema.generate import Derived, derive_schema, generate_schema

__all__ = ["Derived", "derive_schema", "generate_schema"]
