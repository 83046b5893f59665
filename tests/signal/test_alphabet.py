"""Words become sounds by rules: for any script, with a lexicon, and never nothing."""

from pathlib import Path

import pytest

from autosing.signal.alphabet import ANYTHING, CLASS_OF_PHONE, CLASSES, LETTERS, alphabet, class_letters, romanised
from autosing.signal.errors import UsageError
from autosing.signal.voice import PHONES


@pytest.mark.parametrize(
    ("word", "classes"),
    [
        ("light", "LIP"), ("chorus", "SORUS"), ("Lächeln", "LASELN"), ("niño", "NINO"), ("soleil", "SOLEL"),
        ("love", "LOF"), ("singing", "SININ"), ("away", "AUE"), ("don't", "BONP"), ("привет", "PRIFEP"),
        ("こんにちは", "PONISIFA"), ("καλημέρα", "PALINERA"), ("trees", "PRIS"),
    ],
)  # fmt: skip
def test_words_of_any_script_have_classes(word: str, classes: str) -> None:
    assert "".join(CLASSES[label] for label in alphabet("classes").labels(word)) == classes


@pytest.mark.parametrize(
    ("word", "classes"),
    [
        ("make", "NEP"), ("Make", "NEP"), ("runnin'", "RANIN"), ("runnin’", "RANIN"), ("'cause", "PAS"), ("it", "IP"),
        ("blorfing", "BLORFIN"),
    ],
)  # fmt: skip
def test_english_words_have_the_classes_that_they_sound_like(word: str, classes: str) -> None:
    letters = alphabet("classes")
    assert "".join(CLASSES[label] for label in letters.in_language("en").labels(word)) == classes
    assert letters.in_language("cs").labels(word) == letters.labels(word)


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("de", {"Veränderung": "FERENBERUN", "schön": "SEN", "wieder": "FIBE", "Zeit": "SAP", "Nacht": "NAFP",
                "Weg": "FEP", "Häuser": "FOSE", "gehen": "BEN"}),
        ("es", {"corazón": "PORASON", "quiero": "PIERO", "llorar": "IORAR", "hijo": "IFO", "noche": "NOSE"}),
        ("fr", {"beauté": "BOPE", "chantent": "SAP", "grand": "BRA", "grande": "BRAB", "une": "IN", "moment": "NONA",
                "famille": "FANI", "qu'un": "PA", "les": "LE", "c’est": "SE", "bonne": "BON", "moi": "NUA"}),
        ("it", {"cielo": "SIELO", "chiesa": "PIESA", "gli": "LI", "giorno": "SORNO", "anche": "ANPE"}),
    ],
)  # fmt: skip
def test_languages_with_rules_of_their_own_sound_as_they_are_spelled(language: str, words: dict[str, str]) -> None:
    letters = alphabet("classes").in_language(language)
    assert {word: "".join(CLASSES[label] for label in letters.labels(word)) for word in words} == words


def test_words_of_another_script_are_spelled_by_their_signs_in_any_language() -> None:
    letters = alphabet("classes")
    assert letters.in_language("fr").labels("привет") == letters.labels("привет")


def test_a_word_without_a_sound_of_the_alphabet_is_anything() -> None:
    for kind in ("classes", "letters"):
        assert alphabet(kind).labels("42") == (ANYTHING,)  # type: ignore[arg-type]


def test_letters_are_romanised_and_without_accents() -> None:
    assert [LETTERS[n] for n in alphabet("letters").labels("L'Été")] == ["l", "'", "e", "t", "e"]
    assert romanised("你好") == "nihao"


def test_every_phone_of_the_synthetic_singer_has_a_class() -> None:
    assert {name for name in PHONES if name not in CLASS_OF_PHONE} == {"sil"}
    assert set(CLASS_OF_PHONE.values()) <= set(CLASSES)


def test_a_lexicon_gives_phones_and_one_for_words_that_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text(";;; a comment\nHELLO  HH AH0 L OW1\nhello(2) HH EH0 L OW1\nworld\tW ER1 L D\n")
    found = alphabet("lexicon", str(path))
    assert [found.symbols[n] for n in found.labels("Hello")] == ["HH", "AH", "L", "OW"]
    assert [found.symbols[n] for n in found.labels("xyzzy")] == ["spn"]


@pytest.mark.parametrize(("text", "message"), [(None, "does not exist"), ("alone\n", "no line of a word")])
def test_a_lexicon_that_is_none_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "l.txt").write_text(text)
    with pytest.raises(UsageError, match=message):
        alphabet("lexicon", str(tmp_path / "l.txt"))


def test_hostile_words_are_quick_and_safe() -> None:
    assert class_letters("e" * 100_000) and class_letters("gh" * 50_000) is not None
