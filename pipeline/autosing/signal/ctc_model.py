"""Any Hugging Face CTC model as a lyrics aligner: wav2vec2, HuBERT or WavLM with characters, MMS, or phonemes.

Words are spelled with the model's own vocabulary: as they stand, in lower or upper case, or romanised (by uroman where
it is installed, as MMS was trained; else by anyascii). A model of phonemes needs a lexicon whose phones it knows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from autosing.signal.alphabet import ANYTHING, Labels, alphabet, romanised
from autosing.signal.checkpoint import VOCABULARY, Checkpoint
from autosing.signal.errors import UsageError
from autosing.signal.ssl import Features, Wave, Windowing, encode_songs
from autosing.signal.ssl_encoder import Device, WaveEncoder, torch_device

if TYPE_CHECKING:
    import torch

HEAD = "AutoModelForCTC"
KINDS = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat")
WINDOWING = Windowing.of_seconds(30, 3)


@dataclass(frozen=True)
class Vocabulary:
    """What a CTC model can write.

    Attributes:
        symbols: by column, the blank first.
        pronunciations: of a lexicon, for a model of phonemes; empty for one of characters.
    """

    symbols: Sequence[str]
    pronunciations: Mapping[str, Sequence[str]]

    def labels(self, word: str) -> Labels:
        """Returns the labels of a word, at least one; `ANYTHING` where the model can't write it."""
        spellings = [self.pronunciations.get(word.lower(), ())] if self.pronunciations else _spellings(word)
        for spelling in spellings:
            if spelling and all(symbol in self._columns for symbol in spelling):
                return tuple(self._columns[symbol] for symbol in spelling)
        return (ANYTHING,)

    @cached_property
    def _columns(self) -> dict[str, int]:
        return {symbol: n for n, symbol in enumerate(self.symbols) if n}


class CtcModel(WaveEncoder):
    """Gives the log probabilities of a CTC model's symbols, the blank first, as features for `encode_songs`."""

    def __init__(
        self, checkpoint: Checkpoint, vocabulary: Vocabulary, order: Sequence[int], device: "torch.device"
    ) -> None:
        super().__init__(checkpoint, checkpoint.load(HEAD), (), len(order), device)
        self.vocabulary, self._order = vocabulary, list(order)

    def emissions(self, wave: Wave, n_frames: int) -> Features:
        """Returns the log probabilities (F, V) of a wave (T,) at 16 kHz, at 50 Hz, from overlapping windows."""
        (found,) = encode_songs(self, [wave], [n_frames], WINDOWING)
        return found

    def _run(self, inputs: "torch.Tensor") -> Features:
        import torch

        with torch.inference_mode():
            log_probs = self._network(inputs.to(self._device)).logits.float().log_softmax(-1)
            ordered: Features = log_probs[..., self._order].half().cpu().numpy()
        return ordered


def load_ctc_model(model: str, lexicon: str = "", device: Device = "auto") -> CtcModel:
    """Returns the CTC model of a hub id or folder.

    Args:
        model: id or path of a checkpoint with `vocab.json` and safetensors weights.
        lexicon: a pronunciation dictionary whose phones are the model's symbols.
        device: `auto` takes a GPU where there is one.

    Raises:
        UsageError: no such checkpoint or device, no CTC model, or no vocabulary that fits it.
    """
    checkpoint = Checkpoint(model)
    kind = checkpoint.config.get("model_type")
    if kind not in KINDS:
        raise UsageError(f"align: {model} is a {kind!r} model; supported: {', '.join(KINDS)}, with a CTC head")
    columns = _columns(checkpoint.vocabulary, model, int(checkpoint.config.get("vocab_size", 0)))
    blank = int(checkpoint.config.get("pad_token_id") or 0)
    order = [blank, *(n for n in range(len(columns)) if n != blank)]
    pronunciations = alphabet("lexicon", lexicon).pronunciations if lexicon else {}
    vocabulary = Vocabulary([columns[n] for n in order], pronunciations)
    return CtcModel(checkpoint, vocabulary, order, torch_device(device, "align"))


def _columns(vocabulary: Mapping[str, Any], model: str, size: int) -> list[str]:
    """Returns the symbol of each column; MMS keeps a vocabulary for each language, of which there must be one."""
    nested = [value for value in vocabulary.values() if isinstance(value, Mapping)]
    if nested:
        raise UsageError(
            f"align: {model} has vocabularies of {len(vocabulary)} languages ({', '.join(list(vocabulary)[:5])}, ...); "
            f"save the adapter and the {VOCABULARY} of one of them as a model of its own"
        )
    symbols = {int(column): str(symbol) for symbol, column in vocabulary.items()}
    if not symbols or sorted(symbols) != list(range(len(symbols))) or (size and len(symbols) > size):
        raise UsageError(
            f"align: the {VOCABULARY} of {model} does not name the {size} columns of its head; copy it again"
        )
    return [symbols.get(n, "") for n in range(max(size, len(symbols)))]


def _spellings(word: str) -> list[str]:
    plain = word.replace("'", "")
    return [word, word.lower(), word.upper(), plain.lower(), plain.upper(), *_romanisations(word)]


def _romanisations(word: str) -> list[str]:
    roman = romanised(word)
    found = [roman, roman.upper(), roman.replace("'", ""), roman.replace("'", "").upper()]
    return found if word.isascii() else [*_by_uroman(word), *found]


def _by_uroman(word: str) -> list[str]:
    try:
        romanise = _uroman().romanize_string
    except ImportError:
        return []
    roman = "".join(c for c in romanise(word).lower() if c.isalpha() or c == "'")
    return [roman, roman.upper()]


@cache
def _uroman() -> Any:
    """Returns the romaniser that MMS was trained with; its tables take seconds to load."""
    import uroman

    return uroman.Uroman()
