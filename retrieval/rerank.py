"""A question and passages -> how well each answers it: a CrossEncoder on this machine, a rerank endpoint, or a plug-in.

The endpoint speaks the form that vLLM, llama.cpp, Jina and Cohere share: POST /rerank with `query` and `documents`,
answered by `results` of `index` and `relevance_score`.
"""

import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from core import plugins
from core.config import RetrievalConfig
from core.errors import ModelError
from core.once import once
from retrieval import plugged
from retrieval.loading import cut_to, keep_memory_steady, load_errors, own_tokenizer, precision, quiet_loading

if TYPE_CHECKING:
    import httpx
    from sentence_transformers import CrossEncoder
    from tokenizers import Tokenizer

_BATCH_TOKENS = 8192  # pairs times the longest of them: bounds memory at any length
_BATCH_DOCUMENTS = 100  # of one request
_TIMEOUT_S = 60.0  # of one request
# How servers refuse a pair beyond their model's context: vLLM and Jina with 400, TEI 413, Cohere 422, llama.cpp 500.
_TOO_LONG = re.compile(
    r"too (?:long|large)|context|max\w*[ _-](?:model[ _-])?(?:len|seq|input|token)|less than \d+ tokens"
)
_TOO_LONG_STATUS = frozenset({400, 413, 422, 500})
_LEAST_CUT = 200  # characters of a passage below which it is not cut further
# vLLM's way to have the end of a pair left out; others refuse it or do not know it, and are sent shorter passages.
_CUT_THERE = {"truncate_prompt_tokens": -1, "truncation_side": "right"}
_REPLY_BYTES = 16 << 20  # beyond what was sent: some servers send the documents back


def reranker_of(cfg: RetrievalConfig) -> "Reranker | None":
    """The reranker that is configured, the same for the same settings, so that it loads once; None where none is."""
    return _shared(cfg.model_dump_json()) if cfg.reranker or cfg.rerank_url else None


