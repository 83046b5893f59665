"""A legacy torch checkpoint becomes safetensors and JSON: the one place that unpickles, in a confined process.

`convert_checkpoint` runs this file as a process of its own (`python -m autosing.models.convert`) with limits on memory,
time and file size, in an empty folder, without the caller's environment. There torch's restricted unpickler
(`weights_only=True`) builds tensors and plain values and refuses to call anything else.
"""

import errno
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any

from autosing.models.arrays import PICKLES, WEIGHTS
from autosing.models.flatten import Found, flatten
from autosing.models.folder import whole_folder
from autosing.signal.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

SETTINGS = "settings.json"
MAX_BYTES = 8 << 30
TIMEOUT_S = 600.0

_SAVE_AGAIN = "if you trust it, open it where it was made and save its state_dict alone there, or safetensors"
_COPY_AGAIN = "copy it again from where it comes from"
# Calls by which torch itself writes tensors: not what a refused file is refused for.
_TENSOR_CALLS = re.compile(r"torch\._utils\._rebuild_\w+|torch\.(?:storage\.)?\w+Storage|collections\.OrderedDict")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Conversion:
    """What became of a checkpoint's values, by name: the keys on the way to a value, joined by `/`.

    Attributes:
        tensors: names in `model.safetensors`.
        settings: names in `settings.json`: numbers, text, lists of them.
        skipped: names of what is in neither, with the reason.
    """

    tensors: tuple[str, ...]
    settings: tuple[str, ...]
    skipped: Mapping[str, str]


def convert_checkpoint(
    source: Path, target_dir: Path, max_bytes: int = MAX_BYTES, timeout_s: float = TIMEOUT_S
) -> Conversion:
    """Writes the tensors and settings of a torch checkpoint as `model.safetensors` and `settings.json`.

    Tensors keep their type and shape; those that share memory become copies.

    Args:
        source: the file (.pt, .pth, .ckpt, .bin).
        target_dir: the folder to make.
        max_bytes: what the file, and its tensors together, may have at most. The process gets three times that.
        timeout_s: how long the process may take.

    Raises:
        UsageError: the target exists.
        CheckpointError: the file is none, is damaged, takes too much, or wants to call something; nothing was called.
    """
    if target_dir.exists() or target_dir.is_symlink():
        raise UsageError(f"{target_dir} exists; give a folder that does not, or remove it")
    _check_file(source, max_bytes)
    with whole_folder(target_dir) as draft:
        told = _told_by_process(source, draft, max_bytes, timeout_s)
        if "refused" in told:
            raise CheckpointError(f"{source} is refused: {told['refused']}")
        conversion = Conversion(tuple(told["tensors"]), tuple(told["settings"]), told["skipped"])
        _check_draft(source, draft, conversion)
    return conversion


def _check_file(source: Path, max_bytes: int) -> None:
    if not source.is_file():
        found = "is a folder" if source.is_dir() else "is no regular file" if source.exists() else "does not exist"
        raise CheckpointError(f"{source} {found}; give a torch checkpoint (.pt, .pth, .ckpt, .bin)")
    n_bytes = source.stat().st_size
    if n_bytes > max_bytes:
        raise CheckpointError(f"{source} has {n_bytes} bytes, more than {max_bytes}; allow more if you want that")
    with open(source, "rb") as stream:
        start = stream.read(4)
    if not start.startswith(PICKLES):
        raise CheckpointError(f"{source} is no torch checkpoint (it begins with {start!r}); {_COPY_AGAIN}")


