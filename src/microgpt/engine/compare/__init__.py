"""Runs beside one another: what their folders say, statistics, tables, figures."""
