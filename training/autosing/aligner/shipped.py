"""The aligner that comes with the package, and how any aligner is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autosing.signal.alphabet import Alphabet, alphabet
from autosing.signal.errors import CheckpointError

if TYPE_CHECKING:
    from autosing.models.aligner import Aligner

SHIPPED = "shipped"
FOLDER = Path(__file__).parent / "pretrained"


@dataclass(frozen=True)
class LoadedAligner:
    """An aligner in evaluation mode and the alphabet that it spells with."""

    model: "Aligner"
    alphabet: Alphabet
    contract: Mapping[str, Any]


def aligner_path(where: str) -> str:
    """Returns the folder or hub id that a name stands for: `shipped` is in the package."""
    return str(FOLDER) if where == SHIPPED else where


def load_aligner(where: str, expect: Mapping[str, Any] | None = None, lexicon: str = "") -> LoadedAligner:
    """Returns the aligner of a path, a hub id, or the shipped one.

    Args:
        where: `shipped`, a model directory, or a hub id.
        expect: what the caller relies on of its contract, definitions of columns aside.
        lexicon: the pronunciation dictionary that it was trained with, if it was.

    Raises:
        CheckpointError: it is no aligner, is damaged, or has another alphabet than expected.
    """
    from autosing.models.aligner import Aligner
    from autosing.models.directory import load_model

    relied = {name: value for name, value in (expect or {}).items() if name != "definitions"}
    loaded = load_model(aligner_path(where), relied)
    if not isinstance(loaded.model, Aligner):
        raise CheckpointError(f"{where} is no aligner but a {type(loaded.model).__name__}; give one of `train aligner`")
    letters = alphabet(loaded.contract["alphabet"], lexicon)
    if tuple(letters.symbols) != tuple(loaded.model.fields.symbols):
        raise CheckpointError(
            f"the aligner {where} spells with other symbols than {loaded.contract['alphabet']} has now; "
            "give the lexicon that it was trained with, or train it again"
        )
    return LoadedAligner(loaded.model, letters, loaded.contract)
