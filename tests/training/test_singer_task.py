"""The trainer of singer encoders: what the losses are, what a batch holds, and what a run leaves."""

import math
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from runs import assert_same_run
from toy_shards import DIMS, toy_samples, voiced_sample, write_set

from autosing.models.directory import load_model
from autosing.models.singer import KnownSingers, SingerEncoder, embedding_of
from autosing.signal.errors import CheckpointError, DataError, MissingColumn, SchemaMismatch, UsageError
from autosing.signal.mel import MelSpec
from autosing.training.manifest import Manifest
from autosing.training.recipes import apply_settings, singer
from autosing.training.run import train
from autosing.training.sample import Sample
from autosing.training.shards import ShardSet
from autosing.training.step import tensors
from autosing.training.tasks.colour import LOWEST_LIMIT_HZ, NATS_PER_DB, Colour
from autosing.training.tasks.singer import NOBODY, SingerConfig, SingerTask, means_of_songs, trials
from autosing.training.tasks.singer_losses import margin_errors, prototype_errors

CPU = torch.device("cpu")
TINY = ["size=tiny", "sung_only=false", "seconds_per_batch=4", "piece_s=0.3", "warmup_steps=2", "margin_steps=4"]
OFTEN = ["log_every=2", "validate_every=4", "save_every=4"]
SPEC = MelSpec()


def tiny(**settings: Any) -> SingerConfig:
    """Returns settings for toys, which nobody has listened to."""
    return singer(size="tiny", **{"sung_only": False, **settings})


def samples_of(data: Path, column: str = "mel") -> list[Sample]:
    shards = ShardSet.open(data, "train")
    return [shards.read(n, [column]) for n in range(len(shards))]


def directions(*degrees: float) -> torch.Tensor:
    """Returns vectors (N, 2) of length 1."""
    angles = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def test_the_margin_is_taken_off_the_right_singers_cosine() -> None:
    cosine = torch.tensor([[0.9, 0.1, -0.3], [0.2, 0.5, 0.4], [0.8, 0.0, 0.0]])
    singers = torch.tensor([0, 2, -1])
    expected = 0.0
    for row, who in ((0, 0), (1, 2)):
        asked = [10 * (float(c) - 0.2 * (n == who)) for n, c in enumerate(cosine[row])]
        expected += math.log(sum(math.exp(one) for one in asked)) - asked[who]
    assert float(margin_errors(cosine, singers, torch.tensor(0.2), 10.0)) == pytest.approx(expected, rel=1e-5)
    assert float(margin_errors(cosine, torch.tensor([-1] * 3), torch.tensor(0.2), 10.0)) == 0


def test_a_prototype_is_of_the_singers_other_songs_and_never_of_the_asking_vector() -> None:
    # Two songs of the first singer, of which the first has two stretches; one song of the second with two.
    voices = directions(0, 10, 60, 180, 200)
    singers, songs = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 0, 1, 2, 2])
    own = {0: 60.0, 1: 60.0, 2: 5.0, 3: 200.0, 4: 180.0}
    first = torch.nn.functional.normalize(directions(0, 10, 60).mean(0), dim=0)
    other = {0: directions(190)[0], 1: first}
    expected = 0.0
    for n, degrees in own.items():
        right = 4 * float(voices[n] @ directions(degrees)[0])
        wrong = 4 * float(voices[n] @ other[int(singers[n])])
        expected += math.log(math.exp(right) + math.exp(wrong)) - right
    assert float(prototype_errors(voices, singers, songs, 4.0)) == pytest.approx(expected, rel=1e-5)


def test_who_is_unknown_or_alone_asks_for_nobody_and_leaves_no_gradient_that_is_no_number() -> None:
    voices = directions(0, 10, 90, 95, 30).requires_grad_()
    singers, songs = torch.tensor([0, 0, 1, 1, -1]), torch.tensor([0, 0, 1, 1, 2])
    with_nobody = prototype_errors(voices, singers, songs, 4.0)
    without = prototype_errors(voices[:4], singers[:4], songs[:4], 4.0)
    torch.testing.assert_close(with_nobody, without)
    with_nobody.backward()  # type: ignore[no-untyped-call]
    assert voices.grad is not None and voices.grad.isfinite().all() and (voices.grad[4] == 0).all()
    voices = voices.detach()
    assert float(prototype_errors(voices[:2], singers[:2], songs[:2], 4.0)) == pytest.approx(0, abs=1e-6)
    alone = torch.tensor([0, 1, 2])
    assert float(prototype_errors(voices[:3], alone, alone, 4.0)) == 0


