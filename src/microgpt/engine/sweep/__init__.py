"""Sweeps: their points, launchers and searches."""
