"""The machine: its devices, precision, threads and memory."""
