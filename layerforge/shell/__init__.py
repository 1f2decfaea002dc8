"""The POSIX shell's language, read and evaluated without running anything: what Debian's maintainer scripts are in.

``parse`` turns text into the tree of ``syntax``; ``evaluate`` walks it, with a table of emulated commands instead of
programs and a model of the files instead of a disk. Pure. Source: POSIX.1-2017, volume 3, chapter 2.
"""
