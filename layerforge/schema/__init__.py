"""The OpenAPI document of a model, from its source alone. Pure: files come through a function, nothing is imported."""

from layerforge.schema.generate import Derived, derive_schema, generate_schema
from layerforge.schema.openapi import join_documents
from layerforge.schema.table import format_table

__all__ = ["Derived", "derive_schema", "format_table", "generate_schema", "join_documents"]
