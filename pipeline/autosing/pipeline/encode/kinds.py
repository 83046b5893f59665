"""Which models are encoders, and which stage with which settings applies each."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autosing.pipeline.artefact import read_fit
from autosing.pipeline.stages.ssl import WEIGHT_FREE
from autosing.signal.checkpoint import Checkpoint
from autosing.signal.errors import UsageError
from autosing.signal.ssl_encoder import WAVE_MODELS, WHISPER

CODECS = ("encodec", "dac", "mimi", "snac")
ENCODERS = (
    "content encoders (`autosing train soft_units`, `pitdyn`, `soft_hubert`), bottlenecks (`semantic`), adapters "
    f"(`multires`), codecs (`codec`, or {', '.join(CODECS)}), codebooks (`autosing fit` units or tokens), speech "
    f"encoders ({', '.join(WAVE_MODELS)}, {WHISPER}), and without weights {', '.join(WEIGHT_FREE)}"
)


@dataclass(frozen=True)
class Kind:
    """How a model is applied.

    Attributes:
        stage: the name of the stage.
        settings: of the stage, by which it is this model's.
        hears: the definition of the `ssl` features that it was trained or fitted on, "" where that is not known; None
            where it hears sound.
        contract: what the model's directory says of what it was trained for; empty for models of others.
    """

    stage: str
    settings: Mapping[str, Any]
    hears: str | None = None
    contract: Mapping[str, Any] | None = None


def kind_of(model: str) -> Kind:
    """Returns how a model is applied.

    Args:
        model: a model directory, a codebook, a hub id or path of a speech encoder or codec, or `mfcc` or `log_mel`.

    Raises:
        UsageError: there is no such model, or it is no encoder; the message lists which are.
    """
    if model in WEIGHT_FREE:
        return Kind("ssl", {"model": model})
    from autosing.models.codecs import codec_kind

    config = Checkpoint(model).config
    kind = codec_kind(config)
    if kind in (*WAVE_MODELS, WHISPER):
        return Kind("ssl", {"model": model})
    if kind in CODECS:
        return Kind("codes", {"model": model})
    found = _own(model, config) if "class" in config else _codebook(model, config)
    if found is None:
        what = f"a {kind!r} model" if kind else "a folder of something else"
        raise UsageError(f"{model} is {what}, no encoder; encoders are {ENCODERS}")
    return found


def _own(model: str, config: Mapping[str, Any]) -> Kind | None:
    """Returns how a model that was trained here is applied; None where it is no encoder."""
    contract = config.get("contract") or {}
    hears = contract.get("definitions", {}).get("ssl", "")
    match config["class"]:
        case "content" | "semantic":
            return Kind(config["class"], {"model": model}, hears, contract)
        case "wave_content":
            return Kind("content", {"model": model}, None, contract)
        case "codec":
            return Kind("codes", {"model": model}, None, contract)
        case "multires":
            settings = {"model": model, "resolutions_ms": config.get("fields", {}).get("resolutions_ms", [])}
            return Kind("tokens", settings, hears, contract)
    return None


def _codebook(model: str, config: Mapping[str, Any]) -> Kind | None:
    """Returns how a codebook that was fitted on a data set's features is applied; None where it is none."""
    settings = config.get("settings")
    if not isinstance(settings, dict) or not {"source", "k"} <= settings.keys():
        return None
    record = read_fit(Path(model))
    hears = record.inputs.get(settings["source"], "") if record else ""
    stage = "tokens" if "resolutions_ms" in settings else "units"
    return Kind(stage, {**settings, "model": "", "codebook": model}, hears)
