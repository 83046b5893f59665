"""How fast a run is, how much of its time it waits for data, and how much of the device it uses."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from autosing.training.loader import Delivery

if TYPE_CHECKING:
    import torch

# Dense bf16 operations per second by the data sheets, by what a device's name holds; the first that fits counts.
PEAK_TFLOPS = {
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "H200": 989.0,
    "GH200": 989.0,
    "B200": 2250.0,
    "A100": 312.0,
    "A10G": 70.0,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "RTX 4090": 165.0,
    "RTX 3090": 71.0,
}


class Pace:
    """How fast steps are taken since this was made, by all processes together."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._waited = 0.0
        self._taken: Counter[str] = Counter()

    def timed(self, loader: Iterator[Delivery], n: int) -> list[Delivery]:
        """Takes `n` batches and notes how long they took to come."""
        asked = time.perf_counter()
        deliveries = list(islice(loader, n))
        self._waited += time.perf_counter() - asked
        return deliveries

    def add(self, amounts: Mapping[str, float]) -> None:
        """Notes what a step of all processes has read: `samples`, `audio_s`, `tokens`."""
        self._taken.update(amounts)

    def rates(self, flops_per_token: float, peak_tflops: float) -> dict[str, float]:
        """Returns what was read per second, the share of time spent waiting for data, and MFU where it is known.

        Args:
            flops_per_token: operations of a training step per token; 0 where tokens are not what is computed on.
            peak_tflops: what all devices together can do; 0 where it is not known.
        """
        seconds = time.perf_counter() - self._start
        rates = {f"train/{name}_per_s": amount / seconds for name, amount in self._taken.items() if amount}
        if flops_per_token and peak_tflops:
            rates["train/mfu"] = flops_per_token * rates.get("train/tokens_per_s", 0.0) / (peak_tflops * 1e12)
        return {**rates, "train/data_wait": self._waited / seconds}


def peak_tflops(device: "torch.device") -> float:
    """Returns what a device can do in bf16, as its data sheet says; 0 where it is not known."""
    if device.type != "cuda":
        return 0.0
    import torch

    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAK_TFLOPS.items() if part in name), 0.0)