@lru_cache(maxsize=2)
def _shared(settings: str) -> "Reranker":
    return Reranker(RetrievalConfig.model_validate_json(settings))


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores in the order of the passages, and what is to be known of them: "" where all were read whole."""

    scores: list[float]
    note: str = ""


class Reranker:
    """Scores passages for a question; safe to use from many threads. A local model is loaded at the first use.

    Raises `ModelError` where the model or the endpoint cannot be had, or answers with something that is no score.
    """

    def __init__(self, cfg: RetrievalConfig) -> None:
        self.cfg = cfg
        self._alone = threading.Lock()

    @property
    def name(self) -> str:
        """What the user calls the model."""
        return self.cfg.reranker or self.cfg.rerank_url

    def score(self, query: str, passages: Sequence[str]) -> list[float]:
        """Relevance of each passage, 0 to 1, higher is better; comparable within one call.

        A local model's logit goes through a sigmoid; so do others' scores where they are not all within 0 and 1.
        """
        return self.scored(query, passages).scores

    def scored(self, query: str, passages: Sequence[str]) -> Scored:
        """The scores, and a note where an endpoint's model did not read all of a passage, or a reranker of others gave
        fewer back; a local one cuts as it is told to, and says nothing.
        """
        if not passages:
            return Scored([])
        notes: list[str] = []
        if plugins.is_named(self.cfg.reranker):
            scores = np.array(plugged.scores(self.cfg, query, passages, notes))
        elif self.cfg.rerank_url:
            scores = np.array(self._served(query, passages, notes))
        else:
            return Scored(_sigmoid(self._logits(query, passages)))
        found = scores.tolist() if scores.min() >= 0 and scores.max() <= 1 else _sigmoid(scores)
        return Scored(found, notes[0] if notes else "")

    def _logits(self, query: str, passages: Sequence[str]) -> np.ndarray:
        """The model's log-odds of relevance, (n,) float64; a question keeps up to half of the model's length."""
        import torch

        logits = np.empty(len(passages))
        with self._alone:  # memory holds one batch, and the model's own tokenizer is no thread's but this one's
            model = self._model
            bare = len(self._tokenizer.encode("a", add_special_tokens=False))
            around = model.preprocess([("a", "a")])["input_ids"].shape[-1] - 2 * bare  # special tokens, or a template
            room = min(model.max_seq_length or 512, 1 << 20) - around
            [(question, used)] = cut_to(self._tokenizer, [query], max(room // 2, 1))
            cut = cut_to(self._tokenizer, passages, max(room - used, 1))
            for rows in _batches([around + used + length for _, length in cut]):
                pairs = [(question, cut[i][0]) for i in rows]
                found = model.predict(
                    pairs, batch_size=len(pairs), show_progress_bar=False, activation_fn=torch.nn.Identity()
                )
                logits[rows] = found[:, 1] - found[:, 0] if found.ndim == 2 else found
        if not np.isfinite(logits).all():
            bad = int((~np.isfinite(logits)).sum())
            raise ModelError(
                f"reranker {self.name!r} returned NaN or infinity for {bad} of {len(passages)} passages",
                'set retrieval.precision = "float32", or choose another reranker',
            )
        return logits

    @once
    def _model(self) -> "CrossEncoder":
        path = Path(self.cfg.reranker).expanduser()
        if not path.is_dir() and (path.is_absolute() or self.cfg.reranker.startswith(".")):
            raise ModelError(
                f"reranker folder {self.cfg.reranker!r} does not exist",
                'set retrieval.reranker to a model folder, to a name on a hub, or to "" for none',
            )
        keep_memory_steady()
        with quiet_loading():
            from sentence_transformers import CrossEncoder

            try:
                model = CrossEncoder(
                    str(path) if path.is_dir() else self.cfg.reranker,
                    device=None if self.cfg.device == "auto" else self.cfg.device,
                    revision=self.cfg.reranker_revision or None,
                    local_files_only=path.is_dir(),
                )
            except load_errors() as error:
                raise ModelError(
                    f"reranker {self.name!r} cannot be loaded: {(str(error) or repr(error)).splitlines()[0]}",
                    "check retrieval.reranker and retrieval.device; a model of a hub is downloaded on first use "
                    "and needs the network once",
                ) from error
        self._check(model)
        if precision(self.cfg, str(model.device)) == "bfloat16":
            _to_bfloat16(model)
        return model

    def _check(self, model: "CrossEncoder") -> None:
        """Refuse what would rank by chance: an embedder, whose head is made at random, or classes of something else."""
        made = getattr(model.config, "architectures", None) or []
        if made and type(model.model).__name__ not in made:
            raise ModelError(
                f"reranker {self.name!r} is no reranker: its files hold a {made[0]}, which scores no pairs",
                "set retrieval.reranker to a CrossEncoder, such as BAAI/bge-reranker-v2-m3",
            )
        if model.num_labels > 2:
            raise ModelError(
                f"reranker {self.name!r} sorts pairs into {model.num_labels} classes instead of scoring them",
                "set retrieval.reranker to a CrossEncoder with one score (or the two classes no and yes)",
            )

    @once
    def _tokenizer(self) -> "Tokenizer":
        tokenizer = own_tokenizer(self._model.tokenizer)
        if tokenizer is None:
            raise ModelError(f"reranker {self.name!r} has no fast tokenizer", "choose a model with a tokenizer.json")
        return tokenizer

    def _served(self, query: str, passages: Sequence[str], notes: list[str]) -> list[float]:
        starts = range(0, len(passages), _BATCH_DOCUMENTS)
        return [s for start in starts for s in self._ask(query, passages[start : start + _BATCH_DOCUMENTS], notes)]

    def _ask(self, query: str, documents: Sequence[str], notes: list[str]) -> list[float]:
        """One request: the scores in the order of the documents, cut where the server refuses them as too long."""
        url = self.cfg.rerank_url.rstrip("/") + "/rerank"
        status, content = self._post(url, query, documents, {})
        if _says_too_long(status, content):
            first, sent = (status, content), documents
            status, content = self._post(url, query, sent, _CUT_THERE)
            most = max(map(len, sent))
            while _says_too_long(status, content) and most > _LEAST_CUT:
                most //= 2
                sent = [document[:most] for document in documents]
                status, content = self._post(url, query, sent, {})
            if status == 200:
                told = f"cut to {most} characters" if sent is not documents else "its end was not read"
                notes.append(f"a passage is longer than reranker {self.name} reads: {told}")
            elif status in _TOO_LONG_STATUS:
                status, content = first
        if status != 200:
            raise self._refused(url, status, content)
        try:
            results = _Reply.model_validate_json(content).results
        except ValidationError as error:
            what = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, what["loc"])) or "the reply"
            raise _malformed(url, f"{where}: {what['msg']}") from None
        scores = {result.index: result.relevance_score for result in results}
        if len(results) != len(documents) or scores.keys() != set(range(len(documents))):
            raise _malformed(url, f"{len(documents)} documents were sent, results name {sorted(scores)}"[:200])
        return [scores[i] for i in range(len(documents))]

    def _post(self, url: str, query: str, documents: Sequence[str], more: dict[str, Any]) -> tuple[int, bytes]:
        """A request's status and the body of its reply."""
        import httpx

        body: dict[str, Any] = {"query": query, "documents": list(documents), "top_n": len(documents)} | more
        if self.cfg.reranker:
            body["model"] = self.cfg.reranker
        limit = _REPLY_BYTES + 6 * sum(map(len, documents))  # a character may come back as \uXXXX
        try:
            if (httpx.URL(url).port or 0) > 65535:
                raise httpx.InvalidURL("a port is at most 65535")
            with self._client.stream("POST", url, json=body) as response:
                return response.status_code, _read(response, limit)
        except httpx.TimeoutException:
            hint = "the server may be busy or loading its model; try again, or lower retrieval.rerank_top"
            raise ModelError(f"{url} did not answer within {_TIMEOUT_S:g} s", hint, retryable=True) from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise ModelError(
                f"no rerank server answers at {url} ({str(error) or 'connection failed'})",
                "start it, or correct retrieval.rerank_url",
                retryable=True,
            ) from None

    @once
    def _client(self) -> "httpx.Client":
        """Speaks with the configured address only: no proxy and no .netrc of the environment, no redirect."""
        import httpx

        key = self.cfg.rerank_key
        if not (key.isascii() and key.isprintable()):
            raise ModelError(
                "retrieval.rerank_key holds a line break or another character that no key has",
                "set RAGSTONE_RETRIEVAL__RERANK_KEY to the key alone",
            )
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
        return httpx.Client(timeout=_TIMEOUT_S, trust_env=False, follow_redirects=False, headers=headers)

    def _refused(self, url: str, status: int, content: bytes) -> ModelError:
        if status in (401, 403):
            hint = "set RAGSTONE_RETRIEVAL__RERANK_KEY to a key that the server accepts"
            return ModelError(f"{url} refuses the key (HTTP {status})", hint)
        if status in (404, 405):
            return ModelError(
                f"{url} is not a rerank endpoint (HTTP {status})",
                "retrieval.rerank_url is the address in front of /rerank, such as http://127.0.0.1:8000/v1; "
                "retrieval.reranker must name a model that the server reranks with",
            )
        if status < 400:
            return ModelError(
                f"{url} answered HTTP {status} instead of scores",
                "set retrieval.rerank_url to the final address; redirects are not followed",
            )
        said = "".join(c if c.isprintable() else " " for c in content[:300].decode("utf-8", "replace"))
        if self.cfg.rerank_key:
            said = said.replace(self.cfg.rerank_key, "***")
        busy = status >= 500 or status == 429
        hint = "try again, or see the server's log" if busy else "the passages may be too long for the server's model"
        return ModelError(f"{url} answered HTTP {status}: {said}", hint, retryable=busy)


