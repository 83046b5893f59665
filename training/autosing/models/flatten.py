"""The values of a nested checkpoint by name: tensors, plain values that JSON can hold, and the rest with a reason."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# What safetensors can hold.
_DTYPES = (
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "complex64"),
    *("float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2"),
)


@dataclass
class Found:
    """A checkpoint's values by name: tensors, plain values, and why others are neither."""

    tensors: dict[str, "Tensor"] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def put(self, name: str, value: Any) -> None:
        """Sorts in one value, which is no container of values."""
        import torch

        if name in self.tensors or name in self.settings or name in self.skipped:
            raise ValueError(f"two values are called {name}")
        is_tensor = isinstance(value, torch.Tensor)
        reason = _why_not_stored(value) if is_tensor else _why_not_json(value)
        if reason:
            self.skipped[name] = reason
        elif is_tensor:
            self.tensors[name] = value
        else:
            self.settings[name] = value


def flatten(value: Any, name: str = "", found: Found | None = None) -> Found:
    """Returns the values in nested dictionaries and lists, named by the keys on the way, joined by `/`.

    A list of plain values is one value.

    Raises:
        ValueError: two values get the same name.
    """
    found = found or Found()
    parts = list(_parts(value))
    for key, part in parts:
        flatten(part, f"{name}/{key}" if name else str(key), found)
    if not parts:
        found.put(name or "value", value)
    return found


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list | tuple) and _why_not_json(value):
        yield from enumerate(value)


def _why_not_json(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        return next((reason for part in value if (reason := _why_not_json(part))), None)
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is no JSON number"
    known = value is None or value == {} or isinstance(value, bool | int | float | str)
    return None if known else f"a {type(value).__name__} is neither a tensor nor a plain value"


def _why_not_stored(tensor: "Tensor") -> str | None:
    import torch

    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        return f"a tensor of the class {type(tensor).__name__}"
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested:
        return "a sparse, nested or quantized tensor"
    if tensor.device.type != "cpu":
        return f"a tensor without values (device {tensor.device})"
    dtype = str(tensor.dtype).removeprefix("torch.")
    return None if dtype in _DTYPES else f"safetensors has no {dtype}"
