"""Lyrics to times: stamped lyrics line by line, lyrics without times over the whole song.

Stamped lyrics: the offset of the stamps is voted by the lines, then every line is aligned inside its stamps with a weak
prior from the rate rule, and one shift for the whole song makes lines begin where their stamps say. Lyrics without
times: a first pass finds where each line lies, a second is confined to a soft window around it that is as long as the
line's text takes to sing (after Durand et al., 2023), so that neither a break nor a repeated chorus can tear a line
apart. Either is done with every net apart, too: where they disagree, a line is not to be trusted. Without times a net
that is wrong is so with much conviction, so all are made to doubt, too: a last pass is confined to where most of these
hearings are, and lines that most of them put there are to be trusted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from autosing.aligner.alignment import Alignment, SungWord, TimedLine, TimedPhone, TimedWord
from autosing.aligner.emissions import mixture, with_anything
from autosing.aligner.paths import Places, SungPath, place
from autosing.signal.alphabet import Speller
from autosing.signal.lyric_mel import RATE
from autosing.signal.lyrics import LrcLine, split_words
from autosing.signal.word_times import Word, place_words, weight

Floats = npt.NDArray[np.floating]
Emissions = npt.NDArray[np.float32]

SEARCH_S = 8.0  # how far off stamps may be
INLIER_S = 1.0
LEAST_INLIERS = 0.5  # share of lines that must agree before stamps are moved
TRUSTED_STAMPS_S = 0.15  # stamps that scatter less around the aligned starts are taken as they are
PAD_S = 0.3  # how far words may be outside of their line's stamps, besides
PRIOR_S = (
    0.2  # spread of the rate rule at a line's start, where only one net is heard; half as much comes with every second
)
LOOSE_S, STIFF_S = 0.35, 0.05  # spreads between which several nets' disagreement chooses
TRUST_S2 = 0.0125  # spread times disagreement: nets that are 0.08 s apart are trusted as much as the rule at 0.15 s
SCATTER = 1.48  # standard deviation over median absolute deviation, of a normal distribution
LEAST_LINES = 4  # to learn a song's shift from

INNER_COST = 2.0  # nats per second without a sound inside a line, so that a line without stamps stays together
# Nats per second of singing that is in no lyrics, between stanzas and between lines of one: what is not written is
# mostly a stanza, as a chorus that is sung once more.
GAP_COSTS = (40.0, 80.0)
MASK_S = 2.5  # beside the time that the line's text takes
DISAGREEMENT_S = 0.5  # about a line's place, at which the confidence in it is 1/e
DERAILED_CONFIDENCE = 0.5
SHARPNESS = (1.0, 0.5, 0.3)  # powers of the probabilities; at a fifth, nine of ten lines are anywhere
DERAILED_SHARE = 0.5  # of lines with less confidence than that, above which a song is lost
LEAST_LEAD = 0.1  # of the lines that agree on their stamps over those with little confidence; less, and a song is lost
USUAL_WEAK = 0.15  # share of lines with little confidence, where a single net tells none
HELD_S = 0.3  # how long the last vowel of a line goes on after the net has heard it


@dataclass(frozen=True)
class _Stamped:
    """Stamped lyrics: the words with labels, and where the rate rule puts them; stamps are moved by `offset_s`."""

    words: Sequence[SungWord]
    rule: Sequence[Word]
    lines: Sequence[LrcLine]
    duration_s: float
    offset_s: float = 0.0

    @property
    def firsts(self) -> npt.NDArray[np.intp]:
        """The places of the words that begin a line."""
        return _line_starts(self.words)

    @property
    def stamps_s(self) -> Floats:
        """The stamps of the lines that have words."""
        return np.array([self.lines[self.words[n].line].start_s for n in self.firsts]) + self.offset_s


@dataclass(frozen=True)
class _Shifted:
    """A path, the starts of its words after the song's shift, and how far lines scatter around their stamps."""

    path: SungPath
    starts_s: Floats
    jitter_s: float


