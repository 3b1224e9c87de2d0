"""The training loop, its callbacks and its loggers; the only package that imports Lightning."""

from microgpt.engine.process.drawing import import_matplotlib

import_matplotlib()  # before Lightning does
