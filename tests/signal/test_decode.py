"""Every file ends as its samples or as a sentence: sound made here, sound damaged here, and files found in the wild."""

import csv
import io
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from autosing.signal import decode as decode_module
from autosing.signal.decode import Audio, decode, encode, to_mono
from autosing.signal.errors import RowError

Samples = npt.NDArray[np.float32]


def song(n_frames: int, channels: int = 2) -> Samples:
    """Returns noise of 16-bit values."""
    noise = np.random.default_rng(0).standard_normal((n_frames, channels)) * 3000
    return (np.round(noise) / 2**15).astype(np.float32)


def sound_file(samples: Samples, sample_rate: int, **kind: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate, **kind)
    return file.getvalue()


def m4a(samples: npt.NDArray[np.floating[Any]], sample_rate: int) -> bytes:
    """Returns samples (T, 2) as AAC in MP4, which libsndfile does not read."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=sample_rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T, np.float32), format="fltp", layout="stereo")
        frame.sample_rate = sample_rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def with_flac_total(data: bytes, n_frames: int) -> bytes:
    """Returns a FLAC file whose header states `n_frames` (36 bits after the sample rate, channels and bit depth)."""
    fields = struct.unpack(">Q", data[18:26])[0]
    return data[:18] + struct.pack(">Q", (fields >> 36 << 36) | n_frames) + data[26:]


@pytest.mark.parametrize("format", ["FLAC", "WAV"])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_lossless_files_give_back_their_samples(format: str, channels: int) -> None:
    samples = song(50_000, channels)
    audio = decode(encode(samples, 44_100, format))  # type: ignore[arg-type]
    assert np.array_equal(audio.samples, samples)
    assert audio.samples.dtype == np.float32
    assert audio.sample_rate == 44_100
    assert "/pcm_16" in audio.codec


@pytest.mark.parametrize("format", ["FLAC", "WAV"])
def test_what_is_louder_than_full_scale_is_clipped(format: str) -> None:
    loud = np.array([[1.5], [-1.5], [0.5]], np.float32)
    audio = decode(encode(loud, 16_000, format))  # type: ignore[arg-type]
    assert audio.samples[:, 0].tolist() == [1 - 2**-15, -1.0, 0.5]


def test_mp3_keeps_length_and_place() -> None:
    t = np.arange(44_100) / 44_100
    samples = (np.sin(2 * np.pi * 440 * t) * np.exp(-((t - 0.4) ** 2) / 0.002) / 2).astype(np.float32)
    audio = decode(encode(samples, 44_100, "MP3"))
    assert audio.samples.shape == (44_100, 1)
    assert np.abs(audio.samples[:, 0] - samples).max() < 0.02


def test_what_libsndfile_cannot_read_goes_to_ffmpeg() -> None:
    t = np.arange(48_000) / 48_000
    samples = np.stack([np.sin(2 * np.pi * 440 * t), np.sin(2 * np.pi * 660 * t)], axis=1) / 2
    audio = decode(m4a(samples, 48_000))
    assert (audio.sample_rate, audio.samples.shape[1], audio.codec) == (48_000, 2, "mov/aac")
    assert len(audio.samples) == pytest.approx(48_000, abs=2_048)
    spectrum = np.abs(np.fft.rfft(audio.samples[:40_000], axis=0))
    assert (spectrum.argmax(axis=0) * 48_000 / 40_000).tolist() == pytest.approx([440, 660], abs=2)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_both_decoders_scale_samples_alike(subtype: str) -> None:
    data = sound_file(song(3_000), 16_000, format="WAV", subtype=subtype)
    first, second = decode_module._decode_libsndfile(data), decode_module._decode_ffmpeg(data)
    assert np.array_equal(first.samples, second.samples)


@pytest.mark.parametrize("stated", [0, 1_000, 2**36 - 1])
def test_a_flac_header_with_a_wrong_length_is_not_believed(stated: int) -> None:
    samples = song(100_000)
    assert np.array_equal(decode(with_flac_total(encode(samples, 44_100, "FLAC"), stated)).samples, samples)


def test_a_wave_header_with_a_wrong_length_is_not_believed() -> None:
    data = bytearray(encode(song(1_000), 44_100, "WAV"))
    data[40:44] = struct.pack("<I", 2**32 - 40)
    assert len(decode(bytes(data)).samples) == 1_000


def test_a_file_that_breaks_off_says_where() -> None:
    data = encode(song(100_000), 44_100, "FLAC")
    with pytest.raises(RowError, match=r"breaks off: .* after 1\.\d+ s \(\d+ frames\)"):
        decode(data[: len(data) * 6 // 10])


@pytest.mark.parametrize("place", [0.01, 0.5])
def test_bit_errors_do_not_pass_for_music(place: float) -> None:
    data = bytearray(encode(song(100_000), 44_100, "FLAC"))
    data[int(len(data) * place)] ^= 4
    with pytest.raises(RowError, match="breaks off"):
        decode(bytes(data))


@pytest.mark.parametrize("data", [b"", b"x", b"RIFF", b"ID3", b"fLaC", b"This is a poem.\n" * 1000, bytes(5000)])
def test_what_is_no_sound_is_refused(data: bytes) -> None:
    with pytest.raises(RowError, match="replace it or leave it out"):
        decode(data)


def test_a_file_without_samples_is_refused() -> None:
    with pytest.raises(RowError, match="no samples"):
        decode(encode(song(0), 44_100, "WAV"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_values_that_are_no_sound_are_refused(value: float) -> None:
    samples = song(1_000)
    samples[500, 1] = value
    with pytest.raises(RowError, match="NaN, infinity"):
        decode(sound_file(samples, 44_100, format="WAV", subtype="FLOAT"))


def test_float_files_may_be_louder_than_full_scale() -> None:
    assert decode(sound_file(song(100) * 9, 44_100, format="WAV", subtype="FLOAT")).samples.max() > 1.5


@pytest.mark.parametrize(("sample_rate", "channels"), [(999, 1), (1_092_676, 1), (44_100, 65)])
def test_absurd_formats_are_refused(sample_rate: int, channels: int) -> None:
    with pytest.raises(RowError, match=r"sample rate|channels"):
        decode(sound_file(song(100, channels), sample_rate, format="WAV"))


def test_too_long_files_are_refused_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "MAX_SAMPLES", 100_000)
    assert decode(encode(song(50_000), 44_100, "FLAC")).samples.size == 100_000
    with pytest.raises(RowError, match="split it"):
        decode(encode(song(50_001), 44_100, "FLAC"))


@pytest.mark.parametrize(
    "playlist",
    ["ffconcat version 1.0\nfile '{}'\n", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n", "{}\n"],
    ids=["concat", "hls", "path"],
)
def test_no_other_file_is_opened(playlist: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(encode(song(1_000), 16_000, "WAV"))
    with pytest.raises(RowError):
        decode(playlist.format(secret).encode())


def test_nothing_is_printed_about_damaged_files(capfd: pytest.CaptureFixture[str]) -> None:
    data = m4a(song(20_000), 44_100)
    for cut in (100, 1_000, len(data) // 2):
        with pytest.raises(RowError):
            decode(data[:cut])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["FLAC", "WAV", "MP3", "OGG", "m4a"])
def test_random_damage_ends_in_samples_or_a_sentence(kind: str) -> None:
    samples = song(9_000)
    data = m4a(samples, 44_100) if kind == "m4a" else sound_file(samples, 44_100, format=kind)
    dice = random.Random(0)
    for _ in range(40):
        damaged = bytearray(data[: dice.randrange(len(data) // 2, len(data))])
        for _ in range(dice.choice([1, 5, 50])):
            damaged[dice.randrange(dice.choice([64, len(damaged)]))] = dice.randrange(256)
        try:
            assert decode(bytes(damaged)).samples.size
        except RowError as error:
            assert len(str(error)) > 20


def test_mono_is_the_mean_of_the_channels() -> None:
    left, right, third = song(5_000, 3).T
    assert np.allclose(to_mono(np.stack([left, right, third], axis=1)), (left + right + third) / 3, atol=1e-7)
    assert np.array_equal(to_mono(left[:, None]), left)


def test_opposite_channels_do_not_cancel() -> None:
    wave = song(5_000, 1)[:, 0]
    assert np.array_equal(to_mono(np.stack([wave, -wave], axis=1)), wave)
    assert np.array_equal(to_mono(np.stack([0.9 * wave, -wave], axis=1)), -wave)  # the mean is 26 dB below
    assert np.allclose(to_mono(np.stack([0.5 * wave, -wave], axis=1)), -0.25 * wave)
    assert not to_mono(np.zeros((10, 2), np.float32)).any()


def expectations(folder: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    with (folder / "EXPECT.tsv").open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            yield folder / row["file"], row


def outcome(path: Path) -> Audio | RowError:
    try:
        return decode(path.read_bytes())
    except RowError as error:
        return error


def test_files_found_in_the_wild_end_as_both_decoders_agree(shared_data: Path) -> None:
    n_read = n_refused = 0
    for path, row in expectations(shared_data / "broken"):
        found = outcome(path)
        form = row["libsndfile_rate/channels/frames/subtype"]
        if form == "refused" and row["ffmpeg_frames_decoded"] == "0":
            assert isinstance(found, RowError), path.name
            n_refused += 1
        elif "/" in form and form.split("/")[2] == row["ffmpeg_frames_decoded"] != "0" and "READ-FAILS" not in form:
            if path.name in ("speech_nan_inf.wav", "awful.wav"):  # not finite; 1 092 676 Hz
                assert isinstance(found, RowError)
                continue
            assert isinstance(found, Audio), f"{path.name}: {found}"
            rate, channels, n_frames = (int(value) for value in form.split("/")[:3])
            assert (found.sample_rate, *found.samples.shape) == (rate, n_frames, channels), path.name
            n_read += 1
    assert n_read >= 40
    assert n_refused >= 25
