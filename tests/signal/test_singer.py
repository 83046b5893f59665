"""The synthetic singer: what it says about its songs is what others measure in them."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosing.signal.framing import centres_s
from autosing.signal.lyrics import parse_lrc, split_words
from autosing.signal.score import MAJOR, Note, Score, Syllable, compose, lexicon, pronounce, timeline
from autosing.signal.singer import FRAME_RATE, PEAK, Song, balance, mix, sing, song
from autosing.signal.voice import PHONES, Voice, voices
from autosing.signal.word_times import characters_proportional, place_words

SAMPLE_RATE = 24000
VOICES = voices(4)


@pytest.fixture(scope="module")
def made() -> Song:
    return song(1, VOICES[0], 20.0)


def _held(vowel: str, midi: int = 47) -> Score:
    """Returns a score of one note of 1 s from .5 s on."""
    note = Note(0.5, 1.5, midi, Syllable(vowel, (vowel,)), 0, 0)
    return Score((note,), (vowel,), (vowel,), 100.0, 0, MAJOR, 2.0)


def _spectrum_db(wave: npt.NDArray[np.float32], sample_rate: int = SAMPLE_RATE) -> npt.NDArray[np.float64]:
    """Returns the long-term level (100,) in bands from 0 Hz to 8 kHz."""
    power = np.abs(np.fft.rfft(wave)) ** 2
    band = np.fft.rfftfreq(len(wave), 1 / sample_rate) // 80
    level_db: npt.NDArray[np.float64] = 10 * np.log10(np.bincount(band.astype(int), power)[:100] + 1e-12)
    return level_db


@pytest.mark.parametrize("voice", VOICES[:3], ids=lambda voice: voice.name)
def test_praat_reads_the_f0_and_the_voicing_that_were_sung(voice: Voice) -> None:
    parselmouth = pytest.importorskip("parselmouth")
    sung = song(3, voice, 12.0).sung
    pitch = parselmouth.Sound(sung.wave.astype(float), SAMPLE_RATE).to_pitch_ac(0.005, 65.0, pitch_ceiling=900.0)
    times_s = centres_s(len(sung.f0_hz), FRAME_RATE)
    read_hz = np.array([pitch.get_value_at_time(time_s) for time_s in times_s])
    voiced = np.isfinite(read_hz)
    both = voiced & (sung.voiced == 1)
    cents = 1200 * np.log2(read_hz[both] / sung.f0_hz[both])
    assert np.median(np.abs(cents)) < 12
    assert abs(np.median(cents)) < 2
    assert np.mean(voiced == sung.voiced) >= 0.95


@pytest.mark.parametrize("vowel", ["aa", "iy", "eh", "uw"])
def test_praat_reads_the_formants_of_the_phone_table(vowel: str) -> None:
    parselmouth = pytest.importorskip("parselmouth")
    wave = sing(_held(vowel, 40), Voice("flat", vibrato_cents=0)).wave
    formants = parselmouth.Sound(wave.astype(float), SAMPLE_RATE).to_formant_burg(maximum_formant=4500.0)
    for number in (1, 2):
        values = [formants.get_value_at_time(number, time_s) for time_s in np.arange(0.8, 1.3, 0.02)]
        assert np.median(values) == pytest.approx(PHONES[vowel].formants_hz[number - 1], rel=0.12)


def test_a_long_note_swings_at_the_rate_of_the_vibrato() -> None:
    voice = Voice("swinging", vibrato_rate_hz=6.0, vibrato_cents=80.0, jitter=0.0)
    f0_hz = sing(_held("aa"), voice).f0_hz[100:140]
    cents = 1200 * np.log2(f0_hz / f0_hz.mean())
    crossings = np.count_nonzero(np.diff(np.signbit(cents)))
    assert 4 <= crossings <= 6
    assert 60 < np.max(np.abs(cents)) < 110


def test_fricatives_are_bright_and_closures_are_quiet(made: Song) -> None:
    levels: dict[str, list[float]] = {}
    for start_s, end_s, phone in made.sung.phones:
        part = made.wave[int(start_s * SAMPLE_RATE) : int(end_s * SAMPLE_RATE)]
        levels.setdefault(phone, []).append(float(np.sqrt(np.mean(part**2))))
    vowels = np.median([level for phone in levels if PHONES[phone].voicing == 1 for level in levels[phone]])
    assert np.median(levels["t"]) < 0.5 * vowels
    s = sing(replace(_held("aa"), notes=(Note(0.5, 1.5, 47, Syllable("sa", ("s", "aa")), 0, 0),)), Voice("plain"))
    hiss = _spectrum_db(s.wave[int(0.41 * SAMPLE_RATE) : int(0.48 * SAMPLE_RATE)])
    assert np.argmax(hiss) * 80 > 4500


def test_the_truth_of_a_song_is_consistent(made: Song) -> None:
    sung = made.sung
    assert [phone[0] for phone in sung.phones] == [0.0, *(phone[1] for phone in sung.phones[:-1])]
    assert sung.phones[-1][1] == 20.0
    assert {phone for _, _, phone in sung.phones} <= PHONES.keys()
    assert all(start_s < end_s for start_s, end_s, _ in [*sung.phones, *sung.words, *sung.lines])
    assert all(start_s < end_s for start_s, end_s, _, _ in sung.notes)
    words = iter(sung.words)
    for start_s, end_s, text in sung.lines:
        inside = [next(words) for _ in split_words(text)]
        assert " ".join(word for _, _, word in inside) == text
        assert (inside[0][0], inside[-1][1]) == (start_s, end_s)
    assert next(words, None) is None
    assert "".join(text for *_, text in sung.notes) == "".join(text for *_, text in sung.words)
    assert len(sung.f0_hz) == len(sung.voiced) == 2000
    assert np.array_equal(sung.f0_hz > 0, sung.voiced == 1)


def test_f0_is_that_of_the_notes(made: Song) -> None:
    times_s = centres_s(2000, FRAME_RATE)
    for start_s, end_s, midi, _ in made.sung.notes:
        middle = (times_s > (start_s + end_s) / 2) & (times_s < end_s) & (made.sung.voiced == 1)
        if middle.any():
            semitones = 69 + 12 * np.log2(np.median(made.sung.f0_hz[middle]) / 440)
            assert semitones == pytest.approx(midi, abs=0.6)


def test_the_same_seeds_sing_the_same_and_others_do_not(made: Song) -> None:
    again, other = song(1, VOICES[0], 20.0), song(2, VOICES[0], 20.0)
    assert np.array_equal(again.wave, made.wave)
    assert again.lrc == made.lrc
    assert other.lyrics != made.lyrics


def test_two_singers_of_one_score_differ_in_nothing_but_the_voice(made: Song) -> None:
    sung = [sing(made.score, voice) for voice in VOICES]
    spectra = [_spectrum_db(one.wave) for one in sung]
    for n, one in enumerate(sung):
        for name in ("phones", "words", "lines", "notes"):
            assert getattr(one, name) == getattr(sung[0], name)
        assert np.array_equal(one.voiced, sung[0].voiced)
        assert all(np.mean(np.abs(spectra[n] - other)) > 1.5 for other in spectra[:n])


def test_voices_do_not_depend_on_how_many_there_are() -> None:
    assert voices(7)[:4] == VOICES
    assert voices(4, seed=1) != VOICES


def test_the_wave_is_finite_loud_enough_not_clipped_and_silent_in_rests(made: Song) -> None:
    assert made.wave.dtype == np.float32
    assert len(made.wave) == 20 * SAMPLE_RATE
    assert np.max(np.abs(made.wave)) == pytest.approx(PEAK)
    first_line_s = made.sung.lines[0][0]
    assert np.max(np.abs(made.wave[: int((first_line_s - 0.01) * SAMPLE_RATE)])) < 1e-4
    start_s, end_s, _ = made.sung.lines[0]
    line = made.wave[int(start_s * SAMPLE_RATE) : int(end_s * SAMPLE_RATE)]
    assert -30 < 20 * np.log10(np.sqrt(np.mean(line**2))) < -12


@pytest.mark.parametrize("sample_rate", [16000, 44100])
def test_the_sample_rate_changes_only_the_wave(made: Song, sample_rate: int) -> None:
    sung = sing(made.score, VOICES[0], sample_rate, seed=1)
    assert len(sung.wave) == 20 * sample_rate
    assert np.array_equal(sung.f0_hz, made.sung.f0_hz)
    difference = _spectrum_db(sung.wave, sample_rate) - _spectrum_db(made.wave)
    assert np.std(difference[2:60]) < 3


def test_lrc_text_comes_back_from_the_parser(made: Song) -> None:
    lrc = parse_lrc(made.lrc)
    assert [line.text for line in lrc.lines] == [text for _, _, text in made.sung.lines] == made.lyrics.splitlines()
    assert [line.start_s for line in lrc.lines] == pytest.approx(
        [start_s for start_s, *_ in made.sung.lines], abs=0.0101
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_rate_rule_beats_the_baseline_on_synthetic_songs(seed: int) -> None:
    score = compose(seed, 60.0)
    truth = timeline(score)
    lines = parse_lrc("".join(f"[{s // 60:02.0f}:{s % 60:06.3f}]{text}\n" for s, _, text in truth.lines)).lines
    starts = np.array([start_s for start_s, *_ in truth.words])
    rate, baseline = (
        np.mean(np.abs([word.start_s for word in place(lines, 60.0)] - starts))
        for place in (place_words, characters_proportional)
    )
    assert rate < 0.7 * baseline


def test_a_long_song_repeats_its_chorus_words_and_melody() -> None:
    score = compose(0, 120.0)
    repeated = {text for text in score.lines if score.lines.count(text) > 1}
    assert len(repeated) >= 2
    for text in repeated:
        places = [n for n, line in enumerate(score.lines) if line == text]
        melodies = {tuple(note.midi for note in score.notes if note.line == place) for place in places}
        assert len(melodies) == 1


def test_another_words_seed_means_other_words() -> None:
    one, other = (set(compose(4, 60.0, words_seed=seed).words) for seed in (0, 1))
    assert one == set(compose(4, 60.0).words) and len(one & other) < 0.2 * len(one)


@given(st.integers(0, 2**32), st.floats(0.1, 90))
def test_any_song_stays_in_its_duration_key_and_range(seed: int, duration_s: float) -> None:
    score = compose(seed, duration_s, 50, 66)
    truth = timeline(score)
    assert all(50 <= note.midi <= 66 and (note.midi - score.tonic) % 12 in score.scale for note in score.notes)
    assert all(0 <= start_s < end_s <= duration_s for start_s, end_s, _ in truth.phones)
    assert all(a[1] == b[0] for a, b in zip(truth.phones, truth.phones[1:], strict=False))


def test_songs_too_short_for_a_line_are_silent() -> None:
    made = song(0, VOICES[0], 0.5)
    assert made.lyrics == made.lrc == ""
    assert not made.wave.any()


def test_spelling_gives_the_phones() -> None:
    assert [syllable.phones for syllable in pronounce("shaltaeng")] == [("sh", "aa", "l"), ("t", "ae", "ng")]
    for word in lexicon():
        syllables = pronounce(word)
        assert "".join(syllable.text for syllable in syllables) == word
        assert all(sum(PHONES[phone].voicing == 1 for phone in syllable.phones) == 1 for syllable in syllables)
    with pytest.raises(ValueError, match="cannot be pronounced"):
        pronounce("qx")


def test_the_accompaniment_is_as_far_below_the_voice_as_asked(made: Song) -> None:
    accompanied = song(1, VOICES[0], 20.0, accompaniment_snr_db=6.0)
    assert accompanied.backing is not None
    power = [np.mean(np.square(wave, dtype=float)) for wave in (accompanied.sung.wave, accompanied.backing)]
    assert 10 * np.log10(power[0] / power[1]) == pytest.approx(6.0, abs=1e-3)
    assert np.array_equal(accompanied.wave, accompanied.sung.wave + accompanied.backing)
    assert np.max(np.abs(accompanied.wave)) <= PEAK * 1.0001
    assert accompanied.lrc == made.lrc


def test_a_silent_voice_or_backing_mixes_without_a_ratio() -> None:
    tone, silence = np.full(100, 0.25, np.float32), np.zeros(100, np.float32)
    assert np.array_equal(mix(silence, tone, 0.0), tone)
    assert np.array_equal(mix(tone, silence, 0.0), tone)
    assert [wave.max() for wave in balance(tone, 4 * tone, 0.0)] == pytest.approx([0.25, 0.25])
