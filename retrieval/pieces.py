"""XLM-R's tokenizer (Conneau et al. 2020, arXiv:1911.02116): a unigram model over 250,000 pieces of words.

Loaded whole it takes 0.7 s and 290 MB. For one question it is made anew of the pieces that stand in it: the same
library then finds the same tokens, since no other piece could be among them.
"""

import json
import struct
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "pieces.safetensors"
SPECIAL = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
MASK = "<mask>"
_LONGEST = 16  # characters of a piece
_WORDS, _LONG = 5_000, 100  # words that are remembered, and characters of one that is not
# What XLM-R drops and what it takes for a space; the rest is NFKC but for the full-width tilde, which it knows.
_GONE = "[\\x01-\\x08\\x0b\\x0e-\\x1f\\x7f\\x8f\\x9f]"
_SPACES = "[\\t\\n\\f\\r\\x{1680}\\x{200b}-\\x{200f}\\x{2028}\\x{2029}\\x{2581}\\x{feff}\\x{fffd}]"
_TILDE, _AWAY = "\uff5e", "\ue000"
Pieces = Sequence[tuple[str, float]]  # each with the logarithm of its probability


def tokenizer(pieces: Pieces) -> "Tokenizer":
    """The tokenizer of a vocabulary that begins with the special tokens."""
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    made = Tokenizer(models.Unigram(list(pieces), SPECIAL["<unk>"], False))
    made.normalizer = normalizers.Sequence([
        normalizers.Replace(Regex(_GONE), ""), normalizers.Replace(Regex(_SPACES), " "),
        normalizers.Replace(_TILDE, _AWAY), normalizers.NFKC(), normalizers.Replace(_AWAY, _TILDE),
    ])  # fmt: skip
    made.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace("▁", "always"),
    ])  # fmt: skip
    first, last = "<s>", "</s>"
    made.post_processor = processors.TemplateProcessing(
        f"{first} $A {last}", f"{first} $A {last} {last} $B {last}", [(name, SPECIAL[name]) for name in (first, last)]
    )
    made.add_special_tokens([*SPECIAL, AddedToken(MASK, lstrip=True, normalized=False, special=True)])
    return made


def write_table(pieces: Pieces, file: Path) -> None:
    """Write a vocabulary in the order of its bytes, as `Table` reads it."""
    order = sorted(range(len(pieces)), key=lambda i: pieces[i][0].encode())
    text = [pieces[i][0].encode() for i in order]
    tensors = {
        "bounds": ("I32", np.cumsum([0, *map(len, text)]).astype("<i4")),
        "ids": ("I32", np.array(order, "<i4")),
        "scores": ("F32", np.array([pieces[i][1] for i in order], "<f4")),
        "letters": ("U8", np.frombuffer(b"".join(text), np.uint8)),
    }
    header, at = {}, 0
    for name, (kind, values) in tensors.items():
        header[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    with file.open("wb") as sink:
        sink.write(safetensors_head(header))
        for _, values in tensors.values():
            sink.write(values.tobytes())


def safetensors_head(header: Mapping[str, object]) -> bytes:
    """What stands before the tensors in a file of safetensors, so long that each float begins at a multiple of 4."""
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return struct.pack("<Q", len(text)) + text


class Table:
    """The tokenizer of short texts, by a vocabulary that stays on disk."""

    unknown = SPECIAL["<unk>"]

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self._bounds, self._ids = tensors["bounds"].data, tensors["ids"].data
        self._letters, self._scores = tensors["letters"].data, tensors["scores"]
        self._normal = tokenizer([(name, 0.0) for name in SPECIAL]).normalizer
        self._remembered = lru_cache(_WORDS)(self._looked_up)
        self._lowest = int(np.argmin(self._scores))  # an unknown character costs ten more than the rarest piece

    def encode(self, texts: Sequence[str], whole: bool) -> list[list[int]]:
        """The tokens of each text; `whole`: with those that stand at its ends."""
        rows = {self._ids[row]: row for text in texts for row in self._rows(text)}
        own = [number for number in sorted(rows) if number >= len(SPECIAL)]
        pieces = [(self._piece(rows[number]).decode(), float(self._scores[rows[number]])) for number in own]
        numbers = [*SPECIAL.values(), *own]
        small = tokenizer([*((name, 0.0) for name in SPECIAL), *pieces])
        found = small.encode_batch_fast(list(texts), add_special_tokens=whole)
        return [[numbers[i] for i in each.ids] for each in found]

    def _rows(self, text: str) -> Iterator[int]:
        """Where in the table the pieces are that a text may hold."""
        for name in (*SPECIAL, MASK):
            text = text.replace(name, " ")
        yield self._lowest
        yield from self._holding(MASK)
        for word in dict.fromkeys(self._normal.normalize_str(text).split()):
            yield from self._holding("▁" + word)

    def _holding(self, word: str) -> tuple[int, ...]:
        """The rows of the pieces that a word may hold; those of the last words are remembered: texts share most."""
        return self._remembered(word) if len(word) <= _LONG else self._looked_up(word)

    def _looked_up(self, word: str) -> tuple[int, ...]:
        count, rows = len(self._ids), list[int]()
        for start in range(len(word)):
            row = 0
            for end in range(start + 1, min(start + _LONGEST, len(word)) + 1):
                wanted = word[start:end].encode()
                row = bisect_left(range(count), wanted, row, count, key=self._piece)
                found = self._piece(row) if row < count else b""
                if not found.startswith(wanted):
                    break
                if found == wanted:
                    rows.append(row)
        return tuple(rows)

    def _piece(self, row: int) -> bytes:
        return bytes(self._letters[self._bounds[row] : self._bounds[row + 1]])
