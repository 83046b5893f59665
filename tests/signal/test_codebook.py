"""Codebooks of others: which tables are read, and which are refused."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from autosing.signal.codebook import load_codebook
from autosing.signal.errors import UsageError

TABLE = np.arange(12, dtype=np.float64).reshape(4, 3)


def test_one_table_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    save_file({"any": TABLE, "counts": np.zeros(4)}, tmp_path / "model.safetensors")
    np.save(tmp_path / "km.npy", TABLE)
    for path in (tmp_path, tmp_path / "model.safetensors", tmp_path / "km.npy"):
        assert np.array_equal(load_codebook(str(path)), TABLE)


def test_of_several_the_one_with_the_name_is_read(tmp_path: Path) -> None:
    # Soft-VC's checkpoint holds scikit-learn's names.
    save_file({"cluster_centers_": TABLE, "other": TABLE + 1}, tmp_path / "model.safetensors")
    assert np.array_equal(load_codebook(str(tmp_path)), TABLE)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"a": TABLE, "b": TABLE}, r"holds 2 tables of two dimensions \(a, b\)"),
        ({"a": TABLE[0]}, "holds 0 tables"),
        ({"a": np.full((2, 2), np.nan)}, "is not finite"),
        ({"a": np.zeros((0, 3))}, "must have 1 to 65536 centroids"),
        (None, "there is no such file"),
        (b"nothing", "can't be read"),
    ],
)
def test_what_is_no_codebook_is_refused(tmp_path: Path, content: object, told: str) -> None:
    if isinstance(content, dict):
        save_file(content, tmp_path / "model.safetensors")
    elif isinstance(content, bytes):
        (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(UsageError, match=told):
        load_codebook(str(tmp_path))


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "km.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(UsageError, match="can't be read"):
        load_codebook(str(tmp_path / "km.npy"))
