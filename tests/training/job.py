"""A training run as a program: `job.py JSON`, alone or under torchrun; can kill itself at a step."""

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from autosing.training.run import train


def main(job: Mapping[str, Any]) -> None:
    """Trains what the job says."""
    torch.set_num_threads(1)

    def on_step(step: int, line: Mapping[str, float]) -> None:
        if step == job["die_at"]:
            os.kill(os.getpid(), signal.SIGKILL)

    train(job["recipe"], job["data"], Path(job["out"]), job["settings"], job["resume"], on_step)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
