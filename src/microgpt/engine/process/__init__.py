"""This process among others: its rank, signals, logs, child processes."""
