"""The three models that sing, and whether they speak of the same tokens and codes."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from autosing.models.codecs import AnyCodec
from autosing.models.directory import LoadedModel
from autosing.models.language_blocks import NOTHING
from autosing.models.lyric_tokens import LyricSpeller
from autosing.signal.errors import CheckpointError
from autosing.signal.framing import common_period

if TYPE_CHECKING:
    from autosing.models.codes_language import CodesLanguage
    from autosing.models.language import TokenLanguage

TEXT, BACKING, SINGER, PACE, SEMANTIC = "text", "backing", "singer", "pace", "semantic"
# As long as the samples that `cuts` makes unless told otherwise; a model whose run had crops tells their length.
WINDOW_S = 12.0


@dataclass(frozen=True)
class Named:
    """A model with the name that its user knows it by."""

    name: str
    loaded: LoadedModel

    @property
    def contract(self) -> Mapping[str, Any]:
        """What it was trained for."""
        return self.loaded.contract

    @property
    def singers(self) -> tuple[str, ...]:
        """The singers of its table; none where it has none, or knows voices by vectors."""
        return tuple(self.contract.get("singers", ()))


@dataclass(frozen=True)
class NamedCodec:
    """A codec with its name and the digest that `pipeline.model_digest` gives it."""

    name: str
    codec: AnyCodec
    digest: str | None


@dataclass(frozen=True)
class Trio:
    """A model from lyrics to tokens, one from tokens to codes, and the codec that makes sound of those.

    Raises:
        CheckpointError: one is another kind of model, or two of them mean other tokens or codes by the same numbers.
    """

    t2s: Named
    sm2a: Named
    codec: NamedCodec

    def __post_init__(self) -> None:
        _ = self.tokens_model, self.codes_model
        _require(self.t2s, "target", TEXT, "definitions")
        _require(self.sm2a, SEMANTIC, "codes", "columns", "definitions")
        self._check_tokens()
        self._check_codec(self.sm2a, self.codes_columns)
        for model in (self.t2s, self.sm2a):
            self._check_codec(model, self.backing_columns(model))
        self._check_levels()

    @property
    def tokens_model(self) -> "TokenLanguage":
        """The network from lyrics to tokens."""
        from autosing.models.language import TokenLanguage

        model = self.t2s.loaded.model
        if not isinstance(model, TokenLanguage):
            raise CheckpointError(_other_kind(self.t2s, "makes no tokens of lyrics", "t2s"))
        return model

    @property
    def codes_model(self) -> "CodesLanguage":
        """The network from tokens to codes."""
        from autosing.models.codes_language import CodesLanguage

        model = self.sm2a.loaded.model
        if not isinstance(model, CodesLanguage):
            raise CheckpointError(_other_kind(self.sm2a, "makes no codes of tokens", "sm2a"))
        return model

    @property
    def token_rate(self) -> Fraction:
        """Tokens per second."""
        return Fraction(self.tokens_model.fields.rate)

    @property
    def n_tokens(self) -> int:
        """How many different tokens there are."""
        return self.tokens_model.fields.n_tokens

    @property
    def code_rates(self) -> tuple[Fraction, ...]:
        """Codes per second of each level."""
        return tuple(map(Fraction, self.codes_model.fields.rates))

    @property
    def period_s(self) -> Fraction:
        """The shortest time that is a whole number of codes of every level."""
        return common_period(self.code_rates)

    @property
    def codes_columns(self) -> tuple[str, ...]:
        """The columns of the levels, coarse first."""
        return tuple(self.sm2a.contract["codes"]["columns"])

    def backing_columns(self, model: Named) -> tuple[str, ...]:
        """Returns the columns of the backing that a model hears."""
        return tuple(model.contract.get(BACKING, {}).get("columns", ()))

    def backing_levels(self, model: Named) -> tuple[int, ...]:
        """Returns which levels of the codec these are."""
        addresses = (model.contract["columns"][name] for name in self.backing_columns(model))
        return tuple(int(address.rpartition("_")[2]) for address in addresses)

    def speller(self, lexicon: str = "") -> LyricSpeller:
        """Returns how lyrics are spelled.

        Raises:
            CheckpointError: with other symbols than in training.
        """
        told = self.t2s.contract[TEXT]
        speller = LyricSpeller.of(told["letters"], told["times"], lexicon)
        if list(speller.symbols) != list(told["symbols"]):
            raise CheckpointError(
                f"{self.t2s.name} was trained with other symbols than {told['letters']} has here; give the --lexicon "
                "that it was trained with, or train it again"
            )
        return speller

    @property
    def window_s(self) -> float:
        """How much may be sung at once: as much as the models were trained on."""
        trained = [
            (model.loaded.training or {}).get("config", {}).get("crop_s", 0.0) for model in (self.t2s, self.sm2a)
        ]
        return min([float(crop_s) for crop_s in trained if crop_s] or [WINDOW_S])

    def _check_tokens(self) -> None:
        made, heard = self.t2s.contract["target"]["column"], self.sm2a.contract[SEMANTIC]["column"]
        definitions = self.t2s.contract["definitions"][made], self.sm2a.contract["definitions"][heard]
        n_heard = self.codes_model.fields.sources[SEMANTIC] - NOTHING - 1
        if definitions[0] != definitions[1] or self.n_tokens != n_heard:
            raise CheckpointError(
                f"{self.t2s.name} makes {made} of {self.n_tokens} tokens, whose definition is {definitions[0]}, and "
                f"{self.sm2a.name} was trained on {heard} of {n_heard}, whose definition is {definitions[1]}; take two "
                "models that were trained on sets with the same tokenizer"
            )

    def _check_codec(self, model: Named, columns: tuple[str, ...]) -> None:
        contract = model.contract
        for name in columns:
            instance = contract["columns"][name].rpartition(".")[0]
            trained = contract.get("artefacts", {}).get(instance, {}).get("model")
            if trained != self.codec.digest:
                raise CheckpointError(
                    f"{model.name} was trained with {instance}.model = {trained}, but --codec {self.codec.name} is "
                    f"{self.codec.digest}; give the codec that its training set was processed with"
                )

    def _check_levels(self) -> None:
        fields, info = self.codes_model.fields, self.codec.codec.info
        rates = ", ".join(map(str, info.rates))
        told, n_levels = (self.code_rates, tuple(fields.sizes)), len(fields.sizes)
        if told != (info.rates[:n_levels], tuple(info.sizes[:n_levels])):
            raise CheckpointError(
                f"{self.sm2a.name} makes levels of {list(fields.sizes)} codes at {', '.join(fields.rates)} a second, "
                f"and --codec {self.codec.name} levels of {list(info.sizes)} at {rates}; give that codec"
            )


def _require(model: Named, *parts: str) -> None:
    missing = [part for part in parts if part not in model.contract]
    if missing:
        raise CheckpointError(
            f"{model.name} does not tell the {' and '.join(missing)} that it was trained on; train it again with this "
            "version"
        )


def _other_kind(model: Named, what: str, recipe: str) -> str:
    return (
        f"{model.name} is of the class {type(model.loaded.model).__name__} and {what}; give what "
        f"`autosing train {recipe}` made"
    )
