"""What the report of a data set holds, and its page."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from autosing.page import numerals
from autosing.page.charts import bars, loss_chart
from autosing.page.render import render_page
from autosing.pipeline.dataset import INDEX, PROBE, Dataset, split_address
from autosing.pipeline.graph import Graph
from autosing.pipeline.report.cards import Overview, SongCard, example_card, overview_of, song_card
from autosing.pipeline.report.coverage import coverage
from autosing.pipeline.report.distributions import constants, name_charts, value_charts, voice_charts
from autosing.pipeline.report.kept import kept_view
from autosing.pipeline.report.outcomes import totals
from autosing.pipeline.report.songs import choose, views, voices
from autosing.pipeline.report.summary import RunSummary
from autosing.pipeline.report.tables import Stored, computed, fits, reasons, song_values, states, stored_columns
from autosing.pipeline.store import Store
from autosing.signal.mel import MelSpec

if TYPE_CHECKING:
    import polars as pl

FOLDER = Path(__file__).parent
DURATION, SINGER = f"{PROBE}.duration_s", f"{INDEX}.singer"
MOST_REASONS, MOST_IDS = 20, 10
WORST, WORST_DRAWN = 20, 4


def write_report(
    path: Path, dataset: Dataset, graph: Graph, songs: Sequence[str] | int = 6, run: RunSummary | None = None
) -> None:
    """Writes the report of a data set, and of a training run where there was one.

    Args:
        path: the HTML file; it appears when it is complete.
        dataset: what is told.
        graph: its stages, which say what is fresh and what an artefact was fitted with.
        songs: ids of the songs to show, or how many to choose evenly.
        run: what was trained on it.

    Raises:
        UsageError: a named song is not in the data set.
        DataError: the data set can't be read.
    """
    values = song_values(dataset)
    ids = choose(values, songs)
    columns = stored_columns(dataset, graph)
    outcomes = totals(dataset, WORST)
    drawn = [outcome.id for outcome in outcomes[0].worst if outcome.was_cut][:WORST_DRAWN]
    cards, overviews = _pictures(dataset, graph, values, ids, drawn)
    content = {
        "name": dataset.url.rstrip("/").rsplit("/", 1)[-1],
        "url": dataset.url,
        "computed": computed(dataset),
        "head": _head(dataset, values, columns),
        "columns": [(name, list(group)) for name, group in groupby(columns, attrgetter("instance"))],
        "states": states(dataset, graph),
        "fits": fits(dataset, graph),
        "kept": [kept_view(total) for total in outcomes],
        "overviews": overviews,
        "reasons": reasons(dataset),
        "most_reasons": MOST_REASONS,
        "most_ids": MOST_IDS,
        "charts": [*value_charts(values, columns), *voice_charts(voices(dataset, len(values))), *name_charts(values)],
        "excluded": sorted(dataset.excluded),
        "constants": constants(values, columns),
        "songs": cards,
        "run": None if run is None else _run(run),
    }
    with Store(str(path.parent)).writing(path.name) as draft:
        draft.write_text(render_page(FOLDER, content, coverage=coverage), encoding="utf-8")


def _head(dataset: Dataset, values: "pl.DataFrame", columns: Sequence[Stored]) -> list[tuple[str, str]]:
    """Returns the figures at the head of the page: value and name."""
    seconds = values[DURATION].sum() if DURATION in values.columns else 0
    singers = values[SINGER].drop_nulls().n_unique() if SINGER in values.columns else 0
    counts = {
        "partition": len(dataset.partitions),
        "column": len(columns),
        "error": sum({column.instance: column.own_errors for column in columns}.values()),
    }
    return [
        (numerals.whole(len(values)), numerals.plural(len(values), "song")),
        (numerals.duration(float(seconds)), "of audio"),
        *([(numerals.whole(singers), numerals.plural(singers, "singer"))] if singers else []),
        *((numerals.whole(n), numerals.plural(n, noun)) for noun, n in counts.items()),
        (numerals.whole(len(dataset.excluded)), "excluded"),
        (numerals.size(sum(column.bytes for column in columns)), "stored"),
    ]


def _pictures(
    dataset: Dataset, graph: Graph, values: "pl.DataFrame", ids: Sequence[str], drawn: Sequence[str]
) -> tuple[list[SongCard], list[Overview]]:
    """Returns the cards of some songs and the cuts of others, in their order; one song is in memory at a time."""
    told = {row["id"]: row for row in values.filter(values["id"].is_in(ids)).rows(named=True)}
    cards, overviews = [], []
    for view in views(dataset, [*ids, *drawn]):
        if view.id in ids:
            cards.append(song_card(view, told[view.id], _spec(graph, view.tracks)))
        if view.id in drawn:
            overviews.append(overview_of(view))
    return (
        sorted(cards, key=lambda card: ids.index(card.id)),
        sorted(overviews, key=lambda overview: drawn.index(overview.id)),
    )


def _spec(graph: Graph, tracks: Mapping[str, Any]) -> MelSpec | None:
    """Returns what the mel that is drawn means, as far as the graph knows its instance."""
    instance = split_address(tracks["mel"].address)[0] if "mel" in tracks else ""
    spec = getattr(graph.instances[instance].stage, "spec", None) if instance in graph.instances else None
    return spec if isinstance(spec, MelSpec) else None


def _run(run: RunSummary) -> dict[str, Any]:
    return {
        "recipe": run.recipe,
        "settings": run.settings,
        "seconds": run.seconds,
        "losses": loss_chart(run.losses) if run.losses else None,
        "metric": run.metric,
        "comparison": _comparison(run),
        "verdict": run.verdict(),
        "examples": [example_card(example, run.spec) for example in run.examples],
    }


def _comparison(run: RunSummary) -> Markup | None:
    if not run.ranking:
        return None
    what = ", ".join(f"{name} {value:.3g}" for name, value in run.ranking)
    return bars(run.ranking, f"{run.metric}: {what}", run.ranking[0][0], width=760, names=260)
