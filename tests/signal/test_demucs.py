"""Demucs checkpoints in the hub's format, made tiny and random here: what loads, what separates, what is refused."""

import json
from collections.abc import Sequence
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from autosing.signal import demucs as demucs_module
from autosing.signal.demucs import DemucsVoice
from autosing.signal.errors import UsageError
from autosing.signal.voice_network import voice_of

needs_demucs = pytest.mark.skipif(find_spec("demucs") is None, reason="the extra `stems` is not installed")
pytestmark = pytest.mark.usefixtures("one_thread")

HZ = 8_000
SOURCES = ["drums", "bass", "other", "vocals"]
TRANSFORMER = {"channels": 8, "t_layers": 1, "bottom_channels": 16, "t_heads": 2, "nfft": 2048, "samplerate": HZ}


def write(path: Path, network: torch.nn.Module, kind: str, arguments: dict[str, Any], **more: str) -> None:
    """Writes a network as the authors' exporter does: weights of 16 bits, class and arguments as metadata."""
    told = {k: {"_type": "fraction", "numerator": v.numerator, "denominator": v.denominator}
            if isinstance(v, Fraction) else v for k, v in arguments.items()}  # fmt: skip
    metadata = {"klass": kind, "args": json.dumps([SOURCES]), "kwargs": json.dumps(told), **more}
    save_file({k: v.half().contiguous() for k, v in network.state_dict().items()}, path, metadata)


def make(folder: Path, seeds: Sequence[int] = (0,), weights: str = "") -> Path:
    """Returns a folder with a bag of tiny Hybrid Transformer Demucs."""
    from demucs.htdemucs import HTDemucs

    arguments = {**TRANSFORMER, "segment": Fraction(1, 2), "forgotten_option": 3}
    for seed in seeds:
        torch.manual_seed(seed)
        network = HTDemucs(SOURCES, **{k: v for k, v in arguments.items() if k != "forgotten_option"})
        write(folder / f"sig{seed}.safetensors", network, "demucs.htdemucs.HTDemucs", arguments)
    (folder / "tiny.yaml").write_text(f"models: [{', '.join(f'sig{s}' for s in seeds)}]\n{weights}")
    return folder


def mix(n_frames: int, channels: int = 2) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((n_frames, channels))).astype(np.float32)


def separated(model: DemucsVoice, samples: np.ndarray, sample_rate: int = HZ, block: int = 30_000) -> np.ndarray:
    blocks = (samples[start : start + block] for start in range(0, len(samples), block))
    return np.concatenate(list(voice_of(model, blocks, sample_rate)))