def align_stamped(
    emissions: Emissions, lines: Sequence[LrcLine], duration_s: float, alphabet: Speller
) -> Alignment | None:
    """Returns the alignment of stamped lyrics; None where no line has words before the end of the song.

    Args:
        emissions: log probabilities (N, F, V) of N nets at 50 Hz.
        lines: in order of time; those from `duration_s` on are left out. Word stamps count.
        duration_s: of the song.
        alphabet: of the nets.

    Raises:
        RowError: a line has more sounds than frames, those of its neighbours among them; see `place`.
    """
    rule = place_words(lines, duration_s)
    if not rule or not emissions.shape[1]:
        return None
    words = [SungWord(word.text, word.line, alphabet.labels(word.text)) for word in rule]
    whole, unmoved = with_anything(mixture(emissions)), _Stamped(words, rule, lines, duration_s)
    offset_s, inlier_ratio = _offset(whole, unmoved)
    lyrics = replace(unmoved, offset_s=offset_s)
    # Nets that disagree are wrong more often than the rule is, so it binds their mixture as much as they are apart.
    apart = _apart(words, [_aligned(with_anything(net), lyrics, LOOSE_S).starts_s for net in _several(emissions)])
    found = _aligned(whole, lyrics, _spread(apart))
    confidence = _confidence(apart)
    return _alignment(found.starts_s, found.path, words, confidence, alphabet, duration_s, offset_s, inlier_ratio)


def align_plain(emissions: Emissions, lines: Sequence[str], duration_s: float, alphabet: Speller) -> Alignment | None:
    """Returns the alignment of lyrics without times; None where no line has words. See `align_stamped`.

    Lines without words part stanzas.
    """
    words = sung_words(lines, alphabet)
    if not words or not emissions.shape[1]:
        return None
    whole = mixture(emissions)
    hearings = [_doubted(heard, power) for heard in (whole, *_several(emissions)) for power in SHARPNESS]
    found_s = [_found(with_anything(hearing), words, duration_s).starts_s for hearing in hearings]
    # Most of them together lose fewer lines than any alone.
    agreed = _masked(np.median(found_s, axis=0), words, duration_s)
    path = place(with_anything(whole), words, agreed, INNER_COST, GAP_COSTS)
    return _alignment(path.starts_s, path, words, _agreement(words, path.starts_s, found_s), alphabet, duration_s)


def sung_words(lines: Sequence[str], alphabet: Speller) -> list[SungWord]:
    """Returns the words of lyrics without times, in order."""
    return [SungWord(text, n, alphabet.labels(text)) for n, line in enumerate(lines) for text in split_words(line)]


def by_rule(words: Sequence[Word]) -> Alignment:
    """Returns the places of `word_times.place_words` as an alignment, without scores and confidence."""
    timed = [TimedWord(word.text, word.start_s, word.end_s, word.line) for word in words]
    return Alignment(timed, _lines(timed, {}))


def _offset(evidence: Emissions, lyrics: _Stamped) -> tuple[float, float]:
    """Returns how much later the song is than its stamps, and the share of the lines that agree on it."""
    starts_s = place(evidence, lyrics.words, _near_stamps(lyrics, SEARCH_S, np.inf, 0.0)).starts_s
    late_s = np.sort(starts_s[lyrics.firsts] - lyrics.stamps_s)
    until = np.searchsorted(late_s, late_s + INLIER_S, side="right")
    best = int(np.argmax(until - np.arange(len(late_s))))
    inliers = late_s[best : until[best]]
    ratio, offset_s = len(inliers) / len(late_s), float(np.median(inliers))
    # Half a second is what the placing of a line can be off; stamps are moved only for more, and by many lines.
    is_off = abs(offset_s) > INLIER_S / 2 and ratio >= LEAST_INLIERS and len(late_s) >= LEAST_LINES
    return (offset_s if is_off else 0.0), ratio


def _spread(apart: Mapping[int, float]) -> float:
    """Returns how far from the rate rule a line may begin, by how far nets are apart with hardly any rule."""
    if not apart:
        return PRIOR_S
    disagreement_s = float(np.mean(list(apart.values())))
    return float(np.clip(TRUST_S2 / max(disagreement_s, 1e-3), STIFF_S, LOOSE_S))


def _aligned(evidence: Emissions, lyrics: _Stamped, spread_s: float) -> _Shifted:
    """Returns the words near their stamps; where lines scatter around them, with as much more room for each."""
    found = _shifted(evidence, lyrics, spread_s, 0.0)
    if found.jitter_s >= TRUSTED_STAMPS_S:
        found = _shifted(evidence, lyrics, spread_s, found.jitter_s)
    starts_s = found.starts_s.copy()
    if found.jitter_s < TRUSTED_STAMPS_S:
        starts_s[lyrics.firsts] = lyrics.stamps_s
    return replace(found, starts_s=np.clip(np.maximum.accumulate(starts_s), 0, lyrics.duration_s))


