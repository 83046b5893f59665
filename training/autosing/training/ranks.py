"""The processes of a run: alone, under torchrun, or under Ray Train; what they agree on goes over the CPUs."""

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from autosing.signal.errors import UsageError

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run.

    Attributes:
        rank: which one, from 0; the first validates and writes.
        size: how many.
        device: that this one computes on.
        control: the group whose messages never touch a GPU; None is the default one.
    """

    rank: int
    size: int
    device: "torch.device"
    control: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def total(self, values: Sequence[float]) -> list[float]:
        """Returns the sums of each value over all ranks, the same everywhere; every rank must call it."""
        if self.size == 1:
            return list(values)
        import torch
        import torch.distributed as dist

        sums = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums, group=self.control)
        return list(sums.tolist())

    def wait(self) -> None:
        """Returns when every rank is here."""
        self.total([0.0])


def share_of_a_step(microbatches: int, processes: int) -> int:
    """Returns how many of a step's microbatches each of several processes takes.

    Raises:
        UsageError: they cannot be divided equally.
    """
    if microbatches % processes:
        fits = [str(n) for n in range(1, microbatches + 1) if microbatches % n == 0]
        above = -(-microbatches // processes) * processes
        raise UsageError(
            f"{microbatches} microbatches cannot be divided among {processes} processes; start {', '.join(fits)} "
            f"processes, or a new run with microbatches={above}"
        )
    return microbatches // processes


@contextmanager
def joined(device: Device) -> Iterator[Ranks]:
    """Gives the place of this process in the run, after all of it have met.

    A launcher that has set up `torch.distributed` (Ray Train) is taken as it is; torchrun's environment is joined.
    """
    import torch
    import torch.distributed as dist

    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = _device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if not dist.is_initialized() and size == 1:
        yield Ranks(0, 1, chosen)
        return
    owned = not dist.is_initialized()
    if owned:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    # NCCL's messages would make the host wait for the GPU.
    control = dist.new_group(backend="gloo") if dist.get_backend() != "gloo" else None
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), chosen, control)
    finally:
        if owned:
            # What still holds the group would end it when the interpreter ends, and with it abort the process.
            gc.collect()
            dist.destroy_process_group()


def _device(wanted: Device) -> "torch.device":
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("device is cuda, but no CUDA device is here; use device=cpu or device=auto")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
