"""The process: its rank, signals, logs and child processes."""
