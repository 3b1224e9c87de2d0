"""Estimate a run's parameters, FLOPs, memory and time before it starts."""
