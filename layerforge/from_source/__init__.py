"""Wheels from sources: archives, git repositories and folders, built in the image's own surroundings."""
