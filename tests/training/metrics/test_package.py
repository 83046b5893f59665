"""The public names, and that importing them loads nothing heavy."""

import subprocess
import sys

from autosing.training import metrics

HEAVY = ("torch", "scipy", "sklearn", "mir_eval", "pyworld", "torchaudio", "matplotlib", "pesq", "pystoi")


def test_every_public_name_exists_and_is_documented() -> None:
    assert sorted(metrics.__all__) == metrics.__all__
    assert [name for name in metrics.__all__ if not (getattr(metrics, name).__doc__ or "").strip()] == []


def test_importing_the_metrics_loads_nothing_heavy() -> None:
    script = f"import sys, autosing.training.metrics; print(sorted({{*{HEAVY}}} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
