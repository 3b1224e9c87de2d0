"""The training loop, its callbacks and its loggers; the only package that imports Lightning."""

from microgpt.engine.fit.light_import_private import import_lightning

import_lightning()
