"""Benchmarks that are quick enough at a small size, so that a change of what they call does not go unseen."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_the_simulated_cluster_computes_every_column_once() -> None:
    small = ["--partitions", "300", "--nodes", "3", "--gpu-nodes", "1", "--deaths", "3", "--preemptions", "1"]
    command = [sys.executable, str(BENCHMARKS / "scheduler.py"), *small]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "every column computed exactly once" in done.stdout and "failed partitions" in done.stdout
