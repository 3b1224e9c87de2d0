"""Faster implementations of the model's arithmetic, and the choice among them for each machine."""
