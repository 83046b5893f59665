"""What is told while recordings are converted, and after."""

import io

import pytest

from autosing.conversion.text import Outcome, Progress, lines_of

DONE = Outcome(
    "[a].wav", "out/[a].wav", "converted", facts={"key": {"semitones": -2.0}, "realtime_factors": {"f0": 0.25}}
)
BAD = Outcome("b.wav", "out/b.wav", "failed", "it is no sound")
THERE = Outcome("c.wav", "out/c.wav", "skipped", "it is there")
OUTCOMES = [BAD, DONE, THERE]


class Terminal(io.StringIO):
    """Standard error of a terminal."""

    def isatty(self) -> bool:
        return True


def told(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("sys.stderr", stream)
    with Progress(2) as progress:
        progress.part("[a]", "decoder 50 %")
        progress.ended(Outcome("[a].wav", "", "converted", warnings=("the source is clipped",)))
        progress.ended(BAD)
    return stream.getvalue()


def test_a_terminal_has_a_bar_and_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    found = told(Terminal(), monkeypatch)
    assert "2/2" in found and "[a]: decoder 50 %" in found
    assert "[a].wav: the source is clipped" in found and "b.wav: it is no sound" in found


def test_elsewhere_there_is_a_line_for_each_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = told(io.StringIO(), monkeypatch).splitlines()
    assert lines == ["1/2 [a].wav", "[a].wav: the source is clipped", "2/2 b.wav", "b.wav: it is no sound"]


def test_failures_stand_at_the_end() -> None:
    assert lines_of(OUTCOMES) == [
        "wrote    out/[a].wav  key -2  RTF 0.250",
        "skipped  out/c.wav: it is there",
        "failed   b.wav: it is no sound",
        "1 converted, 1 skipped, 1 failed",
    ]
