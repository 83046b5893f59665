"""Files and folders of sound to arrays: one .npz and one .json beside it for each file."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autosing.models.folder import write_whole
from autosing.pipeline.encode.songs import SongEncoder
from autosing.pipeline.ingest.files import path_text, read_bytes
from autosing.pipeline.ingest.folder import FolderSource
from autosing.pipeline.model_digest import model_digest
from autosing.pipeline.progress import Bar
from autosing.pipeline.song import Song
from autosing.pipeline.stages.ssl import WEIGHT_FREE
from autosing.signal.errors import RowError, UsageError

FORMAT = 1


@dataclass(frozen=True)
class Encoded:
    """What became of a file.

    Attributes:
        file: its name, in the folder it was found in.
        arrays: the .npz that was written, in OUT; None where there is none.
        seconds: its length.
        error: why there is none.
    """

    file: str
    arrays: str | None = None
    seconds: float = 0.0
    error: str | None = None


def sound_files(inputs: Sequence[str]) -> dict[str, Path]:
    """Returns the files that are named, and those in the folders that are named, by what they are called in OUT.

    Raises:
        UsageError: an input does not exist, a folder holds no sound, or two files would be called alike.
    """
    found: dict[str, Path] = {}
    for name, path in (pair for given in inputs for pair in _files(Path(given))):
        if name in found and found[name] != path:
            raise UsageError(
                f"{found[name]} and {path} would both be {name}.npz; encode them into two folders, or give the folder "
                "that both lie in"
            )
        found[name] = path
    return found


def encode_files(encoder: SongEncoder, files: dict[str, Path], out: Path, bar: Bar) -> list[Encoded]:
    """Writes what a model says of each file to `out`; a file that can't be encoded is told and the rest goes on.

    `NAME.npz` has an array for each column, to be read by `numpy.load` without pickle; `NAME.json` says what they are.
    """
    told = _described(encoder)
    done = []
    with bar:
        for name, path in files.items():
            done.append(_encoded(encoder, name, path, out, told))
            bar.advance()
    return done


def _files(given: Path) -> Iterator[tuple[str, Path]]:
    if not given.exists():
        raise UsageError(f"{given} does not exist; give sound files, or folders of them")
    if given.is_file():
        yield path_text(Path(given.name)), given
        return
    paths = FolderSource(given).paths()
    if not paths:
        raise UsageError(f"{given} holds no sound files; give the folder that they lie in, or the files themselves")
    for path in paths:
        yield path_text(path.relative_to(given)), path


def _encoded(encoder: SongEncoder, name: str, path: Path, out: Path, told: dict[str, Any]) -> Encoded:
    try:
        song = encoder.encode(name, read_bytes(path))
    except RowError as error:
        return Encoded(name, error=str(error))
    arrays = out / f"{name}.npz"
    arrays.parent.mkdir(parents=True, exist_ok=True)
    about = {"file": name, "n_samples": song.n_samples, "sample_rate_hz": song.sample_rate, **told}
    _write_arrays(arrays, encoder, song)
    write_whole(out / f"{name}.json", json.dumps(about, indent=1, sort_keys=True) + "\n")
    return Encoded(name, arrays.relative_to(out).as_posix(), song.duration_s)


def _described(encoder: SongEncoder) -> dict[str, Any]:
    """Returns what is the same for all files: the model, its stage and features, and what the arrays are."""
    chain = encoder.chain
    instance = chain.graph[chain.kind.stage]
    features = None
    if chain.source is not None:
        heard = chain.graph[chain.source].stage
        features = {"settings": heard.settings(), "models": dict(heard.models()), "as_trained": chain.is_as_trained}
    return {
        "format": FORMAT,
        "model": chain.model,
        "model_digest": None if chain.model in WEIGHT_FREE else model_digest(chain.model),
        "contract": chain.kind.contract,
        "stage": chain.kind.stage,
        "settings": instance.stage.settings(),
        "features": features,
        "columns": {column.name: column.describe() for column in encoder.columns},
    }


def _write_arrays(path: Path, encoder: SongEncoder, song: Song) -> None:
    draft = path.with_name(f".{path.name}.draft")
    with open(draft, "wb") as file:
        np.savez(file, **encoder.values(song))
    draft.replace(path)
