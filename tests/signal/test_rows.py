"""Rows on disk are what an array of them is, and tapes what decoded files are."""

from pathlib import Path

import numpy as np
import pytest

from autosing.signal.decode import decode, encode, to_mono
from autosing.signal.errors import RowError
from autosing.signal.faults import clipping, peak
from autosing.signal.loudness import integrated_loudness
from autosing.signal.rows import DiskRows, Scaled, slices
from autosing.signal.tape import BLOCK_SAMPLES, Tape


@pytest.mark.parametrize("width", [(), (3,)])
def test_rows_on_disk_are_read_as_an_array_is(width: tuple[int, ...]) -> None:
    table = np.random.default_rng(0).standard_normal((1000, *width)).astype(np.float16)
    rows = DiskRows(np.float16, width)
    for first, last in ((0, 1), (1, 1), (1, 700), (700, 1000)):
        rows.append(table[first:last])
        np.testing.assert_array_equal(rows[:last], table[:last])
    for part in (slice(None), slice(3, 17), slice(-5, None), slice(990, 2000), slice(8, 3)):
        np.testing.assert_array_equal(rows[part], table[part])
    assert (rows.shape, rows.ndim, rows.size, rows.dtype) == (table.shape, table.ndim, table.size, table.dtype)
    np.testing.assert_array_equal(np.concatenate(list(slices(rows, 300))), table)
    scaled = Scaled(rows, 0.5)
    assert scaled[2:4].dtype == np.float16 and scaled.shape == table.shape
    np.testing.assert_array_equal(scaled[2:4], table[2:4] / 2)


def test_rows_of_another_width_are_no_rows() -> None:
    with pytest.raises(AssertionError, match=r"rows of \(2,\) among those of \(3,\)"):
        DiskRows(np.float32, (3,)).append(np.zeros((4, 2)))


@pytest.mark.parametrize("format", ["FLAC", "WAV", "MP3"])
def test_a_tape_of_a_file_is_what_it_decodes_to(tmp_path: Path, format: str) -> None:
    rng = np.random.default_rng(1)
    samples = (0.1 * rng.standard_normal((BLOCK_SAMPLES + 9, 2))).astype(np.float32)
    path = tmp_path / "a file"
    path.write_bytes(encode(samples, 32_000, format))  # type: ignore[arg-type]
    audio = decode(path.read_bytes())
    for data in (path, path.read_bytes()):
        tape = Tape.decoded(data)
        assert (tape.sample_rate, tape.codec) == (audio.sample_rate, audio.codec)
        np.testing.assert_array_equal(tape.samples[:], audio.samples)
    np.testing.assert_array_equal(tape.mono.samples[:][:, 0], to_mono(audio.samples))
    assert tape.mono.mono is tape.mono and tape.duration_s == len(audio.samples) / 32_000
    for measure in (peak, clipping, lambda rows: integrated_loudness(rows, 32_000)):
        assert measure(tape.samples) == measure(audio.samples)


def test_a_channel_stands_for_all_where_they_cancel() -> None:
    left = np.random.default_rng(2).standard_normal((BLOCK_SAMPLES + 5, 1)).astype(np.float32)
    opposite = np.hstack([0.9 * left, -left])
    tape = Tape(opposite, 16_000, "")
    np.testing.assert_array_equal(tape.mono.samples[:], -left)
    np.testing.assert_array_equal(to_mono(opposite), -left[:, 0])


def test_a_file_that_is_no_sound_is_no_tape(tmp_path: Path) -> None:
    (tmp_path / "no").write_text("no sound")
    with pytest.raises(RowError, match="cannot be decoded"):
        Tape.decoded(tmp_path / "no")
