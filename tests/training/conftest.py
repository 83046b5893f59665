"""One thread, and small built sets."""

from pathlib import Path

import pytest
import torch
from toy_shards import toy_samples, write_set
from wave_checkpoints import save_checkpoint


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def toy_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 training samples in three shards and 4 validation samples."""
    samples = toy_samples(28)
    shards = [samples[0:9], samples[9:17], samples[17:24]]
    return write_set(tmp_path_factory.mktemp("toy"), {"train": shards, "valid": [samples[24:]]})


@pytest.fixture(scope="session")
def hubert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny random HuBERT whose positions reach over sixteen frames."""
    told = {"hidden_size": 64, "intermediate_size": 128, "conv_dim": (32,) * 7}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    return str(save_checkpoint(tmp_path_factory.mktemp("hubert") / "tiny", "Hubert", "Model", **told, **positions))
