"""The models that sing, loaded, and whom they know."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autosing.signal.errors import CheckpointError
from autosing.signal.ssl_encoder import Device
from autosing.sounds.reading import reference_of
from autosing.synthesis.conversion.voices import EMBEDDING

if TYPE_CHECKING:
    from autosing.pipeline.contract_columns import ContractColumns
    from autosing.synthesis.sing import Performer
    from autosing.synthesis.singing.trio import Named

KINDS = {"language": "t2s", "codes_language": "sm2a"}


def load_performer(
    t2s: str,
    sm2a: str,
    codec: str,
    overrides: Sequence[str],
    device: Device,
    aligner: str,
    lexicon: str,
    compile: bool = False,
) -> "Performer":
    """Returns the models that sing, on their device.

    Args:
        t2s: what `train t2s` made.
        sm2a: what `train sm2a` made.
        codec: what `train codec` made, or EnCodec, DAC, Mimi or SNAC.
        overrides: `INSTANCE.FIELD=VALUE`: where the models are that hear a singer in a recording.
        device: of all of them.
        aligner: that hears lyrics in takes.
        lexicon: that the first model, or the aligner, spells by, if one does.
        compile: make graphs of the models' steps (see `models.graphs`).

    Raises:
        CheckpointError: a model is damaged, of another kind, or of other tokens or codes than the others.
        UsageError: the model of a stage is not given.
    """
    from autosing.models.codecs import load_codec
    from autosing.models.directory import load_model
    from autosing.models.generation import CodesGenerator, TokenGenerator
    from autosing.pipeline.model_digest import model_digest
    from autosing.signal.ssl_encoder import torch_device
    from autosing.synthesis.sing import Performer
    from autosing.synthesis.singing.engine import Engine
    from autosing.synthesis.singing.trio import Named, NamedCodec, Trio

    for path, kind in ((t2s, "language"), (sm2a, "codes_language")):
        _config(path, kind)
    where = torch_device(device, "sing")
    models = [Named(path, load_model(path)) for path in (t2s, sm2a)]
    trio = Trio(models[0], models[1], NamedCodec(codec, load_codec(codec, device=device), model_digest(codec)))
    for model in models:
        model.loaded.model.to(where)
    generators = TokenGenerator(trio.tokens_model, compile), CodesGenerator(trio.codes_model, compile)
    engine = Engine(*generators, where)
    features = _features(models[0], overrides, device), _features(models[1], overrides, device)
    return Performer(trio, engine, features, reference_of, aligner, lexicon)


def singers_of(t2s: str, sm2a: str) -> list[str] | None:
    """Returns whom models know by name; None where they know voices by recordings.

    Raises:
        CheckpointError: one is of another kind.
    """
    # The model that makes the sound decides, as in `cast.who_sings`.
    for config in (_config(sm2a, "codes_language"), _config(t2s, "language")):
        if EMBEDDING in config["fields"].get("vectors", {}):
            return None
        if names := list(config["contract"].get("singers", ())):
            return names
    return []


def _features(model: "Named", overrides: Sequence[str], device: Device) -> "ContractColumns | None":
    """Returns what hears a model's singers in recordings; None of one that knows them otherwise."""
    from autosing.pipeline.contract_columns import ContractColumns

    if EMBEDDING not in model.contract.get("columns", {}):
        return None
    return ContractColumns(f"the model {model.name}", model.contract, overrides, device)


def _config(path: str, kind: str) -> Mapping[str, Any]:
    from autosing.models.hub import model_folder
    from autosing.signal.checkpoint import Checkpoint

    config: Mapping[str, Any] = Checkpoint(str(model_folder(path))).config
    if config.get("class") != kind:
        raise CheckpointError(
            f"{path} is a {config.get('class')!r}; sing needs T2S, which `autosing train t2s` made, and then SM2A, "
            "which `autosing train sm2a` made"
        )
    return config
