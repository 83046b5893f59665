"""The Python API: what a recording becomes, in which key, by whom, how loud, and what it refuses."""

import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_svc import HZ, MEDIANS_HZ, Studio, sung

from autosing.models.directory import load_model
from autosing.models.svc_sampling import convert_mel
from autosing.pipeline.contract_columns import ContractColumns
from autosing.signal.decode import Audio
from autosing.signal.errors import CheckpointError, RowError, UsageError
from autosing.signal.loudness import integrated_loudness
from autosing.signal.resample import resample
from autosing.signal.rows import DiskRows
from autosing.signal.tape import Tape
from autosing.synthesis.convert import Converted, Converter, Wanted, svc_of
from autosing.synthesis.resynthesize import way_of


def recorded(wave: Any, sample_rate: int = HZ) -> Audio:
    samples = np.asarray(wave, np.float32)
    return Audio(samples.reshape(len(samples), -1), sample_rate, "wav/pcm_16")


SONG = recorded(sung())


def converter(studio: Studio, model: Path, *overrides: str, references: dict[str, Audio] | None = None) -> Converter:
    loaded = load_model(model)
    features = ContractColumns(f"the model {model.name}", loaded.contract, overrides)
    return Converter(loaded, way_of(str(studio.vocoder())), features, (references or {}).get)


@pytest.fixture(scope="module")
def plain(studio: Studio) -> Converter:
    """A student of the table of singers, without models in its stages."""
    return converter(studio, studio.model("student", distilled=True))


@pytest.fixture(scope="module")
def usual(studio: Studio, plain: Converter) -> Converted:
    return plain.convert(SONG, Wanted(studio.singers[1]))


def test_a_conversion_is_as_long_and_as_loud_as_its_source(usual: Converted) -> None:
    assert usual.sample_rate == 24_000 and usual.wave.shape == (len(SONG.samples),)
    lufs = integrated_loudness(SONG.samples, HZ)
    made = integrated_loudness(usual.wave[:, None], 24_000)
    limited_db = usual.facts["loudness"]["limited_db"]
    assert lufs is not None and made == pytest.approx(lufs + limited_db, abs=0.1)
    assert np.abs(usual.wave).max() < 0.95


def test_the_same_seed_is_the_same_sound_and_another_singer_is_another(
    studio: Studio, plain: Converter, usual: Converted
) -> None:
    one, other = studio.singers
    np.testing.assert_array_equal(plain.convert(SONG, Wanted(other)).wave, usual.wave)
    assert not np.array_equal(plain.convert(SONG, Wanted(other, seed=1)).wave, usual.wave)
    key = usual.facts["key"]["semitones"]
    assert not np.allclose(plain.convert(SONG, Wanted(one, key=key)).wave, usual.wave, atol=1e-3)


def test_the_facts_tell_all_that_was_used(studio: Studio, plain: Converter, usual: Converted) -> None:
    facts = usual.facts
    assert facts["model"] == {"digest": plain.digest, "is_student": True}
    assert facts["singers"] == {studio.singers[1]: 1.0}
    assert (facts["steps"], facts["guidance"], facts["seed"], facts["solver"]) == (1, 1.0, 0, None)
    medians = facts["f0_medians_hz"]
    assert medians["target"] == pytest.approx(MEDIANS_HZ[1]) and 60 < medians["source"] < 600
    expected = round(12 * np.log2(medians["target"] / medians["source"]))
    assert facts["key"] == {"semitones": expected, "is_automatic": True, "is_rounded": True}
    assert facts["realtime_factors"].keys() == {"content", "f0", "energy", "decoder", "vocoder"}
    assert facts["source"]["seconds"] == 3.0 and facts["loudness"]["peak"] < 0.95


def test_the_key_is_heard(studio: Studio) -> None:
    from autosing.signal.f0 import f0

    # Its mels are the mean of the set's, so that nothing is heard but the pitch.
    plain = converter(studio, studio.model("mean", spread=0.0))

    def pitch(wave: Any, sample_rate: int) -> Any:
        found = f0(wave, sample_rate, 300)
        return np.where(found.voiced > 0, found.f0_hz, np.nan)

    made = plain.convert(SONG, Wanted(studio.singers[0], key=5.0, steps=0))
    semitones = 12 * np.log2(pitch(made.wave, made.sample_rate) / pitch(SONG.samples[:, 0], HZ))
    assert np.isfinite(semitones).sum() > 100 and np.nanmedian(semitones) == pytest.approx(5, abs=0.1)