def _told_by_process(source: Path, draft: Path, max_bytes: int, timeout_s: float) -> dict[str, Any]:
    arguments = [str(source.resolve()), str(draft.resolve()), str(max_bytes), str(math.ceil(timeout_s))]
    with TemporaryDirectory() as elsewhere:
        try:
            done = subprocess.run(
                # `-I` without its blindness for packages on the caller's path: the environment has nothing else.
                [sys.executable, "-P", "-s", "-m", "autosing.models.convert", *arguments],
                cwd=elsewhere,
                env=_environment(elsewhere),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CheckpointError(f"{source} took more than {timeout_s} s; allow more, or {_COPY_AGAIN}") from error
    try:
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except (ValueError, IndexError) as error:
        raise CheckpointError(
            f"{source} ended the process that read it ({_how_it_ended(done)}): it is damaged, hostile or too big; "
            f"allow more bytes, or {_COPY_AGAIN}"
        ) from error


def _environment(home: str) -> dict[str, str]:
    """Returns what the process sees: where packages lie, a scratch home, one thread, no GPU and no secrets."""
    paths = os.pathsep.join(path for path in sys.path if Path(path).is_absolute())
    scratch = dict.fromkeys(("HOME", "TMPDIR", "TEMP", "TMP"), home)
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    python = {"PYTHONPATH": paths, "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**scratch, **kept, **python, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def _how_it_ended(done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode < 0:
        return signal.strsignal(-done.returncode) or f"signal {-done.returncode}"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


def _check_draft(source: Path, draft: Path, conversion: Conversion) -> None:
    """Reads back what the process wrote; it had foreign bytes in its hands."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(draft / WEIGHTS, framework="numpy") as written:
            names = set(written.keys())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{source}: its conversion can't be read ({error}); {_COPY_AGAIN}") from error
    if {file.name for file in draft.iterdir()} != {WEIGHTS, SETTINGS} or names != {*conversion.tensors}:
        raise CheckpointError(f"{source}: its conversion is not what it was said to be; {_COPY_AGAIN}")


def main(arguments: Sequence[str]) -> None:
    """Converts a checkpoint in this process, which is limited first, and prints as JSON what came of it."""
    source, draft, max_bytes, cpu_s = Path(arguments[0]), Path(arguments[1]), int(arguments[2]), int(arguments[3])
    # Before the limits, which count what is added to the address space of torch's libraries.
    import_module("safetensors.torch")
    _limit_process(max_bytes, cpu_s)
    told: dict[str, Any]
    try:
        found = flatten(_load(source))
        _write(draft, found, max_bytes)
        told = {"tensors": [*found.tensors], "settings": [*found.settings], "skipped": found.skipped}
    except Exception as error:  # whatever a hostile file brings about, the answer is a reason
        told = {"refused": _reason(source, error)}
    sys.stdout.write(json.dumps(told) + "\n")


def _limit_process(max_bytes: int, cpu_s: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    limits = {resource.RLIMIT_CPU: cpu_s, resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: max_bytes + (64 << 20)}
    memory = Path("/proc/self/statm")
    if memory.exists():  # Linux; macOS does not enforce this limit
        mapped_bytes = int(memory.read_text().split()[0]) * resource.getpagesize()
        # The file's tensors, a copy of those that share memory, and what is being written.
        limits[resource.RLIMIT_AS] = mapped_bytes + 3 * max_bytes + (256 << 20)
    for limit, value in limits.items():
        hard = resource.getrlimit(limit)[1]
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (least, least))


def _load(source: Path) -> Any:
    import torch

    # Without mmap: mapped, a compressed member and one that is shorter than declared give other bytes without a word.
    return torch.load(source, map_location="cpu", weights_only=True)


def _write(draft: Path, found: Found, max_bytes: int) -> None:
    from safetensors.torch import save_file

    if not found.tensors:
        raise ValueError("it holds no tensor")
    n_bytes = sum(tensor.nbytes for tensor in found.tensors.values())
    if n_bytes > max_bytes:
        raise MemoryError(f"its tensors have {n_bytes} bytes")
    seen: set[int] = set()
    save_file({name: _own(tensor, seen) for name, tensor in found.tensors.items()}, draft / WEIGHTS)
    text = json.dumps(found.settings, indent=1, sort_keys=True, allow_nan=False)
    (draft / SETTINGS).write_text(text + "\n")


def _own(tensor: "Tensor", seen: set[int]) -> "Tensor":
    """Returns the tensor in memory that is its own, in C order: itself where it is, else a copy."""
    import torch

    plain = tensor.detach().resolve_conj().resolve_neg()
    memory = plain.untyped_storage()
    if plain.is_contiguous() and memory.nbytes() == plain.nbytes and memory.data_ptr() not in seen:
        seen.add(memory.data_ptr())
        return plain
    return plain.clone(memory_format=torch.contiguous_format)


def _reason(source: Path, error: Exception) -> str:
    from safetensors import SafetensorError

    text = str(error)
    if named := re.search(r"GLOBAL (\S+)", text):
        return f"it wants to call {named[1]}, and a checkpoint needs no calls; {_SAVE_AGAIN}"
    if foreign := [name for name in _called(source) if not _TENSOR_CALLS.fullmatch(name)]:
        return f"it wants to call {', '.join(foreign[:3])}, and a checkpoint needs no calls; {_SAVE_AGAIN}"
    # torch's advice to load without `weights_only` is kept from the user.
    lines = [line for line in text.splitlines() if line.strip() and "weights_only" not in line]
    told = lines[0].strip() if lines else type(error).__name__
    if isinstance(error, MemoryError) or "allocate memory" in text:
        return f"it takes more memory than allowed ({told}); allow more bytes, or {_COPY_AGAIN}"
    if isinstance(error, SafetensorError) or (isinstance(error, OSError) and error.errno in _NO_ROOM):
        return f"its conversion can't be written ({told}); make room on the disk, or {_COPY_AGAIN}"
    return f"it is truncated, or holds something else than tensors and plain values ({told}); {_COPY_AGAIN}"


def _called(source: Path) -> list[str]:
    """Returns the functions and classes that the pickles in a file name; they are read as text and not run."""
    import zipfile

    with open(source, "rb") as file:
        if not zipfile.is_zipfile(file):
            file.seek(0)
            return _named(file)
        try:
            with zipfile.ZipFile(file) as archive:
                texts = [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError):
            return []
    return [name for text in texts for name in _named(io.BytesIO(text))]


def _named(stream: IO[bytes]) -> list[str]:
    import pickletools

    named: list[str] = []
    texts: list[str] = []
    # It ends where the pickle does, or where what follows is none.
    with suppress(ValueError, EOFError, OverflowError):
        for code, value, _ in pickletools.genops(stream):
            if code.name == "GLOBAL":
                named.append(str(value).replace(" ", "."))
            elif code.name == "STACK_GLOBAL":
                named.append(".".join(texts[-2:]))
            elif isinstance(value, str):
                texts.append(value)
    return named


if __name__ == "__main__":
    main(sys.argv[1:])
