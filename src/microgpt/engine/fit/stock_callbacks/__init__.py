"""Lightning's own callbacks that `callbacks.<name>=` offers, one file each; building one imports Lightning."""

from microgpt.registry import import_siblings

import_siblings(__name__, __path__)
