"""The log of a run as series, however it was left: lines that are cut short or foreign are counted and passed over."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.page.numerals import plural, whole

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STEP = "step"
TRAIN, VALID = "train/", "valid/"


@dataclass(frozen=True)
class Series:
    """What was logged under one name: steps (N,), each once and rising, and values (N,), all finite; N is above 0."""

    name: str
    steps: Ints
    values: Floats

    @property
    def base(self) -> str:
        """The name without `train/` or `valid/`."""
        return self.name.removeprefix(TRAIN).removeprefix(VALID)

    @property
    def lowest(self) -> tuple[int, float]:
        """The first step of the lowest value, and that value."""
        i = int(self.values.argmin())
        return int(self.steps[i]), float(self.values[i])

    @property
    def highest(self) -> tuple[int, float]:
        """The first step of the highest value, and that value."""
        i = int(self.values.argmax())
        return int(self.steps[i]), float(self.values[i])

    @property
    def last(self) -> tuple[int, float]:
        """The last step and its value."""
        return int(self.steps[-1]), float(self.values[-1])


@dataclass(frozen=True)
class RunLog:
    """Everything that a run logged.

    Attributes:
        series: by name, in the order in which the names came.
        last_step: the highest step of a line, 0 where there is none.
        problems: what could not be read, in words.
    """

    series: Mapping[str, Series]
    last_step: int
    problems: Sequence[str]


def read_log(path: Path) -> RunLog:
    """Returns what a log file holds; where a step was logged twice under a name, the later line counts."""
    found: dict[str, dict[int, float]] = {}
    unread: list[int] = []
    last_step, n_not_finite = 0, 0
    for number, line in _lines(path):
        if line is None:
            unread.append(number)
            continue
        step = line.pop(STEP)
        last_step = max(last_step, step)
        for name, value in line.items():
            if _is_number(value) and math.isfinite(value):
                found.setdefault(name, {})[step] = float(value)
            else:
                n_not_finite += 1
    series = {name: _series(name, values) for name, values in found.items()}
    return RunLog(series, last_step, _problems(path, unread, n_not_finite, bool(found)))


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yields number and content of each line, None for what is no log line."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for number, line in enumerate(text.splitlines(), 1):
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            content = None
        is_line = isinstance(content, dict) and type(content.get(STEP)) is int
        yield number, content if is_line else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _series(name: str, values: Mapping[int, float]) -> Series:
    steps = np.array(sorted(values), np.int64)
    return Series(name, steps, np.array([values[int(step)] for step in steps]))


def _counted(n: int, noun: str) -> str:
    return f"{whole(n)} {plural(n, noun)}"


def _problems(path: Path, unread: Sequence[int], n_not_finite: int, any_found: bool) -> list[str]:
    told = []
    if not path.exists():
        told.append(f"{path.name} is missing, so there are no curves")
    elif not any_found:
        told.append(f"{path.name} holds no values yet")
    if unread:
        numbers = ", ".join(map(str, unread[:5])) + (", …" if len(unread) > 5 else "")
        told.append(
            f"{path.name}: {_counted(len(unread), 'line')} can't be read ({plural(len(unread), 'line')} {numbers})"
        )
    if n_not_finite:
        told.append(f"{path.name}: {_counted(n_not_finite, 'value')} can't be drawn: not finite, or no number")
    return told
