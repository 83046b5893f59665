"""Folders and files that are there complete or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Gives a draft folder that takes the place of `target` when the block ends well.

    The draft lies beside the target, so the last step is a rename; a failed block leaves the target as it was.
    """
    draft = _beside(target, "draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        for file in draft.iterdir():
            # safetensors writes files that nobody else may read; they are as open as the folder is.
            if file.is_file():
                file.chmod(draft.stat().st_mode & 0o666)
            _flush(file)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    _replace(draft, target)


def write_whole(target: Path, text: str) -> None:
    """Writes a text file that takes the place of `target` when it is complete."""
    draft = _beside(target, "draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(target)


def recover_folder(target: Path) -> None:
    """Puts the former folder back where a process died between the two renames of a replacement."""
    former = _beside(target, "former")
    if former.exists() and not target.exists():
        former.rename(target)


def _replace(draft: Path, target: Path) -> None:
    former = _beside(target, "former")
    if target.exists():
        shutil.rmtree(former, ignore_errors=True)
        target.rename(former)
    draft.rename(target)
    _flush(target.parent)
    shutil.rmtree(former, ignore_errors=True)


def _beside(target: Path, role: str) -> Path:
    return target.with_name(f".{target.name}.{role}")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
