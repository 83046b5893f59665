"""How fast a run is, and how much of its time it waits for data."""

import time
from collections.abc import Iterator
from itertools import islice

from autosing.training.loader import Delivery


class Pace:
    """How fast steps are taken since this was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._waited = self._audio_s = 0.0
        self._samples = 0

    def timed(self, loader: Iterator[Delivery], n: int) -> list[Delivery]:
        """Takes `n` batches and notes what they hold and how long they took to come."""
        asked = time.perf_counter()
        deliveries = list(islice(loader, n))
        self._waited += time.perf_counter() - asked
        self._samples += sum(len(delivery.batch.keys) for delivery in deliveries)
        self._audio_s += sum(delivery.batch.seconds for delivery in deliveries)
        return deliveries

    def rates(self) -> dict[str, float]:
        """Returns samples and seconds of audio per second, and the share of time spent waiting for data."""
        seconds = time.perf_counter() - self._start
        return {
            "train/samples_per_s": self._samples / seconds,
            "train/audio_s_per_s": self._audio_s / seconds,
            "train/data_wait": self._waited / seconds,
        }
