"""Tiny models of several kinds as model directories."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def save_multires(path: Path, seed: int, contract: Mapping[str, Any] | None = None) -> str:
    """Writes a tiny adapter for MFCCs, whose codebooks lie in what it hears; returns its path."""
    import torch

    from autosing.models.directory import save_model
    from autosing.models.multires import MultiResolution, sized_multires
    from autosing.signal.mel import MelSpec

    torch.manual_seed(seed)
    told = {"rate": "50", "feature_dim": 39, "n_layers": 1, "resolutions_ms": (20, 40, 80)}
    fields = sized_multires("tiny", MelSpec(), **told, n_tokens=8, code_dim=4, use_f0=False)
    model = MultiResolution(fields).train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(2, 64, 39), torch.tensor([64, 64]))
    save_model(path, model.eval(), contract or {})
    return str(path)
