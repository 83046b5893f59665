"""Directories of named arrays: `model.safetensors` beside `config.json`, written in one step and read without trust.

Nothing in them is ever unpickled. Importing this module loads no torch.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.models.folder import whole_folder
from autosing.signal.errors import CheckpointError

FORMAT = 1
WEIGHTS = "model.safetensors"
CONFIG = "config.json"
# How files begin that some toolkits call checkpoints: torch's zip archive and pickle's protocols 2 to 5.
PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")

WHAT_IS_ONE = f"a model directory holds {CONFIG} and {WEIGHTS}, as `autosing train` and `autosing fit` write them"
COPY_AGAIN = "copy the directory again from where it was written, or train the model again"

Array = npt.NDArray[Any]


def save_tensors(path: Path, tensors: Mapping[str, Array], config: Mapping[str, Any]) -> None:
    """Writes named arrays and their settings as a directory, replacing what was at `path`.

    The same arrays and settings give the same bytes everywhere.
    """
    from safetensors.numpy import save_file

    with whole_folder(path) as draft:
        save_file({name: np.asarray(array, order="C") for name, array in tensors.items()}, draft / WEIGHTS)
        head = {"format": FORMAT, "weights_sha256": _sha256(draft / WEIGHTS)}
        text = json.dumps({**config, **head}, indent=1, sort_keys=True, allow_nan=False)
        (draft / CONFIG).write_text(text + "\n")


def load_tensors(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Returns the arrays and the settings of a directory.

    Raises:
        CheckpointError: a file is missing, foreign (a pickle, another format), truncated or changed.
    """
    config = _read_config(path)
    weights = path / WEIGHTS
    tensors = read_safetensors(weights)
    if _sha256(weights) != config.pop("weights_sha256", None):
        raise CheckpointError(f"{weights} is not the file that {CONFIG} was written with; {COPY_AGAIN}")
    del config["format"]
    return tensors, config


def directory_digest(path: Path) -> str:
    """Returns the sha256 of the directory's two files in hex: who has the same digest has the same model."""
    for name in (CONFIG, WEIGHTS):
        if not (path / name).is_file():
            raise CheckpointError(f"{path} is not a model directory: it has no {name}; {WHAT_IS_ONE}")
    return hashlib.sha256("".join(_sha256(path / name) for name in (CONFIG, WEIGHTS)).encode()).hexdigest()


def read_safetensors(file: Path, way_out: str = COPY_AGAIN) -> dict[str, Array]:
    """Returns the arrays of a safetensors file.

    Raises:
        CheckpointError: names the file, says what it is instead and gives the way out.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(file)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(f"{file} does not exist; {way_out}") from error
    except TypeError as error:
        raise CheckpointError(f"{file} has tensors of a type that is not known here ({error}); save float32") from error
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"{file} {_what_it_is(file)}; {way_out}") from error


def _what_it_is(file: Path) -> str:
    if not file.is_file():
        return "is no file"
    with open(file, "rb") as stream:
        start = stream.read(4)
    if start.startswith(PICKLES):
        return "is a pickle, which can run code when it is opened: it is refused"
    return "is truncated or no safetensors file"


def _read_config(path: Path) -> dict[str, Any]:
    file = path / CONFIG
    try:
        config = json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(f"{path} is not a model directory: it has no {CONFIG}; {WHAT_IS_ONE}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is not JSON ({error}); {COPY_AGAIN}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        found = config.get("format") if isinstance(config, dict) else None
        raise CheckpointError(f"{file} is of format {found!r}, and this version reads {FORMAT}; {WHAT_IS_ONE}")
    return config


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