def test_weights_and_times_of_singers_reach_the_model(studio: Studio, plain: Converter) -> None:
    one, other = studio.singers

    def mel_of(singer: str) -> Any:
        return plain.convert(SONG, Wanted(singer, key=0.0, loudness="none")).wave

    first, second, mixed = mel_of(one), mel_of(other), mel_of(f"{one}:0.5,{other}:0.5")
    assert not np.allclose(mixed, first, atol=1e-5) and not np.allclose(mixed, second, atol=1e-5)
    np.testing.assert_array_equal(mel_of(f"{one}:1,{other}:0"), first)
    in_turn = mel_of(f"0:{one},1:{one},1.2:{other}")
    # Far from where they change, each is as if they sang alone; gains are not changed.
    looks_s = 0.9
    np.testing.assert_allclose(in_turn[: int((1 - looks_s) * HZ)], first[: int((1 - looks_s) * HZ)], atol=2e-3)
    np.testing.assert_allclose(in_turn[int(2.6 * HZ) :], second[int(2.6 * HZ) :], atol=2e-3)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("kind", ["student", "teacher"])
def test_pieces_are_the_whole(studio: Studio, kind: str, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of models whose reach is shorter than what is looked at beside a piece."""
    made = converter(studio, studio.model(f"{kind}-near", distilled=kind == "student", reach=4))
    wanted = Wanted(studio.singers[0], key=2.0, steps=steps, solver="euler", loudness="none")
    whole = made.convert(SONG, wanted)
    from autosing.models import svc_sampling

    def in_pieces(model: Any, inputs: Any, how: Any) -> Any:
        return convert_mel(model, inputs, how, piece_frames=50)

    monkeypatch.setattr(svc_sampling, "convert_mel", in_pieces)
    assert np.abs(made.convert(SONG, wanted).wave - whole.wave).max() < 1e-3


@dataclass(frozen=True)
class InMemory:
    """Hears recordings as a whole, wherever they lie."""

    features: ContractColumns

    def check(self, names: Sequence[str]) -> None:
        self.features.check(names)

    def hear(self, audio: Audio | Tape) -> Any:
        return self.features.hear(audio.audio() if isinstance(audio, Tape) else audio)


def test_a_recording_of_several_sections_becomes_what_the_whole_would(studio: Studio) -> None:
    loaded, way = load_model(studio.model("student", distilled=True)), way_of(str(studio.vocoder()))
    features = ContractColumns("the model", loaded.contract)
    long = Tape.of(recorded(np.tile(sung(9, 8.0), 16)[: 127 * HZ + 99]))
    in_sections, whole = (
        Converter(loaded, way, each).convert(long, Wanted(studio.singers[1])) for each in (features, InMemory(features))
    )
    assert len(in_sections.samples) == len(long.samples)
    assert in_sections.facts["f0_medians_hz"] == whole.facts["f0_medians_hz"]
    np.testing.assert_array_equal(in_sections.wave, whole.wave)


@pytest.mark.slow
def test_memory_does_not_grow_with_a_recording(studio: Studio, plain: Converter) -> None:
    """Of what numpy holds; `benchmarks/convert.py memory` has all of a process."""
    verse, peaks = sung(9, 8.0)[:, None], []
    plain.convert(SONG, Wanted(studio.singers[1]))
    for minutes in (4, 8):
        tape = Tape(DiskRows(np.float32, (1,)), HZ, "wav/pcm_16")
        for _ in range(minutes * 60 // 8):
            tape.samples.append(verse)  # type: ignore[attr-defined]
        tracemalloc.start()
        plain.convert(tape, Wanted(studio.singers[1]))
        peaks.append(tracemalloc.get_traced_memory()[1] / 1e6)
        tracemalloc.stop()
    print(f"{peaks[0]:.1f} and {peaks[1]:.1f} MB")
    # Four minutes are 23 MB of samples; voiced pitch is held for its median.
    assert peaks[1] - peaks[0] < 1.0


def test_models_of_stages_are_asked_for_by_name(studio: Studio) -> None:
    of_both = studio.model("both", content=("soft_units", "units"), distilled=True)
    with pytest.raises(UsageError, match=r"--set content\.model=PATH --set units\.codebook=PATH"):
        converter(studio, of_both)
    given = (f"content.model={studio.encoder}", f"units.codebook={studio.codebook}")
    assert converter(studio, of_both, *given).convert(SONG, Wanted(studio.singers[0])).wave.any()
    with pytest.raises(UsageError, match="/no does not exist"):
        converter(studio, of_both, given[0], "units.codebook=/no")


def test_columns_of_a_recording_are_those_of_the_data_set(studio: Studio) -> None:
    from autosing.pipeline.dataset import Dataset
    from autosing.signal.decode import decode

    model = studio.model("both", content=("soft_units", "units"), distilled=True)
    given = (f"content.model={studio.encoder}", f"units.codebook={studio.codebook}")
    features = ContractColumns("the model", load_model(model).contract, given)
    addresses = ["index.audio", "content.soft_units", "units.units", "f0.f0_hz", "energy.energy"]
    row = next(iter(Dataset(str(studio.folder / "songs")).read(addresses)))
    heard = features.hear(decode(bytes(row.values["index.audio"])))
    found = heard.read(["soft_units", "units", "f0_hz", "energy"])
    for address in addresses[1:]:
        np.testing.assert_array_equal(found[address.rpartition(".")[2]], row.values[address])
    long = recorded(np.tile(sung(9, 8.0), 16)[: 127 * HZ + 99])
    whole, on_tape = (features.hear(each).read(["soft_units", "units"]) for each in (long, Tape.of(long)))
    np.testing.assert_array_equal(on_tape["units"], whole["units"])
    np.testing.assert_allclose(on_tape["soft_units"][:], whole["soft_units"], atol=2e-3)


def test_stages_that_mean_something_else_are_refused(studio: Studio, tmp_path: Path) -> None:
    model = studio.model("student", distilled=True)
    with pytest.raises(CheckpointError, match=r"was trained with f0\.method = 'swift', but it is 'praat' here"):
        converter(studio, model, "f0.method=praat")
    told = load_model(model).contract
    definitions = {**told["definitions"], "energy": "another"}
    changed = studio.model("changed", told={"definitions": definitions}, distilled=True)
    with pytest.raises(CheckpointError, match=r"energy\.energy of another version of its stage"):
        converter(studio, changed)
    artefacts = {**told["artefacts"], "f0": {"swift": "swift-f0==0.0.1"}}
    with pytest.raises(CheckpointError, match=r"f0\.swift = 'swift-f0==0\.0\.1', but it is 'swift-f0=="):
        converter(studio, studio.model("older", told={"artefacts": artefacts}, distilled=True))
    with pytest.raises(CheckpointError, match="does not tell the columns that it was trained on"):
        converter(studio, studio.model("oldest", told={"columns": {}}, distilled=True))
    with pytest.raises(CheckpointError, match="is of the class Vocoder and converts no voices"):
        svc_of(load_model(studio.vocoder()))


def test_a_vocoder_of_other_mels_is_refused(studio: Studio) -> None:
    from autosing.signal.mel import MelSpec

    loaded = load_model(studio.model("student", distilled=True))
    features = ContractColumns("the model", loaded.contract)
    other = studio.vocoder("other", MelSpec(hop=512))
    with pytest.raises(UsageError, match=r"trained with mel\.hop = 512, and the conversion model's is 256"):
        Converter(loaded, way_of(str(other)), features)


def test_a_voice_is_taken_from_a_recording(studio: Studio) -> None:
    model = studio.model("zero_shot", singer="embedding", distilled=True)
    references = {
        "a, b.wav": recorded(sung(5)),
        "c.wav": recorded(sung(6, 2.0)),
        "short.wav": recorded(sung()[:12_000]),
    }
    references |= {"silent.wav": recorded(np.zeros(HZ * 2)), "loud.wav": recorded(3 * sung(5))}
    made = converter(studio, model, references=references)
    first, second = (made.convert(SONG, Wanted(name, key=0.0)) for name in ("a, b.wav", "c.wav"))
    assert not np.allclose(first.wave, second.wave, atol=1e-3)
    target = made.convert(SONG, Wanted("c.wav")).facts["f0_medians_hz"]["target"]
    assert 60 < target < 700
    for singer, message in {
        "nobody.wav": "knows voices by recordings: give the path of one",
        "short.wav": "is 0.50 s long, too short to tell a voice",
        "silent.wav": "nobody is heard singing",
    }.items():
        with pytest.raises(UsageError, match=message):
            made.convert(SONG, Wanted(singer))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted("eve"), "there is no such singer; known: "),
        (Wanted("ONE", formant=2), "was not told of formants in training"),
    ],
)
def test_what_the_model_cannot_do_is_refused(plain: Converter, studio: Studio, wanted: Wanted, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plain.convert(SONG, replace(wanted, singer=wanted.singer.replace("ONE", studio.singers[0])))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"steps": -1}, "--steps is -1"), ({"formant": 20}, "--formant is 20"), ({"guidance": float("nan")}, "finite")],
)
def test_numbers_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Wanted("ada", **settings)


def test_a_teacher_takes_its_steps_and_formants_and_guidance_are_heard(studio: Studio) -> None:
    made = converter(studio, studio.model("teacher", key_shift=3.0))
    short, singer = recorded(sung()[:HZ]), studio.singers[0]
    usual = made.convert(short, Wanted(singer))
    assert (usual.facts["steps"], usual.facts["solver"]) == (18, "heun")
    guided = made.convert(short, Wanted(singer, guidance=2.0, steps=2))
    assert not np.allclose(guided.wave, made.convert(short, Wanted(singer, steps=2)).wave, atol=1e-3)
    coarse, again, moved = (
        made.convert(short, Wanted(singer, steps=0, **more)).wave for more in ({}, {"seed": 5}, {"formant": 3.0})
    )
    np.testing.assert_array_equal(coarse, again)
    assert not np.allclose(coarse, moved, atol=1e-3)


def test_a_source_may_be_short_but_not_next_to_nothing(plain: Converter, studio: Studio) -> None:
    wanted, middle = Wanted(studio.singers[0]), sung()[HZ:]
    assert len(plain.convert(recorded(middle[: HZ // 10]), wanted).wave) == HZ // 10
    for n_samples in (1, 10, HZ // 20):
        with pytest.raises(RowError, match=r"s long; give at least 0\.1 s"):
            plain.convert(recorded(middle[:n_samples]), wanted)


def test_a_silent_source_stays_silent(plain: Converter, studio: Studio) -> None:
    made = plain.convert(recorded(np.zeros(HZ)), Wanted(studio.singers[0]))
    assert len(made.wave) == HZ and not made.wave.any()
    assert made.warnings == ("the source is silent: silence is written",)


def test_a_clipped_source_is_converted_and_said_to_be(plain: Converter, studio: Studio) -> None:
    made = plain.convert(recorded(np.clip(8 * sung(), -1, 1)), Wanted(studio.singers[0]))
    assert made.wave.any() and "the source is clipped" in made.warnings[0]


@pytest.mark.parametrize(
    ("wave", "reason"),
    [
        (0.1 * np.random.default_rng(0).standard_normal(2 * HZ), "it is voiced for"),
        (
            0.05 * sum(np.sin(2 * np.pi * 200 * k * np.arange(2 * HZ) / HZ) for k in range(1, 12)),
            "it keeps to one pitch",
        ),
    ],
)
def test_a_source_without_a_median_pitch_keeps_its_key(
    plain: Converter, studio: Studio, wave: Any, reason: str
) -> None:
    made = plain.convert(recorded(wave), Wanted(studio.singers[0]))
    assert made.facts["key"]["semitones"] == 0 and reason in made.warnings[0]


def test_a_key_outside_of_the_range_is_converted_and_told(plain: Converter, studio: Studio) -> None:
    made = plain.convert(SONG, Wanted(studio.singers[0], key=30.0))
    assert made.wave.any() and "80 to 700 Hz" in made.warnings[-1]


def test_a_source_of_8_khz_is_resampled_and_its_band_is_told(plain: Converter, studio: Studio) -> None:
    made = plain.convert(recorded(resample(sung(), HZ, 8000), 8000), Wanted(studio.singers[0]))
    assert made.sample_rate == 24_000 and len(made.wave) == 3 * 24_000
    assert made.facts["source"]["band_limit_hz"] == 4000
    assert "nothing above 4000 Hz" in made.warnings[0]


def test_a_source_in_opposite_phase_is_heard(plain: Converter, studio: Studio, usual: Converted) -> None:
    wave = sung()
    made = plain.convert(recorded(np.stack([wave, -wave], axis=1)), Wanted(studio.singers[1]))
    np.testing.assert_allclose(made.wave, usual.wave, atol=1e-4)
