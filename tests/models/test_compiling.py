"""What is compiled is what it was, and a machine without a compiler of C++ is told what to do."""

import pytest
import torch
from torch._inductor.utils import fresh_cache

from autosing.models.compiling import compiled
from autosing.signal.errors import UsageError
from compilers import OF_PYTORCH, compiles


def more(x: torch.Tensor) -> torch.Tensor:
    return x.sin() + 1


@OF_PYTORCH
def test_no_compiler_is_named_with_the_way_out() -> None:
    torch._dynamo.reset()
    told = r"No working C\+\+ compiler found.*, or leave out --compile"
    no_compiler = torch._inductor.config.patch({"cpp.cxx": (None, "/no/compiler")})
    with fresh_cache(), no_compiler, pytest.raises(UsageError, match=told):
        compiled(more, "leave out --compile", fullgraph=True)(torch.ones(3))


@compiles
def test_what_is_compiled_gives_the_same() -> None:
    torch._dynamo.reset()
    x = torch.linspace(-1, 1, 9)
    torch.testing.assert_close(compiled(more, "leave it out", dynamic=False)(x), more(x))
