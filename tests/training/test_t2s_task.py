"""The trainer of T2S: what a sample's text and conditions become, what is withheld, and what a run tells and leaves."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sung_letters import BETWEEN, letters_sample
from torch import Tensor
from toy_shards import ToySample, write_set

from autosing.models.directory import load_model
from autosing.models.generation import TokenGenerator
from autosing.models.language import TokenLanguage
from autosing.models.sampling import Sampling
from autosing.signal.errors import CheckpointError, DataError, MissingColumn, UsageError
from autosing.training.loader import Batch
from autosing.training.manifest import Manifest
from autosing.training.metrics import edit_distance
from autosing.training.recipes import t2s
from autosing.training.run import train
from autosing.training.sample import Sample
from autosing.training.shards import ShardSet
from autosing.training.tasks.language_losses import Others
from autosing.training.tasks.language_task import BACKING
from autosing.training.tasks.t2s import T2sTask
from autosing.training.tasks.t2s_losses import diagonality, nearness

GIVEN: Mapping[str, Any] = {"size": "tiny", "target": "units", "n_tokens": 12, "text_times": "even"}
TINY = ["size=tiny", "text_times=even", "target=units", "n_tokens=12", "seconds_per_batch=6", "warmup_steps=2"]


def coded_sample(number: int) -> ToySample:
    """Returns a sample with two levels of codes of a backing."""
    sample = letters_sample(number)
    rng = np.random.default_rng([6, number])
    codes = {
        f"codes_{level}": rng.integers(0, 10, round(sample.seconds * rate)).astype(np.uint16)
        for level, rate in ((1, 12.5), (2, 25))
    }
    return replace(sample, series={**sample.series, **codes})


@pytest.fixture(scope="module")
def letters_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = [coded_sample(number) for number in range(10)]
    return write_set(tmp_path_factory.mktemp("t2s") / "set", {"train": [samples[:6]], "valid": [samples[6:]]})


def samples_of(data: Path, columns: tuple[str, ...] = ("units", "codes_1", "codes_2")) -> list[Sample]:
    shards = ShardSet.open(data, "train")
    return [shards.read(n, list(columns)) for n in range(len(shards))]


def tensors(batch: Batch) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in batch.arrays.items()}


def text_of(batch: Batch, row: int) -> str:
    """Returns the text of a sample that is spelled with bytes."""
    tokens = batch.arrays["text"][row, 1 : batch.arrays["text_counts"][row]]
    return bytes((tokens - 1).astype(np.uint8)).decode()


@pytest.mark.parametrize("backing", [(), ("codes_1", "codes_2")])
def test_losses_and_counts_of_a_batch_are_the_sums_of_its_samples(letters_set: Path, backing: tuple[str, ...]) -> None:
    config = t2s(**GIVEN, guided_weight=1.0, backing=backing, n_backing_tokens=10, dropout=0.0)
    task, samples = config.task(Manifest.read(letters_set)), samples_of(letters_set)
    silent = {**samples[0].info, "words": [], "text": None}
    samples[0] = replace(samples[0], info=silent, series={n: s[:20] for n, s in samples[0].series.items()})
    torch.manual_seed(0)
    model = task.build().eval()
    torch.nn.init.normal_(model.language.readout.weight, std=0.1)

    def told(some: list[Sample]) -> tuple[dict[str, float], Batch]:
        batch = task.collate(some, training=False)
        with torch.no_grad():
            return {n: float(loss) for n, loss in task.losses(model, tensors(batch), "model").items()}, batch

    together, batch = told(samples)
    alone = [told([sample]) for sample in samples]
    for name in ("cross_entropy", "guided_attention"):
        assert together[name] == pytest.approx(sum(losses[name] for losses, _ in alone), rel=1e-4), name
        assert batch.counts[name] == sum(one.counts[name] for _, one in alone)
    assert alone[0][1].counts == {"cross_entropy": 20, "guided_attention": 0}
    assert batch.tokens == batch.counts["cross_entropy"] == sum(len(sample.series["units"]) for sample in samples)


def test_the_second_half_of_a_song_has_its_own_words(letters_set: Path) -> None:
    """AutoSing cut songs in two and left both halves the words of the first."""
    task, samples = t2s(**GIVEN).task(Manifest.read(letters_set)), samples_of(letters_set)
    columns = Manifest.read(letters_set).columns
    for sample in samples:
        half = sample.cropped(0.5, columns)
        first_s, words = half.info["crop_s"], sample.info["words"]
        inside = [w["text"] for w in words if first_s <= (w["start_s"] + w["end_s"]) / 2 < first_s + 0.5]
        batch = task.collate([half], training=False)
        assert text_of(batch, 0).split() == inside
        assert len(half.series["units"]) == batch.counts["cross_entropy"] == 25
    assert len({len(text_of(task.collate([s.cropped(0.5, columns)], training=False), 0)) for s in samples}) > 1


def test_lines_stay_lines(letters_set: Path) -> None:
    task, samples = t2s(**GIVEN).task(Manifest.read(letters_set)), samples_of(letters_set)
    wordless = [replace(s, info={k: v for k, v in s.info.items() if k != "words"}) for s in samples]
    for given in (samples, wordless):
        batch = task.collate(given, training=False)
        assert [text_of(batch, n) for n in range(6)] == [sample.info["text"] for sample in samples]
        assert all(text_of(batch, n).count("\n") == 1 for n in range(6))


def test_text_may_have_the_times_of_its_words(letters_set: Path) -> None:
    task, samples = t2s(**{**GIVEN, "text_times": "words"}).task(Manifest.read(letters_set)), samples_of(letters_set)
    batch = task.collate(samples[:1], training=False)
    for word in samples[0].info["words"]:
        at = 1 + text_of(batch, 0).index(word["text"])
        times_s = batch.arrays["text_s"][0, at : at + len(word["text"])]
        assert word["start_s"] < times_s.min() and times_s.max() < word["end_s"]


def test_levels_of_the_backing_lie_at_their_times_in_rows_of_their_own(letters_set: Path) -> None:
    """AutoSing laid backing of 20.83 Hz beside tokens of 25 Hz by their numbers."""
    config = t2s(**GIVEN, backing=("codes_1", "codes_2"), n_backing_tokens=10)
    task, samples = config.task(Manifest.read(letters_set)), samples_of(letters_set)
    assert task.fields.sources[BACKING] == 21
    arrays = task.collate(samples[:1], training=False).arrays
    coarse, fine = samples[0].series["codes_1"], samples[0].series["codes_2"]
    assert arrays["backing"][0].tolist() == [0, *(1 + coarse), *(11 + fine)]
    assert arrays["backing_s"][0, 1:3].tolist() == pytest.approx([0.04, 0.12])
    assert arrays["backing_s"][0, 1 + len(coarse)] == pytest.approx(0.02)


def test_conditions_are_withheld_in_training_alone_and_as_often_as_set(letters_set: Path) -> None:
    """AutoSing's SM2A withheld nothing unless asked to, and guided all the same."""
    shares = {"condition_dropout": 0.3, "singer_dropout": 0.5, "backing_dropout": 0.2}
    config = t2s(**GIVEN, **shares, backing=("codes_1",), n_backing_tokens=10)
    task, (sample, *_) = config.task(Manifest.read(letters_set)), samples_of(letters_set)
    many = [replace(sample, key=str(n)) for n in range(400)]
    arrays = task.collate(many, training=True).arrays
    assert arrays["withheld"].mean() == pytest.approx(0.3, abs=0.08)
    assert (arrays["singer"] == 0).mean() == pytest.approx(0.5, abs=0.08)
    assert (arrays["backing_counts"] == 1).mean() == pytest.approx(0.2, abs=0.08)
    assert abs(np.corrcoef(arrays["withheld"], arrays["singer"] == 0)[0, 1]) < 0.2
    plain = task.collate(many, training=False).arrays
    assert not plain["withheld"].any() and plain["singer"].all() and (plain["backing_counts"] > 1).all()
    counts = task.collate(many, training=True).counts
    assert counts["guided_attention"] == (~arrays["withheld"]).sum() * len(sample.series["units"])


