"""A pickle that would run code: it makes the folder `harmed`."""

import os
from typing import Any


class Harm:
    """What makes the folder when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("harmed",)
