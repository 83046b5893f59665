"""What identifies a model: the commit of a hub id, the sha256 of local files, or the version of a wheel."""

import hashlib
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from autosing.signal.errors import UsageError

WHEEL = "wheel:"
FIT_RECORD = "fit.json"
"""Beside an artefact: what it was fitted on. It is no part of the model."""


def model_digest(where: str) -> str | None:
    """Returns the digest of the model at a path, of a hub id, or in a wheel (`wheel:NAME`).

    None where a local path does not exist (yet).

    Raises:
        UsageError: a hub id that is neither in the local cache nor reachable, or a wheel that is not installed.
    """
    if where.startswith(WHEEL):
        return _wheel_version(where.removeprefix(WHEEL))
    path = Path(where)
    if not where:
        raise UsageError("a model's path is empty; give a hub id or the path of its files")
    if path.exists():
        inside = path.rglob("*") if path.is_dir() else [path]
        files = sorted(f for f in inside if f.is_file() and f.name != FIT_RECORD)
        return _files_digest(tuple((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files), str(path))
    return _hub_commit(where) if _is_hub_id(where) else None


def _is_hub_id(where: str) -> bool:
    parts = where.split("/")
    return len(parts) == 2 and all(parts) and not where.startswith((".", "/", "~"))


def _wheel_version(name: str) -> str:
    try:
        return f"{name}=={version(name)}"
    except PackageNotFoundError as error:
        raise UsageError(f"the package {name} is not installed; install it with: pip install {name}") from error


@lru_cache(maxsize=256)
def _files_digest(files: tuple[tuple[str, int, int], ...], root: str) -> str:
    """Hashes names and contents; the sizes and times in the arguments make the cache forget a changed file."""
    digest = hashlib.sha256()
    for name, size, _ in files:
        digest.update(f"{Path(name).relative_to(root) if name != root else ''}\0{size}\0".encode())
        with open(name, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:32]


def _hub_commit(where: str) -> str:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of whichever httpx the client uses

    ref = Path(constants.HF_HUB_CACHE, f"models--{where.replace('/', '--')}", "refs", "main")
    if ref.exists():
        return ref.read_text().strip()
    try:
        return str(HfApi().model_info(where).sha)
    except (OSError, HTTPError) as error:
        raise UsageError(
            f"the model {where} is neither in the local Hugging Face cache nor reachable ({type(error).__name__}); "
            "give a local path of its files, or use the stage's weight-free method (for ssl: model: mfcc, for stems: "
            "method: center)"
        ) from error
