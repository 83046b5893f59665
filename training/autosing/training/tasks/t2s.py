"""The trainer from lyrics to tokens that are sung (T2S), after AutoSing and SPEAR-TTS."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from autosing.models.acoustic_input import pad_stack
from autosing.models.language import LanguageFields, TokenLanguage
from autosing.models.lyric_tokens import PACES, Letters, LyricSpeller, Times, pace_row
from autosing.signal.errors import UsageError
from autosing.signal.framing import centres_s
from autosing.training.bigrams import MOST_TOKENS, Bigrams
from autosing.training.loader import Batch
from autosing.training.look import Look
from autosing.training.manifest import Manifest, rates_of
from autosing.training.pictures import attention_figure
from autosing.training.sample import Sample
from autosing.training.task import Phase, Tensors
from autosing.training.tasks.entropy_losses import cross_entropy
from autosing.training.tasks.language_input import check_tokens, side_by_side
from autosing.training.tasks.language_task import BETAS, LanguageConfig, LanguageTask, Learner
from autosing.training.tasks.t2s_figures import LOSS, Figures, most_diagonal
from autosing.training.tasks.t2s_input import spelled_text, sung_words
from autosing.training.tasks.t2s_losses import diagonality, has_text, token_mask, true_cells

GUIDED = "guided_attention"
TEXT, PACE = "text", "pace"


@dataclass(frozen=True, kw_only=True)
class T2sConfig(LanguageConfig):
    """Settings of the trainer from lyrics to tokens.

    Attributes:
        target: the column of tokens that are sung, such as `semantic` or `units`.
        n_tokens: how many different ones there may be; 0 is as many as the set tells.
        letters: what text is spelled with: `bytes` of UTF-8 for any script, or an alphabet of the aligner, of which
            `classes`, of samples that hold a `language`, are by its rules.
        lexicon: the path of a pronunciation dictionary, for the letters `lexicon`.
        text_times: what the model is told of when text is sung: when its words are; when its lines are, as line stamps
            tell; or nothing, so that it is spread evenly (`even`). The former need a set with `words: true`.
        use_pace: tell the model how many characters a second there are.
        guided_weight: of guided attention (DC-TTS) in the middle layer, beside 1 of the cross-entropy; 0 is without.
        guided_width: of the diagonal that it guides to, as a share of the sample.
    """

    target: str = "semantic"
    n_tokens: int = 0
    letters: Letters = "bytes"
    lexicon: str = ""
    text_times: Times = "words"
    use_pace: bool = True
    guided_weight: float = 0.0
    guided_width: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_not_below_0("n_tokens", "guided_weight")
        self.require_above_0("guided_width")
        if self.guided_weight and self.row_s:
            raise UsageError("guided_weight is of samples in rows of their own; set row_s=0, or guided_weight=0")

    @property
    def columns(self) -> tuple[str, ...]:
        """The series that are read of every sample."""
        return (self.target, *self.backing)

    def task(self, manifest: Manifest) -> "T2sTask":
        """Returns the task on a built set."""
        return T2sTask(self, manifest)


class T2sLearner(Learner):
    """A model with bigrams beside it; None for more tokens than pairs can be counted of."""

    def __init__(self, fields: LanguageFields) -> None:
        super().__init__()
        self.language = TokenLanguage(fields)
        self.bigrams = Bigrams(fields.n_tokens) if fields.n_tokens <= MOST_TOKENS else None


class T2sTask(LanguageTask[T2sLearner]):
    """Cross-entropy of the next token.

    Raises:
        MissingColumn: the set lacks a column that the settings use, or singers.
        UsageError: it doesn't tell how many tokens there are, and neither do the settings.
    """

    metric: ClassVar[str] = LOSS
    overfit_bound: ClassVar[float] = 0.1
    config: T2sConfig

    def __init__(self, config: T2sConfig, manifest: Manifest) -> None:
        super().__init__(config, manifest)
        self.rate = rates_of(self.column_of)[config.target]
        self.tokens_per_s = float(self.rate)
        self.n_tokens = self.size_of(config.target, config.n_tokens, "n_tokens")
        self.speller = LyricSpeller.of(config.letters, config.text_times, config.lexicon)

    @property
    def fields(self) -> LanguageFields:
        """What the model is built from."""
        told, pace = self.fields_of_all(), {PACE: 1 + PACES} if self.config.use_pace else {}
        own = {
            "sources": {TEXT: self.speller.n_tokens, **told["sources"]},
            "conditions": {**told["conditions"], **pace},
        }
        return LanguageFields(n_tokens=self.n_tokens, rate=str(self.rate), **{**told, **own})

    def build(self) -> T2sLearner:
        """Returns the model with random weights, and the baseline that has counted nothing."""
        return T2sLearner(self.fields)

    def initialise(self, model: T2sLearner, samples: Iterable[Sample]) -> None:
        """Counts the pairs of tokens for the baseline; the model begins as it is."""
        if model.bigrams:
            model.bigrams.count(sample.series[self.config.target] for sample in samples)

    def phases(self) -> Sequence[Phase]:
        """Returns one turn, with guided attention as far as it counts."""
        return (Phase(betas=BETAS, weights={GUIDED: self.config.guided_weight}),)

    def contract(self) -> Mapping[str, Any]:
        """Returns what tokens, text and conditions are: columns with rates and definitions, letters, singers."""
        config = self.config
        return {
            **super().contract(),
            "target": {"column": config.target, "n_tokens": self.n_tokens},
            "text": {"letters": config.letters, "symbols": list(self.speller.symbols), "times": config.text_times},
            "pace": config.use_pace,
        }

    def collate(self, samples: Sequence[Sample], *, training: bool) -> Batch:
        """Returns tokens, text, backing, singers and paces, and what of it is withheld."""
        tokens = [self._tokens(sample) for sample in samples]
        words = [sung_words(sample) for sample in samples]
        texts = [spelled_text(sample, sung, self.speller) for sample, sung in zip(samples, words, strict=True)]
        arrays: dict[str, npt.NDArray[Any]] = {
            "tokens": pad_stack(tokens),
            "token_counts": np.array([len(one) for one in tokens], np.int64),
            **side_by_side(TEXT, [(text.tokens, text.times_s) for text in texts]),
            **self.accompaniment(samples, training),
        }
        seconds = arrays["seconds"]
        if self.config.use_pace:
            paces = [pace_row(sung, float(s)) for sung, s in zip(words, seconds, strict=True)]
            arrays[PACE] = np.array(paces, np.int64)
        n_tokens, sung_to = arrays["token_counts"], (arrays["text_counts"] > 1) & ~arrays["withheld"]
        counts = {LOSS: int(n_tokens.sum()), GUIDED: int(n_tokens[sung_to].sum())}
        keys = tuple(sample.key for sample in samples)
        batch = Batch(arrays, counts, keys, float(seconds.sum()), tokens=counts[LOSS])
        if not training:
            return batch
        times_s = [centres_s(len(one), self.rate).astype(np.float32) for one in tokens]
        return self.for_training(samples, batch, {"tokens": tokens, "columns_s": times_s}, {})

    @property
    def column_rate(self) -> Fraction:
        """Tokens a second."""
        return self.rate

    @property
    def sources(self) -> Sequence[str]:
        """Text, and the backing where there is one."""
        return (TEXT, *self.fields_of_all()["sources"])

    @property
    def told_of_samples(self) -> Sequence[str]:
        """The names of what is told of a sample as a whole."""
        return (*super().told_of_samples, PACE)

    def losses(self, model: T2sLearner, batch: dict[str, Tensor], phase: str) -> Mapping[str, Tensor]:
        """Returns the cross-entropy in nats, and the attention away from the diagonal, averaged over heads; sums."""
        config, middle = self.config, model.language.fields.layers // 2
        told = model.language(batch, batch["tokens"], watched=(middle,) if config.guided_weight else ())
        entropy = cross_entropy(model.language, told.states, true_cells(batch))
        if not config.guided_weight:
            return {LOSS: entropy}
        near = diagonality(told.attention[0], batch, self.tokens_per_s, config.guided_width).mean()
        guided = (token_mask(batch) & has_text(batch)[:, None]).sum() - near
        return {LOSS: entropy, GUIDED: guided}

    def validate(self, model: T2sLearner, batches: Iterable[Tensors]) -> Mapping[str, float]:
        """Returns how well tokens are predicted, also from the token before alone, and with others' lyrics.

        `lyrics_gap` is the perplexity with the text of another sample beside that with the true one: 1 where a model
        does not listen to text. `diagonality` is that of the head that is nearest to what is sung.
        """
        found = Figures(self.tokens_per_s, self.config.guided_width)
        for batch in batches:
            found.add(model.language, model.bigrams, batch)
        return found.metrics

    def look(self, model: T2sLearner, batch: Tensors) -> Look:
        """Returns the attention to the text of the first sample that has one, of the head nearest to the diagonal."""
        rows = has_text(batch).nonzero()[:, 0].tolist()
        if not rows:
            return Look()
        first = {name: tensor[rows[0] : rows[0] + 1] for name, tensor in batch.items()}
        n, n_text = int(first["token_counts"]), int(first["text_counts"])
        attention_NL = most_diagonal(model.language, first, self.tokens_per_s, self.config.guided_width)
        texts = [self.speller.text_of(token).replace("\n", "↵") for token in first[TEXT][0, 1:n_text].tolist()]
        attention_LN = attention_NL[:n, 1:n_text].T.float().cpu().numpy()
        return Look({"attention to the text": attention_figure(attention_LN, texts, self.tokens_per_s)})

    def _tokens(self, sample: Sample) -> npt.NDArray[np.int64]:
        tokens = sample.series[self.config.target].astype(np.int64)
        check_tokens(sample, self.config.target, tokens, self.n_tokens, "n_tokens")
        return tokens
