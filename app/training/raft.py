"""Questions -> training examples in the prompt that serving sends: the passages that answer among ones that do not.

RAFT (Zhang et al. 2024, arXiv:2403.10131): distractors are what the search itself finds, the passages that answer stand
at varied places, and in a share of the examples they are missing. There, RAFT trains the answer from memory; here the
model learns to refuse, since every answer must rest on a source.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from app.answering.answer import NO_ANSWER
from app.answering.backend import EXTRACTIVE, Backend
from app.answering.find import find
from app.answering.packed import passages
from app.answering.plan import Plan, fitted, request
from app.keeping.index import Progress
from app.measuring.golden import Located, squeeze
from app.training.votes import sent
from core.config import Config
from core.text import digest, language
from core.types import Hit, Source
from llm import chat
from llm.endpoint import Endpoint
from llm.examples import Example, Message
from prompts import context
from prompts.marks import marked
from prompts.support import statements
from retrieval.index import Index
from retrieval.negatives import copy_of
from retrieval.passages import Passage

_DEPTH = 100  # hits that are looked at where the first are of other sides
_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """A question to make an example of; `located` is None where the documents do not answer it."""

    id: str
    text: str
    origin: str
    file: str = ""
    located: Located | None = None


@dataclass(frozen=True, slots=True)
class Fence:
    """What one side of the split may show: passages of the files `only`, where that is given, and none of `out`.

    Nor what those say elsewhere: a passage with a chunk among `texts` (hashes) or a sentence of `evidence` (squeezed).
    """

    index: Index
    out: frozenset[str] = frozenset()
    texts: frozenset[bytes] = frozenset()
    evidence: frozenset[str] = frozenset()
    only: frozenset[str] | None = None

    def takes(self, path: str) -> bool:
        """Whether the file is on this side."""
        return path not in self.out and (self.only is None or path in self.only)

    def lets(self, passage: Passage) -> bool:
        """Whether the passage may stand on this side."""
        chunks = self.index.catalog.around(passage.hit.document_id, passage.first, passage.last)
        said = squeeze(passage.text)
        return (
            self.takes(passage.hit.path)
            and not any(digest(squeeze(chunk.text)) in self.texts for chunk in chunks)
            and not any(sentence in said for sentence in self.evidence)
        )


@dataclass(frozen=True, slots=True)
class _Case:
    """An example that lacks its answer; `gold` are the sources that hold it, none where it is to be refused."""

    asked: Asked
    sources: tuple[Source, ...]
    gold: tuple[Source, ...]


async def examples(
    index: Index, cfg: Config, backend: Backend, asked: Sequence[Asked], fence: Fence, *,
    without_gold: float, same: Mapping[str, str], seed: int, left: Counter[str], progress: Progress,
) -> list[Example]:  # fmt: skip
    """An example of each question, in order; what gives none is counted in `left`, by reason.

    `without_gold` of the questions lose the passages that answer them, with all near copies (`same` maps files to the
    first of their copies). Answers are the model's where there is one, else the golden answer or its evidence. Raises
    `ModelError`.
    """
    answerable = sorted((q.id for q in asked if q.located), key=lambda i: digest(f"{seed} {i}"))
    bare = set(answerable[: round(without_gold * len(answerable))])
    cases: list[_Case] = []
    for number, question in enumerate(asked, start=1):
        own = cfg.model_copy(update={"retrieval": fitted(cfg, backend, question.text, ())})
        found = await _around(index, question.text, own, fence)
        rng = random.Random(f"{seed} {question.id}")
        case = _case(index, question, found, own, fence, bare=question.id in bare, same=same, rng=rng)
        if isinstance(case, str):
            left[case] += 1
        else:
            cases.append(case)
        progress("passages", number, len(asked))
    made: list[Example] = []
    for start in range(0, len(cases), _AT_ONCE):
        batch = cases[start : start + _AT_ONCE]
        for case, (answer, reason) in zip(
            batch, await asyncio.gather(*(_answered(case, cfg, backend.endpoint) for case in batch)), strict=True
        ):
            if reason:
                left[reason] += 1
            else:
                made.append(_example(case, answer, cfg))
        progress("answers", min(start + _AT_ONCE, len(cases)), len(cases))
    return made


async def _around(index: Index, question: str, cfg: Config, fence: Fence) -> list[Passage]:
    """What serving reads for a question; where some of that is of other sides, what ranks next stands in for it.

    Searched as without a model, whose variants of a question would differ from one time to the next.
    """
    hits = (await find(index, question, Plan(cfg, EXTRACTIVE)))[1].hits
    if not all(fence.takes(hit.path) for hit in hits):
        deep = cfg.retrieval.model_copy(update={"k": max(_DEPTH, cfg.retrieval.k)})
        found = (await find(index, question, Plan(cfg.model_copy(update={"retrieval": deep}), EXTRACTIVE)))[1].hits
        hits = [hit for hit in found if fence.takes(hit.path)][: cfg.retrieval.k]
    return _let(index, hits, cfg, fence)


def _let(index: Index, hits: Sequence[Hit], cfg: Config, fence: Fence) -> list[Passage]:
    """The passages around hits that the fence lets; where what stands around is the trouble, the hit alone."""
    alone = cfg.retrieval.model_copy(update={"neighbours": 0, "section_tokens": 0})
    found: list[Passage] = []
    for passage in passages(index, hits, cfg.retrieval):
        wanted = [passage] if fence.lets(passage) else passages(index, [passage.hit], alone)
        found += [one for one in wanted if one is passage or fence.lets(one)]
    return found


# --- passages --------------------------------------------------------------------------------------------------------


def _case(
    index: Index, asked: Asked, found: list[Passage], cfg: Config, fence: Fence, *, bare: bool, same: Mapping[str, str],
    rng: random.Random,
) -> _Case | str:  # fmt: skip
    """The prompt's sources, or the reason why there are none."""
    located, budget = asked.located, cfg.retrieval.context_tokens
    if located is None:
        return _refusal(asked, found, budget)
    gold = _gold(index, located, found, cfg, fence)
    if not gold:
        return "its passage says what a file of another side says"
    others = [p for p in found if p not in gold and not _held(located, p)]
    if bare:
        copies = {same.get(p.hit.path, p.hit.path) for p in gold} & set(same.values())
        said = [p.hit.text for p in gold]
        others = [
            p for p in others
            if same.get(p.hit.path, "") not in copies and not any(copy_of(p.hit.text, text) for text in said)
        ]  # fmt: skip
        return _refusal(asked, others, budget)
    kept = _packed([p for p in found if p in gold or p in others], budget)
    if not {p.hit.chunk_id for p in gold} <= {source.hit.chunk_id for source in kept}:
        kept = _packed([*gold, *others], budget)
    chosen = {p.hit.chunk_id for p in gold}
    right = [source for source in kept if source.hit.chunk_id in chosen]
    wrong = [source for source in kept if source.hit.chunk_id not in chosen]
    if len(_holding(located, right)) < len(located.homes):
        return "its evidence does not fit in the prompt"
    places = set(rng.sample(range(len(kept)), len(right)))
    turns = {True: iter(right), False: iter(wrong)}
    ordered = [next(turns[place in places]) for place in range(len(kept))]
    sources = context.pack(((source.hit, source.text) for source in ordered), budget)
    return _Case(asked, sources, tuple(source for source in sources if source.hit.chunk_id in chosen))


