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
