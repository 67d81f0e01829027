"""How good an answer is beside a gold answer: pure functions, and all of them at once as one row."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from app.measuring.evaluate import intervals
from app.measuring.golden import squeeze
from core.text import language, query_tokens, tokens
from core.types import Answer, Source
from llm.parity import token_f1
from prompts import context
from prompts.support import OWN, final, statements

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU

__all__ = ["final", "token_f1"]
_MARKS = re.compile(r"(?:\s*\[\d{1,3}\])+")
_LONGEST = 2_000  # tokens that a longest common subsequence is looked for in

METRICS = (
    "exact", "token_f1", "rouge_l", "bleu", "citation_precision", "citation_recall", "citation_f1", "supported",
    "refusal", "judge",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gold:
    """What is wanted: the answer, and the sentences of the documents that it rests on. Neither: nothing answers it."""

    answer: str = ""
    evidence: tuple[str, ...] = ()

    @property
    def answerable(self) -> bool:
        """Whether the documents answer the question."""
        return bool(self.answer or self.evidence)

    @property
    def text(self) -> str:
        """The answer, or else the evidence."""
        return self.answer or " ".join(self.evidence)


@dataclass(frozen=True, slots=True)
class Row:
    """The scores of one answer, 0 to 1 and higher is better, without those that say nothing here; what it took.

    `tokens` is the answer's length as a model counts it (estimated), `seconds` from question to the last word. `calls`
    are the requests to a model, with `sent` tokens in all, and `written` ones that it wrote, thoughts included.
    """

    values: Mapping[str, float]
    refused: bool
    tokens: int
    seconds: float
    calls: int = 0
    sent: int = 0
    written: int = 0


def row(question: str, answer: Answer, gold: Gold | None, judged: float | None = None) -> Row:
    """All scores of an answer; of a question that nothing answers only `refusal`, without gold only `supported`."""
    refused = not answer.answered
    support = {} if refused else {"supported": supported_share(answer.text, question, answer.sources)}
    values: dict[str, float] = {"refusal": float(refused != gold.answerable)} if gold else support
    if gold and gold.answerable:
        said = "" if refused else final(answer.text)
        cited = [s for s in answer.sources if s.n in {c.n for c in answer.citations}]
        precision, recall = citations(cited, gold)
        values |= {
            "exact": exact(said, gold.text), "token_f1": token_f1(plain(said), plain(gold.text)),
            "rouge_l": rouge_l(said, gold.text), "bleu": bleu(said, gold.text),
            "citation_precision": precision, "citation_recall": recall, "citation_f1": harmonic(precision, recall),
            "supported": support.get("supported", 0.0),
        }  # fmt: skip
    if judged is not None:
        values["judge"] = judged
    return Row(values, refused, context.estimate_tokens(answer.text), answer.seconds)


def plain(text: str) -> str:
    """A text without citation marks."""
    return context.without_marks(text).strip()


def exact(answer: str, gold: str) -> float:
    """1 where both have the same words in the same order: case, width, punctuation and marks do not count."""
    return float(tokens(plain(answer)) == tokens(plain(gold)))


def rouge_l(answer: str, gold: str) -> float:
    """ROUGE-L (Lin 2004) with equal weights: F1 of the longest common subsequence of words (Chinese: their pairs)."""
    said, wanted = tokens(plain(answer))[:_LONGEST], tokens(plain(gold))[:_LONGEST]
    if not said or not wanted:
        return float(said == wanted)
    lengths = [0] * (len(wanted) + 1)
    for word in said:
        before = 0
        for place, other in enumerate(wanted, start=1):
            above = lengths[place]
            lengths[place] = before + 1 if word == other else max(above, lengths[place - 1])
            before = above
    return 2 * lengths[-1] / (len(said) + len(wanted))


def bleu(answer: str, gold: str) -> float:
    """Sentence BLEU (Papineni et al. 2002) by sacrebleu, 0 to 1; Chinese is cut into characters."""
    if not plain(answer):
        return 0.0
    scorer = _bleu("zh" if language(gold) == "zh" else "13a")
    return min(scorer.sentence_score(plain(answer), [plain(gold)]).score / 100, 1.0)


@lru_cache(maxsize=2)
def _bleu(tokenizer: str) -> "BLEU":
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokenizer, effective_order=True)


def citations(cited: Sequence[Source], gold: Gold) -> tuple[float, float]:
    """Share of the cited sources that hold gold evidence, and share of the evidence that a cited source holds.

    Without evidence it is the gold answer that a source must hold: all of its words.
    """
    wanted = gold.evidence or (gold.answer,)
    held = [[holds(source, sentence, bool(gold.evidence)) for sentence in wanted] for source in cited]
    if not held:
        return 0.0, 0.0
    return sum(map(any, held)) / len(cited), sum(map(any, zip(*held, strict=True))) / len(wanted)


def holds(source: Source, sentence: str, literal: bool) -> bool:
    """Whether a source says a sentence; unless it must be said literally, whether it holds all of its words."""
    if squeeze(plain(sentence)) in squeeze(source.text):
        return True
    return not literal and set(query_tokens(plain(sentence))) <= set(tokens(source.text))


def supported_share(answer: str, question: str, sources: Sequence[Source]) -> float:
    """Share of an answer's sentences whose cited passages hold their numbers and half of their words.

    What stands below a line "Not from the documents:" claims no support and does not count.
    """
    own = OWN.search(answer)
    stated = statements(answer[: own.start()] if own else answer, question, sources)
    return sum(statement.supported is not False for statement in stated) / len(stated) if stated else 0.0


def harmonic(precision: float, recall: float) -> float:
    """F1."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def objective(found: Row, names: Sequence[str]) -> float:
    """The mean of the named scores; a question that nothing answers counts by whether it was refused."""
    values = [found.values[name] for name in names if name in found.values]
    return sum(values) / len(values) if values else found.values.get("refusal", 0.0)


def means(rows: Sequence[Row]) -> dict[str, float]:
    """Each score averaged over the answers that have it; refusals, wrong and right, counted; what it took: means."""
    found = {}
    for name in METRICS:
        values = [r.values[name] for r in rows if name in r.values]
        if values:
            found[name] = round(sum(values) / len(values), 4)
    refused = [r for r in rows if r.refused and "refusal" in r.values]
    found["refused_rightly"] = sum(r.values["refusal"] == 1 for r in refused)
    found["refused_wrongly"] = len(refused) - found["refused_rightly"]
    found["tokens"] = round(sum(r.tokens for r in rows) / len(rows), 1) if rows else 0.0
    found["seconds"] = round(sum(r.seconds for r in rows) / len(rows), 3) if rows else 0.0
    if any(r.calls for r in rows):
        found["calls"] = round(sum(r.calls for r in rows) / len(rows), 2)
        found["sent"] = round(sum(r.sent for r in rows) / len(rows), 1)
        found["written"] = round(sum(r.written for r in rows) / len(rows), 1)
    return found


def paired(before: Sequence[float], after: Sequence[float]) -> dict[str, float]:
    """The mean difference over the same questions with its 95% paired bootstrap interval, and wins, losses, ties."""
    difference = np.array(after, np.float64) - np.array(before, np.float64)
    low, high = intervals(difference[:, None], ("difference",))["difference"]
    wins, losses = int((difference > 1e-9).sum()), int((difference < -1e-9).sum())
    mean = round(float(difference.mean()), 4) if len(difference) else 0.0
    return {
        "mean": mean, "low": low, "high": high, "wins": wins, "losses": losses,
        "ties": len(difference) - wins - losses,
    }  # fmt: skip