def _refusal(asked: Asked, others: list[Passage], budget: int) -> _Case | str:
    return _Case(asked, _packed(others, budget), ()) if others else "nothing is found beside the passage that answers"


def _gold(index: Index, located: Located, found: Sequence[Passage], cfg: Config, fence: Fence) -> list[Passage]:
    """Passages that together hold the evidence: such as were found, else those around where it stands."""
    chosen: list[Passage] = []
    for number, homes in enumerate(located.homes):
        if any(number in _held(located, passage) for passage in chosen):
            continue
        holding = [passage for passage in found if number in _held(located, passage)]
        if not holding:
            home = list(index.hits([min(homes)]).values())
            holding = _let(index, home, cfg, fence)
        if not holding:
            return []
        chosen.append(holding[0])
    return chosen


def _held(located: Located, passage: Passage) -> frozenset[int]:
    return located.held_by(replace(passage.hit, text=passage.text))


def _holding(located: Located, sources: Sequence[Source]) -> dict[int, int]:
    """Of each evidence sentence that a source holds, the first such source's number."""
    first: dict[int, int] = {}
    for source in sources:
        for number in located.held_by(replace(source.hit, text=source.text)):
            first.setdefault(number, source.n)
    return first


def _packed(found: Sequence[Passage], budget: int) -> tuple[Source, ...]:
    return context.pack(((passage.hit, passage.text) for passage in found), budget)


