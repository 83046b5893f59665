"""Names of languages, as corpora write them, as BCP 47 tags."""

_TAGS = {
    "en": "english englisch anglais inglés ingles inglese",
    "de": "german deutsch allemand alemán",
    "fr": "french französisch français francais",
    "es": "spanish spanisch español espanol castellano",
    "it": "italian italienisch italiano",
    "pt": "portuguese portugiesisch português",
    "nl": "dutch niederländisch nederlands",
    "pl": "polish polnisch polski",
    "sv": "swedish schwedisch svenska",
    "da": "danish dänisch dansk",
    "no": "norwegian norwegisch norsk",
    "fi": "finnish finnisch suomi",
    "cs": "czech tschechisch čeština",
    "hu": "hungarian ungarisch magyar",
    "tr": "turkish türkisch türkçe",
    "ru": "russian russisch русский",
    "uk": "ukrainian ukrainisch українська",
    "la": "latin latein latina",
    "zh": "chinese mandarin chinesisch 中文 cmn",
    "yue": "cantonese 粵語 粤语",
    "ja": "japanese japanisch 日本語",
    "ko": "korean koreanisch 한국어",
}
_TAG_OF = {name: tag for tag, names in _TAGS.items() for name in names.split()}


def language_tag(names: str | None) -> str | None:
    """Returns the tags of languages by name, separated by commas; a name that is not known stays as it is."""
    found = [name.strip() for name in (names or "").replace("/", ",").split(",")]
    return ", ".join(_TAG_OF.get(name.casefold().split(" (")[0], name) for name in found if name) or None