def test_columns_are_forgotten_in_training_alone_and_as_often_as_set(letters_set: Path) -> None:
    task = t2s(**GIVEN, history_dropout=0.3).task(Manifest.read(letters_set))
    many = [replace(samples_of(letters_set)[0], key=str(n)) for n in range(40)]
    batch, plain = (task.collate(many, training=training) for training in (True, False))
    forgotten = batch.arrays["forgotten"]
    assert forgotten.mean() == pytest.approx(0.3, abs=0.04) and len(np.unique(forgotten, axis=0)) == 40
    # What is forgotten is a target all the same.
    assert "forgotten" not in plain.arrays and batch.counts["cross_entropy"] == plain.counts["cross_entropy"]


def test_settings_reach_the_model(letters_set: Path) -> None:
    """AutoSing's constructor passed on tunables of its own making, so those that were set did nothing."""
    settings = {"mlp": "gelu", "dropout": 0.25, "singer": "none", "use_pace": False, "letters": "classes"}
    model = t2s(**GIVEN, **settings).task(Manifest.read(letters_set)).build().language
    assert (model.fields.mlp, model.fields.dropout, dict(model.fields.conditions)) == ("gelu", 0.25, {})
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.25}
    assert model.encoders["text"].tokens.num_embeddings == 16  # type: ignore[union-attr]


