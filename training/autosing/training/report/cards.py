"""The charts of a run as the page shows them: title, picture, and what each curve is."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from autosing.page.numerals import number, whole
from autosing.training.report.curves import Curve, chart, thinned
from autosing.training.report.log import Series


@dataclass(frozen=True)
class Meaning:
    """How a series that is no loss is drawn."""

    title: str
    unit: str = ""
    scale: float = 1.0
    log: bool = False


PACE = {
    "lr": Meaning("learning rate"),
    "grad_norm": Meaning("gradient norm before clipping", log=True),
    "audio_s_per_s": Meaning("hours of audio per hour of training"),
    "samples_per_s": Meaning("samples per second"),
    "tokens_per_s": Meaning("tokens per second"),
    "mfu": Meaning("share of what the devices can compute (MFU)", "%", 100.0),
    "data_wait": Meaning("share of time spent waiting for data", "%", 100.0),
}


@dataclass(frozen=True)
class Card:
    """A chart with its title.

    Attributes:
        title: what it shows.
        picture: the curves.
        legend: colour, name and last value of each curve.
        unit: of the values.
        step: of the last values.
        told: what a point is, "" where it is a line of the log.
    """

    title: str
    picture: Markup
    legend: Sequence[tuple[str, str, str]]
    unit: str
    step: int
    told: str


@dataclass(frozen=True)
class Best:
    """The validation metric that chose the weights: its step and its value then."""

    series: Series
    step: int
    value: float


def kind_of(base: str) -> str:
    """Returns which entry of `PACE` a name belongs to, "" for a loss or metric.

    A task with several optimisers adds to the names, as in `lr_discriminator`.
    """
    return next((name for name in PACE if base == name or base.startswith(f"{name}_")), "")


def card_of(base: str, group: Sequence[Series], last_step: int, best: Best | None) -> Card:
    """Returns the chart of what shares a name, up to `last_step`, with the best value marked where it is one of it."""
    kind = kind_of(base)
    known = PACE[kind] if kind else Meaning(base, log=True)
    curves = [thinned(series, known.scale) for series in group]
    title = ", ".join(filter(None, [known.title, base.removeprefix(kind).replace("_", " ").strip() if kind else ""]))
    marked = (best.step, best.value) if best and best.series.base == base else None
    what = f"{title} over the steps: " + ", ".join(f"{c.name} {number(float(c.values[-1]))}" for c in curves)
    return Card(
        title,
        chart(curves, what, last_step, known.log, marked),
        [(c.class_, c.name, number(float(c.values[-1]), known.unit)) for c in curves],
        known.unit,
        max(series.last[0] for series in group),
        _told(curves),
    )


def _told(curves: Sequence[Curve]) -> str:
    most = max(c.lines_per_point for c in curves)
    return f"A point is the mean of {whole(most)} lines of the log, the band their range." if most > 1 else ""
