"""``python -m layerforge``."""

from layerforge.cli import main

main()