def test_a_batch_holds_two_stretches_of_each_sample_by_its_own_randomness(toy_set: Path) -> None:
    task, samples = tiny(piece_s=0.3).task(Manifest.read(toy_set)), samples_of(toy_set)[:5]
    batch = task.collate(samples, training=True)
    mels = batch.arrays["features"]
    assert mels.shape == (10, 28, 100) and batch.counts == {"classification": 10, "prototypes": 10}
    assert batch.arrays["singers"].tolist() == np.repeat([task.rows[s.info["singer"]] for s in samples], 2).tolist()
    assert len(set(batch.arrays["songs"].tolist())) == 5
    assert not np.array_equal(mels[0], mels[1]), "two stretches are two"
    alone = task.collate(samples[3:4], training=True)
    np.testing.assert_array_equal(alone.arrays["features"], mels[6:8])
    assert alone.counts == {"classification": 2, "prototypes": 0}, "who is alone has nobody to be taken for"
    short = replace(samples[0], series={"mel": samples[0].series["mel"][:9]})
    mixed = task.collate([short, samples[1]], training=True)
    assert mixed.arrays["frames"].tolist() == [9, 9, 28, 28] and (mixed.arrays["features"][0, 9:] == 0).all()
    whole = task.collate(samples, training=False).arrays
    assert whole["frames"].tolist() == [len(s.series["mel"]) for s in samples]
    np.testing.assert_array_equal(whole["features"][2, : whole["frames"][2]], samples[2].series["mel"])


def test_errors_of_classification_are_the_sums_of_those_of_the_samples(toy_set: Path) -> None:
    task, samples = tiny(piece_s=0.3).task(Manifest.read(toy_set)), samples_of(toy_set)[:6]
    nobody = replace(samples[0], info={**samples[0].info, "singer": None})
    samples.append(nobody)
    torch.manual_seed(0)
    model = task.build().eval()
    task.initialise(model, samples)
    together, alone = told(task, model, samples), [told(task, model, [sample]) for sample in samples]
    assert together["classification"] == pytest.approx(sum(one["classification"] for one in alone), rel=1e-4)
    assert alone[-1] == {"classification": 0, "prototypes": 0}
    assert task.collate([nobody], training=True).counts == {"classification": 0, "prototypes": 0}
    assert together["prototypes"] > 0


def told(task: SingerTask, model: KnownSingers, samples: list[Sample]) -> Mapping[str, float]:
    with torch.no_grad():
        found = task.losses(model, tensors(task.collate(samples, training=True), CPU), "model")
    return {name: float(loss) for name, loss in found.items()}


@pytest.mark.parametrize("objective", ["classification", "prototypes", "both"])
def test_each_objective_has_its_losses_and_learns(toy_set: Path, tmp_path: Path, objective: str) -> None:
    settings = [*TINY, f"objective={objective}", "steps=30", "lr=4e-3", "validate_every=30", "save_every=30"]
    result = train("singer", toy_set, tmp_path / "run", settings)
    assert result.metrics["valid/eer"] <= 0.25
    task = apply_settings(singer(), settings).task(Manifest.read(toy_set))
    wanted = {"classification", "prototypes"} if objective == "both" else {objective}
    batch = task.collate(samples_of(toy_set)[:4], training=True)
    assert batch.counts.keys() == wanted == told(task, task.build(), samples_of(toy_set)[:4]).keys()
    assert (task.build().table is None) == (objective == "prototypes")


def test_stopping_and_resuming_changes_nothing(toy_set: Path, tmp_path: Path) -> None:
    settings = [*TINY, *OFTEN, "steps=8", "margin_steps=7", "ema_decay=0.9"]
    train("singer", toy_set, tmp_path / "straight", settings)

    def stop(now: int, line: Mapping[str, float]) -> None:
        if now == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    assert train("singer", toy_set, tmp_path / "run", settings, on_step=stop).step == 5
    assert train("singer", toy_set, tmp_path / "run", [], resume=True).step == 8
    assert_same_run(tmp_path / "straight", tmp_path / "run", 8)


def test_the_margin_grows_and_then_stays() -> None:
    config = singer(margin=0.3, margin_steps=10)
    assert [config.margin_at(step) for step in (0, 5, 10, 99)] == pytest.approx([0, 0.15, 0.3, 0.3])
    assert singer(margin=0.3, margin_steps=0).margin_at(0) == 0.3


