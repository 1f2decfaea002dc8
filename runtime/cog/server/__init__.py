"""The HTTP server's command line; the server itself is the package layerforge_runtime."""
