"""The trainer from lyrics to tokens that are sung (T2S), after AutoSing and SPEAR-TTS."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from autosing.models.acoustic_input import pad_stack
from autosing.models.directory import LoadedModel
from autosing.models.language import LANGUAGE_SIZES, LanguageFields, LanguageSize, TokenLanguage
from autosing.models.language_blocks import NOBODY, Mlp
from autosing.models.lyric_tokens import PACES, Letters, LyricSpeller, Times, pace_row
from autosing.models.width import lr_scales
from autosing.signal.errors import MissingColumn, SchemaMismatch, UsageError
from autosing.training.bigrams import MOST_TOKENS, Bigrams
from autosing.training.loader import Batch
from autosing.training.look import Look
from autosing.training.manifest import Manifest, described, rates_of
from autosing.training.pictures import attention_figure
from autosing.training.sample import Sample
from autosing.training.task import Phase, RunConfig, Task, Tensors
from autosing.training.tasks.t2s_figures import LOSS, Figures, most_diagonal
from autosing.training.tasks.t2s_input import backing_tokens, check_tokens, side_by_side, spelled_text, sung_words
from autosing.training.tasks.t2s_losses import cross_entropy, diagonality, has_text, token_mask
from autosing.training.tuning import take_singers

GUIDED = "guided_attention"
TEXT, BACKING, SINGER, PACE = "text", "backing", "singer", "pace"
# Of AdamW: language models of tokens have few of each kind in a batch, and the second moment must forget them sooner.
BETAS = (0.9, 0.95)


@dataclass(frozen=True, kw_only=True)
class T2sConfig(RunConfig):
    """Settings of the trainer from lyrics to tokens.

    Attributes:
        size: of the model; the learning rate of one is that of all, with AdamW.
        target: the column of tokens that are sung, such as `semantic` or `units`.
        n_tokens: how many different ones there may be; 0 is as many as the set tells.
        letters: what text is spelled with: `bytes` of UTF-8 for any script, or an alphabet of the aligner, of which
            `classes`, of samples that hold a `language`, are by its rules.
        lexicon: the path of a pronunciation dictionary, for the letters `lexicon`.
        text_times: what the model is told of when text is sung: nothing, so that it is spread evenly; when its lines
            are, as line stamps tell; or when its words are. More than `even` needs a set with `words: true`.
        backing: columns of codes of the backing, such as those of a codec's coarse levels; none does without.
        n_backing_tokens: how many different ones a level may have; 0 is as many as the set tells.
        use_singer: tell the model who sings.
        use_pace: tell the model how many characters a second there are.
        condition_dropout: share of training samples that hear no condition at all, which guidance leads away from.
        singer_dropout: share of training samples whose singer is withheld, so that unknown singers can be sung.
        backing_dropout: share of training samples whose backing is withheld, so that one may sing without.
        mlp: what a layer computes token by token: `swiglu` or `gelu`.
        dropout: in all layers.
        guided_weight: of guided attention (DC-TTS) in the middle layer, beside 1 of the cross-entropy; 0 is without.
        guided_width: of the diagonal that it guides to, as a share of the sample.
    """

    size: LanguageSize = "small"
    target: str = "semantic"
    n_tokens: int = 0
    letters: Letters = "bytes"
    lexicon: str = ""
    text_times: Times = "even"
    backing: tuple[str, ...] = ()
    n_backing_tokens: int = 0
    use_singer: bool = True
    use_pace: bool = True
    condition_dropout: float = 0.1
    singer_dropout: float = 0.1
    backing_dropout: float = 0.1
    mlp: Mlp = "swiglu"
    dropout: float = 0.1
    guided_weight: float = 0.0
    guided_width: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_not_below_0("n_tokens", "n_backing_tokens", "guided_weight")
        self.require_above_0("guided_width")
        for name in ("condition_dropout", "singer_dropout", "backing_dropout", "dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be from 0 to 1")
        if len({self.target, *self.backing}) <= len(self.backing):
            raise UsageError(f"a column is named twice among {', '.join((self.target, *self.backing))}; name each once")

    @property
    def columns(self) -> tuple[str, ...]:
        """The series that are read of every sample."""
        return (self.target, *self.backing)

    def task(self, manifest: Manifest) -> "T2sTask":
        """Returns the task on a built set."""
        return T2sTask(self, manifest)


class Learner(nn.Module):
    """A model with the baseline that it is compared with; None for more tokens than a baseline can count pairs of."""

    def __init__(self, fields: LanguageFields) -> None:
        super().__init__()
        self.language = TokenLanguage(fields)
        self.bigrams = Bigrams(fields.n_tokens) if fields.n_tokens <= MOST_TOKENS else None


class T2sTask(Task[Learner]):
    """Cross-entropy of the next token.

    Raises:
        MissingColumn: the set lacks a column that the settings use, or singers.
        UsageError: it doesn't tell how many tokens there are, and neither do the settings.
    """

    metric: ClassVar[str] = LOSS
    overfit_bound: ClassVar[float] = 0.1
    readouts: ClassVar[tuple[str, ...]] = ("language.readout",)
    statistics_samples: ClassVar[int] = 4096
    growing: ClassVar[tuple[str, ...]] = ("conditions.singer.weight",)

    def __init__(self, config: T2sConfig, manifest: Manifest) -> None:
        manifest.require(config.columns)
        if config.use_singer and not manifest.singers:
            raise MissingColumn(
                f"{manifest.url} names no singer; build it from songs with an `artist` or `singer`, "
                "or set use_singer=false"
            )
        self.config: T2sConfig = config
        self.column_of = {name: manifest.columns[name] for name in config.columns}
        self.rate = rates_of(self.column_of)[config.target]
        self.tokens_per_s = float(self.rate)
        self.n_tokens = self._size(config.target, config.n_tokens, "n_tokens")
        self.backing = {name: self.column_of[name] for name in config.backing}
        self.backing_sizes = [self._size(name, config.n_backing_tokens, "n_backing_tokens") for name in self.backing]
        self.singers = manifest.singers if config.use_singer else ()
        self.singer_rows = {name: NOBODY + 1 + i for i, name in enumerate(self.singers)}
        self.speller = LyricSpeller.of(config.letters, config.text_times, config.lexicon)

    @property
    def fields(self) -> LanguageFields:
        """What the model is built from."""
        config, (dim, layers, source_layers) = self.config, LANGUAGE_SIZES[self.config.size]
        backing = {BACKING: 1 + sum(self.backing_sizes)} if self.backing else {}
        singer, pace = {SINGER: 1 + len(self.singers)} if self.singers else {}, {PACE: 1 + PACES}
        return LanguageFields(
            n_tokens=self.n_tokens,
            rate=str(self.rate),
            sources={TEXT: self.speller.n_tokens, **backing},
            conditions={**singer, **(pace if config.use_pace else {})},
            dim=dim,
            layers=layers,
            source_layers=source_layers,
            mlp=config.mlp,
            dropout=config.dropout,
        )

    def build(self) -> Learner:
        """Returns the model with random weights, and the baseline that has counted nothing."""
        return Learner(self.fields)

    def initialise(self, model: Learner, samples: Iterable[Sample]) -> None:
        """Counts the pairs of tokens for the baseline; the model begins as it is."""
        if model.bigrams:
            model.bigrams.count(sample.series[self.config.target] for sample in samples)

    def adopt(self, model: Learner, base: LoadedModel, samples: Iterable[Sample]) -> None:
        """Takes over a trained model; its singers keep their rows, new ones begin as nobody in particular.

        Raises:
            CheckpointError: it is of another kind, size or contract.
        """
        super().adopt(model, base, samples)
        take_singers(model.language.singers, base, self.singer_rows)
        self.initialise(model, samples)

    def phases(self) -> Sequence[Phase]:
        """Returns one turn, with guided attention as far as it counts."""
        return (Phase(betas=BETAS, weights={GUIDED: self.config.guided_weight}),)

    def lr_scales(self, model: Learner) -> Mapping[nn.Parameter, float]:
        """Returns what makes the learning rate of one width that of all."""
        return lr_scales(model, self.fields.dim)

    def kept(self, model: Learner) -> TokenLanguage:
        """Returns the model without the baseline."""
        return model.language

    def contract(self) -> Mapping[str, Any]:
        """Returns what tokens, text and conditions are: columns with rates and definitions, letters, singers."""
        config = self.config
        return {
            **described(self.column_of),
            "target": {"column": config.target, "n_tokens": self.n_tokens},
            "text": {"letters": config.letters, "symbols": list(self.speller.symbols), "times": config.text_times},
            # Lists, since JSON may order a mapping otherwise, and levels have rows by their order.
            "backing": {"columns": list(self.backing), "n_tokens": list(self.backing_sizes)},
            "pace": config.use_pace,
            "singers": list(self.singers),
        }

    def collate(self, samples: Sequence[Sample], *, training: bool) -> Batch:
        """Returns tokens, text, backing, singers and paces, and what of it is withheld."""
        tokens = [self._tokens(sample) for sample in samples]
        words = [sung_words(sample) for sample in samples]
        seconds = np.array([sample.info["seconds"] for sample in samples], np.float32)
        texts = [spelled_text(sample, sung, self.speller) for sample, sung in zip(samples, words, strict=True)]
        arrays: dict[str, npt.NDArray[Any]] = {
            "tokens": pad_stack(tokens),
            "token_counts": np.array([len(one) for one in tokens], np.int64),
            "seconds": seconds,
            **side_by_side(TEXT, [(text.tokens, text.times_s) for text in texts]),
            "withheld": np.array([self._withholds(s, "conditions", training) for s in samples]),
        }
        if self.backing:
            arrays |= side_by_side(BACKING, [backing_tokens(s, self.backing, self.backing_sizes) for s in samples])
            without = np.array([self._withholds(sample, BACKING, training) for sample in samples])
            arrays["backing_counts"][without] = 1
        if self.singers:
            arrays[SINGER] = np.array([self._singer(sample, training) for sample in samples], np.int64)
        if self.config.use_pace:
            paces = [pace_row(sung, float(s)) for sung, s in zip(words, seconds, strict=True)]
            arrays[PACE] = np.array(paces, np.int64)
        n_tokens, sung_to = arrays["token_counts"], (arrays["text_counts"] > 1) & ~arrays["withheld"]
        counts = {LOSS: int(n_tokens.sum()), GUIDED: int(n_tokens[sung_to].sum())}
        keys = tuple(sample.key for sample in samples)
        return Batch(arrays, counts, keys, float(seconds.sum()), tokens=counts[LOSS])

    def losses(self, model: Learner, batch: dict[str, Tensor], phase: str) -> Mapping[str, Tensor]:
        """Returns the cross-entropy in nats, and the attention away from the diagonal, averaged over heads; sums."""
        config = self.config
        if not config.guided_weight:
            return {LOSS: cross_entropy(model.language(batch, batch["tokens"]).logits, batch)}
        told = model.language(batch, batch["tokens"], watched=(model.language.fields.layers // 2,))
        near = diagonality(told.attention[0], batch, self.tokens_per_s, config.guided_width).mean()
        guided = (token_mask(batch) & has_text(batch)[:, None]).sum() - near
        return {LOSS: cross_entropy(told.logits, batch), GUIDED: guided}

    def validate(self, model: Learner, batches: Iterable[Tensors]) -> Mapping[str, float]:
        """Returns how well tokens are predicted, also from the token before alone, and with others' lyrics.

        `lyrics_gap` is the perplexity with the text of another sample beside that with the true one: 1 where a model
        does not listen to text. `diagonality` is that of the head that is nearest to what is sung.
        """
        found = Figures(self.tokens_per_s, self.config.guided_width)
        for batch in batches:
            found.add(model.language, model.bigrams, batch)
        return found.metrics

    def look(self, model: Learner, batch: Tensors) -> Look:
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

    def flops_per_token(self, model: Learner) -> float:
        """Returns the operations of the decoder's layers; what reads sources, and attention itself, come on top."""
        layers = [layer for layer in model.language.blocks.modules() if isinstance(layer, nn.Linear)]
        return 6.0 * sum(layer.weight.numel() for layer in [*layers, model.language.readout])

    def _size(self, name: str, setting: int, told_by: str) -> int:
        size = setting or self.column_of[name].n_tokens
        if not size:
            raise UsageError(
                f"the set does not tell how many different {name} there are; set {told_by}, or build again"
            )
        return size

    def _tokens(self, sample: Sample) -> npt.NDArray[np.int64]:
        tokens = sample.series[self.config.target].astype(np.int64)
        check_tokens(sample, self.config.target, tokens, self.n_tokens, "n_tokens")
        return tokens

    def _withholds(self, sample: Sample, what: str, training: bool) -> bool:
        share = {BACKING: self.config.backing_dropout, SINGER: self.config.singer_dropout}
        return training and sample.rng(what).random() < share.get(what, self.config.condition_dropout)

    def _singer(self, sample: Sample, training: bool) -> int:
        name = sample.info["singer"]
        if name is None or self._withholds(sample, SINGER, training):
            return NOBODY
        if name not in self.singer_rows:
            raise SchemaMismatch(
                f"sample {sample.key} is sung by {name!r}, who is not in the set's table; build it again"
            )
        return self.singer_rows[name]
