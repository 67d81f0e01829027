"""How torch's models are loaded here: their precision, their tokenizers, quietly, and without growing."""

import ctypes
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config import RetrievalConfig

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

_M_MMAP_THRESHOLD = -3  # of mallopt(3)


def load_errors() -> tuple[type[Exception], ...]:
    """What loading a model raises where its files, its packages or its device are not as they should be."""
    from safetensors import SafetensorError

    return (OSError, ValueError, RuntimeError, KeyError, ImportError, AssertionError, SafetensorError)


def precision(cfg: RetrievalConfig, device: str) -> str:
    """The precision of a model's weights on a device: "bfloat16" where that is faster, unless one is configured."""
    import torch

    if cfg.precision != "auto":
        return cfg.precision
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if device == "cpu" and fast else "float32"


def faster_by_torch(cfg: RetrievalConfig) -> bool:
    """Whether torch has more to compute with here than numpy: a GPU, or bfloat16 in the processor."""
    gpu = sys.platform != "linux" or any(Path("/dev", name).exists() for name in ("nvidiactl", "kfd", "dxg"))
    if cfg.device not in ("auto", "cpu") or (cfg.device == "auto" and gpu):
        return True
    if cfg.precision == "auto":
        return not _cpu_flags().isdisjoint({"avx512_bf16", "amx_bf16"})
    return cfg.precision == "bfloat16"


@cache
def _cpu_flags() -> frozenset[str]:
    file = Path("/proc/cpuinfo")
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())


def in_threads(work: Callable[[list[int]], int], parts: Sequence[list[int]]) -> Iterator[int]:
    """What `work`, which is mostly products of matrices, gives for each part, in order."""
    if len(parts) < 2:
        yield from map(work, parts)
        return
    from threadpoolctl import ThreadpoolController

    blas = ThreadpoolController().select(user_api="blas")
    threads = max((library["num_threads"] for library in blas.info()), default=1)
    keep_memory_steady()
    with blas.limit(limits=1), ThreadPoolExecutor(threads, thread_name_prefix="embed") as pool:
        yield from pool.map(work, parts)


def own_tokenizer(tokenizer: object) -> "Tokenizer | None":
    """A copy that cuts and pads nothing, since encoding a batch sets that on a model's own; None where it is slow."""
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(backend, Tokenizer):
        return None
    own = Tokenizer.from_str(backend.to_str())
    own.no_truncation()
    own.no_padding()
    return own


def cut_to(tokenizer: "Tokenizer", texts: Sequence[str], tokens: int) -> list[tuple[str, int]]:
    """Each text cut to so many tokens, and how many it has then."""
    return [
        (text[: e.offsets[tokens - 1][1]], tokens) if len(e.ids) > tokens else (text, len(e.ids))
        for text, e in zip(texts, tokenizer.encode_batch(list(texts), add_special_tokens=False), strict=True)
    ]


def keep_memory_steady() -> None:
    """Have glibc give large buffers back when they are freed.

    Batches of ever other lengths let it raise its own threshold instead, and a long run grows by a gigabyte.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 18)  # type: ignore[union-attr]


def to_bfloat16(model: "SentenceTransformer") -> None:
    """bfloat16 weights with float32 pooling: 2 to 2.7 times the speed at cosine 0.9999."""
    import torch

    transformer: Any = model[0]
    if not hasattr(transformer, "auto_model"):  # static embeddings: a table, nothing to speed up
        return
    transformer.auto_model.to(torch.bfloat16)

    def to_float32(_module: object, _args: object, features: dict[str, Any]) -> dict[str, Any]:
        return features | {"token_embeddings": features["token_embeddings"].float()}

    transformer.register_forward_hook(to_float32)


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Keep the libraries' loading bars and notices off the terminal; errors still come through."""
    import transformers

    noisy = [logging.getLogger(name) for name in ("sentence_transformers", "transformers")]
    levels = [logger.level for logger in noisy]
    transformers.utils.logging.disable_progress_bar()
    for logger in noisy:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(noisy, levels, strict=True):
            logger.setLevel(level)
