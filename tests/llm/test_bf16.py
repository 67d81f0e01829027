"""Products in bf16 on a CPU that cannot: as close as a GPU's, and whatever is not bf16 is left alone."""

from typing import Any

import pytest

from llm.bf16 import multiply_in_float32
from tests.needs import needs

needs("torch")
pytestmark = pytest.mark.slow


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """PyTorch, where this process multiplies in float32, as on a CPU where oneDNN refuses bf16; until the test ends."""
    import torch

    for place, name in ((torch.nn.functional, "linear"), (torch, "matmul")):
        monkeypatch.setattr(place, name, getattr(place, name))
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(torch, "_ragstone_in_float32", True, raising=False)
    del torch._ragstone_in_float32  # what is set in the test goes with it
    multiply_in_float32()
    multiply_in_float32()  # once is enough
    return torch


def test_sums_are_rounded_once(torch: Any) -> None:
    torch.manual_seed(0)
    given, layer = torch.randn(5, 300).bfloat16(), torch.nn.Linear(300, 7).bfloat16()
    exact = given.double() @ layer.weight.double().T + layer.bias.double()
    with torch.no_grad():
        torch.testing.assert_close(layer(given), exact.bfloat16(), rtol=2**-8, atol=0)
    square = given.double() @ given.double().T
    torch.testing.assert_close(torch.matmul(given, given.T), square.bfloat16(), rtol=2**-8, atol=0)


def test_other_formats_are_left_alone(torch: Any) -> None:
    given = torch.randn(3, 4)
    for dtype in (torch.float32, torch.float64):
        one = given.to(dtype)
        assert torch.equal(torch.matmul(one, one.T), one @ one.T)
        assert torch.nn.functional.linear(one, one).dtype == dtype


def test_gradients_come_in_the_format_of_the_weights(torch: Any) -> None:
    layer = torch.nn.Linear(4, 2).bfloat16()
    layer(torch.ones(1, 4).bfloat16()).sum().backward()
    assert layer.weight.grad.dtype == torch.bfloat16
    assert torch.equal(layer.weight.grad, torch.ones(2, 4).bfloat16())
