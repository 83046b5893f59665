"""Pictures of what models make, for TensorBoard and the report: mels, F0, attention, codebooks and likeness.

All are drawn with matplotlib's objects, never pyplot, so nothing global is touched and no display is needed. Colours
are those of Okabe and Ito and `magma`, which colour-blind people tell apart.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from autosing.page.media import COLOURS, contrast
from autosing.page.mel_axis import ROUND_HZ, band_centres_hz
from autosing.signal.mel import MelSpec
from autosing.training.metrics import CodebookUse

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]
Rate = float | Fraction
Contour = tuple[Array, Array, Rate]
"""F0 in hertz (N,), whether each frame is voiced (N,), and frames per second."""

WIDTH, DPI = 9.0, 110
BLUE, RED, GREY = "#0072b2", "#d55e00", "#6b7280"
ON_MEL = "#5ee7ff"
LABEL_GAP = 0.07
"""Share of an axis that labels of frequencies keep apart."""
MOST_TEXTS = 40


def mel_figure(
    mels: Mapping[str, Array],
    mel_rate: Rate,
    f0: Mapping[str, Contour] | None = None,
    spec: MelSpec | None = None,
    unit: str = "log magnitude, nats",
) -> "Figure":
    """Returns log-mels, or other features, under each other with one scale of time and of colour.

    Args:
        mels: (F, M) in nats by name.
        mel_rate: frames per second.
        f0: F0 to draw over the mel of the same name; needs `spec`.
        spec: what the mels mean; with it the axis is in kHz, without it in bins.
        unit: of the values.

    Raises:
        ValueError: F0 without a spec, or of a name that no mel has.
    """
    f0 = f0 or {}
    if f0 and (spec is None or not f0.keys() <= mels.keys()):
        raise ValueError(f"F0 of {', '.join(f0)} needs a spec and mels of the same names; there are {', '.join(mels)}")
    figure, panels = _figure(len(mels), 2.1)
    low, high = contrast(np.concatenate([np.asarray(mel, np.float32).ravel() for mel in mels.values()]))
    for panel, (name, mel) in zip(panels, mels.items(), strict=True):
        extent = (0.0, len(mel) / float(mel_rate), 0.0, float(mel.shape[1]))
        shown = np.asarray(mel, np.float32).T
        image = panel.imshow(
            shown, COLOURS, origin="lower", aspect="auto", interpolation="nearest", vmin=low, vmax=high, extent=extent
        )
        _title(panel, name)
        _band_axis(panel, spec)
        if spec is not None and name in f0:
            _draw_f0_on_mel(panel, f0[name], spec)
        panel.set(xlim=extent[:2], ylim=extent[2:])
    panels[-1].set_xlabel("seconds")
    figure.colorbar(image, ax=panels, label=unit, pad=0.01, aspect=12 * len(mels))
    return figure


def _band_axis(panel: "Axes", spec: MelSpec | None) -> None:
    """Names frequencies that lie far enough apart on the axis, the highest first."""
    if spec is None:
        panel.set_ylabel("mel bin")
        return
    kept: list[tuple[float, int]] = []
    for hz in ROUND_HZ:
        band = float(_band_of(np.array([float(hz)]), spec)[0])
        if spec.fmin_hz < hz < spec.fmax_hz and (not kept or kept[-1][0] - band > LABEL_GAP * spec.n_mels):
            kept.append((band, hz))
    panel.set_yticks([band for band, _ in kept], [f"{hz / 1000:g}" for _, hz in kept])
    panel.set_ylabel("kHz")


def _band_of(hz: Array, spec: MelSpec) -> Array:
    """Returns where frequencies lie between the lower edge of the lowest band, 0, and the highest's upper one, M."""
    centres_hz = band_centres_hz(spec)
    return np.interp(hz, centres_hz, np.arange(len(centres_hz))) + 0.5


def _draw_f0_on_mel(panel: "Axes", contour: Contour, spec: MelSpec) -> None:
    times_s, f0_hz = _curve(contour)
    bands = np.where(np.isnan(f0_hz), np.nan, _band_of(np.nan_to_num(f0_hz), spec))
    panel.plot(times_s, bands, color="black", alpha=0.55, linewidth=3.2, solid_capstyle="round")
    panel.plot(times_s, bands, color=ON_MEL, linewidth=1.5, solid_capstyle="round")


def _curve(contour: Contour) -> tuple[Array, Array]:
    """Returns the times of the frames' centres and F0 in hertz, not a number where unvoiced, so that lines break."""
    f0_hz, voiced, rate = contour
    sounding = (np.asarray(voiced) > 0) & (np.asarray(f0_hz) > 0)
    times_s = (np.arange(len(f0_hz)) + 0.5) / float(rate)
    return times_s, np.where(sounding, np.asarray(f0_hz, np.float64), np.nan)


def attention_figure(attention: Array, texts: Sequence[str] | None = None, rate: Rate | None = None) -> "Figure":
    """Returns how much each frame attends to each token, the first token at the bottom.

    Args:
        attention: (L, F) weights; over the tokens they sum to 1.
        texts: a label for each token.
        rate: frames per second; with it time is in seconds, without it in frames.
    """
    n_tokens, n_frames = attention.shape
    figure, (panel,) = _figure(1, min(2.2 + 0.12 * n_tokens, 7.0))
    extent = (0.0, n_frames / float(rate or 1), -0.5, n_tokens - 0.5)
    image = panel.imshow(
        np.asarray(attention, np.float32), COLOURS, origin="lower", aspect="auto", vmin=0, extent=extent,
        interpolation="nearest",
    )  # fmt: skip
    if texts is not None:
        every = math.ceil(n_tokens / MOST_TEXTS)
        panel.set_yticks(range(0, n_tokens, every), texts[::every], fontsize=8, parse_math=False)
    panel.set(xlabel="seconds" if rate else "frame", ylabel="token")
    _title(panel, f"attention of {n_frames} frames to {n_tokens} tokens")
    figure.colorbar(image, ax=panel, label="weight", pad=0.01)
    return figure


