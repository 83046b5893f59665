"""Praat's TextGrids, read by Praat itself."""

import warnings
from pathlib import Path

from autosing.pipeline.ingest.annotation import Timed
from autosing.pipeline.ingest.files import LARGEST_LYRICS_BYTES
from autosing.signal.errors import RowError

_MAGIC = (b"ooTextFile", "ooTextFile".encode("utf-16-le"), "ooTextFile".encode("utf-16-be"))


def read_textgrid(path: Path, where: str) -> dict[str, list[Timed]]:
    """Returns the interval tiers of a TextGrid by name; point tiers are left out.

    Raises:
        RowError: the file is missing, too large or no TextGrid.
    """
    import parselmouth

    _check(path, where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", parselmouth.PraatWarning)
            return _tiers(path, where)
    # The last: of labels that Praat took and Python does not.
    except (parselmouth.PraatError, parselmouth.PraatWarning, UnicodeDecodeError) as error:
        raise RowError(f"{where} can't be read as a TextGrid: {' '.join(str(error).split())}") from None


def _tiers(path: Path, where: str) -> dict[str, list[Timed]]:
    import parselmouth

    # The same function reads sounds and all else that Praat knows.
    grid = parselmouth.read(str(path))
    if type(grid).__name__ != "TextGrid":
        raise RowError(f"{where} holds other data of Praat, no TextGrid")
    ask = parselmouth.praat.call
    n_tiers = ask(grid, "Get number of tiers")
    tiers = [n for n in range(1, n_tiers + 1) if ask(grid, "Is interval tier", n)]
    return {ask(grid, "Get tier name", n): _intervals(grid, n) for n in tiers}


def _check(path: Path, where: str) -> None:
    if not path.is_file():
        raise RowError(f"{where} does not exist")
    if path.stat().st_size > LARGEST_LYRICS_BYTES:
        raise RowError(f"{where} has {path.stat().st_size} bytes; a TextGrid has at most {LARGEST_LYRICS_BYTES}")
    with path.open("rb") as file:
        start = file.read(80)
    if not any(magic in start for magic in _MAGIC):
        raise RowError(f"{where} is no TextGrid in text form (ooTextFile)")


def _intervals(grid: object, tier: int) -> list[Timed]:
    import parselmouth

    ask = parselmouth.praat.call
    return [
        Timed(
            ask(grid, "Get label of interval", tier, i).strip(),
            ask(grid, "Get start time of interval", tier, i),
            ask(grid, "Get end time of interval", tier, i),
        )
        for i in range(1, ask(grid, "Get number of intervals", tier) + 1)
    ]
