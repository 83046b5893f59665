"""What identifies a model, and what is said where it is not to be had."""

import os
import subprocess
import sys
from pathlib import Path

ASK = """
from autosing.pipeline.model_digest import model_digest
from autosing.signal.errors import UsageError
try: print(model_digest("some/model"))
except UsageError as error: print(error)
"""


def digest(**environment: str) -> str:
    told = {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True, env=told)
    return done.stdout.strip()


def test_a_hub_id_is_its_commit_and_one_that_can_not_be_asked_for_is_told(tmp_path: Path) -> None:
    nobody = {"HF_HUB_CACHE": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}
    told = "the model some/model is neither in the local Hugging Face cache nor reachable"
    assert told in digest(**nobody)
    assert told in digest(**nobody, HF_HUB_OFFLINE="1")
    refs = tmp_path / "models--some--model" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("abc\n")
    assert digest(**nobody) == "abc"
