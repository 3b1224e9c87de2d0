"""Compose command-line overrides into a checked configuration; besides sweep/, the only package that imports Hydra."""
