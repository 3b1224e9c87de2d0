"""Lightning's own callbacks that `callbacks.<name>=` chooses from, one file each; imported when one is built."""

from microgpt.registry import import_siblings

import_siblings(__name__, __path__)
