"""Makes the package's list of English words whose sounds the spelling rules of the aligner miss, from CMUdict.

    python benchmarks/english_classes.py cmudict.dict

The dictionary is Carnegie Mellon University's (BSD licence, in the list's head); its first pronunciation counts.
"""

import argparse
import gzip
import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from autosing.signal.alphabet import CLASS_OF_PHONE, class_letters
from autosing.signal.english import LIST


def main() -> None:
    """Writes the list and tells its length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dictionary", type=Path, help="cmudict.dict")
    parser.add_argument("--licence", type=Path, help="its LICENSE; by default beside it")
    arguments = parser.parse_args()
    licence = (arguments.licence or arguments.dictionary.with_name("LICENSE")).read_text(encoding="utf-8")
    words = classes_of(arguments.dictionary.read_text(encoding="utf-8"))
    head = "".join(f"# {line}".rstrip() + "\n" for line in licence.splitlines())
    body = "".join(f"{word} {classes}\n" for word, classes in sorted(words.items()))
    LIST.write_bytes(gzip.compress((head + body).encode(), mtime=0))
    print(f"{len(words)} words, {LIST.stat().st_size} bytes")


def classes_of(dictionary: str) -> dict[str, str]:
    """Returns the classes of the words whose spelling tells them wrong."""
    words: dict[str, str] = {}
    for row in dictionary.splitlines():
        word, *phones = row.partition("#")[0].split()
        if not phones or not re.fullmatch(r"[a-z']+", word):
            continue  # a second pronunciation, or no word
        words.setdefault(word, _once(CLASS_OF_PHONE[phone.rstrip("012").lower()] for phone in phones))
    return {word: classes for word, classes in words.items() if _once(class_letters(word)) != classes}


def _once(classes: Iterable[str]) -> str:
    return "".join(key for key, _ in groupby(classes))


if __name__ == "__main__":
    main()
