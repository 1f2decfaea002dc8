"""What programs and libraries of one layer demand of another, read from their ELF files and compared.

``elf.py`` reads a file, ``capture.py`` keeps what that takes of a file that streams by, ``survey.py`` looks at a layer,
``demands.py`` is the record that travels with an upper layer, ``foundation.py`` what lower layers provide, and
``verdict.py`` compares. Only ``capture.py`` and ``survey.py`` touch the disk, for what is too large for memory.
"""
