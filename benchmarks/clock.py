"""How long calls take, on a CPU or a GPU, in one thread."""

import time
from collections.abc import Callable, Sequence

import torch


def best_seconds(calls: Sequence[Callable[[], object]], device: str, times: int = 3) -> list[float]:
    """Returns how long calls take at best, in turns after one that warms up.

    Args:
        calls: what is measured.
        device: `cpu`, where the time of the process itself counts, or `cuda`, where it is until all is done.
        times: how often each is measured.
    """
    on_gpu = device == "cuda"
    clock, best = time.perf_counter if on_gpu else time.process_time, [float("inf")] * len(calls)
    for turn in range(1 + times):
        for number, call in enumerate(calls):
            begun = clock()
            call()
            if on_gpu:
                torch.cuda.synchronize()
            if turn:
                best[number] = min(best[number], clock() - begun)
    return best
