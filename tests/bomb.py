"""A pickle that shows whether anything opened it."""

import os
from pathlib import Path
from typing import Any


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self._marker}",)
