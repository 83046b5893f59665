"""Label files of speech and singing synthesis: `start end context` per phone, times in units of 100 ns or in seconds.

The context is the phone itself, or an HTS context with the phone between `-` and `+` and, of singing, its note after
`/E:` (`p^i-a+t=o.../E:F4]...`).
"""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from autosing.pipeline.ingest.annotation import Note, Timed, midi_of, seconds
from autosing.signal.errors import RowError

_UNIT_S = 1e-7
_NUMBER = re.compile(r"\d{1,18}(\.\d{1,18})?")
_PHONE = re.compile(r"[^-+]*\^[^-+]*-(.+?)\+")
# All of the field: it counts the note's place in measure and phrase, so that no two notes in a row agree in it.
_NOTE = re.compile(r"/E:(([^\]/]+)\][^/]*(?:/\d[^/]*)*)")


class Label(NamedTuple):
    """One line of a label file; `note` is what is the same in all phones of a note, "" without one."""

    phone: Timed
    note: str
    midi: float | None


def are_labels(text: str) -> bool:
    """Whether a text's first line is that of a label file."""
    fields = text.lstrip("\ufeff").split("\n", 1)[0].split()
    return len(fields) >= 3 and all(map(_NUMBER.fullmatch, fields[:2]))


def read_labels(text: str, where: str) -> list[Label]:
    """Returns the labels of a text.

    Raises:
        RowError: a line is no label, or its times go back; the message names file and line.
    """
    rows = [row.split(maxsplit=2) for row in text.lstrip("\ufeff").splitlines()]
    unit_s = 1.0 if any("." in field for row in rows for field in row[:2]) else _UNIT_S
    labels: list[Label] = []
    for number, fields in enumerate(rows, 1):
        if fields:
            labels.append(_label(fields, unit_s, f"{where}:{number}"))
            if len(labels) > 1 and labels[-1].phone.start_s < labels[-2].phone.start_s:
                raise RowError(f"{where}:{number}: the times go back")
    return labels


def _label(fields: Sequence[str], unit_s: float, where: str) -> Label:
    numbers = [float(field) * unit_s for field in fields[:2] if _NUMBER.fullmatch(field)]
    if len(fields) != 3 or len(numbers) != 2:
        raise RowError(f"{where}: expected START END CONTEXT, found {' '.join(fields)[:80]!r}")
    start_s, end_s = map(seconds, numbers)
    if end_s < start_s:
        raise RowError(f"{where}: it ends ({end_s:g} s) before it begins ({start_s:g} s)")
    context = fields[2].strip()
    phone, note = _PHONE.match(context), _NOTE.search(context)
    midi = midi_of(note[2]) if note else None
    return Label(Timed(phone[1] if phone else context, start_s, end_s), note[1] if note and midi else "", midi)


def phones_of(labels: Sequence[Label]) -> list[Timed]:
    """Returns the phones."""
    return [label.phone for label in labels]


def notes_of(labels: Sequence[Label]) -> list[Note]:
    """Returns the notes: successive phones of the same one."""
    notes = []
    for note, group in groupby(labels, key=lambda label: label.note):
        its = list(group)
        if note and its[0].midi is not None:
            text = "".join(label.phone.text for label in its)
            notes.append(Note(text, its[0].phone.start_s, its[-1].phone.end_s, its[0].midi))
    return notes
