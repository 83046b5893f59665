"""Verification and retrieval by hand; the probe on the synthetic singers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from autosing.signal.mel import MelSpec, log_mel
from autosing.signal.singer import song
from autosing.signal.voice import voices
from autosing.training.metrics import SingerProbe, equal_error_rate, mel_statistics, retrieval_accuracy

RNG = np.random.default_rng(0)
Mel = npt.NDArray[np.float32]


def cuts(seeds: range) -> tuple[list[Mel], list[str]]:
    """Returns mels of a cut of 4 s of every song by each of three synthetic singers, and their names."""
    spec, mels, names = MelSpec(), [], []
    for voice in voices(3):
        for seed in seeds:
            # A song begins with two seconds of rest.
            wave = song(seed, voice, 6.0).wave[2 * spec.sample_rate :]
            mels.append(log_mel(wave, spec, len(wave) // spec.hop))
            names.append(voice.name)
    return mels, names


def eer(same: Sequence[float], different: Sequence[float]) -> float:
    truth = np.array([True] * len(same) + [False] * len(different))
    return equal_error_rate(np.array([*same, *different]), truth)


def test_error_rates_by_hand() -> None:
    assert eer([3, 4], [1, 2]) == 0
    assert eer([1, 2], [3, 4]) == 1
    assert eer([1, 3, 4, 5], [0, 0, 0, 2]) == pytest.approx(0.25)
    assert eer([7, 7], [7, 7, 7]) == pytest.approx(0.5)


def test_between_two_thresholds_the_rates_are_interpolated() -> None:
    # From rejecting 1/2 and accepting 0 to rejecting 0 and accepting 1/2, in one step.
    assert eer([2, 1], [1, 0]) == pytest.approx(0.25)


def test_two_normal_distributions_have_the_error_rate_of_their_overlap() -> None:
    # Two standard deviations apart, half-way: the tail beyond one, 0.1587.
    assert eer(list(RNG.normal(2, 1, 20_000)), list(RNG.normal(0, 1, 20_000))) == pytest.approx(0.1587, abs=0.005)


def test_trials_of_one_kind_or_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="3 of 3 trials are of the same singer"):
        equal_error_rate(np.arange(3.0), np.ones(3, bool))
    with pytest.raises(ValueError, match="0 of 0 trials"):
        equal_error_rate(np.zeros(0), np.zeros(0, bool))
    with pytest.raises(ValueError, match=r"shape \(3,\) do not fit truths of shape \(2,\)"):
        equal_error_rate(np.arange(3.0), np.ones(2, bool))


def test_the_nearest_other_embedding_is_found_by_direction() -> None:
    embeddings = np.array([[1, 0.1], [9, 0], [0, 1], [0.1, 5], [4, 3]])
    # The last is nearest to the first, and asks for b; a and b each find their own.
    assert retrieval_accuracy(embeddings, ["a", "a", "b", "b", "b"]) == pytest.approx(4 / 5)


def test_a_singer_with_one_embedding_is_not_asked_about_but_can_be_found() -> None:
    embeddings = np.array([[1.0, 0], [0.9, 0.1], [0, 1], [1, 0.01]])
    assert retrieval_accuracy(embeddings, ["a", "a", "b", "c"]) == 0.0


def test_retrieval_in_blocks_is_that_of_all_pairs() -> None:
    names = [str(i) for i in RNG.integers(0, 40, 1500)]
    embeddings = RNG.standard_normal((40, 8))[[int(n) for n in names]] + RNG.standard_normal((1500, 8))
    directions = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    similarity = directions @ directions.T - 9 * np.eye(1500)
    expected = np.mean([names[i] == name for i, name in zip(similarity.argmax(1), names, strict=True)])
    assert retrieval_accuracy(embeddings, names) == pytest.approx(expected)
    assert 0.1 < expected < 0.9


def test_retrieval_refuses_what_has_no_answer() -> None:
    with pytest.raises(ValueError, match="2 embeddings do not fit 3 singers"):
        retrieval_accuracy(np.ones((2, 4)), ["a", "a", "a"])
    with pytest.raises(ValueError, match="none of 2 singers has two embeddings"):
        retrieval_accuracy(np.ones((2, 4)), ["a", "b"])
    with pytest.raises(ValueError, match="none of 0 singers"):
        retrieval_accuracy(np.ones((0, 4)), [])
    with pytest.raises(ValueError, match="embedding 1 is 0"):
        retrieval_accuracy(np.array([[1.0, 2], [0, 0]]), ["a", "a"])


def test_the_statistics_are_means_and_deviations_over_frames() -> None:
    found = mel_statistics([np.array([[1.0, 10], [5, 10]]), np.array([[5.0, 6]])])
    assert found.tolist() == [[3, 10, 2, 0], [5, 6, 0, 0]]


def test_the_probe_knows_synthetic_singers_in_songs_that_it_has_not_heard() -> None:
    probe = SingerProbe.fit(*cuts(range(8)))
    mels, names = cuts(range(100, 104))
    # Eight cuts teach little about a voice at other pitches: on other songs it is right in 80 to 100 of 100 cases.
    assert probe.accuracy(mels, names) >= 0.8
    assert probe.accuracy(mels, names[4:] + names[:4]) <= 0.2


def test_the_probe_knows_nothing_where_there_is_nothing_to_know() -> None:
    mels = list(RNG.standard_normal((400, 20, 30)))
    names = [str(i) for i in RNG.integers(0, 4, 400)]
    assert SingerProbe.fit(mels[:200], names[:200]).accuracy(mels[200:], names[200:]) == pytest.approx(0.25, abs=0.1)


def test_the_probe_refuses_what_it_cannot_learn_or_answer() -> None:
    mels = list(RNG.standard_normal((4, 20, 30)))
    with pytest.raises(ValueError, match="4 mels of 1 singers"):
        SingerProbe.fit(mels, ["a"] * 4)
    with pytest.raises(ValueError, match="4 mels of 4 singers"):
        SingerProbe.fit(mels, ["a", "b", "c", "d"])
    with pytest.raises(ValueError, match="4 mels do not fit 3 singers"):
        SingerProbe.fit(mels, ["a", "a", "b"])
    with pytest.raises(ValueError, match=r"mel 0 has no frame \(shape \(0, 30\)\)"):
        SingerProbe.fit([np.zeros((0, 30))], ["a"])
    with pytest.raises(ValueError, match="there is no mel"):
        mel_statistics([])
    probe = SingerProbe.fit(mels, ["a", "a", "b", "b"])
    with pytest.raises(ValueError, match="not fitted on c"):
        probe.accuracy(mels[:1], ["c"])
    with pytest.raises(ValueError, match="2 mels do not fit 1 singers"):
        probe.accuracy(mels[:2], ["a"])


def test_sounds_are_verified_as_their_singers() -> None:
    probe = SingerProbe.fit(*cuts(range(4)))
    mels, singers = cuts(range(4, 7))
    assert probe.verification_error(mels, singers) < 0.15
    others = singers[3:] + singers[:3]
    assert probe.verification_error(mels, others) > 0.5
    assert np.isnan(probe.verification_error(mels[:1], ["nobody"]))
