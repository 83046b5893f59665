"""What a run on Ray counts for Prometheus; Ray exports it from every node that has a metrics port."""

from typing import Any

COUNTERS = {
    "autosing_audio_seconds": "Seconds of audio that went through a stage.",
    "autosing_rows": "Songs that a stage has looked at.",
    "autosing_errors": "Songs for which a stage has no value, for a reason of its own.",
    "autosing_bytes": "Bytes of the column files that were written.",
    "autosing_busy_seconds": "Seconds that a stage kept workers busy.",
}
"""Meaning by name; Prometheus sees `ray_<name>_total`, by stage."""


class Meters:
    """Counters of the process that gives out the work; a session on Ray must be there."""

    def __init__(self) -> None:
        from ray.util.metrics import Counter

        self._counters: dict[str, Any] = {n: Counter(n, meaning, ("stage",)) for n, meaning in COUNTERS.items()}

    def add(self, stage: str, audio_s: float, rows: int, errors: int, n_bytes: int, busy_s: float) -> None:
        """Adds what a stage did in one partition."""
        for counter, value in zip(self._counters.values(), (audio_s, rows, errors, n_bytes, busy_s), strict=True):
            if value > 0:
                counter.inc(value, {"stage": stage})
