"""Comparing runs: reading their folders, statistics, tables, figures."""