class _Result(BaseModel):
    model_config = ConfigDict(strict=True)

    index: int
    relevance_score: FiniteFloat


class _Reply(BaseModel):
    results: list[_Result]


def _says_too_long(status: int, content: bytes) -> bool:
    said = content[:2000].decode("utf-8", "replace").lower()
    return status in _TOO_LONG_STATUS and _TOO_LONG.search(said) is not None


def _malformed(url: str, detail: str) -> ModelError:
    return ModelError(
        f"{url} sent something that is no ranking ({detail})",
        'a rerank endpoint answers {"results": [{"index": 0, "relevance_score": 0.5}, ...]}, one for each document',
    )


def _read(response: "httpx.Response", limit: int) -> bytes:
    """The body as sent, at most `limit` bytes and until the time is over. Compressed ones are not asked for."""
    import httpx

    content, deadline = bytearray(), time.monotonic() + _TIMEOUT_S
    for piece in response.iter_raw():
        content += piece
        if len(content) > limit:
            raise _malformed(str(response.url), f"more than {limit} bytes")
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("")
    return bytes(content)


def _sigmoid(logits: np.ndarray) -> list[float]:
    return (0.5 * (1 + np.tanh(logits / 2))).tolist()  # in this form nothing overflows


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Rows of like length together, longest first, each batch within the token budget."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    while order:
        size = max(_BATCH_TOKENS // max(lengths[order[0]], 1), 1)
        yield order[:size]
        order = order[size:]


def _to_bfloat16(model: "CrossEncoder") -> None:
    """bfloat16 weights; the head answers in float32, since bfloat16 logits are steps of 0.03 and passages would tie."""
    import torch

    heads = [
        name for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module.out_features == model.num_labels
    ]  # fmt: skip
    model.to(torch.bfloat16)
    model.set_keep_in_fp32_modules(heads[-1:])
