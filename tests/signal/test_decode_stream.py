"""Streaming a file gives the samples of decoding it, and encoding blocks the bytes of encoding them at once."""

import io
import itertools
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from autosing.signal.decode import decode, encode
from autosing.signal.decode_stream import Form, encode_blocks, examine, fitted, in_blocks, stream
from autosing.signal.errors import RowError
from autosing.signal.resample import resample, resample_blocks
from autosing.signal.rows import slices

Samples = npt.NDArray[np.float32]


def song(n_frames: int, channels: int = 2) -> Samples:
    """Returns noise of 16-bit values."""
    noise = np.random.default_rng(0).standard_normal((n_frames, channels)) * 3000
    return (np.round(noise) / 2**15).astype(np.float32)


@pytest.mark.parametrize("format", ["FLAC", "WAV", "MP3"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_stream_has_the_samples_of_the_decoded_file(format: str, channels: int) -> None:
    data = encode(song(1_200_000 // channels, channels), 44_100, format)  # type: ignore[arg-type]
    whole, form = decode(data), examine(data)
    assert form == Form.of(whole)
    blocks = list(stream(data, form))
    assert len(blocks) > 1
    assert np.array_equal(np.concatenate(blocks), whole.samples)


def test_what_libsndfile_ends_too_early_is_streamed_by_ffmpeg_from_its_beginning() -> None:
    samples = song(100_000)
    data = encode(samples, 44_100, "FLAC")
    short = data[:18] + struct.pack(">Q", (struct.unpack(">Q", data[18:26])[0] >> 36 << 36) | 1_000) + data[26:]
    form = examine(short)
    assert (form.n_frames, form.decoder) == (100_000, "ffmpeg")
    assert np.array_equal(np.concatenate(list(stream(short, form))), samples)


def test_what_cannot_be_decoded_is_refused_when_it_is_examined() -> None:
    nan = song(100)
    nan[50] = np.nan
    damaged = bytearray(encode(song(100_000), 44_100, "FLAC"))
    damaged[len(damaged) // 2] ^= 4
    for data, message in (
        (b"no sound", "replace it or leave it out"),
        (bytes(damaged), "breaks off"),
        (float_wave(nan), "NaN, infinity"),
        (encode(song(0), 44_100, "WAV"), "no samples"),
    ):
        with pytest.raises(RowError, match=message):
            examine(data)


def float_wave(samples: Samples) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 44_100, subtype="FLOAT", format="WAV")
    return file.getvalue()


def test_real_files_are_examined_as_they_are_decoded(shared_data: Path) -> None:
    outcomes: dict[str, int] = {}
    for path in sorted((shared_data / "broken").rglob("*.*"))[:40]:
        data = path.read_bytes()
        try:
            expected: object = Form.of(decode(data))
        except RowError as error:
            expected = str(error)
        try:
            form = examine(data)
        except RowError as error:
            assert str(error) == expected, path.name
            outcomes["refused"] = outcomes.get("refused", 0) + 1
        else:
            assert (form.n_frames, form.codec) == (expected.n_frames, expected.codec), path.name  # type: ignore[attr-defined]
            outcomes["read"] = outcomes.get("read", 0) + 1
    assert min(outcomes.values()) >= 5


@pytest.mark.parametrize("cuts", [[0, 10], [0, 1, 2, 3, 10], [0, 0, 7, 7, 10]])
@pytest.mark.parametrize("size", [1, 3, 4, 10, 11])
def test_blocks_of_a_size_hold_the_same_frames(cuts: list[int], size: int) -> None:
    samples = song(10)
    found = list(in_blocks([samples[a:b] for a, b in itertools.pairwise(cuts)], size))
    assert [len(b) for b in found] == [len(b) for b in slices(samples, size)]
    assert np.array_equal(np.concatenate(found), samples)


def test_blocks_are_cut_or_lengthened_to_a_form() -> None:
    samples = song(10)
    for n_frames in (0, 4, 7, 10, 12):
        form = Form(n_frames, 44_100, 2, "")
        found = np.concatenate([samples[:0], *fitted([samples[:4], samples[4:]], form)])
        assert np.array_equal(found, np.concatenate([samples, np.zeros((5, 2), np.float32)])[:n_frames])


@pytest.mark.parametrize(("bits", "loss"), [(16, 0.6 / 2**15), (24, 0.6 / 2**23)])
def test_blocks_become_the_flac_of_all_at_once(bits: int, loss: float) -> None:
    samples = (song(50_000) * np.float32(0.7)).astype(np.float32)
    data = encode_blocks(slices(samples, 777), 44_100, 2, bits)
    assert f"pcm_{bits}" in decode(data).codec
    assert np.abs(decode(data).samples - samples).max() < loss
    if bits == 16:
        assert data == encode(samples, 44_100, "FLAC")


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 9), (768_000, 1)])
def test_what_flac_cannot_hold_is_a_sentence(rate: int, channels: int) -> None:
    with pytest.raises(RowError, match="FLAC"):
        encode_blocks([song(100, channels)], rate, channels)


def test_bits_are_kept_where_the_file_has_more_than_sixteen() -> None:
    assert examine(float_wave(song(100))).bits == 24
    assert [examine(encode(song(9_000), 44_100, f)).bits for f in ("FLAC", "WAV", "MP3")] == [16, 16, 16]  # type: ignore[arg-type]


@pytest.mark.parametrize("to_hz", [8_000, 44_100, 48_000])
@pytest.mark.parametrize("n_frames", [1, 5, 100_003])
def test_resampling_in_blocks_is_resampling_at_once(to_hz: int, n_frames: int) -> None:
    samples = song(n_frames)
    blocks = list(resample_blocks(slices(samples, 7_001), 44_100, to_hz))
    found, expected = np.concatenate(blocks), resample(samples, 44_100, to_hz)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max(initial=0) < 1e-5


def test_memory_does_not_grow_with_the_length() -> None:
    peaks = []
    for n_frames in (2_000_000, 8_000_000):
        data = encode(np.zeros((n_frames, 1), np.float32), 44_100, "FLAC")
        tracemalloc.start()
        form = examine(data)
        assert sum(len(b) for b in in_blocks(stream(data, form), 44_100)) == n_frames
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] < 40e6