def cells_figure(shares: Array, names: Sequence[str], rate: Rate) -> "Figure":
    """Returns shares from 0 to 1 of cells in rows, the first row on top; cells without a number stay white.

    Args:
        shares: (R, N).
        names: of the rows; equal ones side by side are labelled once.
        rate: columns per second.
    """
    n_rows, n_columns = shares.shape
    figure, (panel,) = _figure(1, 1.4 + 0.25 * n_rows)
    image = panel.imshow(
        np.ma.masked_invalid(shares), COLOURS, aspect="auto", vmin=0, vmax=1,
        extent=(0.0, n_columns / float(rate), n_rows - 0.5, -0.5), interpolation="nearest",
    )  # fmt: skip
    begins = [n for n in range(n_rows) if n == 0 or names[n] != names[n - 1]]
    panel.set_yticks(begins, [names[n] for n in begins], fontsize=8, parse_math=False)
    panel.set_xlabel("seconds")
    _title(panel, f"{n_columns} columns, {np.nanmean(shares):.2f} on average")
    figure.colorbar(image, ax=panel, label="share", pad=0.01)
    return figure


def similarity_figure(similarity: Array, names: Sequence[str]) -> "Figure":
    """Returns how alike each two of several things are, with lines where the next name begins.

    Args:
        similarity: (N, N), at most 1.
        names: of the things, equal ones side by side.
    """
    n_things = len(names)
    figure, (panel,) = _figure(1, 5.5)
    low = float(min(similarity.min(), 0))
    image = panel.imshow(np.asarray(similarity, np.float32), COLOURS, vmin=low, vmax=1, interpolation="nearest")
    begins = [n for n in range(n_things) if n == 0 or names[n] != names[n - 1]]
    every = math.ceil(len(begins) / MOST_TEXTS)
    panel.set_yticks(begins[::every], [names[n] for n in begins[::every]], fontsize=8, parse_math=False)
    panel.set_xticks([])
    for place in begins[1:]:
        panel.axhline(place - 0.5, color=ON_MEL, linewidth=0.8)
        panel.axvline(place - 0.5, color=ON_MEL, linewidth=0.8)
    _title(panel, f"likeness of {n_things}, of {len(set(names))} names")
    figure.colorbar(image, ax=panel, label="cosine", pad=0.01)
    return figure


def codebook_figure(counts: Array) -> "Figure":
    """Returns how often each code is used, the most frequent first, with use, entropy and dead codes in the title.

    Args:
        counts: (V,) of one codebook or (K, V) of several.
    """
    books = np.atleast_2d(np.asarray(counts, np.float64))
    n_columns = 1 if len(books) == 1 else 2
    n_rows = math.ceil(len(books) / n_columns)
    figure, panels = _figure(n_rows, 2.4, n_columns)
    for i, (panel, book) in enumerate(zip(panels, books, strict=False)):
        _draw_codebook(panel, book)
        told = codebook_use(book)
        _title(panel, f"codebook: {told}" if len(books) == 1 else f"{i + 1}: {told}")
        if i >= len(books) - n_columns:
            panel.set_xlabel("codes, the most frequent first")
        if i % n_columns == 0:
            panel.set_ylabel("share of frames")
    for panel in panels[len(books) :]:
        panel.set_axis_off()
    return figure


def _draw_codebook(panel: "Axes", counts: Array) -> None:
    n_codes, total = len(counts), max(float(counts.sum()), 1.0)
    used = int((counts > 0).sum())
    panel.stairs(np.sort(counts)[::-1][:used] / total, np.arange(used + 1), fill=True, color=BLUE)
    panel.axvspan(used, n_codes, color=GREY, alpha=0.16, linewidth=0)
    panel.axhline(1 / n_codes, color=RED, linewidth=1.2, linestyle=(0, (4, 3)))
    panel.annotate(
        "even use", (n_codes, 1 / n_codes), (-3, 3), textcoords="offset points", ha="right", color=RED, fontsize=8
    )
    panel.set_yscale("log")
    panel.set(
        xlim=(0, n_codes), ylim=(min(1 / total, 0.3 / n_codes), 2 * max(float(counts.max()) / total, 1 / n_codes))
    )
    _open(panel)


def codebook_use(counts: Array) -> str:
    """Returns in words how many codes (V,) are used, their entropy beside the highest one, and how many are dead."""
    use = CodebookUse(counts)
    n_codes, n_dead = len(counts), len(use.dead_codes)
    bits = use.entropy_bits if n_dead < n_codes else 0.0
    return f"{n_codes - n_dead} of {n_codes} codes used, {bits:.3g} of {math.log2(n_codes):.3g} bits, {n_dead} dead"


def _figure(n_rows: int, height: float, n_columns: int = 1) -> "tuple[Figure, list[Axes]]":
    """Returns a figure with panels, row by row, each `height` inches high."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height * n_rows + 0.3), dpi=DPI, layout="constrained", facecolor="white")
    axes = figure.subplots(n_rows, n_columns, sharex=True, squeeze=False)
    return figure, list(axes.flat)


def _title(panel: "Axes", text: str) -> None:
    panel.set_title(text, loc="left", fontsize=10, fontweight="bold", parse_math=False)


def _open(panel: "Axes") -> None:
    """Leaves the axes and faint lines behind the data."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="y", color=GREY, alpha=0.2, linewidth=0.8)
    panel.set_axisbelow(True)