def _shifted(evidence: Emissions, lyrics: _Stamped, spread_s: float, jitter_s: float) -> _Shifted:
    """Returns the best path, shifted so that half of the lines begin before their stamps: CTC is early or late."""
    path = place(evidence, lyrics.words, _near_stamps(lyrics, PAD_S + 2 * jitter_s, spread_s, jitter_s))
    late_s = path.starts_s[lyrics.firsts] - lyrics.stamps_s
    shift_s = float(np.median(late_s)) if len(late_s) >= LEAST_LINES else 0.0
    scatter_s = SCATTER * float(np.median(np.abs(late_s - shift_s)))
    return _Shifted(path, path.starts_s - shift_s, scatter_s)


def _near_stamps(lyrics: _Stamped, pad_s: float, spread_s: float, jitter_s: float) -> Places:
    """Returns that words are between two stamps, give or take `pad_s`, and near the place that the rule gives them.

    Stamps of words are believed like those of lines.
    """
    stamps_s = np.array([line.start_s for line in lyrics.lines] + [lyrics.duration_s])
    line = np.array([word.line for word in lyrics.rule])
    expected_s = np.array([word.start_s for word in lyrics.rule])
    timed = np.array([word.timed for word in lyrics.rule])
    since_s = np.where(timed, 0.0, expected_s - stamps_s[line])
    return Places(
        np.where(timed, expected_s, stamps_s[line]) + lyrics.offset_s - pad_s,
        np.maximum(stamps_s[line + 1], expected_s) + lyrics.offset_s + pad_s,
        expected_s + lyrics.offset_s,
        spread_s * (1 + since_s / 2) + jitter_s,
    )


def _found(evidence: Emissions, words: Sequence[SungWord], duration_s: float) -> SungPath:
    """Returns the path of words without times: anywhere first, then near the middle of their line."""
    first = place(evidence, words, Places.anywhere(len(words), duration_s), INNER_COST, GAP_COSTS)
    return place(evidence, words, _masked(first.starts_s, words, duration_s), INNER_COST, GAP_COSTS)


def _masked(starts_s: Floats, words: Sequence[SungWord], duration_s: float) -> Places:
    """Returns the soft windows of the second pass.

    A line's middle is that word which has half of the line's weight before it; most words stay with it when some are
    drawn away, over a break or into a repeated chorus.
    """
    weights = np.array([weight(word.text) for word in words])
    firsts = _line_starts(words)
    ends = np.append(firsts[1:], len(words))
    spans = list(zip(firsts, ends, strict=True))
    sung_s = np.array([starts_s[b - 1] - starts_s[a] for a, b in spans])
    before = np.array([weights[a : b - 1].sum() for a, b in spans])
    rate_s = float(np.median((sung_s / np.maximum(before, 1e-9))[before > 0])) if (before > 0).any() else 0.3
    expected_s = np.zeros(len(words))
    half_s = np.zeros(len(words))
    for a, b in spans:
        into = np.cumsum(weights[a:b]) - weights[a:b]
        middle = int(np.searchsorted(into, into[-1] / 2))
        expected_s[a:b] = starts_s[a + middle] + rate_s * (into - into[middle])
        half_s[a:b] = MASK_S + rate_s * into[-1] / 2
    return Places(
        np.clip(expected_s - half_s, 0, duration_s),
        np.clip(expected_s + half_s, 0, duration_s),
        expected_s,
        np.full(len(words), MASK_S),
    )


def _line_starts(words: Sequence[SungWord]) -> npt.NDArray[np.intp]:
    """Returns the places of the words that begin a line."""
    return np.flatnonzero(np.diff([word.line for word in words], prepend=-1) != 0)


def _several(emissions: Emissions) -> Emissions:
    """Returns what each of several nets hears; nothing of one net, which has nobody to disagree with."""
    return emissions if len(emissions) > 1 else emissions[:0]


def _apart(words: Sequence[SungWord], starts_s: Sequence[Floats]) -> dict[int, float]:
    """Returns how far several nets are apart about most words of each line, in seconds; nothing of no nets."""
    if not len(starts_s):
        return {}
    lines = np.array([word.line for word in words])
    apart_s = np.ptp(np.stack(starts_s), axis=0)
    return {int(line): float(np.median(apart_s[lines == line])) for line in np.unique(lines)}


