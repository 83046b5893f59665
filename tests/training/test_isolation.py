"""Training needs nothing of the pipeline's libraries."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from importlib.abc import MetaPathFinder

class Blocker(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in {"ray", "polars", "pyarrow", "webdataset", "soundfile"} or name == "autosing.pipeline":
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
from pathlib import Path
from autosing.training.run import train
assert "torch" not in sys.modules, "recipes are told without torch"
settings = ["size=tiny", "steps=3", "seconds_per_batch=2", "validate_samples=1"]
print(train("acoustic", Path(sys.argv[1]), Path(sys.argv[2]), settings).step)
"""


def test_training_works_where_the_pipelines_libraries_are_missing(toy_set: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(toy_set), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "3"


def test_tensors_are_saved_and_read_without_torch(tmp_path: Path) -> None:
    script = """
import sys
import numpy as np
from pathlib import Path
from autosing.models.directory import directory_digest, load_tensors, save_tensors
save_tensors(Path(sys.argv[1]), {"codebook": np.eye(3, dtype=np.float32)}, {"k": 3})
assert load_tensors(Path(sys.argv[1]))[1] == {"k": 3}
directory_digest(Path(sys.argv[1]))
assert "torch" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "book")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