def test_the_diagonal_of_guided_attention_is_that_of_dc_tts(letters_set: Path) -> None:
    task, samples = t2s(**GIVEN).task(Manifest.read(letters_set)), samples_of(letters_set)
    batch = tensors(task.collate(samples[:1], training=False))
    n, n_text = int(batch["token_counts"]), int(batch["text_counts"]) - 1
    near_NL = nearness(batch, 50.0, 0.2)[0, :, 1:]
    places = (np.arange(n)[:, None] + 0.5) / n - (np.arange(n_text) + 0.5) / n_text
    np.testing.assert_allclose(near_NL, np.exp(-(places**2) / (2 * 0.2**2)), rtol=1e-4)


def attention_to(batch: Mapping[str, Tensor], owners: list[np.ndarray[Any, Any]]) -> Tensor:
    """Returns attention of one head to one token of the text each, (B, 1, N, L)."""
    found = torch.zeros(*batch["tokens"].shape, batch["text"].shape[1])
    for row, owner in enumerate(owners):
        found[row, torch.arange(len(owner)), torch.from_numpy(owner)] = 1.0
    return found[:, None]


def test_diagonality_is_1_where_attention_goes_to_what_is_sung(letters_set: Path) -> None:
    task, samples = t2s(**GIVEN).task(Manifest.read(letters_set)), samples_of(letters_set)
    batch = tensors(task.collate(samples, training=False))
    counts = [(int(n), int(text) - 1) for n, text in zip(batch["token_counts"], batch["text_counts"], strict=True)]
    total = sum(n for n, _ in counts)
    straight = attention_to(batch, [1 + np.arange(n) * text // n for n, text in counts])
    back = attention_to(batch, [1 + (np.arange(n) * text // n)[::-1].copy() for n, text in counts])
    nothing = attention_to(batch, [np.zeros(n, np.int64) for n, _ in counts])
    shares = [float(diagonality(one, batch, 50.0, 0.2)) / total for one in (straight, back, nothing)]
    assert shares[0] > 0.98 and shares[1] < 0.5 and shares[2] == 0


def test_others_lyrics_are_those_of_the_neighbour_over_the_own_time(letters_set: Path) -> None:
    task, samples = t2s(**GIVEN).task(Manifest.read(letters_set)), samples_of(letters_set)
    batch = tensors(task.collate(samples, training=False))
    other = Others("text").of(batch)
    assert other is not None
    for row in range(1, 6):
        n = int(other["text_counts"][row])
        assert torch.equal(other["text"][row, :n], batch["text"][row - 1, :n])
        assert float(other["text_s"][row, n - 1]) == pytest.approx(float(batch["seconds"][row]) * (1 - 0.5 / (n - 1)))


def test_a_batch_of_one_has_the_lyrics_of_the_batch_before(letters_set: Path) -> None:
    task, samples = t2s(**GIVEN).task(Manifest.read(letters_set)), samples_of(letters_set)
    others = Others("text")
    found = [others.of(tensors(task.collate([sample], training=False))) for sample in samples]
    assert found[0] is None
    together = Others("text").of(tensors(task.collate(samples, training=False)))
    assert together is not None
    for row, one in enumerate(found[1:], 1):
        assert one is not None
        n = int(one["text_counts"][0])
        assert n == int(together["text_counts"][row])
        assert torch.equal(one["text"][0, :n], together["text"][row, :n])
        torch.testing.assert_close(one["text_s"][0, :n], together["text_s"][row, :n])
    told = [
        train(
            "t2s",
            letters_set,
            letters_set.parent / f"by-{s}",
            [*TINY, "steps=2", "validate_every=2", f"seconds_per_batch={s}"],
        ).metrics
        for s in (2, 60)
    ]
    assert all(math.isfinite(metrics["valid/lyrics_gap"]) for metrics in told)


def test_a_run_leaves_a_model_that_sings_as_long_as_asked(letters_set: Path, tmp_path: Path) -> None:
    result = train("t2s", letters_set, tmp_path / "run", [*TINY, "steps=4", "validate_every=2", "guided_weight=1"])
    assert result.model is not None
    loaded = load_model(result.model)
    assert isinstance(loaded.model, TokenLanguage)
    assert loaded.contract["target"] == {"column": "units", "n_tokens": 12}
    assert loaded.contract["text"] == {"letters": "bytes", "symbols": [], "times": "even"}
    assert loaded.contract["singers"] == ["ada", "ben"] and loaded.contract["rates"] == {"units": "50"}
    names = {"cross_entropy", "token_accuracy", "perplexity", "bigram_perplexity", "lyrics_gap", "diagonality"}
    assert result.metrics.keys() == {f"valid/{name}" for name in names}
    assert all(math.isfinite(value) for value in result.metrics.values())
    task: T2sTask = t2s(**GIVEN).task(Manifest.read(letters_set))
    batch = tensors(task.collate(samples_of(letters_set)[:2], training=False))
    found = TokenGenerator(loaded.model).generate(batch, [30, 50], [1, 2])
    assert [len(tokens) for tokens in found] == [30, 50]


def test_a_trained_model_goes_on_with_other_singers(letters_set: Path, tmp_path: Path) -> None:
    first = train("t2s", letters_set, tmp_path / "first", [*TINY, "steps=2"])
    others = [replace(coded_sample(n), singer="cleo" if n % 2 else "ben") for n in range(8)]
    data = write_set(tmp_path / "others", {"train": [others[:6]], "valid": [others[6:]]})
    second = train("t2s", data, tmp_path / "second", [*TINY, "steps=1", "lr=1e-9", f"begin_from={first.model}"])
    assert first.model is not None and second.model is not None
    before, after = (load_model(model).model.singers.weight for model in (first.model, second.model))
    torch.testing.assert_close(after, torch.stack([before[0], before[2], before[0]]), atol=1e-4, rtol=1e-4)
    with pytest.raises(CheckpointError, match=r"text.letters = 'bytes', but it is 'letters' here"):
        train("t2s", data, tmp_path / "third", [*TINY, "letters=letters", f"begin_from={first.model}"])


def test_the_set_tells_how_many_tokens_there_are(letters_set: Path) -> None:
    manifest = Manifest.read(letters_set)
    columns = {**manifest.columns, "units": replace(manifest.columns["units"], n_tokens=77)}
    config = t2s(size="tiny", target="units")
    assert config.task(replace(manifest, columns=columns)).fields.n_tokens == 77
    with pytest.raises(UsageError, match=r"does not tell how many different units there are; set n_tokens, or build"):
        config.task(manifest)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"target": "semantic"}, MissingColumn, "has no column semantic"),
        ({"backing": ("codes_1",)}, UsageError, "how many different codes_1 there are; set n_backing_tokens"),
        ({"backing": ("units",)}, UsageError, "a column is named twice among units, units"),
        ({"condition_dropout": 1.5}, UsageError, "condition_dropout is 1.5; it must be from 0 to 1"),
        ({"guided_width": 0.0}, UsageError, "guided_width is 0.0; it must be above 0"),
        ({"letters": "lexicon"}, UsageError, "the lexicon '.*' does not exist"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    letters_set: Path, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        t2s(**{**GIVEN, **settings}).task(Manifest.read(letters_set))


def test_a_set_without_singers_is_refused_unless_none_is_wanted(tmp_path: Path) -> None:
    samples = [replace(letters_sample(n), singer=None) for n in range(2)]
    manifest = Manifest.read(write_set(tmp_path / "set", {"train": [samples]}))
    with pytest.raises(MissingColumn, match=r"names no singer; .* or set singer=none"):
        t2s(**GIVEN).task(manifest)
    assert t2s(**GIVEN, singer="none").task(manifest).fields.conditions.keys() == {"pace"}


def test_samples_that_do_not_fit_are_named(letters_set: Path) -> None:
    manifest, (sample, *_) = Manifest.read(letters_set), samples_of(letters_set)
    wordless = replace(sample, info={k: v for k, v in sample.info.items() if k != "words"})
    with pytest.raises(DataError, match=rf"{sample.key} has units 11, but n_tokens is 5; set it to how many there are"):
        t2s(**{**GIVEN, "n_tokens": 5}).task(manifest).collate([sample], training=True)
    with pytest.raises(DataError, match=r"has no time; build the set with `words: true`, or set text_times=even"):
        t2s(**{**GIVEN, "text_times": "lines"}).task(manifest).collate([wordless], training=True)
    with pytest.raises(DataError, match=r"is a crop, whose text is not known .* or set crop_s=0"):
        t2s(**GIVEN).task(manifest).collate([wordless.cropped(0.5, manifest.columns)], training=True)
    with pytest.raises(DataError, match=r"has no units; build the set again"):
        empty = replace(sample, series={"units": sample.series["units"][:0]})
        t2s(**GIVEN).task(manifest).collate([empty], training=True)


def test_a_validation_shows_attention_to_a_text_where_there_is_one(letters_set: Path) -> None:
    task, samples = t2s(**GIVEN).task(Manifest.read(letters_set)), samples_of(letters_set)
    silent = [replace(sample, info={**sample.info, "words": None, "text": None}) for sample in samples]
    model = task.build().eval()
    with torch.no_grad():
        look, none = (
            task.look(model, tensors(task.collate(given, training=False))) for given in ([silent[0], *samples], silent)
        )
    assert list(look.figures) == ["attention to the text"] and not none
    labels = [label.get_text() for label in look.figures["attention to the text"].axes[0].get_yticklabels()]
    assert "".join(labels).replace("↵", "\n") == samples[0].info["text"]


@pytest.mark.slow
def test_lyrics_that_were_never_heard_are_sung_in_their_order(tmp_path: Path) -> None:
    samples = [letters_sample(number) for number in range(240)]
    data = write_set(tmp_path / "set", {"train": [samples[:200]], "valid": [samples[200:]]})
    settings = [*TINY, "seconds_per_batch=20", "warmup_steps=20", "lr=3e-3", "steps=150", "validate_every=150"]
    result = train("t2s", data, tmp_path / "run", [*settings, "text_times=words"])
    told = {name.removeprefix("valid/"): value for name, value in result.metrics.items()}
    assert told["perplexity"] < 0.8 * told["bigram_perplexity"] and told["lyrics_gap"] > 1.3
    assert result.model is not None
    task: T2sTask = t2s(**{**GIVEN, "text_times": "words"}).task(Manifest.read(data))
    held_out = ShardSet.open(data, "valid")
    unheard = [held_out.read(number, ["units"]) for number in range(40)]
    model: Any = load_model(result.model).model
    batch, counts = tensors(task.collate(unheard, training=False)), [len(s.series["units"]) for s in unheard]
    sung = TokenGenerator(model).generate(batch, counts, range(40), Sampling(temperature=0, guidance=2.0))
    letters = [of_tokens(tokens) for tokens in sung]
    true = [of_tokens(sample.series["units"]) for sample in unheard]
    errors = [edit_distance(one, other) for one, other in zip(letters, true, strict=True)]
    assert sum(errors) < 0.15 * sum(map(len, true))


def of_tokens(tokens: np.ndarray[Any, Any]) -> list[int]:
    """Returns the letters that tokens sing, each as often as it is begun."""
    return [token for token, _ in itertools.groupby(tokens.tolist()) if token != BETWEEN]