def _confidence(apart: Mapping[int, float]) -> dict[int, float]:
    """Returns the confidence of each line, by how far the nets are apart."""
    return {line: float(np.exp(-apart_s / DISAGREEMENT_S)) for line, apart_s in apart.items()}


def _doubted(log_probs: Emissions, power: float) -> Emissions:
    """Returns log probabilities (F, V) of powers of what they were; below 1, all that is heard is less certain."""
    flat = log_probs * np.float32(power)
    return flat - np.logaddexp.reduce(flat, axis=1, keepdims=True)


def _agreement(words: Sequence[SungWord], starts_s: Floats, hearings_s: Sequence[Floats]) -> dict[int, float]:
    """Returns the confidence of each line: the share of the hearings that put most of its words where they are."""
    lines = np.array([word.line for word in words])
    near = np.mean(np.exp(-np.abs(np.stack(hearings_s) - starts_s) / DISAGREEMENT_S), axis=0)
    return {int(line): float(np.median(near[lines == line])) for line in np.unique(lines)}


def _alignment(
    starts_s: Floats,
    path: SungPath,
    words: Sequence[SungWord],
    confidence: dict[int, float],
    alphabet: Speller,
    duration_s: float,
    offset_s: float | None = None,
    inlier_ratio: float | None = None,
) -> Alignment:
    ends_s = _ends(starts_s, path, words, duration_s)
    timed = [
        TimedWord(word.text, float(start_s), float(end_s), word.line, float(score))
        for word, start_s, end_s, score in zip(words, starts_s, ends_s, path.scores, strict=True)
    ]
    return Alignment(
        timed,
        _lines(timed, confidence),
        _phones(starts_s, path, alphabet, duration_s),
        offset_s,
        inlier_ratio,
        _is_derailed(confidence, inlier_ratio),
    )


def _is_derailed(confidence: dict[int, float], inlier_ratio: float | None) -> bool | None:
    """Returns whether most of a song is not to be trusted; None where neither nets nor stamps tell.

    Stamps of other lyrics confine lines so much that nets hardly disagree, and a song that is hard to hear has few
    lines that agree on its stamps; lyrics of another song have both.
    """
    if not confidence and inlier_ratio is None:
        return None
    weak = float(np.mean([value < DERAILED_CONFIDENCE for value in confidence.values()])) if confidence else USUAL_WEAK
    return weak > DERAILED_SHARE or (inlier_ratio is not None and inlier_ratio < weak + LEAST_LEAD)


def _ends(starts_s: Floats, path: SungPath, words: Sequence[SungWord], duration_s: float) -> Floats:
    """Returns the ends: the next word's start, but after a pause where the last sound ends, held as singers do."""
    lines = np.array([word.line for word in words])
    next_s = np.append(starts_s[1:], duration_s)
    is_last = np.append(lines[1:] != lines[:-1], True)
    shift_s = starts_s - path.starts_s
    held_s = np.maximum(path.ends_s + shift_s, starts_s) + HELD_S
    return np.maximum(np.where(is_last, np.minimum(held_s, next_s), next_s), starts_s)


def _lines(words: Sequence[TimedWord], confidence: dict[int, float]) -> list[TimedLine]:
    groups: dict[int, list[TimedWord]] = {}
    for word in words:
        groups.setdefault(word.line, []).append(word)
    return [
        TimedLine(" ".join(word.text for word in group), group[0].start_s, group[-1].end_s, confidence.get(line))
        for line, group in groups.items()
    ]


def _phones(starts_s: Floats, path: SungPath, alphabet: Speller, duration_s: float) -> list[TimedPhone]:
    """Returns the sounds; each lasts as long as the net hears it, moved with its word."""
    shift_s = (starts_s - path.starts_s)[path.owners]
    rate = float(RATE)
    first_s = np.clip(path.sounds.starts / rate + shift_s, 0, duration_s)
    last_s = np.clip(path.sounds.ends / rate + shift_s, 0, duration_s)
    names = [*alphabet.symbols, "*"]
    return [
        TimedPhone(names[label], float(a), float(max(a, b)))
        for label, a, b in zip(path.sounds.labels, first_s, last_s, strict=True)
    ]
