"""A small embedder that a test builds itself: static word vectors, loaded by sentence-transformers as any model is."""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from core.config import RetrievalConfig
from core.types import F32
from retrieval.embed import Embedder
from tests.kept import kept, sources

DIMENSION = 64
WORDS = tuple(f"{a}{b}" for a in "ba be bi bo bu da de di do du".split() for b in "kan len mir nor pux ras sit".split())
_VOCABULARY = ("[UNK]", *".,:;!?()#>-_/", *"0123456789", *WORDS)


class TinyEmbedder(Embedder):
    """Keeps count of the passages that it embeds."""

    embedded = 0

    def embed_passages(self, texts: Sequence[str], on_batch: Callable[[int], None] | None = None) -> F32:
        self.embedded += len(texts)
        return super().embed_passages(texts, on_batch)


def build(folder: Path) -> TinyEmbedder:
    """Make a model folder and load it.

    A text's vector is the mean of its words' random ones, to the bit the same whatever it is batched with. A word that
    is none of `WORDS` is unknown.
    """
    made_of = [version("sentence-transformers"), version("tokenizers"), *sources(Path(__file__))]
    return load(kept("tiny-embedder", made_of, _make, folder))


def _make(folder: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(_VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[assignment]
        [pre_tokenizers.Digits(True), pre_tokenizers.Punctuation(), pre_tokenizers.Whitespace()]
    )
    weights = np.random.default_rng(7).standard_normal((len(_VOCABULARY), DIMENSION), np.float32)
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, weights)], device="cpu").save(str(folder))


def load(folder: Path) -> TinyEmbedder:
    """The embedder of a model folder that `build` made."""
    return TinyEmbedder(RetrievalConfig(embedder=str(folder), device="cpu", precision="float32"))
