"""What made an artefact: versions of the packages, and the commit where the code is a checkout."""

import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("autosing", "torch", "numpy", "safetensors", "transformers")


@cache
def provenance() -> dict[str, Any]:
    """Returns `versions` of the packages that shape a run, and `git`, the commit (`+` where files were changed)."""
    return {"versions": {name: found for name in PACKAGES if (found := _version(name))}, "git": _commit()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Returns the commit of the checkout that this file is tracked in; None where it is installed or git is missing."""
    here = Path(__file__)
    if _git("ls-files", "--error-unmatch", here.name) is None:
        return None
    commit, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    return None if commit is None else commit + ("+" if changed else "")


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
