"""Any Hugging Face CTC model: its emissions, its spelling, and what is refused. Tiny random checkpoints."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from wave_checkpoints import save_checkpoint

from autosing.signal.alphabet import ANYTHING
from autosing.signal.ctc_model import load_ctc_model
from autosing.signal.errors import UsageError

CHARACTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz", "'"]


def checkpoint(folder: Path, symbols: list[str] = CHARACTERS, kind: str = "Wav2Vec2", **config: object) -> str:
    save_checkpoint(folder, kind, "ForCTC", vocab_size=len(symbols), pad_token_id=0, **config)
    (folder / "vocab.json").write_text(json.dumps({symbol: n for n, symbol in enumerate(symbols)}))
    return str(folder)


def wave(seconds: float) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(int(16_000 * seconds))).astype(np.float32)


@pytest.mark.parametrize("kind", ["Wav2Vec2", "Hubert", "WavLM"])
def test_emissions_are_log_probabilities_at_fifty_frames_a_second(tmp_path: Path, kind: str) -> None:
    model = load_ctc_model(checkpoint(tmp_path / "m", kind=kind))
    found = model.emissions(wave(2.0), 100).astype(np.float32)
    assert found.shape == (100, len(CHARACTERS))
    assert np.exp(found).sum(axis=1) == pytest.approx(np.ones(100), abs=0.01)


def test_the_blank_comes_first_wherever_the_model_has_it(tmp_path: Path) -> None:
    symbols = [*"abc", "<pad>", "d"]
    save_checkpoint(tmp_path / "m", "Wav2Vec2", "ForCTC", vocab_size=5, pad_token_id=3)
    (tmp_path / "m/vocab.json").write_text(json.dumps({symbol: n for n, symbol in enumerate(symbols)}))
    model = load_ctc_model(str(tmp_path / "m"))
    assert list(model.vocabulary.symbols) == ["<pad>", "a", "b", "c", "d"]
    with torch.inference_mode():
        plain = model._network(torch.from_numpy(wave(1.0))[None]).logits.log_softmax(-1)[0]
    assert model.emissions(wave(1.0), 50).shape[1] == plain.shape[1] == 5


def test_words_are_spelled_with_what_the_model_can_write(tmp_path: Path) -> None:
    small = load_ctc_model(checkpoint(tmp_path / "small")).vocabulary
    large = load_ctc_model(checkpoint(tmp_path / "large", [s.upper() for s in CHARACTERS])).vocabulary
    for vocabulary in (small, large):
        read = ["".join(vocabulary.symbols[n] for n in vocabulary.labels(word)) for word in ("Don't", "été", "привет")]
        assert [word.lower() for word in read] == ["don't", "ete", "privet"]
        assert vocabulary.labels("42") == (ANYTHING,)


def test_a_model_of_phonemes_spells_by_its_lexicon(tmp_path: Path) -> None:
    (tmp_path / "lexicon.txt").write_text("hello h ə l oʊ\nworld w ɜː l d\n")
    symbols = ["<pad>", "<s>", "</s>", "<unk>", "h", "ə", "l", "oʊ", "w", "ɜː", "d"]
    vocabulary = load_ctc_model(checkpoint(tmp_path / "m", symbols), str(tmp_path / "lexicon.txt")).vocabulary
    assert [vocabulary.symbols[n] for n in vocabulary.labels("Hello")] == ["h", "ə", "l", "oʊ"]
    assert vocabulary.labels("unheard") == (ANYTHING,)


def test_what_is_no_ctc_model_is_refused(tmp_path: Path) -> None:
    path = Path(checkpoint(tmp_path / "m"))
    (path / "vocab.json").write_text(json.dumps({"eng": {"a": 0}, "fra": {"b": 0}}))
    with pytest.raises(UsageError, match=r"vocabularies of 2 languages \(eng, fra"):
        load_ctc_model(str(path))
    (path / "vocab.json").write_text(json.dumps({f"s{n}": n for n in range(99)}))
    with pytest.raises(UsageError, match=r"does not name the 32 columns"):
        load_ctc_model(str(path))
    (path / "vocab.json").unlink()
    with pytest.raises(UsageError, match=r"has no vocab.json"):
        load_ctc_model(str(path))
    with pytest.raises(UsageError, match=r"can't be used: it is neither a folder"):
        load_ctc_model(str(tmp_path / "nowhere"))
