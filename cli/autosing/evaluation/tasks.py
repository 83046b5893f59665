"""The evaluations by name: what is compared, what is read for it, and what is drawn of a song."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autosing.evaluation import activity, align, f0, notes
from autosing.evaluation.comparison import Comparison
from autosing.evaluation.report.activity_pictures import activity_pictures
from autosing.evaluation.report.page import write_page
from autosing.evaluation.report.picture import Picture
from autosing.evaluation.report.pitch_pictures import note_pictures, pitch_pictures
from autosing.evaluation.report.word_pictures import word_pictures
from autosing.evaluation.songs import Case, Source, cases
from autosing.evaluation.text import plain_data
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.store import Store
from autosing.signal.errors import DataError


@dataclass(frozen=True)
class Task:
    """One evaluation.

    Args:
        compare: compares the named instances of a data set, or all.
        source: what is read of each song.
        draw: what is drawn of a song; the instances are those of the comparison, baselines included.
    """

    compare: Callable[[Dataset, Sequence[str]], Comparison]
    source: Callable[[Sequence[str]], Source]
    draw: Callable[[Case, Sequence[str]], list[Picture]]


TASKS: Mapping[str, Task] = {
    "align": Task(align.compare, align.source_of, word_pictures),
    "f0": Task(f0.compare, f0.source_of, pitch_pictures),
    "notes": Task(notes.compare, notes.source_of, note_pictures),
    "activity": Task(activity.compare, activity.source_of, activity_pictures),
}


def evaluate(task: str, dataset: Dataset, instances: Sequence[str] = ()) -> Comparison:
    """Returns how near instances (all, where none is named) are to the reference columns of a data set.

    Raises:
        UsageError: an instance is of another stage.
        MissingColumn: there is no such instance, or no reference column to compare with.
        DataError: no song could be compared; the message tells why.
    """
    comparison = TASKS[task].compare(dataset, instances)
    if not comparison.rows:
        told = [f"{len(ids)} x {instance or 'truth'}: {reason}" for instance, reason, ids in comparison.reasons()[:3]]
        raise DataError(f"{dataset.url}: no song could be compared: {'; '.join(told) or 'there is none'}")
    return comparison


def pictures(dataset: Dataset, comparison: Comparison, songs: int) -> dict[str, list[Picture]]:
    """Returns what is drawn of the worst songs of an evaluation, by id, the worst first."""
    task, ids = TASKS[comparison.task], list(comparison.by_song)[:songs]
    computed = [name for name in comparison.instances if name in comparison.settings]
    drawn = {c.row.id: task.draw(c, comparison.instances) for c in cases(dataset, task.source(computed), set(ids))}
    return {id: drawn[id] for id in ids if drawn.get(id)}


def write_results(folder: Path, dataset: Dataset, comparison: Comparison, songs: int) -> Path:
    """Writes `<task>.json` and `<task>.html` with pictures of the worst songs into a folder, and returns the page."""
    with Store(str(folder)).writing(f"{comparison.task}.json") as draft:
        draft.write_text(json.dumps(plain_data(comparison), indent=1), encoding="utf-8")
    page = folder / f"{comparison.task}.html"
    write_page(page, comparison, pictures(dataset, comparison, songs))
    return page
