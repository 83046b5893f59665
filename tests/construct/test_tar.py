"""The bytes of tars and npz archives, against `tarfile` and numpy."""

import io
import tarfile
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.pipeline.construct.tar import BLOCK, end, members, npz


def test_numpy_loads_what_was_put_in() -> None:
    arrays: dict[str, npt.NDArray[Any]] = {
        "mel": np.arange(600, dtype=np.float16).reshape(6, 100),
        "units": np.arange(7, dtype=np.uint16),
        "none": np.zeros((0, 4), np.float32),
        "part": np.arange(100)[10:20:3],
        "key": np.array([b"a", b"bc"], "S40"),
    }
    with np.load(io.BytesIO(b"".join(npz(arrays)))) as loaded:
        assert loaded.files == list(arrays)
        for name, array in arrays.items():
            assert (loaded[name].dtype, loaded[name].shape) == (array.dtype, array.shape)
            assert np.array_equal(loaded[name], array)


def test_a_tar_is_byte_for_byte_what_tarfile_writes() -> None:
    samples = {f"key{i}_0": {"npz": [b"x" * (511 + i), b"y"], "json": [b"{}" * i]} for i in range(5)}
    ours = b"".join(piece for key, contents in samples.items() for piece in members(key, contents))
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for key, contents in samples.items():
            for extension in sorted(contents):
                content = b"".join(contents[extension])
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    assert ours + end(len(ours)) == file.getvalue()
    assert len(ours) % BLOCK == 0
