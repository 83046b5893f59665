"""Model directories on the Hugging Face hub: fetched into the local cache, and pushed. JSON and safetensors only."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autosing.models.arrays import CONFIG, WEIGHTS, load_tensors
from autosing.signal.errors import CheckpointError, UsageError

CARD = "README.md"
# What is ever fetched or sent. Anything else in a repository, a pickle for one, stays where it is.
FILES = (CONFIG, WEIGHTS, CARD)

_PART = r"[A-Za-z0-9](?:[\w.-]*\w)?"
_REPOSITORY = re.compile(rf"{_PART}/{_PART}", re.ASCII)
# Branches may hold slashes; each part begins with a letter or digit, so none of them climbs out of the cache.
_REVISION = re.compile(rf"{_PART}(?:/{_PART})*", re.ASCII)
_AN_ID = "ORG/NAME, of letters, digits, `.`, `_` and `-`"

_CARD_HEAD = """---
library_name: autosing
tags:
- autosing
- singing-voice
---

# {repository}

A model directory of autosing. Its weights are safetensors: no code runs when it is loaded.
"""


def model_folder(model: str | Path) -> Path:
    """Returns the folder of a model: a local one, or the cached snapshot of a Hugging Face id.

    Text is a path where such a path exists, and an id otherwise. What is in the local Hugging Face cache is used
    without asking the network, so that a branch keeps meaning what it meant when it was fetched first.

    Args:
        model: a path, `org/name` or `org/name@revision` (a commit, a tag or a branch).

    Raises:
        CheckpointError: it is neither, or the hub does not give it; the message names the ways out.
    """
    if isinstance(model, Path) or Path(model).exists():
        return Path(model)
    repository, _, revision = model.partition("@")
    if not _is_repository(repository) or ("@" in model and not _REVISION.fullmatch(revision)):
        raise CheckpointError(
            f"{model} is neither a folder nor a Hugging Face id; give the path of a model directory, or an id: "
            f"{_AN_ID}, with or without @REVISION behind it"
        )
    return _cached(repository, revision or None) or _fetched(model, repository, revision or None)


def push_model(path: str | Path, repository: str, private: bool = True, endpoint: str | None = None) -> str:
    """Uploads a model directory with a model card as one commit, creating the repository; returns its URL.

    The directory is read whole first. Exactly `FILES` are sent, the card being written here.

    Args:
        path: a directory that `save_model` or `save_tensors` wrote.
        repository: `org/name`.
        private: whether it is hidden from others. An existing repository of the other kind is refused, not changed.
        endpoint: of another hub than the configured one.

    Raises:
        CheckpointError: the directory is damaged or foreign, or the hub refuses.
        UsageError: the id is malformed.
    """
    if not _is_repository(repository):
        raise UsageError(f"{repository!r} is no Hugging Face id; give {_AN_ID}")
    folder = Path(path)
    _, config = load_tensors(folder)

    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=endpoint, library_name="autosing")
    card = model_card(repository, config).encode()
    with _told(f"{folder} can't be pushed to {repository}", "log in with `hf auth login`, or push to another id"):
        url = str(api.create_repo(repository, private=private, exist_ok=True))
        _refuse_other_visibility(repository, bool(api.model_info(repository).private), private)
        contents: dict[str, Path | bytes] = {CONFIG: folder / CONFIG, WEIGHTS: folder / WEIGHTS, CARD: card}
        additions = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=contents[name]) for name in FILES]
        api.create_commit(repository, additions, commit_message="Upload a model directory of autosing")
    return url


def model_card(repository: str, config: Mapping[str, Any]) -> str:
    """Returns the README.md of a model directory: its class, fields and contract, and how it was trained.

    Args:
        repository: `org/name`.
        config: what config.json tells.
    """
    if "class" in config:
        names = ("class", "fields", "contract", "training")
        told = {name.capitalize(): config[name] for name in names if name in config}
        use = f'from autosing.models.directory import load_model\n\nmodel = load_model("{repository}").model'
    else:
        told = {"Settings": config}
        use = "from autosing.models.directory import load_tensors\n\narrays, settings = load_tensors(FOLDER)"
    parts = [_CARD_HEAD.format(repository=repository), f"```python\n{use}\n```\n"]
    # No line of JSON can begin with a fence, whatever text is in it: a line break in text is written as two letters.
    parts += [f"## {title}\n\n```json\n{_json(value)}\n```\n" for title, value in told.items()]
    return "\n".join(parts)


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True)


def _is_repository(name: str) -> bool:
    forbidden = ".." in name or "--" in name or name.endswith(".git") or len(name) > 96
    return bool(_REPOSITORY.fullmatch(name)) and not forbidden


def _cached(repository: str, revision: str | None) -> Path | None:
    """Returns the snapshot in the local cache, where it has both files."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = snapshot_download(
            repository, revision=revision, allow_patterns=[CONFIG, WEIGHTS], local_files_only=True
        )
    except LocalEntryNotFoundError:
        return None
    return None if _absent(Path(found)) else Path(found)


def _fetched(model: str, repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    way_out = (
        f"give the path of a model directory, or fetch it where there is a network (`hf download {repository}`) and "
        "copy it here"
    )
    with _told(f"the model {model} is no local folder and can't be fetched", way_out):
        found = Path(snapshot_download(repository, revision=revision, allow_patterns=list(FILES)))
    if absent := _absent(found):
        raise CheckpointError(f"the model {model} can't be used: its repository has no {absent[0]}; {way_out}")
    return found


def _absent(folder: Path) -> list[str]:
    return [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]


def _refuse_other_visibility(repository: str, found: bool, wanted: bool) -> None:
    if found != wanted:
        is_, wished, option = ("private", "public", "without") if found else ("public", "private", "with")
        raise CheckpointError(
            f"{repository} exists and is {is_}, but it was to be {wished}; nothing was uploaded: push {option} "
            f"--public (`private={found}`), push to another id, or change it in its settings on the hub"
        )


@contextmanager
def _told(what: str, way_out: str) -> Iterator[None]:
    """Turns what the hub's client raises into one message of ours."""
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of whichever httpx the client uses

    try:
        yield
    except (OSError, HTTPError) as error:
        raise CheckpointError(f"{what}: {_reason(error)}; {way_out}") from error


def _reason(error: Exception) -> str:
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    reasons: tuple[tuple[type[Exception], str], ...] = (
        (RepositoryNotFoundError, "the hub has no such model, or it is private and you are not logged in"),
        (RevisionNotFoundError, "the hub has the model, but not this revision of it"),
        (LocalEntryNotFoundError, "it is not in the local Hugging Face cache, and the hub can't be reached"),
    )
    for kind, told in reasons:
        if isinstance(error, kind):
            return told
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