@needs_demucs
def test_a_bag_is_loaded_and_gives_what_the_package_gives_for_a_window(tmp_path: Path) -> None:
    from demucs.apply import BagOfModels, apply_model
    from demucs.hf import load_safetensors_model

    folder = make(tmp_path, (0, 1), "weights: [[1, 1, 1, 3], [1, 1, 1, 1]]\n")
    model = DemucsVoice(str(folder), "cpu")
    assert (model.sample_rate, model.window) == (HZ, HZ // 2)
    samples = mix(model.window)
    with pytest.warns(UserWarning, match="forgotten_option"):
        networks = [load_safetensors_model(folder / f"sig{s}.safetensors") for s in (0, 1)]
    bag = BagOfModels(networks, [[1, 1, 1, 3], [1, 1, 1, 1]])
    expected = apply_model(bag, torch.from_numpy(samples.T[None].copy()), shifts=0, split=False)[0, 3].T
    assert np.abs(model.separate(samples.T[None].copy())[0].T - expected.numpy()).max() < 1e-5
    assert expected.abs().max() > 1e-4


@needs_demucs
def test_blocks_do_not_show_and_windows_fade_into_each_other(tmp_path: Path) -> None:
    model = DemucsVoice(str(make(tmp_path)), "cpu")
    samples = mix(2 * HZ)
    whole = separated(model, samples, block=len(samples))
    assert whole.shape == samples.shape
    assert np.abs(separated(model, samples, block=7_001) - whole).max() < 1e-6


@needs_demucs
@pytest.mark.parametrize(("sample_rate", "channels"), [(8_000, 1), (48_000, 2), (16_000, 6)])
def test_other_rates_and_channels_come_back_as_they_went_in(sample_rate: int, channels: int, tmp_path: Path) -> None:
    model = DemucsVoice(str(make(tmp_path)), "cpu")
    samples = mix(sample_rate // 3, channels)
    found = separated(model, samples, sample_rate)
    assert abs(len(found) - len(samples)) <= 2 and found.shape[1] == channels
    assert np.isfinite(found).all()


@needs_demucs
def test_one_file_is_a_model_too_and_older_kinds_are_known(tmp_path: Path) -> None:
    from demucs.hdemucs import HDemucs

    arguments = {"channels": 8, "samplerate": HZ, "segment": 1}
    write(tmp_path / "one.safetensors", HDemucs(SOURCES, **arguments), "demucs.hdemucs.HDemucs", arguments)
    for where in (tmp_path, tmp_path / "one.safetensors"):
        assert separated(DemucsVoice(str(where), "cpu"), mix(HZ // 4)).shape == (HZ // 4, 2)


@needs_demucs
@pytest.mark.parametrize(
    ("kind", "more", "message"),
    [
        ("os.system", {}, "names 'os.system'; known are demucs"),
        ("demucs.separate.main", {}, "names 'demucs.separate.main'"),
        ("demucs.htdemucs.HTDemucs", {"structure": "{}"}, "a quantised model"),
        ("demucs.hdemucs.HDemucs", {}, "are not those of its metadata"),
        ("demucs.htdemucs.HTDemucs", {"kwargs": "{}"}, "are not those of its metadata"),
        ("demucs.htdemucs.HTDemucs", {"kwargs": "no JSON"}, "are not those of its metadata"),
    ],
)
def test_a_hostile_or_foreign_file_is_refused(kind: str, more: dict[str, str], message: str, tmp_path: Path) -> None:
    from demucs.htdemucs import HTDemucs

    arguments = {**TRANSFORMER, "segment": Fraction(1, 2)}
    write(tmp_path / "a.safetensors", HTDemucs(SOURCES, **arguments), kind, arguments, **more)
    with pytest.raises(UsageError, match=message):
        DemucsVoice(str(tmp_path), "cpu")


@needs_demucs
@pytest.mark.parametrize(
    "bag",
    [
        *("models: [../sig0]", "models: [/etc/passwd]", "models: []", "models: 3"),
        *("[", "a: b", "\xff", "models: [sig0]\nweights: []"),
    ],
)
def test_a_bag_that_lists_no_models_of_its_folder_is_refused(bag: str, tmp_path: Path) -> None:
    (make(tmp_path) / "tiny.yaml").write_bytes(bag.encode("latin1"))
    with pytest.raises(UsageError, match="does not list models"):
        DemucsVoice(str(tmp_path), "cpu")


@needs_demucs
def test_missing_and_damaged_weights_name_both_ways_out(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for where, message in (("empty", "0 yaml and 0 safetensors"), ("absent", "neither a folder nor")):
        with pytest.raises(UsageError, match=message):
            DemucsVoice(str(tmp_path / where), "cpu")
    (make(tmp_path) / "sig0.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UsageError, match=r"can't be read as safetensors .* weight-free way: `method: center`"):
        DemucsVoice(str(tmp_path), "cpu")


@needs_demucs
def test_models_without_a_voice_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demucs_module, "VOCALS", "violin")
    with pytest.raises(UsageError, match="with violin"):
        DemucsVoice(str(make(tmp_path)), "cpu")


def test_a_missing_package_names_both_ways_out() -> None:
    with pytest.raises(UsageError, match=r"pip install 'autosing\[stems\]', or take the weight-free way"):
        demucs_module._package("demucs_that_is_not_installed")
