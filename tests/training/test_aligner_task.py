"""The aligner's trainer: what a line is learned from, what is left out, and what a model says of itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_shards import sung_sample, toy_samples, write_set

from autosing.aligner.shipped import load_aligner
from autosing.signal.alphabet import CLASSES, alphabet
from autosing.signal.errors import CheckpointError, DataError, MissingColumn, UsageError
from autosing.training.manifest import Manifest
from autosing.training.recipes import aligner, aligner_synthetic
from autosing.training.run import train
from autosing.training.sample import Sample
from autosing.training.shards import ShardSet
from autosing.training.step import tensors

TINY = ["conv_dim=16", "recurrent_dim=32", "seconds_per_batch=2", "warmup_steps=2"]


@pytest.fixture
def sung_set(tmp_path: Path) -> Path:
    samples = [sung_sample(number, 0.5) for number in range(8)]
    return write_set(tmp_path / "set", {"train": [samples[:6]], "valid": [samples[6:]]})


def sung_of(data: Path, entropy: int = 0) -> Sample:
    return ShardSet.open(data, "train").read(0, ["lyric_mel"], (entropy, 0, 0))


def test_a_run_leaves_an_aligner_that_loads_and_goes_on_elsewhere(sung_set: Path, tmp_path: Path) -> None:
    one = train("aligner", sung_set, tmp_path / "one", [*TINY, "steps=3"])
    assert one.model is not None
    loaded = load_aligner(str(one.model))
    assert loaded.alphabet.kind == "classes" and loaded.model.fields.members == 2
    two = train("aligner", sung_set, tmp_path / "two", [*TINY, "steps=1", "lr=1e-9", f"begin_from={one.model}"])
    assert two.model is not None
    begun = load_aligner(str(two.model)).model.state_dict()
    for name, tensor in loaded.model.state_dict().items():
        assert np.allclose(tensor.numpy(), begun[name].numpy(), atol=1e-5), name


def test_a_run_begins_with_the_shipped_aligner_whatever_came_before_the_bands(sung_set: Path) -> None:
    manifest = Manifest.read(sung_set)
    wide = replace(manifest.columns["lyric_mel"], dim=160)
    task = aligner(begin_from="shipped").task(replace(manifest, columns={"lyric_mel": wide}))
    model = task.build()
    task.adopt(model, task.base(), ())
    shipped = load_aligner("shipped").model.state_dict()
    assert all(torch.equal(tensor, shipped[name]) for name, tensor in model.state_dict().items())


def test_a_model_of_another_alphabet_is_not_begun_from(sung_set: Path, tmp_path: Path) -> None:
    one = train("aligner", sung_set, tmp_path / "one", [*TINY, "steps=1"])
    with pytest.raises(CheckpointError, match=r"alphabet = 'classes', but it is 'letters' here"):
        train("aligner", sung_set, tmp_path / "two", [*TINY, "alphabet=letters", f"begin_from={one.model}"])


def test_text_and_true_phones_give_the_same_labels(sung_set: Path) -> None:
    manifest, sample = Manifest.read(sung_set), sung_of(sung_set)
    by_text = aligner().task(manifest).collate([sample], training=False).arrays
    by_phones = aligner_synthetic().task(manifest).collate([sample], training=False).arrays
    assert by_text["labels"].tolist() == by_phones["labels"].tolist()
    assert by_text["labels"][0, :-1].tolist() == list(alphabet("classes").labels(str(sample.info["text"])))
    assert set(by_phones["timing"][0].tolist()) == {0, *by_text["labels"][0].tolist()}
    assert by_text["bands"].shape == (1, 25, 2, 40)


def test_words_are_spelled_in_the_language_of_the_sample(sung_set: Path) -> None:
    plain, task = sung_of(sung_set), aligner().task(Manifest.read(sung_set))
    for language in (None, "en", "fr"):
        told = replace(plain, info={**plain.info, "text": "grande", "values": {"language": language}})
        labels = task.collate([told], training=False).arrays["labels"][0, :-1].tolist()
        assert labels == list(alphabet("classes").in_language(language).labels("grande"))


def test_trimming_moves_the_phones_with_the_frames(sung_set: Path) -> None:
    task = aligner_synthetic(trim_s=0.2, strength=0.0).task(Manifest.read(sung_set))
    whole = task.collate([sung_of(sung_set)], training=False).arrays
    shorter = False
    for number in range(8):
        trimmed = task.collate([sung_of(sung_set, entropy=number)], training=True).arrays
        n = int(trimmed["frames"][0])
        bands, all_bands = trimmed["bands"][0, :, 0], whole["bands"][0, :, 0]
        starts = [k for k in range(25 - n + 1) if np.allclose(bands, all_bands[k : k + n])]
        assert any(np.mean(trimmed["timing"][0] == whole["timing"][0, k : k + n]) > 0.5 for k in starts)
        shorter |= n < 25
    assert shorter


def test_a_line_that_does_not_fit_its_time_teaches_nothing(sung_set: Path) -> None:
    task = aligner().task(Manifest.read(sung_set))
    sample = sung_of(sung_set)
    crowded = Sample(sample.key, sample.series, {**sample.info, "text": "masala " * 20}, sample.entropy)
    digits = Sample(sample.key, sample.series, {**sample.info, "text": "42"}, sample.entropy)
    for other in (crowded, digits):
        batch = task.collate([sample, other], training=False)
        alone = task.collate([sample], training=False)
        model = task.build().eval()
        losses = [
            float(task.losses(model, {k: torch.from_numpy(v) for k, v in b.arrays.items()}, "model")["ctc"].detach())
            for b in (batch, alone)
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4) and batch.counts == alone.counts


def test_samples_without_words_choose_no_weights(sung_set: Path) -> None:
    task, sample = aligner().task(Manifest.read(sung_set)), sung_of(sung_set)
    silent = replace(sample, info={**sample.info, "text": None})
    batches = [tensors(task.collate([one], training=False), torch.device("cpu")) for one in (silent, sample)]
    model = task.build().eval().requires_grad_(False)
    assert task.validate(model, batches) == pytest.approx(task.validate(model, batches[1:]))
    with pytest.raises(DataError, match=r"no sample that is validated has a text .* hold out songs with lyrics"):
        task.validate(model, batches[:1])


def test_what_is_wrong_is_named(sung_set: Path, tmp_path: Path) -> None:
    plain = write_set(tmp_path / "plain", {"train": [toy_samples(2)]})
    with pytest.raises(MissingColumn, match=r"no column lyric_mel"):
        aligner().task(Manifest.read(plain))
    sample = sung_of(sung_set)
    bare = Sample(sample.key, sample.series, {**sample.info, "values": {}}, sample.entropy)
    with pytest.raises(DataError, match=r"has no phones"):
        aligner_synthetic().task(Manifest.read(sung_set)).collate([bare], training=False)
    for settings, message in (
        ({"recurrent_dim": 33}, "must be even"),
        ({"strength": 2.0}, "from 0 to 1"),
        ({"timing_weight": 1.0}, "needs timed_phones"),
        ({"timed_phones": True, "alphabet": "letters"}, "for the alphabet classes"),
        ({"members": 0}, "above 0"),
        ({"trim_s": -1.0}, "not be below 0"),
        ({"timing_weight_kept": -1.0}, "never below"),
        ({"crop_s": 5.0}, "crops have no text; set crop_s=0"),
    ):
        with pytest.raises(UsageError, match=message):
            aligner(**settings)


def test_the_shipped_aligner_is_whole_and_small() -> None:
    loaded = load_aligner("shipped")
    assert tuple(loaded.model.fields.symbols) == CLASSES
    assert 0.5e6 < sum(p.numel() for p in loaded.model.parameters()) < 1.5e6
