"""Texts -> unit vectors; and what the embedder can read.

sentence-transformers embeds with any model; with those of the kind of the built-in ones numpy does, where texts are few
or torch has nothing more to compute with (dev/LOG.md).

Both sides of the index share this: passages when a folder is indexed, the question when it is searched.
"""

import hashlib
import json
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.config import RetrievalConfig
from core.errors import ModelError
from core.once import once
from core.text import language, well_formed
from core.types import F32
from retrieval import bundled
from retrieval.e5file import PROMPTS
from retrieval.fingerprint import earlier_fingerprint, fingerprint
from retrieval.light import Light, whole_tokenizer
from retrieval.loading import (
    cut_to,
    faster_by_torch,
    in_threads,
    keep_memory_steady,
    load_errors,
    own_tokenizer,
    precision,
    quiet_loading,
    to_bfloat16,
)
from retrieval.served import Served

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)

MULTILINGUAL = ("BAAI/bge-m3", "intfloat/multilingual-e5-base", "Qwen/Qwen3-Embedding-0.6B")  # from a hub
# Share of unknown tokens above which a text counts as unreadable: 0.00 on English, 0.58 on Chinese with the built-in
# model, about 0.3 on Chinese prose full of English identifiers.
UNREADABLE = 0.2
_PLAIN = {
    "zh": "我们公司的员工每年享有带薪休假，申请需要提前三天提交，由部门经理审批后生效。",
    "ja": "当社の従業員は毎年有給休暇を取得でき、申請は三日前までに提出する必要があります。",
    "ko": "우리 회사 직원은 매년 유급 휴가를 받을 수 있으며 신청은 사흘 전에 제출해야 합니다.",
}
_NO_LIMIT = 1 << 20  # tokens; static embeddings read any length
_FEW = 30_000  # characters that are read without loading the whole of the tokenizer
_FOR_ANSWERS = 5_000  # characters at a time: those never load torch
_WORTH_TORCH = 100_000  # characters, from which on it has made up for the seconds that it takes to load
_TOGETHER = 8  # of them at a time: more take memory and save nothing


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
    """A sentence-transformers model, loaded when passages are first embedded; questions mostly need less of it.

    `chosen` is what the configured name stands for on this machine. Raises `ModelError` where the model cannot be found
    or loaded, or answers with something that is no vector.
    """

    def __init__(self, cfg: RetrievalConfig, *, remembers: bool = True) -> None:
        self.cfg = cfg
        self.chosen = bundled.chosen(cfg.embedder)
        self.remembers = remembers  # whether it may write into `hashes`
        self.hashes: Path | None = None  # the file that remembers the hashes of weights
        self._asked: deque[_Asked] = deque()
        self._embedded = 0  # characters of passages
        self._turn = threading.Lock()
        self._computing = threading.Lock()  # several batches of torch would share the cores, each with its memory

    @property
    def name(self) -> str:
        """What the user calls the model."""
        return bundled.NAMES.get(self.chosen, self.chosen)

    @property
    def is_default(self) -> bool:
        """Whether it is the default, or what the default is or was elsewhere."""
        return self.chosen in bundled.NAMES

    @once
    def identity(self) -> str:
        """Names everything a vector depends on but its text: model, revision, files, prompts, normalisation."""
        if self.chosen == "multilingual":  # need not be unpacked to be named
            made_of = bundled.MADE_OF
        else:
            folder = self._folder()
            made_of = fingerprint(folder, self.hashes, self.remembers) if folder else self._commit()
        return _digest([self.name, self.cfg.revision, made_of, *self.prompts, "unit", "all files"])

    @once
    def earlier_identity(self) -> str:
        """The same as earlier versions wrote it, which saw some of the files, and none of a model of a hub."""
        if self.chosen == "multilingual":
            return self.identity
        folder = self._folder()
        made_of = earlier_fingerprint(folder) if folder else ""
        return _digest([self.name, self.cfg.revision, made_of, *self.prompts, "unit"])

    def _commit(self) -> str:
        """The commit of a hub that was loaded: it decides every file."""
        from huggingface_hub import try_to_load_from_cache

        _ = self._model  # a name and a branch become a commit when it is loaded
        for repo in (self.cfg.embedder, f"sentence-transformers/{self.cfg.embedder}"):
            for file in ("modules.json", "config.json", "config_sentence_transformers.json"):
                found = try_to_load_from_cache(repo, file, revision=self.cfg.revision or None)
                if isinstance(found, str):
                    parts = Path(found).parts
                    return parts[parts.index("snapshots") + 1]
        raise ModelError(
            f"of embedder {self.name!r} it is not known which revision was loaded",
            f"`ragstone pull {self.name}`, and set retrieval.embedder to its folder",
        )

    @once
    def dimension(self) -> int:
        """Length of a vector."""
        if self._light:
            return self._light.dimension
        dimension = self._model.get_embedding_dimension()
        if dimension is None:
            raise ModelError(f"embedder {self.name!r} does not say how long its vectors are", "choose another embedder")
        return int(dimension)

    @property
    def max_tokens(self) -> int:
        """The longest text the model reads, special tokens included; what is past it is cut."""
        longest = self._light.max_tokens if self._light else self._model.max_seq_length or 512
        return int(min(longest, _NO_LIMIT))

    def read(self, texts: Sequence[str]) -> list[Reading]:
        """Token counts (no special tokens) and unknown tokens of each text.

        A text in a language that the tokenizer does not know counts as unknown whole: a short one may be written in the
        few characters that it happens to hold.
        """
        found = self._read([*map(well_formed, texts)])
        return [
            Reading(r.tokens, r.tokens) if not text.isascii() and language(text) in self._blind else r
            for text, r in zip(texts, found, strict=True)
        ]

    def _read(self, texts: Sequence[str]) -> list[Reading]:
        if self._light and sum(map(len, texts)) <= _FEW and "_tokenizer" not in vars(self):
            tokens = self._light.read(texts)
            return [Reading(len(ids), ids.count(self._light.unknown)) for ids in tokens]
        unknown = self._unknown_id
        return [
            Reading(len(e.ids), e.ids.count(unknown) if unknown is not None else 0)
            for e in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ]

    @once
    def _blind(self) -> frozenset[str]:
        """Languages of which the tokenizer does not know a plain sentence."""
        return frozenset(code for code, text in _PLAIN.items() if not self._read([text])[0].readable)

    def count_tokens(self, text: str) -> int:
        """Length of a text in the model's own tokens, without special tokens.

        WordPiece reads a 1 MB run without spaces as one unknown token, so a token is never taken for more than
        16 characters.
        """
        return max(len(self._tokenizer.encode(well_formed(text), add_special_tokens=False)), len(text) // 16)

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
        prompt, texts = self.prompts[1], [*map(well_formed, texts)]
        if self._light and not self.cfg.embed_url and not self._worth_torch(sum(map(len, texts))):
            return self._light_vectors(texts, prompt, on_batch)
        return self._encode(texts, prompt, on_batch)

    def _worth_torch(self, characters: int) -> bool:
        """Whether torch is worth loading for these passages and those before them."""
        if characters <= _FOR_ANSWERS or not faster_by_torch(self.cfg):
            return False
        self._embedded += characters
        return self._embedded > _WORTH_TORCH

    def embed_query(self, text: str) -> F32:
        """Vector of a question, (dimension,) float32 of unit length.

        Questions that come while others are embedded wait, and are embedded together: eight take a third of the time.
        """
        own = _Asked(well_formed(text))
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
        prompt = self.prompts[0]
        try:
            vectors = self._embed_questions([each.text for each in together], prompt)
        except ModelError:  # of which one?
            return self._embed_questions([own.text], prompt)[0]
        for each, vector in zip(together, vectors, strict=True):
            each.vector = vector
        return vectors[0]

    def _embed_questions(self, texts: Sequence[str], prompt: str) -> F32:
        light = self._light and not self.cfg.embed_url
        return self._light_vectors(texts, prompt, None) if light else self._encode(texts, prompt, None)

    def _light_vectors(self, texts: Sequence[str], prompt: str, on_batch: Callable[[int], None] | None) -> F32:
        """A few texts at a time, in as many threads as BLAS would have for one product: those have more to share."""
        light = self._light
        assert light
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        batches = [order[start : start + _TOGETHER] for start in range(0, len(order), _TOGETHER)]
        vectors = np.zeros((len(texts), self.dimension), np.float32)

        def embed(rows: list[int]) -> int:
            vectors[rows] = light.vectors([prompt + texts[i] for i in rows])
            return len(rows)

        for done in in_threads(embed, batches):
            if on_batch:
                on_batch(done)
        return self._finite(vectors)

    @property
    def prompts(self) -> tuple[str, str]:
        """What stands before each question, and each passage: the configured ones, else what the model's files name."""
        named: dict[str, Any] = {}
        folder = None if self.chosen == "multilingual" else self._folder()
        if self.chosen == "multilingual":
            named = PROMPTS
        elif folder and (folder / "config_sentence_transformers.json").is_file():
            named = json.loads((folder / "config_sentence_transformers.json").read_text("utf-8")).get("prompts") or {}
        elif folder is None:
            named = self._model.prompts or {}
        query = self.cfg.query_prompt or named.get("query") or ""
        return query, self.cfg.passage_prompt or named.get("document") or named.get("passage") or ""

    def _encode(self, texts: Sequence[str], prompt: str, on_batch: Callable[[int], None] | None) -> F32:
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # equal lengths together: little padding
        vectors = np.empty((len(texts), self.dimension), np.float32)
        for start in range(0, len(order), self.cfg.batch_size):
            rows = order[start : start + self.cfg.batch_size]
            batch = [texts[i] for i in rows]
            vectors[rows] = self._from_server(batch, prompt) if self.cfg.embed_url else self._computed(batch, prompt)
            if on_batch:
                on_batch(len(rows))
        return self._finite(vectors)

    def _computed(self, texts: list[str], prompt: str) -> F32:
        import torch

        model = self._model
        with self._computing, torch.inference_mode():
            found = model.encode(
                texts, prompt=prompt or None, batch_size=len(texts), normalize_embeddings=True, show_progress_bar=False
            )
        return np.asarray(found, np.float32)

    def _from_server(self, texts: list[str], prompt: str) -> F32:
        """As `_computed`, at `embed_url`: with the prompt in front, without the end that the model does not read."""
        special = len(self._tokenizer.encode("a").ids) - len(self._tokenizer.encode("a", add_special_tokens=False).ids)
        cut = cut_to(self._tokenizer, [prompt + text for text in texts], self.max_tokens - special)
        vectors = self._server.vectors([text for text, _ in cut])
        if vectors.shape[1] != self.dimension:
            raise ModelError(
                f"{self.cfg.embed_url} sends vectors of {vectors.shape[1]} numbers, embedder {self.name!r} has "
                f"{self.dimension}",
                "serve the embedder that retrieval.embedder names",
            )
        return vectors

    @once
    def _server(self) -> Served:
        return Served(self.cfg.embed_url)

    def _finite(self, vectors: F32) -> F32:
        if not np.isfinite(vectors).all():
            bad = int((~np.isfinite(vectors).all(axis=1)).sum())
            raise ModelError(
                f"embedder {self.name!r} returned NaN or infinity for {bad} of {len(vectors)} texts",
                'set retrieval.precision = "float32", or choose another embedder',
            )
        return vectors

    def _folder(self) -> Path | None:
        if own := bundled.folder(self.chosen):
            return own
        path = Path(self.cfg.embedder).expanduser()
        if path.is_dir():
            return path
        if path.is_absolute() or self.cfg.embedder.startswith("."):
            raise ModelError(
                f"embedder folder {self.cfg.embedder!r} does not exist",
                'set retrieval.embedder to a model folder, to a name on a hub, or to "auto"',
            )
        return None

    @once
    def _light(self) -> Light | None:
        """What answers a question without torch, where the model is of that kind."""
        folder = self._folder()
        return Light.of(folder) if folder else None

    @once
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
            to_bfloat16(model)
        return model

    @once
    def _tokenizer(self) -> "Tokenizer":
        folder = self._folder()
        if self._light and folder:
            return whole_tokenizer(folder)
        tokenizer = own_tokenizer(self._model.tokenizer)
        if tokenizer is None:
            raise ModelError(f"embedder {self.name!r} has no fast tokenizer", "choose a model with a tokenizer.json")
        return tokenizer

    @once
    def _unknown_id(self) -> int | None:
        if self._light:
            return self._light.unknown
        named = getattr(self._model.tokenizer, "unk_token", None)  # a bare tokenizer does not say
        found = (self._tokenizer.token_to_id(token) for token in ((named,) if named else ("[UNK]", "<unk>")))
        return next((i for i in found if i is not None), None)


def _digest(parts: Sequence[str]) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