# --- answers ---------------------------------------------------------------------------------------------------------


async def _answered(case: _Case, cfg: Config, endpoint: Endpoint | None) -> tuple[str, str]:
    """The answer to learn, or ("", the reason why there is none)."""
    if endpoint is None:
        return (_quoted(case) if case.gold else NO_ANSWER), ""
    shown = context.pack(((source.hit, source.text) for source in case.gold or case.sources), 1 << 30)
    reply = await _reply(cfg, endpoint, case.asked.text, shown)
    whole = not reply.startswith(NO_ANSWER) and not reply.endswith("…")  # which stands where the model was cut off
    good = whole and supported(reply, case.asked.text, shown)
    if not case.gold:
        return (NO_ANSWER, "") if not good else ("", "the model answers it from the other passages")
    if reply.startswith(NO_ANSWER):
        return "", "the model finds no answer in its passage"
    if not good:
        return "", "the model's answer is not supported by what it cites"
    places = {one.n: other.n for one, other in zip(shown, case.gold, strict=True)}
    return context.keep_known(reply, context.bodies(shown), places), ""


async def _reply(cfg: Config, endpoint: Endpoint, question: str, sources: Sequence[Source]) -> str:
    sure = cfg.llm.model_copy(update={"temperature": 0.0})
    messages = request(cfg, question, context.render(sources))
    reply = ""
    async with aclosing(chat.stream(endpoint, sure, messages)) as pieces:
        async for piece in pieces:
            cut = isinstance(piece, chat.Finish) and piece.reason == "length"
            reply = chat.joined(reply, piece) + (" …" if cut else "")  # what is cut supports nothing
    return reply.strip()


def supported(answer: str, question: str, sources: Sequence[Source]) -> bool:
    """Whether an answer cites only what there is, and each of its statements is held by what it cites."""
    cited = context.cite(answer, sources)
    stated = statements(cited.text, question, sources)
    return bool(cited.citations) and not cited.unknown and all(statement.supported is not False for statement in stated)


def _quoted(case: _Case) -> str:
    """Without a model: the golden answer, or else its evidence, with the marks of the passages that hold it."""
    located = case.asked.located
    assert located is not None
    question, holding = located.question, _holding(located, case.gold)
    if answer := context.without_marks(question.answer).strip():
        return marked(answer, sorted(set(holding.values())))
    gap = "" if language(question.evidence[0]) == "zh" else " "
    return gap.join(marked(s.strip(), [holding[n]]) for n, s in enumerate(question.evidence))


def _example(case: _Case, answer: str, cfg: Config) -> Example:
    asked = case.asked
    prompt = sent(request(cfg, asked.text, context.render(case.sources)))
    return Example(
        id=asked.id, messages=(*prompt, Message(role="assistant", content=answer)), file=asked.file,
        kind="answer" if case.gold else "refusal", origin=asked.origin,
    )  # fmt: skip
