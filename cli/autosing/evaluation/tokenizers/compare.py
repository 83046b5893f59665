"""The comparison: every tokenizer's decoder learns on the same songs, and the others are made of their tokens."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from autosing.evaluation.heard import SPEC, Figures, Heard, Listening, Made, Measure, Table, means_of, write_figures
from autosing.evaluation.tokenizers.charts import dots, use_curves
from autosing.evaluation.tokenizers.songs import SILENCE, Song, Tokenizer, split_songs, streams_of, tokenizers_of
from autosing.page.numerals import songs as songs_text
from autosing.pipeline.dataset import Dataset
from autosing.signal.mel import log_mel
from autosing.training.metrics import (
    CodebookUse,
    PhonePurity,
    PitchTrack,
    SingerProbe,
    log_f0_correlation,
    mcd,
    mel_cepstra,
    mel_l1,
    phone_purity,
    voicing_f1,
)

MEASURES = (
    Measure("bits", "bit/s", "bits a second, all streams together, without entropy coding", 0),
    Measure("entropy", "entropy bit/s", "of the streams' own entropies, in bits a second", 0),
    Measure("mcd", "MCD", "mel-cepstral distortion of the sound, in dB"),
    Measure("f0_corr", "log-F0 corr", "correlation of the logarithms of the pitch, where both are voiced"),
    Measure("voicing_f1", "V/UV F1", "of the frames that are called voiced"),
    Measure("mel_l1", "mel-L1", "mean absolute difference of the log-mels of the sound, in nats"),
    Measure("singer_eer", "singer EER", "of telling by a probe on recordings that the sound is of its singer"),
    Measure("purity", "phone purity", "share of tokens whose phone is the usual one of their code; the best stream"),
)
STREAM_COLUMNS = (
    "tokens/s", "codes", "used", "entropy, bit", "change rate", "phone purity", "code purity", "PNMI",
)  # fmt: skip

NONE = np.zeros(0, str)


@dataclass(frozen=True)
class Request:
    """What is wanted.

    Attributes:
        instances: whose tokens are compared.
        as_ids: of which of them ids are resampled besides, as SingOMD's released code does.
        f0: the instance that the pitch is learned from and compared with.
        songs: how many are read at most, evenly over the set.
        seconds: from the middle of each, at most.
        held_out: songs that the figures are of.
        shown: songs on the page.
        steps: that each decoder learns.
        crops: that it learns from in each.
        seed: of the decoders.
    """

    instances: tuple[str, ...]
    as_ids: tuple[str, ...] = ()
    f0: str = "f0"
    songs: int = 128
    seconds: float = 20.0
    held_out: int = 12
    shown: int = 4
    steps: int = 400
    crops: int = 24
    seed: int = 0


@dataclass(frozen=True)
class TokenComparison:
    """What came out: figures by tokenizer, lines for the terminal, and the page where one was asked for."""

    figures: Mapping[str, Figures]
    lines: list[str]
    page: Path | None


def compare_tokens(dataset: Dataset, request: Request, out: Path | None = None) -> TokenComparison:
    """Compares tokenizers; leaves sounds, `figures.json` and `index.html` in `out`, if there is one.

    Raises:
        UsageError: an instance is not computed or has no tokens, or too few songs have all values.
    """
    tokenizers = tokenizers_of(dataset, request.instances, request.as_ids)
    told = (dataset, tokenizers, request.f0, request.seconds, request.songs, request.held_out)
    trained, held_out = split_songs(*told)
    made = [_made(tokenizer, trained, held_out, request) for tokenizer in tokenizers]
    heard = [Heard(song.id, song.wave, [one[n] for one in made]) for n, song in enumerate(held_out)]
    names = [tokenizer.name for tokenizer in tokenizers]
    means = means_of(names, MEASURES, heard)
    uses = {one.name: _uses(one, [*trained, *held_out]) for one in tokenizers}
    probe = _probe(trained)
    streams: list[list[str]] = []
    for tokenizer, sounds in zip(tokenizers, made, strict=True):
        purities = _purities(tokenizer, held_out)
        streams += _streams(tokenizer, uses[tokenizer.name], purities)
        means[tokenizer.name] |= {
            "bits": tokenizer.bits_per_second,
            "entropy": _entropy(tokenizer, uses[tokenizer.name]),
            "singer_eer": _singer_error(probe, sounds, held_out),
            "purity": max((one.phone_purity for one in purities if one), default=float("nan")),
        }
    listening = Listening(
        "autosing compare tokens",
        dataset.url.rstrip("/").rsplit("/", 1)[-1],
        f"{songs_text(len(trained))} of {dataset.url} taught a light decoder for each tokenizer, {request.steps} "
        f"steps; {len(held_out)} others were made of their tokens.",
        MEASURES,
        names,
        means,
        heard[: request.shown],
        request.seconds,
        [Table("Streams", "Of all songs that were read; purity of those held out.", STREAM_COLUMNS, streams)],
        _charts(names, means, uses),
    )
    if out is None:
        return TokenComparison(means, listening.lines(), None)
    out.mkdir(parents=True, exist_ok=True)
    write_figures(out, {"tokenizers": names}, means, heard)
    return TokenComparison(means, listening.lines(), listening.write(out))


def _made(tokenizer: Tokenizer, trained: Sequence[Song], held_out: Sequence[Song], request: Request) -> list[Made]:
    from autosing.training.light_decoder import Lesson, Teaching, made_of, taught

    rng = np.random.default_rng(request.seed)
    lessons = [Lesson(streams_of(tokenizer, song, rng), song.mel, song.f0_hz) for song in trained]
    how = Teaching(request.steps, request.crops, request.seed)
    decoder = taught(lessons, tokenizer.rates, tokenizer.n_tokens, SPEC, how)
    found = []
    for song in held_out:
        wave, f0_hz = made_of(decoder, streams_of(tokenizer, song, rng), len(song.mel), request.seed)
        tracks = [PitchTrack(hz, hz > 0) for hz in (f0_hz, song.f0_hz)]
        cepstra = [mel_cepstra(one, SPEC.sample_rate) for one in (wave, song.wave)]
        figures = {
            "mcd": mcd(*cepstra),
            "f0_corr": log_f0_correlation(*tracks),
            "voicing_f1": voicing_f1(*tracks),
            "mel_l1": mel_l1([log_mel(wave, SPEC, len(song.mel))], [song.mel]),
        }
        found.append(Made(wave, figures))
    return found


def _uses(tokenizer: Tokenizer, songs: Sequence[Song]) -> list[CodebookUse]:
    return [
        sum(
            (CodebookUse.of(song.streams[tokenizer.name][n], size) for song in songs),
            start=CodebookUse(np.zeros(size, np.int64)),
        )
        for n, size in enumerate(tokenizer.sizes)
    ]


def _entropy(tokenizer: Tokenizer, uses: Sequence[CodebookUse]) -> float:
    return sum(float(rate) * use.entropy_bits for rate, use in zip(tokenizer.own_rates, uses, strict=True))


def _purities(tokenizer: Tokenizer, songs: Sequence[Song]) -> list[PhonePurity | None]:
    """Returns the purity of each stream where phones are sung; None where no phone is known."""
    found: list[PhonePurity | None] = []
    for n in range(len(tokenizer.columns)):
        known = [(song.streams[tokenizer.name][n], song.phones[tokenizer.name][n]) for song in songs if song.phones]
        codes, phones = (np.concatenate(parts) for parts in zip(*known, strict=True)) if known else (NONE, NONE)
        sung = phones != SILENCE
        found.append(phone_purity(codes[sung], phones[sung]) if sung.any() else None)
    return found


def _streams(
    tokenizer: Tokenizer, uses: Sequence[CodebookUse], purities: Sequence[PhonePurity | None]
) -> list[list[str]]:
    rows = []
    streams = zip(tokenizer.columns, tokenizer.own_rates, tokenizer.sizes, uses, purities, strict=True)
    for column, rate, size, use, purity in streams:
        row = [f"{tokenizer.name}: {column.name}", f"{float(rate):g}", str(size), f"{100 * use.share_used:.1f} %"]
        row += [f"{use.entropy_bits:.2f}", f"{use.change_rate:.2f}"]
        told = (purity.phone_purity, purity.code_purity, purity.pnmi) if purity else ()
        rows.append([*row, *(f"{value:.3f}" for value in told), *["-"] * (3 - len(told))])
    return rows


def _probe(songs: Sequence[Song]) -> SingerProbe | None:
    """Returns what knows the singers of recordings; None where there are not two singers with more songs than one."""
    counts = Counter(song.singer for song in songs)
    known = [(song.mel, song.singer) for song in songs if song.singer and counts[song.singer] > 1]
    if len({singer for _, singer in known}) < 2:
        return None
    return SingerProbe.fit((mel for mel, _ in known), [singer for _, singer in known])


def _singer_error(probe: SingerProbe | None, made: Sequence[Made], songs: Sequence[Song]) -> float:
    known = [(one.wave, song.singer) for one, song in zip(made, songs, strict=True) if song.singer]
    if probe is None or not known:
        return float("nan")
    mels = [log_mel(wave, SPEC, len(wave) // SPEC.hop) for wave, _ in known]
    return probe.verification_error(mels, [singer for _, singer in known])


def _charts(
    names: Sequence[str], means: Mapping[str, Figures], uses: Mapping[str, Sequence[CodebookUse]]
) -> list[tuple[str, Markup]]:
    drawn = []
    for measure in MEASURES:
        if measure.key in ("mcd", "f0_corr", "mel_l1"):
            points = {name: (means[name]["bits"], means[name].get(measure.key, float("nan"))) for name in names}
            drawn.append((f"{measure.title}: {measure.meaning}", dots(points, "bit/s", measure.title)))
    return [*drawn, ("Use of the codes, times their number, the most frequent first", use_curves(uses))]
