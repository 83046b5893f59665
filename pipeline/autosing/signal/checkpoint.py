"""Pretrained checkpoints of the Hugging Face format: a local folder or a hub id. Safetensors only, no foreign code."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from autosing.signal.errors import UsageError

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
VOCABULARY = "vocab.json"
WEIGHTS = "model*.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A pretrained model; what is in the local Hugging Face cache is used without asking the network.

    Args:
        model: a hub id (`facebook/hubert-large-ll60k`) or the path of a folder.
    """

    model: str

    @cached_property
    def config(self) -> dict[str, Any]:
        """What config.json tells; read without importing torch.

        Raises:
            UsageError: there is no such checkpoint.
        """
        return _json(self._folder(CONFIG) / CONFIG)

    @cached_property
    def preprocessor(self) -> dict[str, Any]:
        """What preprocessor_config.json tells; nothing where there is none."""
        path = self._folder(CONFIG) / PREPROCESSOR
        return _json(path) if path.is_file() else {}

    @cached_property
    def vocabulary(self) -> dict[str, Any]:
        """What vocab.json tells of a model that writes.

        Raises:
            UsageError: there is none.
        """
        return _json(self._folder(VOCABULARY) / VOCABULARY)

    def load(self, head: str = "AutoModel") -> Any:
        """Returns the network in float32 and evaluation mode.

        Args:
            head: the class of transformers that knows the networks of a task, e.g. `AutoModelForAudioXVector`.

        Raises:
            UsageError: the weights are missing, pickled, damaged, or of another model.
        """
        import transformers
        from safetensors import SafetensorError
        from transformers.utils import logging

        folder = self._folder(WEIGHTS)
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            network, told = getattr(transformers, head).from_pretrained(
                folder, dtype="float32", use_safetensors=True, trust_remote_code=False, local_files_only=True,
                output_loading_info=True,
            )  # fmt: skip
        except (OSError, RuntimeError, SafetensorError) as error:
            raise UsageError(f"the weights of {self.model} can't be loaded: {error}; copy them again") from error
        # A decoder is not used, and the embedding of masked frames only in training.
        unused = ("decoder.", "masked_spec_embed")
        absent = [k for k in sorted(told["missing_keys"]) if not k.startswith(unused) and not k.endswith(unused[1])]
        if absent:
            raise UsageError(
                f"the weights of {self.model} are not those of its {CONFIG}: {len(absent)} are missing, {absent[0]} "
                "among them; copy config.json and the weights from the same place"
            )
        return network.eval()

    def file(self, name: str) -> Path:
        """Returns the path of one of its files; whoever opens a pickle does so by the converter.

        Raises:
            UsageError: there is none.
        """
        return self._folder(name) / name

    def _folder(self, needed: str) -> Path:
        """Returns the folder of the checkpoint, which holds a file of the pattern `needed`.

        Raises:
            UsageError: there is none; the message says why and names the ways out.
        """
        reason = "it is neither a folder nor to be had from the local Hugging Face cache or the hub"
        for folder in model_folders(self.model, [CONFIG, PREPROCESSOR, needed, "*.index.json"]):
            if any(folder.glob(needed)):
                return folder
            reason = f"it has no {needed}"
            if needed == WEIGHTS:
                reason += " (pickled weights are never opened: save it as safetensors once, with save_pretrained)"
        raise UsageError(
            f"the model {self.model} can't be used: {reason}; give a local path of its files ({CONFIG}, "
            "model.safetensors), or take the stage's weight-free way (for ssl: `model: mfcc`)"
        )


def model_folders(model: str, patterns: Sequence[str]) -> Iterator[Path]:
    """Yields where a model's files may be: the local folder, or the cached snapshot of a hub id and then the hub's.

    Args:
        model: a hub id or the path of a folder.
        patterns: globs of the files that are fetched.
    """
    if Path(model).is_dir():
        yield Path(model)
    elif model.count("/") == 1 and not model.startswith((".", "/", "~")):
        from huggingface_hub import snapshot_download

        for cached_only in (True, False):
            with suppress(OSError):
                yield Path(snapshot_download(model, allow_patterns=list(patterns), local_files_only=cached_only))


def _json(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}; copy it again") from error
    return dict(told)
