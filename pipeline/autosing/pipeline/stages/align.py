"""`align`: when each word is sung, by the project's own net, by any CTC model, or by the rule of thumb."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from autosing.pipeline.schema import ALIGNED_LINES, ALIGNED_WORDS, PHONES, Column
from autosing.pipeline.song import AudioName, Song
from autosing.pipeline.stage import NOT_IN_DEFINITION, FitSource, FittedStage, Resources, Row, per_song
from autosing.signal.errors import RowError, UsageError
from autosing.signal.framing import frames
from autosing.signal.lyric_mel import RATE, SAMPLE_RATE
from autosing.signal.lyrics import parse_lrc, plain_lines, split_words
from autosing.signal.ssl_encoder import Device
from autosing.signal.word_times import place_words

if TYPE_CHECKING:
    from autosing.aligner.align import Emissions
    from autosing.aligner.alignment import Alignment
    from autosing.signal.alphabet import Speller

LRC, RAW, DURATION = "index.lrc_lyrics", "index.raw_lyrics", "probe.duration_s"
LANGUAGE = "lyric_language.lyric_language"
Listen = Callable[[Song], "Emissions"]
Spell = Callable[[Song], "Speller"]


@dataclass(frozen=True)
class Align(FittedStage):
    """Times of words, lines and phones; null where the song has no lyrics, or only marks ("[instrumental]").

    Stamped lyrics win over plain ones, unless they are stamps without words.
    Of lyrics without times a stanza stays together, where an empty line or a mark ("[Chorus]") parts it from the next.

    Args:
        method: `ctc`, the project's own net; `hf`, any Hugging Face CTC model; or `rate`, which hears nothing, needs
            line stamps and places words by their letters and syllables.
        model: of `ctc`: `shipped`, or the path or hub id of an aligner; of `hf`: the path or hub id of the model.
        lexicon: the pronunciation dictionary that the model was trained with; "" for none.
        source: the `lyric_mel` instance, for `ctc`.
        audio: what `hf` hears.
        adapt: train the net of `ctc` further on the data set's own line stamps before it aligns, for minutes.
        adapt_steps: of that; 1400 are nine minutes on a core.
        hours: audio to adapt on, sampled evenly over the partitions.
        seed: of the songs that are sampled and of the training.
        adapted: folder of the adapted net; the data set's own by default.
        device: of `hf`: auto, cpu or cuda.
        gpus: GPUs that a worker occupies.
    """

    version: ClassVar[int] = 2
    artefact_setting: ClassVar[str] = "adapted"

    method: Literal["ctc", "hf", "rate"] = "ctc"
    model: str = "shipped"
    lexicon: str = ""
    source: str = "lyric_mel"
    audio: AudioName = "mix"
    adapt: bool = False
    adapt_steps: int = 1400
    hours: float = 2
    seed: int = 0
    adapted: str = field(default="", metadata=NOT_IN_DEFINITION)
    device: Device = field(default="auto", metadata=NOT_IN_DEFINITION)
    gpus: float = field(default=0, metadata=NOT_IN_DEFINITION)

    def __post_init__(self) -> None:
        if self.adapt and self.method != "ctc":
            raise UsageError(f"align: adapt is for the method ctc, not {self.method}; set adapt to false")
        if self.method == "hf" and self.model == "shipped":
            raise UsageError("align: the method hf needs the hub id or path of a CTC model as `model`")
        if self.adapt and self.adapt_steps < 1:
            raise UsageError(f"align: adapt_steps is {self.adapt_steps}; give 1 or more, or set adapt to false")

    @property
    def artefact(self) -> str:
        return self.adapted if self.adapt else ""

    def columns(self) -> tuple[Column, ...]:
        return (
            Column("words", ALIGNED_WORDS, meaning="each word with its time, line number and score", nullable=True),
            Column("lines", ALIGNED_LINES, meaning="each line from its first word to its last", nullable=True),
            Column("phones", PHONES, meaning="sounds as the net spells them; null of rate", nullable=True),
            Column("offset_s", pa.float32(), unit="s", meaning="how much later than its stamps", nullable=True),
            Column("inlier_ratio", pa.float32(), meaning="share of lines whose stamps agree on it", nullable=True),
            Column("derailed", pa.bool_(), meaning="whether most of it is not to be trusted", nullable=True),
        )

    def reads(self) -> tuple[str, ...]:
        heard = (f"{self.source}.lyric_mel", LANGUAGE) if self.method == "ctc" else ()
        return (LRC, RAW, DURATION, *heard)

    def audio_read(self) -> AudioName | None:
        return self.audio if self.method == "hf" else None

    def models(self) -> dict[str, str]:
        if self.method == "rate":
            return {}
        from autosing.aligner.shipped import aligner_path

        return {"model": self.artefact or (aligner_path(self.model) if self.method == "ctc" else self.model)}

    def resources(self) -> Resources:
        return Resources(gpus=self.gpus)

    def fit_settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("model", "lexicon", "source", "adapt_steps", "hours", "seed")}

    def fit(self, songs: FitSource, folder: Path) -> None:
        from autosing.aligner.adapt import AdaptConfig, adapt, lines_of
        from autosing.aligner.shipped import load_aligner
        from autosing.models.directory import save_model

        start = load_aligner(self.model, lexicon=self.lexicon)
        lines = []
        for song in songs.songs((LRC, DURATION, LANGUAGE, f"{self.source}.lyric_mel")):
            stamped = parse_lrc(song.get(LRC) or "").lines
            letters = start.alphabet.in_language(song.get(LANGUAGE))
            lines += lines_of(song[f"{self.source}.lyric_mel"], stamped, song[DURATION], letters)
        config = AdaptConfig(steps=self.adapt_steps, seed=self.seed)
        losses = adapt(start.model, lines, config)
        told = {
            "lines": len(lines),
            "losses": [float(np.mean(part)) for part in np.array_split(losses, min(10, len(losses)))],
        }
        save_model(folder, start.model, start.contract, {"adapted": {**asdict(config), **told}})

    def setup(self) -> tuple[Listen, Spell] | None:
        if self.method == "rate":
            return None
        return self._own() if self.method == "ctc" else self._foreign()

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, lambda song: _row(_aligned(song, model)))

    def _own(self) -> tuple[Listen, Spell]:
        from autosing.aligner.emissions import emissions
        from autosing.aligner.shipped import load_aligner

        loaded = load_aligner(self.artefact or self.model, lexicon=self.lexicon)

        def listen(song: Song) -> "Emissions":
            return emissions(loaded.model, song[f"{self.source}.lyric_mel"])

        return listen, lambda song: loaded.alphabet.in_language(song[LANGUAGE])

    def _foreign(self) -> tuple[Listen, Spell]:
        from autosing.signal.ctc_model import load_ctc_model

        loaded = load_ctc_model(self.model, self.lexicon, self.device)

        def listen(song: Song) -> "Emissions":
            n_frames = frames(song.n_samples, song.sample_rate, RATE)
            return loaded.emissions(song.mono(self.audio, SAMPLE_RATE), n_frames).astype(np.float32)[None]

        return listen, lambda song: loaded.vocabulary


def _aligned(song: Song, model: tuple[Listen, Spell] | None) -> "Alignment | None":
    """Returns the alignment of a song; None where it has no words to sing.

    Raises:
        RowError: its lyrics can't be aligned; says why.
    """
    from autosing.aligner.align import align_plain, align_stamped, by_rule

    stamped, duration_s = parse_lrc(song[LRC] or "").lines, song[DURATION]
    if any(split_words(line.text) for line in stamped):
        sung = place_words(stamped, duration_s)
        if not sung:
            raise RowError(f"all lyrics begin after the end of the song ({duration_s:.1f} s): lyrics of another song?")
        if model is None:
            return by_rule(sung)
        listen, spell = model
        return align_stamped(listen(song), stamped, duration_s, spell(song))
    plain = plain_lines(song[LRC], song[RAW])
    if not any(split_words(line) for line in plain):
        return None
    if model is None:
        raise RowError(
            "the lyrics have no time stamps ([mm:ss.xx]), which the method rate needs; align them with method ctc"
        )
    listen, spell = model
    return align_plain(listen(song), plain, duration_s, spell(song))


def _row(found: "Alignment | None") -> Row:
    if found is None:
        return {}
    return {
        "words": [asdict(word) for word in found.words],
        "lines": [asdict(line) for line in found.lines],
        "phones": [asdict(phone) for phone in found.phones] if found.phones else None,
        "offset_s": found.offset_s,
        "inlier_ratio": found.inlier_ratio,
        "derailed": found.is_derailed,
    }
