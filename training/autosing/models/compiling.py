"""PyTorch's compiler, where there may be none of C++ that it could use."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch

from autosing.signal.errors import UsageError

Result = TypeVar("Result")


def compiled(function: Callable[..., Result], way_out: str, **settings: Any) -> Callable[..., Result]:
    """Returns what `torch.compile` makes of a function.

    Args:
        function: is compiled when it is called, for each set of shapes.
        way_out: how a user does without, as the end of a sentence.
        settings: of `torch.compile`.

    Returns:
        What raises UsageError where it cannot be compiled on this machine.
    """
    made = torch.compile(function, **settings)

    @wraps(function)
    def run(*args: Any) -> Result:
        try:
            return made(*args)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            cause = str(error).strip().partition("\n")[0]
            raise UsageError(
                f"PyTorch cannot compile here ({cause}); install a C++ compiler such as g++, or {way_out}"
            ) from error

    return run
