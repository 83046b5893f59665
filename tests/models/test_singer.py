"""Singer encoders: batches are their samples, padding has no weight, and vectors are of length 1."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from autosing.models.acoustic_input import pad_stack
from autosing.models.directory import load_model, save_model
from autosing.models.singer import (
    LEAST_VARIANCE,
    AttentiveStatistics,
    KnownSingers,
    SingerEncoder,
    SingerFields,
    embedding_of,
)
from autosing.signal.errors import RowError, UsageError

WIDTH = 12
FIELDS = SingerFields("mel", "375/4", WIDTH, 32, 4, 16, 0.1)
Frames = npt.NDArray[np.float32]


def frames(n_frames: int, seed: int = 0) -> Frames:
    return np.random.default_rng([seed, n_frames]).standard_normal((n_frames, WIDTH)).astype(np.float32) * 2 - 4


def encoder(fields: SingerFields = FIELDS) -> SingerEncoder:
    torch.manual_seed(0)
    model = SingerEncoder(fields)
    model.scale.measure(frames(500))
    return model.eval()


def batch(given: list[Frames]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(pad_stack(given)), torch.tensor([len(one) for one in given])


def test_a_batch_gives_what_its_samples_give_one_by_one() -> None:
    model, given = encoder(), [frames(90), frames(41), frames(7), frames(1)]
    with torch.inference_mode():
        together = model(*batch(given))
    assert together.shape == (4, 16)
    for row, one in zip(together, given, strict=True):
        np.testing.assert_allclose(row.numpy(), embedding_of(model, one), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(together.norm(dim=1).numpy(), np.ones(4), rtol=1e-5)
    assert (together @ together.T).fill_diagonal_(0).max() < 0.999, "different sounds are different voices"


def test_what_is_in_the_padding_changes_nothing() -> None:
    model = encoder()
    features, counts = batch([frames(90), frames(41)])
    other = features.clone()
    other[1, 41:] = 1e3
    with torch.inference_mode():
        torch.testing.assert_close(model(features, counts), model(other, counts))
        assert not torch.allclose(model(features, counts)[1], model(other, torch.tensor([90, 90]))[1], atol=1e-3)


def test_statistics_are_those_of_the_real_frames_alone() -> None:
    torch.manual_seed(0)
    pooling = AttentiveStatistics(WIDTH)
    for parameter in pooling.parameters():
        torch.nn.init.zeros_(parameter)
    given = [frames(30), frames(11)]
    padded, counts = batch(given)
    padded[1, 11:] = 50.0
    mask = (torch.arange(30) < counts[:, None]).float()[..., None]
    with torch.inference_mode():
        pooled = pooling(padded, mask).numpy()
    for row, one in zip(pooled, given, strict=True):
        expected = np.concatenate([one.mean(0), np.sqrt(one.var(0) + LEAST_VARIANCE)])
        np.testing.assert_allclose(row, expected, rtol=1e-4)


def test_frames_that_are_attended_to_count_more() -> None:
    torch.manual_seed(1)
    pooling, one = AttentiveStatistics(WIDTH), frames(30)
    last: Any = pooling.weigh[-1]
    torch.nn.init.normal_(last.weight, std=3.0)
    with torch.inference_mode():
        weighted = pooling(torch.from_numpy(one)[None], torch.ones(1, 30, 1)).numpy()[0]
    assert np.abs(weighted[:WIDTH] - one.mean(0)).max() > 0.3


def test_a_directory_gives_the_same_voices_again(tmp_path: Path) -> None:
    model = encoder()
    save_model(tmp_path / "model", model, {"columns": {"mel": "mel.mel"}})
    loaded: Any = load_model(tmp_path / "model").model
    assert isinstance(loaded, SingerEncoder) and loaded.fields == FIELDS
    np.testing.assert_array_equal(embedding_of(loaded, frames(50)), embedding_of(model, frames(50)))


def test_a_table_is_of_directions_and_may_be_left_out() -> None:
    known = KnownSingers(encoder(), 3)
    with torch.inference_mode():
        voices, cosine = known(*batch([frames(40), frames(20)]))
        assert cosine is not None and known.table is not None
        known.table.mul_(5.0)
        torch.testing.assert_close(known(*batch([frames(40), frames(20)]))[1], cosine)
    assert cosine.shape == (2, 3) and cosine.abs().max() <= 1 and voices.shape == (2, 16)
    assert KnownSingers(encoder(), 0)(*batch([frames(4)]))[1] is None


def test_frames_of_another_width_and_features_of_another_kind_are_refused() -> None:
    with pytest.raises(RowError, match=r"shape \(5, 3\) do not fit a model of width 12"):
        embedding_of(encoder(), frames(5)[:, :3])
    with pytest.raises(UsageError, match="features is 'units'; a singer is heard in mel or ssl"):
        SingerFields("units", "50", 1, 8, 1, 8, 0.0)  # type: ignore[arg-type]
