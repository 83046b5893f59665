"""What is known of a fitted artefact: the record beside it, and in what it differs from what it should be now."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autosing.pipeline.model_digest import FIT_RECORD
from autosing.pipeline.stage import FittedStage
from autosing.signal.errors import DataError


@dataclass(frozen=True)
class FitRecord:
    """What an artefact was fitted on: settings, definitions of its inputs, partitions and seconds."""

    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    partitions: int
    seconds: float


def read_fit(folder: Path) -> FitRecord | None:
    """Returns the record of an artefact, or None where there is none.

    Raises:
        DataError: it is damaged.
    """
    path = folder / FIT_RECORD
    if not path.is_file():
        return None
    try:
        return FitRecord(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged; restore it, or remove {folder} to have it fitted again") from error


def fit_changes(record: FitRecord, stage: FittedStage, inputs: Mapping[str, str | None]) -> str:
    """Returns in what a fit differs from what it would be now, "" for nothing.

    Args:
        record: of the fit.
        stage: with the settings of now.
        inputs: definition of each input instance now; None where it is not known yet.
    """
    settings = json.loads(json.dumps(stage.fit_settings()))
    changes = [f"{k}: {record.settings.get(k)} -> {v}" for k, v in settings.items() if v != record.settings.get(k)]
    changed = [k for k, v in inputs.items() if v is not None and v != record.inputs.get(k)]
    return "; ".join([*changes, *(f"definition of {k}" for k in changed)])


def fitted_on(stage: FittedStage, n_partitions: int) -> str:
    """Returns what `status` says of an artefact: on how many of the partitions it was fitted."""
    record = read_fit(Path(stage.artefact))
    if record is None:
        return "not fitted yet"
    if record.partitions > n_partitions:
        return f"fitted on {record.partitions} partitions, which are {n_partitions} now"
    return f"fitted on {record.partitions} of {n_partitions} partitions"
