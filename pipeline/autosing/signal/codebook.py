"""Codebooks that others fitted: a table (K, D) in safetensors or NumPy's format."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import UsageError
from autosing.signal.kmeans import LARGEST_K

# What the tables are called by Soft-VC and scikit-learn, and here.
NAMES = ("codebook", "cluster_centers_", "centroids")


def load_codebook(path: str) -> npt.NDArray[np.float32]:
    """Returns the centroids (K, D) of a codebook; two of them may be equal, of which the first is used.

    Args:
        path: a folder with `*.safetensors` (as `autosing convert-checkpoint` makes of a torch checkpoint), such a file,
            or a `.npy` file.

    Raises:
        UsageError: there is no such table, several that might be it, or one that is not finite, empty or too large.
    """
    tables = {name: table for name, table in _tables(Path(path)) if table.ndim == 2}
    named = [name for name in NAMES if name in tables] or list(tables)
    if len(named) != 1:
        raise UsageError(
            f"{path} holds {len(named)} tables of two dimensions{_listed(named)}; a codebook is one, of shape (K, D), "
            f"called {NAMES[0]} where there are others"
        )
    table = tables[named[0]].astype(np.float32)
    if not 1 <= len(table) <= LARGEST_K or not table.shape[1]:
        raise UsageError(f"the codebook {path} has the shape {table.shape}; it must have 1 to {LARGEST_K} centroids")
    if not np.isfinite(table).all():
        raise UsageError(f"the codebook {path} is not finite; copy it again")
    return table


def _tables(path: Path) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    from safetensors import SafetensorError, safe_open

    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise UsageError(
            f"the codebook {path} can't be used: there is no such file, or no safetensors in the folder; make one of a "
            "torch checkpoint with: autosing convert-checkpoint FILE FOLDER"
        )
    for file in files:
        try:
            if file.suffix == ".npy":
                yield file.stem, np.load(file, allow_pickle=False)
                continue
            with safe_open(file, "numpy") as opened:
                for name in opened.keys():  # noqa: SIM118 - it is no mapping
                    yield name, opened.get_tensor(name)
        except (SafetensorError, ValueError, TypeError, OSError) as error:
            raise UsageError(f"the codebook {file} can't be read: {error}; give safetensors or .npy") from error


def _listed(names: list[str]) -> str:
    return f" ({', '.join(names)})" if names else ""
