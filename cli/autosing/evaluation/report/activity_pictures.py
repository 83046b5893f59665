"""Voice activity of one song: where it is sung, and what is called sung."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from autosing.evaluation import activity
from autosing.evaluation.report.picture import Picture, named
from autosing.evaluation.songs import Case
from autosing.page.svg import Scale, runs, tag
from autosing.pipeline.report.lanes import Lane, stack, time_scale, when

STRIP = 18.0


def activity_pictures(case: Case, instances: Sequence[str]) -> list[Picture]:
    """Returns a whole song: true words, and what each instance calls sung, where it is right and where it is not."""
    called = {n: activity.active(case, n) for n in instances if case.value(n, activity.COLUMN) is not None}
    if not called:
        return []
    n_frames = len(next(iter(called.values())))
    called |= {n: flags for n, flags in activity.baselines(case, n_frames).items() if n != activity.ALWAYS}
    truth = activity.sung(case.truth("ref_words"), n_frames)
    x = time_scale(0.0, n_frames / float(activity.RATE))
    lanes = [Lane("sung", STRIP, _strips(truth, "true-word", x))]
    for name, flags in called.items():
        parts = (
            (flags & truth, "hit", "right"),
            (flags & ~truth, "false", "not sung"),
            (truth & ~flags, "missed", "missed"),
        )
        drawn = [strip for run, class_, told in parts for strip in _strips(run, class_, x, told)]
        lanes.append(named(Lane("", STRIP, drawn), name))
    return [Picture("where it is sung, and what is called sung", stack(lanes, x, (), f"activity in {case.row.id}"))]


def _strips(flags: npt.NDArray[np.bool_], class_: str, x: Scale, told: str = "sung") -> list[Markup]:
    content = []
    for first, last in runs(flags):
        span = {"start_s": first / float(activity.RATE), "end_s": last / float(activity.RATE)}
        left, right = x(span["start_s"]), x(span["end_s"])
        title = tag("title", f"{told}, {when(span)}")
        content.append(tag("rect", title, x=left, y=0, width=max(right - left, 0.5), height=STRIP, class_=class_))
    return content
