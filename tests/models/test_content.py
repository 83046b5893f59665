"""Content encoders: pieces equal the whole, bins are measured, and what does not fit is refused."""

import numpy as np
import pytest
import torch

from autosing.models import content as content_module
from autosing.models.content import ContentEncoder, ContentFields, content_of
from autosing.signal.errors import RowError, UsageError

DIM, RNG = 12, np.random.default_rng(0)


def encoder(n_units: int = 7, pitch_bins: int = 40, dynamic_bins: int = 8, n_layers: int = 3) -> ContentEncoder:
    torch.manual_seed(0)
    return ContentEncoder(
        ContentFields("50", DIM, n_layers, n_units, 16, 0.1, pitch_bins, 50.0, dynamic_bins, 32, 4, 0.0)
    ).eval()


def test_pieces_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model, features = encoder(), RNG.standard_normal((200, DIM))
    whole = content_of(model, features)
    monkeypatch.setattr(content_module, "PIECE_FRAMES", 23)
    parts = content_of(model, features)
    for name in ("soft_units", "pitch_bin", "f0_hz", "dynamic_bin"):
        one, other = getattr(parts, name), getattr(whole, name)
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    assert whole.soft_units is not None and whole.soft_units.shape == (200, 16)
    assert whole.f0_hz is not None and whole.pitch_bin is not None
    np.testing.assert_array_equal(whole.f0_hz > 0, whole.pitch_bin > 0)


def test_units_are_told_by_direction_alone() -> None:
    model = encoder()
    assert model.table is not None
    scaled = model._units(3.7 * model.table[None])
    assert scaled[0].argmax(-1).tolist() == list(range(7))
    torch.testing.assert_close(scaled, model._units(model.table[None]))


def test_bins_are_measured() -> None:
    model, f0_hz = encoder(), np.concatenate([np.zeros(50), np.linspace(110, 220, 5000)])
    energy = 10 ** (np.linspace(-60, -10, 5000) / 20)
    model.measure(f0_hz, energy)
    assert float(model.lowest_hz) == pytest.approx(110, abs=0.5)
    places = model.dynamic_places(np.array([0.0, 10 ** (-60 / 20), 10 ** (-35 / 20), 1.0]))
    np.testing.assert_allclose(places, [0, 0, 3.5, 7], atol=0.02)
    model.measure(np.zeros(9), np.zeros(0))
    assert float(model.lowest_hz) == pytest.approx(110, abs=0.5), "without a pitch nothing is measured"


def test_what_is_not_heard_is_none() -> None:
    heard = content_of(encoder(n_units=0, dynamic_bins=0), RNG.standard_normal((9, DIM)))
    assert heard.soft_units is None and heard.dynamic_bin is None
    assert heard.pitch_bin is not None and heard.pitch_bin.shape == (9,)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(RowError, match=r"shape \(9, 5\) do not fit a model of width 12"):
        content_of(encoder(), np.zeros((9, 5)))
    with pytest.raises(UsageError, match="are not 5 layers side by side"):
        encoder(n_layers=5)
    with pytest.raises(UsageError, match="hears nothing"):
        encoder(0, 0, 0)
