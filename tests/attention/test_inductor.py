"""torch.compile with inductor, which writes C++ and compiles it: values, gradients, any length."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._inductor import config
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler

from sigmoe import softmax_attention
from sigmoe.attention import SelfAttention

#: No processes that outlive a test, and plain C++: vector instructions are tried out at length.
QUICKLY_COMPILED = {
    "compile_threads": 1,
    "cpp.simdlen": 1,
    "cpp.vec_isa_ok": True,
    "cpp_cache_precompile_headers": False,
}


def has_compiler() -> bool:
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return False
    return True


class Both(nn.Module):
    """A layer of sigmoid attention beside softmax attention by both of its ways."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = SelfAttention(12, 3, causal=True, bias="learned", length=16)

    def forward(self, x: Tensor) -> Tensor:
        heads = x.unflatten(2, (3, 4)).transpose(1, 2)
        plain = softmax_attention(heads, heads, heads)
        tiled = softmax_attention(heads, heads, heads, window=(3, 1))
        return self.layer(x) + (plain + tiled).transpose(1, 2).flatten(2)


def results(model: Callable[[Tensor], Tensor], module: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the output and the gradients of the tokens and of all parameters."""
    x = x.detach().requires_grad_()
    output = model(x)
    return [output, *torch.autograd.grad(output.square().sum(), [x, *module.parameters()])]


@pytest.mark.skipif(not has_compiler(), reason="inductor finds no C++ compiler")
# Inductor's own patterns still use it.
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_two_lengths_need_one_compilation_and_agree_with_eager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing that another run has compiled.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    torch.manual_seed(4)
    module, counter = Both(), CompileCounterWithBackend("inductor")
    compiled = torch.compile(module, backend=counter, fullgraph=True, dynamic=True)
    counts = []
    with config.patch(QUICKLY_COMPILED):
        for length in (7, 19):
            x = torch.randn(2, length, 12)
            found, expected = results(compiled, module, x), results(module, module, x)
            for part, other in zip(found, expected, strict=True):
                # Inductor sums up in another order.
                torch.testing.assert_close(part, other, rtol=1e-5, atol=1e-5)
            counts.append(counter.frame_count)
    # The other length needs no further compilation.
    assert counts == [counts[0]] * 2
    assert any(tmp_path.rglob("*.so"))
