"""Sweeps: their points, the launchers that start them, and searches."""
