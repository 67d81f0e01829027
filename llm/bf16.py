"""Products of bf16 matrices on a CPU that has no instruction for them.

Imports nothing of the app: llm-compressor's environment, which does not hold it, loads this file too.
"""

from typing import Any

DONE = "_ragstone_in_float32"  # an attribute of torch, once it is so


def multiply_in_float32() -> None:
    """Have this process sum up products of bf16 matrices in float32 and round the sums, as a GPU does.

    Does nothing where there is an accelerator, or where oneDNN multiplies bf16. PyTorch's own way elsewhere (2.13 on
    AVX2) takes eight times as long as float32 does. Weights stay as they are, in 16 bits.
    """
    import torch

    if torch.accelerator.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported() or hasattr(torch, DONE):
        return
    setattr(torch, DONE, True)
    for place, name in ((torch.nn.functional, "linear"), (torch, "matmul")):
        setattr(place, name, _wide(getattr(place, name)))


def _wide(multiply: Any) -> Any:
    import torch

    def multiplied(*given: Any, **named: Any) -> Any:
        if given[0].dtype != torch.bfloat16:
            return multiply(*given, **named)
        wide = [one if one is None else one.float() for one in given]
        return multiply(*wide, **{key: one if one is None else one.float() for key, one in named.items()}).bfloat16()

    return multiplied
