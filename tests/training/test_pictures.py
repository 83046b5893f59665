"""Pictures show what is there: at its time, its frequency, its token, and with the right figures in the title."""

import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from autosing.signal.mel import MelSpec, log_mel
from autosing.training.look import pixels
from autosing.training.pictures import (
    MOST_TEXTS,
    attention_figure,
    codebook_figure,
    codebook_use,
    mel_figure,
    similarity_figure,
)

SPEC = MelSpec()
F0_RATE = 100.0


def sine_mel(hz: float, n_frames: int = 90) -> npt.NDArray[np.float32]:
    wave = 0.3 * np.sin(2 * np.pi * hz * np.arange(n_frames * SPEC.hop) / SPEC.sample_rate)
    return log_mel(wave.astype(np.float32), SPEC, n_frames)


def contour(*f0_hz: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], float]:
    return np.array(f0_hz), np.array(f0_hz) > 0, F0_RATE


def line(panel: Any, i: int = -1) -> npt.NDArray[np.float64]:
    """Returns the points (N, 2) of a line of a panel."""
    return np.asarray(panel.lines[i].get_xydata())


def shown(panel: Any) -> Any:
    """Returns the image of a panel."""
    return panel.images[0]


def titles(figure: Any) -> list[str]:
    return [panel.get_title(loc="left") for panel in figure.axes if panel.get_title(loc="left")]


@pytest.mark.parametrize("hz", [150.0, 440.0, 2_000.0, 7_000.0])
def test_f0_lies_on_the_band_that_a_sine_of_it_lights(hz: float) -> None:
    mel = sine_mel(hz)
    figure = mel_figure({"target": mel}, SPEC.rate, {"target": contour(*[hz] * 90)}, SPEC)
    assert np.abs(line(figure.axes[0])[:, 1] - (mel[45].argmax() + 0.5)).max() < 1


def test_frequencies_stand_at_the_bands_of_their_sines() -> None:
    panel = mel_figure({"target": sine_mel(440)}, SPEC.rate, spec=SPEC).axes[0]
    told = dict(zip([t.get_text() for t in panel.get_yticklabels()], panel.get_yticks(), strict=True))
    for khz in ("1", "8"):
        assert abs(told[khz] - (sine_mel(1000 * float(khz))[45].argmax() + 0.5)) < 1
    assert mel_figure({"target": sine_mel(440)}, SPEC.rate).axes[0].get_ylabel() == "mel bin"


def test_mels_share_scales_of_time_and_colour() -> None:
    long, short = sine_mel(440, 150), sine_mel(880, 75) - 3
    figure = mel_figure({"target": long, "prediction": short}, SPEC.rate)
    first, second = (shown(panel) for panel in figure.axes[:2])
    assert first.get_clim() == second.get_clim()
    assert first.get_extent()[1] == pytest.approx(1.6) and second.get_extent()[1] == pytest.approx(0.8)
    assert np.array_equal(first.get_array().filled(), long.T)
    assert first.origin == "lower" and titles(figure) == ["target", "prediction"]


def test_f0_needs_a_spec_and_a_mel() -> None:
    mels = {"target": sine_mel(440)}
    with pytest.raises(ValueError, match="needs a spec"):
        mel_figure(mels, SPEC.rate, {"target": contour(440)})
    with pytest.raises(ValueError, match="there are target"):
        mel_figure(mels, SPEC.rate, {"prediction": contour(440)}, SPEC)


def test_attention_shows_its_weights_with_the_tokens_texts() -> None:
    attention = np.eye(3, 6)
    panel = attention_figure(attention, ["a", "$", "$"], 50).axes[0]
    image = shown(panel)
    assert np.array_equal(image.get_array().filled(), attention) and image.origin == "lower"
    assert list(image.get_extent()) == [0, 0.12, -0.5, 2.5]
    assert [t.get_text() for t in panel.get_yticklabels()] == ["a", "$", "$"]
    assert panel.get_xlabel() == "seconds"
    assert attention_figure(attention).axes[0].get_xlabel() == "frame"


def test_texts_of_long_lyrics_stay_with_their_tokens() -> None:
    texts = [str(i) for i in range(3 * MOST_TEXTS)]
    panel = attention_figure(np.eye(len(texts), 10), texts).axes[0]
    assert [t.get_text() for t in panel.get_yticklabels()] == [str(int(y)) for y in panel.get_yticks()]
    assert len(panel.get_yticks()) == MOST_TEXTS


def test_the_use_of_a_codebook_is_told() -> None:
    assert codebook_use(np.full(256, 3)) == "256 of 256 codes used, 8 of 8 bits, 0 dead"
    assert codebook_use(np.array([0, 9, 0, 0])) == "1 of 4 codes used, 0 of 2 bits, 3 dead"
    assert codebook_use(np.zeros(4)) == "0 of 4 codes used, 0 of 2 bits, 4 dead"
    assert codebook_use(np.array([4, 2, 1, 1])) == "4 of 4 codes used, 1.75 of 2 bits, 0 dead"


def test_every_codebook_has_a_panel_of_its_sorted_shares() -> None:
    counts = np.array([[1, 0, 3, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    figure = codebook_figure(counts)
    assert [title[0] for title in titles(figure)] == ["1", "2", "3"]
    bars: Any = figure.axes[0].patches[0]
    assert bars.get_data().values.tolist() == [0.75, 0.25]
    assert titles(codebook_figure(counts[0])) == ["codebook: 2 of 4 codes used, 0.811 of 2 bits, 2 dead"]


@pytest.mark.parametrize(
    "figure",
    [
        mel_figure({"target": np.full((1, 4), -11.5)}, 10.0),
        attention_figure(np.ones((1, 1)), ["歌 $x^$"], 50),
        codebook_figure(np.zeros((3, 2))),
        codebook_figure(np.ones((1, 1))),
    ],
    ids=["mel", "attention", "dead codebooks", "one code"],
)
def test_small_and_odd_inputs_are_drawn_without_a_warning(figure: Any) -> None:
    image = pixels(figure)
    assert image.shape[2] == 3 and len(np.unique(image)) > 2


def test_pictures_need_neither_pyplot_nor_torch() -> None:
    script = """
import sys
import numpy as np
from autosing.training.look import pixels
from autosing.training.pictures import mel_figure
assert "matplotlib" not in sys.modules
pixels(mel_figure({"a": np.eye(4)}, 1.0))
assert not {"torch", "matplotlib.pyplot"} & {*sys.modules}
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_likeness_stands_where_its_two_are_and_lines_part_the_names() -> None:
    names = ["ada", "ada", "ben", "$x", "$x"]
    similarity = np.linspace(-0.2, 1, 25).reshape(5, 5)
    panel = similarity_figure(similarity, names).axes[0]
    np.testing.assert_allclose(shown(panel).get_array(), similarity, rtol=1e-6)
    assert shown(panel).get_clim() == (pytest.approx(-0.2), 1)
    assert dict(zip(panel.get_yticks(), [t.get_text() for t in panel.get_yticklabels()], strict=True)) == {
        0: "ada",
        2: "ben",
        3: "$x",
    }
    assert sorted({float(one.get_ydata()[0]) for one in panel.lines if len(set(one.get_ydata())) == 1}) == [1.5, 2.5]
    assert titles(similarity_figure(similarity, names)) == ["likeness of 5, of 3 names"]
    many = similarity_figure(np.eye(200), [f"singer {n:03}" for n in range(200)])
    assert len(many.axes[0].get_yticks()) <= MOST_TEXTS and pixels(many).std() > 0