def test_a_run_leaves_the_encoder_alone_and_what_the_stage_must_know(toy_set: Path, tmp_path: Path) -> None:
    one = train("singer", toy_set, tmp_path / "one", [*TINY, "steps=2"])
    loaded = load_model(one.model or "")
    assert isinstance(loaded.model, SingerEncoder) and loaded.model.fields.features == "mel"
    contract = loaded.contract
    assert contract["columns"] == {"mel": "mel.mel"} and contract["rates"] == {"mel": "375/4"}
    assert contract["instances"]["mel"]["spec"]["hop"] == 256 and contract["singers"] == ["ada", "ben"]
    assert embedding_of(loaded.model, samples_of(toy_set)[0].series["mel"]).shape == (96,)
    others = [replace(one, singer=f"{one.singer}'s child") for one in toy_samples(8)]
    elsewhere = write_set(tmp_path / "set", {"train": [others[:4]], "valid": [others[4:]]})
    two = train("singer", elsewhere, tmp_path / "two", [*TINY, "steps=1", "lr=1e-9", f"begin_from={one.model}"])
    now = load_model(two.model or "").model.state_dict()
    for name, tensor in loaded.model.state_dict().items():
        torch.testing.assert_close(tensor, now[name], rtol=1e-4, atol=1e-5, msg=name)
    with pytest.raises(CheckpointError, match=r"here; give the settings that the model was trained"):
        train("singer", toy_set, tmp_path / "three", [*TINY, "size=small", f"begin_from={one.model}"])


def test_features_of_a_speech_encoder_are_heard_as_well(tmp_path: Path) -> None:
    samples = [voiced_sample(number, 0.6) for number in range(8)]
    data = write_set(tmp_path / "set", {"train": [samples[:4]], "valid": [samples[4:]]})
    result = train("singer", data, tmp_path / "run", [*TINY, "source=ssl", "sung_only=true", "steps=2"])
    loaded = load_model(result.model or "")
    fields: Any = loaded.model.fields
    assert (fields.features, fields.rate, fields.feature_dim) == ("ssl", "50", DIMS["ssl"])
    assert loaded.contract["columns"] == {"ssl": "ssl.ssl"}


def test_frames_in_which_nobody_sings_are_left_out_in_training_as_in_the_stage(tmp_path: Path) -> None:
    toys = [voiced_sample(number, 2.0) for number in range(3)]
    # Sung from 0.5 to 1.5 s; too little of it; and all.
    for toy, (first, last) in zip(toys, ((25, 75), (0, 24), (0, 100)), strict=True):
        sung = toy.series["voice_activity"]
        sung[:] = 0
        sung[first:last] = 1
    data = write_set(tmp_path / "set", {"train": [toys]})
    shards = ShardSet.open(data, "train")
    task = singer(size="tiny").task(Manifest.read(data))
    samples = [shards.read(n, task.config.columns) for n in range(3)]
    arrays = task.collate(samples, training=False).arrays
    # Frames of 375/4 Hz have their centres at 0.5 to 1.5 s from the 47th to the 140th.
    assert arrays["frames"].tolist() == [94, 188, 188] and arrays["singers"].tolist() == [0, NOBODY, 0]
    np.testing.assert_array_equal(arrays["features"][0, :94], samples[0].series["mel"][47:141])
    assert task.collate(samples, training=True).counts["classification"] == 4
    with pytest.raises(MissingColumn, match="no column voice_activity"):
        plain = write_set(tmp_path / "plain", {"train": [toy_samples(4)]})
        singer().task(Manifest.read(plain))


def test_trials_are_of_different_songs_and_songs_have_a_mean() -> None:
    voices = directions(0, 20, 40, 90).numpy()
    singers, songs = np.array([0, 0, 0, 1]), np.array([5, 5, 6, 7])
    scores, same = trials(voices, singers, songs)
    cosines = np.cos(np.radians([40, 90, 20, 70, 50]))
    np.testing.assert_allclose(scores, cosines, rtol=1e-4, atol=1e-6)
    assert same.tolist() == [True, False, True, False, False]
    means, of = means_of_songs(voices, singers, songs)
    np.testing.assert_allclose(means[0], voices[:2].mean(0))
    assert of.tolist() == [0, 0, 1]


