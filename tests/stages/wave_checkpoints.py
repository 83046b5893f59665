"""Tiny random checkpoints of wave encoders with a head, saved in the real format."""

import json
from pathlib import Path
from typing import Any

import torch

SMALL: dict[str, Any] = {
    "conv_dim": (8,) * 7,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_conv_pos_embeddings": 1,
    "num_conv_pos_embedding_groups": 1,
}
TDNN: dict[str, Any] = {"tdnn_dim": (16, 16, 16, 16, 24), "xvector_output_dim": 12, "classifier_proj_size": 8}


def save_checkpoint(folder: Path, kind: str, task: str, normalises: bool = False, **config: Any) -> Path:
    """Saves a random model, the same each time, of a `kind` (`WavLM`) and a `task` (`ForXVector`)."""
    import transformers

    torch.manual_seed(0)
    settings = getattr(transformers, f"{kind}Config")(**{**SMALL, **TDNN, **config})
    getattr(transformers, f"{kind}{task}")(settings).save_pretrained(folder)
    preprocessor = {"do_normalize": normalises, "sampling_rate": 16_000}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def save_wave_content(path: Path, checkpoint: Path, seed: int = 0, **heads: Any) -> str:
    """Saves a content encoder on sound that begins as a checkpoint, as a model directory; returns its path."""
    from autosing.models.directory import save_model
    from autosing.models.wave_content import WaveContentEncoder, WaveContentFields, architecture
    from autosing.signal.checkpoint import Checkpoint

    told = Checkpoint(str(checkpoint))
    torch.manual_seed(seed)
    usual = {"n_units": 7, "soft_dim": 12, "temperature": 0.1, "pitch_bins": 40, "pitch_cents": 50.0, "dynamic_bins": 8}
    fields = WaveContentFields(architecture(str(checkpoint), told.config, 0, 0.0), False, **{**usual, **heads})
    model = WaveContentEncoder(fields)
    model.take(told.load())
    save_model(path, model.eval(), {})
    return str(path)
