"""What is near any question anyway: the cosine to what has nothing to do with it, of all chunks and by their language.

Embedders differ: unrelated texts have a cosine of about 0.1 by one and of 0.8 by another; and one that reads several
languages puts a text of the question's language nearer than one of another that says the same.
"""

import numpy as np

from core.types import F32
from retrieval.embed import Embedder
from retrieval.store import Catalog

_SAMPLE = 256  # chunks that stand for all
_FEW = 20  # vectors that are too few for one
_LIFT = 0.85  # of what its background lacks; at 1 texts of the question's language lose, at 0.7 the others do
_OF_A_LANGUAGE = 10  # vectors that stand for a language

_UNRELATED = (
    "The wind blew the leaves over the wall, and the cat went back to sleep.",
    "She tuned the old violin and played a slow dance from the mountains.",
    "Slice the onions, let them brown in butter, and add a spoon of flour.",
    "In the second half the home team hit the post twice.",
    "雨停了，孩子们跑到河边去看彩虹。", "他把旧吉他调好音，弹了一支缓慢的曲子。",
    "把西红柿切块，下锅翻炒两分钟，再撒一点葱花。", "下半场主队两次击中门柱。",
)  # fmt: skip


class Background:
    """A sample of a knowledge base's vectors, as of a generation of its catalog."""

    def __init__(self, catalog: Catalog, embedder: Embedder) -> None:
        self.generation = catalog.generation
        self._vectors, languages = catalog.sample(_SAMPLE)
        spoken = np.array(languages)
        self._of = {name: spoken == name for name in set(spoken.tolist()) if (spoken == name).sum() >= _OF_A_LANGUAGE}
        if 0 < len(languages) < _FEW:  # a few chunks may all have to do with the question
            self._vectors = np.concatenate([self._vectors, _unrelated(embedder)])

    def of(self, vector: F32) -> float:
        """The mean cosine of all of them to a question's vector."""
        return float(np.mean(self._vectors @ vector)) if len(self._vectors) else 0.0

    def lifts(self, vector: F32) -> dict[str, float]:
        """What the cosines of each language lack to those of the nearest one, where there are several."""
        cosines = self._vectors @ vector if len(self._of) > 1 else np.zeros(0, np.float32)
        means = {name: float(np.mean(cosines[: len(rows)][rows])) for name, rows in self._of.items() if len(cosines)}
        highest = max(means.values(), default=0.0)
        return {name: _LIFT * (highest - mean) for name, mean in means.items()}


def _unrelated(embedder: Embedder) -> F32:
    """Vectors of texts that have to do with hardly any question, each a row."""
    readings = embedder.read(_UNRELATED)
    return embedder.embed_passages([t for t, reading in zip(_UNRELATED, readings, strict=True) if reading.readable])