def test_a_validation_of_nothing_to_verify_says_what_is_lacking(toy_set: Path) -> None:
    task, samples = tiny().task(Manifest.read(toy_set)), samples_of(toy_set)
    model = task.build().eval()
    for kept, lacking in ((samples[:2], "two songs of one singer"), (samples[:4:2], "two singers")):
        batch = tensors(task.collate(kept, training=False), CPU)
        with torch.no_grad(), pytest.raises(DataError, match=rf"2 samples .* hold no {lacking}.*--valid-songs N"):
            task.validate(model, [batch])
    batch = tensors(task.collate(samples[:6], training=False), CPU)
    with torch.no_grad():
        found, look = task.validate(model, [batch]), task.look(model, batch)
    assert found.keys() == {"eer", "found"} and 0 <= found["eer"] <= 1
    (panel, _) = look.figures["alike"].axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["ada", "ben"]


def test_another_microphone_changes_level_tilt_and_bands_and_keeps_silence() -> None:
    mel = np.random.default_rng(0).uniform(-8, 0, (40, SPEC.n_mels)).astype(np.float16)
    mel[7] = math.log(SPEC.floor)
    rng = np.random.default_rng
    louder = Colour(6, 0, 0, 0).changed(mel, SPEC, rng(1)) - mel
    heard = np.arange(40) != 7
    assert np.ptp(louder[heard]) < 1e-2 and 0 < abs(louder[0, 0]) <= 6 * NATS_PER_DB
    tilted = (Colour(0, 6, 0, 0).changed(mel, SPEC, rng(2)) - mel)[0]
    steps = np.diff(tilted)
    assert np.ptp(steps) < 1e-2 and abs(tilted[-1] - tilted[0]) <= 6 * NATS_PER_DB and abs(tilted.sum()) < 1e-2
    equalised = (Colour(0, 0, 3, 0).changed(mel, SPEC, rng(3)) - mel)[0]
    assert np.ptp(equalised) > 0.05 and np.abs(equalised).max() <= 3 * NATS_PER_DB + 1e-2
    limited = Colour(0, 0, 0, 1).changed(mel, SPEC, rng(4))
    is_silent = limited[0] < math.log(SPEC.floor) + 1e-3
    assert is_silent.any() and not is_silent[:60].any() and (np.diff(is_silent.astype(int)) >= 0).all()
    for colour in (Colour(20, 20, 20, 1), Colour(0, 0, 0, 0)):
        changed = colour.changed(mel, SPEC, rng(5))
        np.testing.assert_allclose(changed[7], math.log(SPEC.floor), rtol=1e-5)
        assert changed.min() >= math.log(SPEC.floor) - 1e-5
    np.testing.assert_array_equal(Colour(0, 0, 0, 0).changed(mel, SPEC, rng(6))[heard], mel[heard])
    narrow = MelSpec(sample_rate=8000, fmax_hz=3000.0)
    np.testing.assert_array_equal(Colour(0, 0, 0, 1).changed(mel[heard], narrow, rng(7)), mel[heard])
    assert narrow.fmax_hz < LOWEST_LIMIT_HZ


def test_what_is_wrong_is_named(toy_set: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(toy_set)
    with pytest.raises(MissingColumn, match="no column ssl"):
        tiny(source="ssl").task(manifest)
    with pytest.raises(SchemaMismatch, match="units is of the stage units; set source to a series of `mel`"):
        tiny(source="units").task(manifest)
    lonely = write_set(tmp_path / "lonely", {"train": [[toy_samples(1)[0]]]})
    with pytest.raises(MissingColumn, match="names 1 singers, and to tell voices apart takes two"):
        tiny().task(Manifest.read(lonely))
    task, sample = tiny().task(manifest), samples_of(toy_set)[0]
    with pytest.raises(DataError, match=rf"sample {sample.key} has no mel"):
        task.collate([replace(sample, series={"mel": sample.series["mel"][:0]})], training=False)
    with pytest.raises(SchemaMismatch, match="sung by 'carl', who is not in the set's table"):
        task.collate([replace(sample, info={**sample.info, "singer": "carl"})], training=False)
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"margin": 1.0}, "margin is 1.0; it must be from 0 to below 1"),
        ({"scale": 0.0}, "scale is 0.0; it must be above 0"),
        ({"piece_s": 0.0}, "piece_s is 0.0"),
        ({"tilt_db": -1.0}, "tilt_db is -1.0"),
        ({"band_limit_share": 2.0}, "band_limit_share is 2.0; it must be from 0 to 1"),
        ({"pieces": 1}, "prototypes need two pieces of a sample; set pieces=2, or objective=classification"),
    )
    for settings, message in wrong:
        with pytest.raises(UsageError, match=message):
            singer(**settings)
    assert singer(pieces=1, objective="classification").losses == ("classification",)
