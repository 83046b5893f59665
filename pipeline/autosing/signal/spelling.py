"""What letters sound like in a language, as classes of phones.

Rules are applied one after the other to a word in lower case with its accents; what they write in capitals is done, and
letters that are left stand for themselves. Nasal vowels are vowels.
"""

import re
from collections.abc import Mapping, Sequence

Rules = Sequence[tuple[re.Pattern[str], str]]

_VOWEL = "[aeiouyàâäéèêëíîïóôöúùûüAEIOU]"
_NO_NASAL = "(?![aeiouyàâéèêëîïôùûnmAEIOU])"  # before a vowel or doubled, n and m are heard


def _rules(*pairs: tuple[str, str]) -> Rules:
    return [(re.compile(pattern), sounds) for pattern, sounds in pairs]


SPELLING: Mapping[str, Rules] = {
    "de": _rules(
        (r"tsch|sch|ch(?=s)", "S"), (r"^s(?=[pt])", "S"), (r"(?<=[aou])ch", "F"), (r"ch", "S"),
        (r"ei|ai|ey", "A"), (r"eu|äu", "O"), (r"ie", "I"), (r"au", "A"), (r"[äöe]", "E"), (r"ü", "I"),
        (r"ph", "F"), (r"qu", "PF"), (r"w", "F"), (r"t?z", "S"), (r"j", "I"), (r"(?<=[aiouAEIOU])h", ""), (r"ng", "N"),
        (r"(?<=E)r$", ""), (r"[bdg]$", "P"),
    ),
    "es": _rules(
        (r"ch", "S"), (r"ll|y(?=[aeiou])", "I"), (r"qu(?=[eiéí])", "P"), (r"gu(?=[eiéí])", "B"), (r"h", ""),
        (r"[jx]|g(?=[eiéí])", "F"), (r"[cz](?=[eiéí])|z", "S"), (r"v", "B"),
    ),
    "fr": _rules(
        (rf"^(.*{_VOWEL}.*[^m])ent$", r"\1e"), (r"(?<=.)[stdxpzg]+$", ""),
        (r"eaux?|aux?", "O"), (r"oi|oy", "UA"), (r"ouill?", "UI"), (r"ou|où", "U"),
        (r"(?<=[aeiou])ill?", "I"), (r"ill", "I"),
        (rf"(?:ain|ein|[iu][nm]){_NO_NASAL}", "A"), (rf"[ae][nm]{_NO_NASAL}", "A"), (rf"o[nm]{_NO_NASAL}", "O"),
        (r"œu|eu", "E"), (r"[ea]i|ay", "E"), (r"[éèêë]", "E"), (r"er$", "E"),
        (r"gn", "N"), (r"ch|j|g(?=[eEèiy])", "S"), (r"ph", "F"), (r"qu", "P"), (r"ç|c(?=[eEiy])", "S"), (r"h", ""),
        (rf"^(.*{_VOWEL}.*)e$", r"\1"), (r"u", "I"), (r"w", "U"),
    ),
    "it": _rules(
        (r"ch", "P"), (r"gh", "B"), (r"gl(?=i)", "L"), (r"gn", "N"), (r"sc(?=[ei])", "S"), (r"[cg]i(?=[aou])", "S"),
        (r"[cgz](?=[ei])|z", "S"), (r"h", ""),
    ),
}  # fmt: skip
