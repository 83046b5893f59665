"""Starts runs as their users do, each in processes of its own, and compares what they left."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.numpy import load_file

# What depends on the clock.
TIMED = ("_per_s", "/data_wait", "/mfu")
HERE = Path(__file__).parent


def run(
    recipe: str,
    data: Path,
    out: Path,
    settings: Sequence[str],
    *,
    resume: bool = False,
    die_at: int = 0,
    processes: int = 1,
    trace: Path | None = None,
) -> int:
    """Trains in a process of its own, or in several under torchrun; returns the exit code, -9 where it was killed."""
    job = {"recipe": recipe, "data": str(data), "out": str(out), "settings": list(settings)}
    told = json.dumps({**job, "resume": resume, "die_at": die_at})
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run(
        [*launcher, str(HERE / "job.py"), told],
        env=environment(trace),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    if done.returncode not in (0, -9):
        raise AssertionError(done.stderr[-4000:])
    return done.returncode


def environment(trace: Path | None = None) -> Mapping[str, str]:
    """Returns the environment of a run, in which the toy recipes can be imported; `trace` gets what is trained on."""
    if trace:
        trace.mkdir(parents=True, exist_ok=True)
    told = {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return {**os.environ, **told, **({"TOY_TRACE": str(trace)} if trace else {})}


def logged(folder: Path) -> list[dict[str, float]]:
    """Returns the lines of a run's log without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.endswith(TIMED)} for line in lines]


def assert_same_run(first: Path, second: Path, step: int) -> None:
    """Compares parameters, optimisers, average, progress and log bit for bit."""
    state = f"checkpoints/step-{step:08d}/state.safetensors"
    ours, theirs = load_file(first / state), load_file(second / state)
    assert ours.keys() == theirs.keys()
    assert {name.split("/")[0] for name in ours} == {"model", "ema", "optimiser"}
    assert [name for name in ours if ours[name].tobytes() != theirs[name].tobytes()] == []
    facts = [json.loads((folder / state).with_name("state.json").read_text()) for folder in (first, second)]
    assert facts[0]["progress"] == facts[1]["progress"]
    assert logged(first) == logged(second)
    assert (first / "model/model.safetensors").read_bytes() == (second / "model/model.safetensors").read_bytes()
