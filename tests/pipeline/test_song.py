"""A song's audio as it is asked for: whole or in blocks, decoded once where somebody wants it whole."""

import numpy as np
import numpy.typing as npt
import pytest

from autosing.pipeline import song as song_module
from autosing.pipeline.song import Song
from autosing.signal.decode import encode
from autosing.signal.errors import RowError
from autosing.signal.resample import resample

HZ, MIX = 44_100, "index.audio"
ADDRESSES = {"voice": MIX, "mix": MIX, "vocals": "stems.vocals", "backing": "stems.backing"}


def samples() -> npt.NDArray[np.float32]:
    noise = np.random.default_rng(0).standard_normal((100_003, 2)) * 3000
    return (np.round(noise) / 2**15).astype(np.float32)


def song(streamed: bool) -> Song:
    values = {MIX: encode(samples(), HZ, "FLAC"), "stems.vocals": None}
    return Song("a", values, ADDRESSES, (MIX,) if streamed else ())


@pytest.mark.parametrize("streamed", [False, True])
def test_blocks_are_the_audio(streamed: bool) -> None:
    blocks = list(song(streamed).blocks("mix", block_s=0.5))
    assert [len(b) for b in blocks] == [22_050] * 4 + [11_803]
    assert np.array_equal(np.concatenate(blocks), samples())


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 48_000])
def test_resampled_blocks_are_the_resampled_audio_in_stereo(sample_rate: int, streamed: bool) -> None:
    found = np.concatenate(list(song(streamed).blocks("mix", sample_rate, 0.3)))
    expected = resample(samples(), HZ, sample_rate)
    assert found.shape == expected.shape and np.abs(found - expected).max() < 1e-5


@pytest.mark.parametrize("streamed", [False, True])
def test_the_form_is_that_of_the_decoded_audio(streamed: bool) -> None:
    one = song(streamed)
    form, audio = one.form("mix"), one.audio("mix")
    assert (form.n_frames, form.channels) == audio.samples.shape == samples().shape
    assert (form.sample_rate, form.codec) == (HZ, audio.codec)
    assert (one.n_samples, one.sample_rate) == (100_003, HZ)


def test_what_somebody_wants_whole_is_decoded_once_and_what_nobody_does_is_never(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []
    for name in ("decode", "examine", "stream"):
        real = getattr(song_module, name)
        monkeypatch.setattr(song_module, name, lambda *a, real=real, name=name: (calls.append(name), real(*a))[1])
    for streamed, expected in ((False, ["decode"]), (True, ["examine", "stream", "stream"])):
        one = song(streamed)
        one.form("mix")
        for _ in range(2):
            list(one.blocks("mix"))
        assert calls == expected
        calls.clear()


def test_audio_that_is_not_there_is_told() -> None:
    for ask in ("form", "blocks", "audio"):
        with pytest.raises(RowError, match=r"stems\.vocals is null: the song has no vocals audio"):
            getattr(song(True), ask)("vocals")
