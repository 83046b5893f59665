"""`within` of the ssl stage: features where they are wanted, zeros elsewhere, and a mask that says which is which."""

from pathlib import Path

import numpy as np
import pytest

from autosing.pipeline.song import Song
from autosing.pipeline.stages.ssl import Ssl
from autosing.signal.decode import encode

HZ = 16_000
CUTS = [{"text": None, "start_s": 1.0, "end_s": 2.5}, {"text": None, "start_s": 70.0, "end_s": 71.0}]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import transformers as hf

    folder = tmp_path_factory.mktemp("hubert")
    sizes = {"conv_dim": (8,) * 7, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    more = {"intermediate_size": 32, "num_conv_pos_embeddings": 1, "num_conv_pos_embedding_groups": 1}
    hf.HubertModel(hf.HubertConfig(**sizes, **more)).save_pretrained(folder)
    return folder


def song() -> Song:
    wave = np.random.default_rng(0).normal(scale=0.1, size=80 * HZ).astype(np.float32)
    addresses = {"voice": "index.audio", "mix": "index.audio", "backing": "stems.backing"}
    return Song("a", {"index.audio": encode(wave[:, None], HZ, "WAV"), "cuts.cuts": CUTS}, addresses)


@pytest.mark.parametrize("weights", ["mfcc", "hubert"])
def test_only_what_lies_in_the_cuts_is_computed_and_the_mask_says_so(weights: str, checkpoint: Path) -> None:
    model = "mfcc" if weights == "mfcc" else str(checkpoint)
    everything, wanted = Ssl(model=model), Ssl(model=model, within="cuts")
    (whole,) = everything.process([song()], everything.setup())
    (part,) = wanted.process([song()], wanted.setup())
    assert isinstance(whole, dict) and isinstance(part, dict)
    expected = np.zeros(4000, bool)
    expected[50:125] = expected[3500:3550] = True
    np.testing.assert_array_equal(part["covered"], expected)
    np.testing.assert_array_equal(part["ssl"][expected], whole["ssl"][expected])
    assert not part["ssl"][~expected].any()


def test_the_mask_is_a_column_only_where_it_is_needed() -> None:
    assert [c.name for c in Ssl().columns()] == ["ssl"]
    assert [c.name for c in Ssl(within="cuts").columns()] == ["ssl", "covered"]
    assert Ssl(within="cuts").reads() == ("cuts.cuts",)
