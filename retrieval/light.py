"""A question's vector without torch: BERT's forward pass in numpy over weights that stay where they lie.

Loading sentence-transformers takes seconds and hundreds of megabytes; one question needs neither. It is for folders as
the built-in embedders have them: a BERT encoder (Devlin et al. 2019, arXiv:1810.04805) in float32, the mean of what it
makes of the tokens, unit length. All others are loaded by sentence-transformers, as all are to embed passages.
"""

import json
import struct
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from core.types import F32
from retrieval import pieces

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_MODULES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
_ROWS = 32
_KINDS = {"F32": "<f4", "I32": "<i4", "U8": "u1"}


class Light:
    """The encoder of a folder, for a few short texts at a time."""

    def __init__(self, folder: Path, config: dict[str, Any], longest: int) -> None:
        self._weights = mapped(folder / "model.safetensors")
        used = ("embeddings.word_embeddings", f"encoder.layer.{config['num_hidden_layers'] - 1}.output.dense")
        if any(self._weights[f"{name}.weight"].dtype != np.float32 for name in used):
            raise ValueError(f"{folder}: the weights are not in float32")
        self._config = config
        self._words = _words(folder)
        self.max_tokens = longest
        self.dimension = int(config["hidden_size"])

    @classmethod
    def of(cls, folder: Path) -> "Light | None":
        """The encoder of a model folder; None where it is of another kind than the one that is read here.

        All that ask share one, until a file of the folder changes.
        """
        try:
            return _loaded(folder, _state(folder))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration):
            return None  # sentence-transformers will say what is wrong, if anything is

    def read(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, without those that stand around every one."""
        return self._words.encode(texts, False)

    @property
    def unknown(self) -> int:
        """The token of what the vocabulary does not hold."""
        return self._words.unknown

    def vectors(self, texts: Sequence[str]) -> F32:
        """Vectors of texts, (n, dimension) float32 unit rows; what is past `max_tokens` is cut."""
        tokens = self._words.encode(texts, True)
        tokens = [ids if len(ids) <= self.max_tokens else [*ids[: self.max_tokens - 1], ids[-1]] for ids in tokens]
        return self._forward(tokens)

    def _forward(self, tokens: Sequence[Sequence[int]]) -> F32:
        """All texts stand behind one another, without padding; attention stays within each."""
        at, config = self._weights, self._config
        ends = np.cumsum([0, *map(len, tokens)])
        spans = [slice(start, end) for start, end in pairwise(ends)]
        ids = np.concatenate([np.asarray(t, np.int64) for t in tokens])
        places = np.concatenate([np.arange(len(t)) for t in tokens])
        x = at["embeddings.word_embeddings.weight"][ids] + at["embeddings.position_embeddings.weight"][places]
        x = self._norm(x + at["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for layer in range(config["num_hidden_layers"]):
            name = f"encoder.layer.{layer}"
            q, k, v = (self._linear(x, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
            mixed = np.concatenate([self._attend(q[span], k[span], v[span]) for span in spans])
            mixed = self._linear(mixed, f"{name}.attention.output.dense")
            x = self._norm(x + mixed, f"{name}.attention.output.LayerNorm")
            inner = _gelu(self._linear(x, f"{name}.intermediate.dense"))
            x = self._norm(x + self._linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")
        means = np.stack([x[span].mean(axis=0) for span in spans])
        return means / np.linalg.norm(means, axis=1, keepdims=True).clip(1e-12)

    def _linear(self, x: F32, name: str) -> F32:
        made = x @ self._weights[f"{name}.weight"].T
        made += self._weights[f"{name}.bias"]
        return made

    def _norm(self, x: F32, name: str) -> F32:
        x = x - x.mean(axis=1, keepdims=True)
        x /= np.sqrt((x * x).mean(axis=1, keepdims=True) + np.float32(self._config["layer_norm_eps"]))
        return x * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]

    def _attend(self, q: F32, k: F32, v: F32) -> F32:
        heads = self._config["num_attention_heads"]
        q, k, v = (part.reshape(len(part), heads, -1).transpose(1, 0, 2) for part in (q, k, v))
        scores = q @ k.transpose(0, 2, 1) / np.float32(np.sqrt(q.shape[-1]))
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return (weights @ v).transpose(1, 0, 2).reshape(q.shape[1], -1)


def _gelu(x: F32) -> F32:
    """Of x, in place: itself times the share of the normal distribution below x (Hendrycks, Gimpel 2016).

    erf to 1.5e-7 by Abramowitz, Stegun, Handbook of Mathematical Functions, 7.1.26: numpy has none, scipy takes long
    to load. A few rows at a time stay in the processor's cache.
    """
    for start in range(0, len(x), _ROWS):
        some = x[start : start + _ROWS]
        a = np.abs(some)
        a *= np.float32(0.5**0.5)
        t = a * np.float32(0.3275911)
        t += 1
        np.reciprocal(t, out=t)
        sum_ = t * np.float32(1.061405429)
        for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
            sum_ += np.float32(factor)
            sum_ *= t
        a *= a
        np.negative(a, out=a)
        sum_ *= np.exp(a, out=a)
        np.subtract(1, sum_, out=sum_)
        np.copysign(sum_, some, out=sum_)
        sum_ += 1
        sum_ *= np.float32(0.5)
        some *= sum_
    return x


def mapped(file: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file by their names, left on disk until they are read; those of `_KINDS` alone.

    Raises `ValueError` where it is cut off, and `OSError`.
    """
    with file.open("rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        header = json.loads(handle.read(length))
    content = np.memmap(file, np.uint8, "r", offset=8 + length)
    tensors = {}
    for name, row in header.items():
        if name != "__metadata__" and row["dtype"] in _KINDS:
            start, end = row["data_offsets"]
            if end > len(content):
                raise ValueError(f"{file} is cut off")
            tensors[name] = content[start:end].view(np.ndarray).view(_KINDS[row["dtype"]]).reshape(row["shape"])
    return tensors


def _plain(folder: Path) -> tuple[dict[str, Any], int]:
    """The settings of an encoder that is read here, and its longest text. Raises `ValueError` for another one."""
    modules = [row["type"].rsplit(".", 1)[-1] for row in _json(folder / "modules.json")]
    pooling = _json(folder / "1_Pooling" / "config.json")
    modes = [on for name, on in pooling.items() if name.startswith("pooling_mode") and on]
    config, sentence = _json(folder / "config.json"), _json(folder / "sentence_bert_config.json")
    limits = [config["max_position_embeddings"], sentence.get("max_seq_length")]
    limits.append(_json(folder / "tokenizer_config.json").get("model_max_length"))
    fits = (
        modules in _MODULES
        and modes in (["mean"], [True])
        and (pooling.get("pooling_mode") == "mean" or pooling.get("pooling_mode_mean_tokens") is True)
        and config["model_type"] == "bert"
        and config["hidden_act"] == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not sentence.get("do_lower_case")
        and sentence.get("transformer_task", "feature-extraction") == "feature-extraction"
    )
    if not fits:
        raise ValueError(f"{folder} holds another kind of embedder")
    return config, min(int(limit) for limit in limits if limit)


def _json(file: Path) -> Any:
    return json.loads(file.read_text("utf-8"))


class Words(Protocol):
    """What makes tokens of a text."""

    @property
    def unknown(self) -> int:
        """The token of what it does not know."""
        ...

    def encode(self, texts: Sequence[str], whole: bool) -> list[list[int]]:
        """The tokens of each text; `whole`: with those that stand at its ends."""
        ...


class _Whole:
    """A tokenizer that is small enough to be loaded whole."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self._tokenizer = tokenizer
        named = (tokenizer.token_to_id(name) for name in ("[UNK]", "<unk>"))
        self.unknown = next(number for number in named if number is not None)

    def encode(self, texts: Sequence[str], whole: bool) -> list[list[int]]:
        return [each.ids for each in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=whole)]


@lru_cache(maxsize=2)
def _loaded(folder: Path, _: tuple[tuple[int, ...], ...]) -> Light:
    config, longest = _plain(folder)
    return Light(folder, config, longest)


def _state(folder: Path) -> tuple[tuple[int, ...], ...]:
    return tuple(_stat(file) for file in sorted(folder.rglob("*")))


def _stat(file: Path) -> tuple[int, ...]:
    info = file.stat()
    return info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, info.st_dev


def _words(folder: Path) -> Words:
    if (folder / pieces.FILE).is_file():
        return pieces.Table(mapped(folder / pieces.FILE))
    return _Whole(whole_tokenizer(folder))


def whole_tokenizer(folder: Path) -> "Tokenizer":
    """The tokenizer of a folder, which cuts and pads nothing; shared as `Light.of` is, so never to be changed."""
    file = folder / "tokenizer.json"
    return _tokenizer(file, _stat(file))


@lru_cache(maxsize=2)
def _tokenizer(file: Path, _: tuple[int, ...]) -> "Tokenizer":
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
