"""How the learning rate moves over a run."""

import math
from typing import Literal

Schedule = Literal["constant", "cosine", "wsd"]

# The last part of a warm-up/stable/decay run, in which the rate falls to 0.
WSD_DECAY = 0.2


def lr_factor(schedule: Schedule, step: int, steps: int, warmup_steps: int) -> float:
    """Returns what the highest learning rate is multiplied with at a step.

    Args:
        schedule: `constant`; `cosine`, half a wave down to 0; `wsd`, constant and then straight down to 0.
        step: the step that is about to be taken, from 0.
        steps: of the run.
        warmup_steps: in which the rate rises in a straight line; step 0 already moves.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(steps - warmup_steps, 1)
    match schedule:
        case "constant":
            return 1.0
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        case "wsd":
            return min(1.0, max(1 - done, 0.0) / WSD_DECAY)
