"""Images of registries as a base: fetched as far as needed, and what they hold."""
