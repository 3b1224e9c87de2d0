"""The training loop, its callbacks and its loggers; the only package that imports Lightning."""
