"""Recipe: draft questions for a golden set from the documents themselves; a person approves them.

With a model: one question a passage, its reply parsed strictly. Without: what documents ask or define themselves, and
their headings. Drafts are spread over the files; what is nearly a question that is there already is left out.
"""

import asyncio
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path

from app.answering.backend import Backend
from app.keeping.index import Progress, quiet
from app.measuring.golden import GoldenQuestion, Origin, made, squeeze
from core.config import Config, LlmConfig
from core.errors import ModelError
from core.text import language, query_tokens, sentences
from core.types import Hit
from llm import chat
from llm.endpoint import Endpoint
from prompts.delimiters import in_line
from prompts.load import Prompt, load
from prompts.resting import open_to
from retrieval.index import Index

_ALIKE = 0.7  # Jaccard similarity of two questions' search tokens
_PER_FILE = 40  # candidates that one file may offer
_SHORTEST_PASSAGE = 120  # characters of a passage that a model is asked about, counting a Chinese one as three
_ASKED_PER_DRAFT = 3  # passages that a model is asked about at most for each question wanted
_AT_ONCE = 4
_LONGEST_REPLY = 8_000  # characters
_LONGEST_NAME = 200
_QUOTES = str.maketrans("“”„‟", "''''")  # which stand around a document's name in the prompt


@dataclass(frozen=True, slots=True)
class Drafts:
    """New questions; `bad_replies` of a model were no question, `notes` say what else went wrong."""

    questions: tuple[GoldenQuestion, ...]
    bad_replies: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Paper:
    """A document as drafting sees it."""

    folder: str
    path: str
    title: str
    chunks: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a document: `heading` where it is one."""

    text: str
    heading: bool
    page: int | None


async def draft(
    index: Index, cfg: Config, count: int, known: Sequence[GoldenQuestion], backend: Backend, *, seed: int = 0,
    progress: Progress = quiet,
) -> Drafts:  # fmt: skip
    """Up to `count` questions that are not nearly one of `known`; the same seed and documents give the same ones.

    Raises `ModelError` where a model is configured and fails before the first draft.
    """
    papers = _papers(index, random.Random(seed))
    if backend.endpoint is not None:
        prompt = load(Path(cfg.prompts.library), "golden", 0, open_to(index.identity))
        return await _from_model(prompt, cfg, count, known, backend.endpoint, papers, progress)
    offers: list[list[GoldenQuestion]] = []
    for paper in papers:
        if found := list(_spread(paper)):
            offers.append(found)
        if len(offers) >= 2 * count + len(known):  # enough to choose from
            break
    fresh = _Fresh(known)
    chosen: list[GoldenQuestion] = []
    for question in (q for turn in zip_longest(*offers) for q in turn if q is not None):
        if len(chosen) == count:
            break
        if fresh.takes(question):
            chosen.append(question)
            progress("draft", len(chosen), count)
    return Drafts(tuple(chosen))


class _Fresh:
    """Takes a question once: not again, not nearly again, and no other about the same evidence."""

    def __init__(self, known: Iterable[GoldenQuestion]) -> None:
        self._asked = [set(query_tokens(q.question)) for q in known]
        self._evidence = {squeeze(s) for q in known for s in q.evidence}

    def takes(self, question: GoldenQuestion) -> bool:
        """Whether the question is new; from then on it is not."""
        words = set(query_tokens(question.question))
        evidence = {squeeze(s) for s in question.evidence}
        if evidence <= self._evidence or any(len(words & w) >= _ALIKE * len(words | w) for w in self._asked):
            return False
        self._asked.append(words)
        self._evidence |= evidence
        return True


def _papers(index: Index, rng: random.Random) -> Iterator[_Paper]:
    """The documents, in an order that the seed decides."""
    documents = index.catalog.documents()
    rng.shuffle(documents)
    for document in documents:
        chunks = tuple(index.catalog.chunks_of(document.id))
        yield _Paper(document.folder, document.path, document.title, chunks)


# --- without a model -------------------------------------------------------------------------------------------------

_ENUMERATOR = re.compile(
    r"^(?:#{1,6}\s+|[-*+•]\s+|(?:\d+(?:\.\d+)*[.)、．]?|[（(][一二三四五六七八九十\d]+[）)]|[一二三四五六七八九十]+、"
    r"|第[一二三四五六七八九十百\d]+[章节条]|Q\d*[:：.]|A\d*[:：.]|问[:：]|答[:：])\s*)+"
)
_NUMBERED_HEADING = re.compile(
    r"^(?:\d+(?:\.\d+)*[.、．]?\s+\S|[一二三四五六七八九十]+、|第[一二三四五六七八九十百\d]+[章节]\s)"
)
_PROSE_END = re.compile(r"[.。！!；;：:][\"”’')）]*$")
_QUESTION_END = re.compile(r"[?？]$")
_SKIPPED_HEADINGS = re.compile(
    r"(introduction|overview|summary|abstract|background|(table of )?contents|references|appendix|notes?|general"
    r"|misc\w*|other|examples?|see also|conclusions?|purpose|scope|changelog|faqs?|questions?|links?"
    r"|前言|概述|概览|简介|介绍|背景|总则|附则|目录|参考\w*|附录|其他|其它|说明|引言|小结|总结|结论|示例|例子|目的|范围|常见问题|更多)",
    re.IGNORECASE,
)
_DANGLING = re.compile(
    r"(before|after|in|on|at|for|with|when|where|who|which|while|if|from|to|by|as|and|or|why|then|step|part|section|chapter"
    r")\b",
    re.IGNORECASE,
)
_POINTING = re.compile(
    r"(the (passage|text|document|above|following)|this|that|these|those|it|they|he|she|we|you|there|here|each|every"
    r"|what|which|who|if|when|one|both|all|another|most|some|any|no|only|such|but|and|or|so|as|in|on|at|for|with)\b",
    re.IGNORECASE,
)
_POINTING_ZH = re.compile(
    r"[这那其它他她我你您每如因但也都就不并且而或和与及在当若以对为从由]|目前|上述|下[面列]|一[种类个]|以下|以上|该|本|主要|另|有|可|将|应"
)
_DEFINED = re.compile(
    r"^(?P<x>(?:An? )?[A-Z][\w/+-]*(?: [\w/+-]+){0,4}?) "
    r"(?:(?P<told>is defined as|refers to|stands for)|(?:is|are) an?) \w"
)
_DEFINED_ZH = re.compile(
    r"^(?:所谓|本(?:办法|规定|法|制度|条例|指南|政策)所称的?)?(?P<x>[^，。；：、（）()“”\"\s]{2,16}(?: [A-Za-z\d-]+)?)"
    r"(?:[（(][^）)]*[）)])?[，,]?\s*(?:(?P<told>是指|指的是|系指|定义为)|是一[种个款类项套])"
)
_NO_ANSWER = re.compile(
    r"```|<|!?\[|\{|本[节文章]|下[表图面]|以下|参[考见]|详见"
    r"|(this (section|chapter|page|topic)|the following|see|in this)\b",
    re.IGNORECASE,
)
_ABOUT_THE_PASSAGE = re.compile(
    r"\b(this|the) (passage|text|document|excerpt|section)\b|(本|该|这)(段|文|节|文档|段落)|文中|上文|段落",
    re.IGNORECASE,
)
_RULES_ZH = re.compile(r"制度|办法|规定|规则|政策|须知|细则|条例|法$")


def _spread(paper: _Paper) -> Iterator[GoldenQuestion]:
    """The candidates of one document, the best kinds first, and of each kind from the whole length of it."""
    lines = [line for chunk in paper.chunks for line in _lines(chunk)]
    plain = "\n".join(line.text for line in lines)
    kinds: dict[Origin, list[GoldenQuestion]] = {"faq": [], "definition": [], "heading": []}
    for at, line in enumerate(lines):
        for kind, question, evidence in _asked(paper, lines, at, line, plain):
            tongue = language(question) in (language(" ".join(evidence)), "und")
            if tongue and len(query_tokens(question)) >= 2 and len(question) <= 200:
                new = made(question, evidence, paper.path, kind, folder=paper.folder, page=line.page)
                kinds[kind].append(new)
    for found in kinds.values():
        step = -(-len(found) // _PER_FILE) or 1
        yield from found[::step]


def _lines(chunk: Hit) -> Iterator[_Line]:
    raw = [line.strip() for line in chunk.text.splitlines()]
    code = False
    for i, text in enumerate(raw):
        if text.startswith(("```", "~~~")):
            code = not code
        if code:
            text = "```"  # neither prose nor a heading
        if not text:
            continue
        alone = (i == 0 or not raw[i - 1]) and any(raw[i + 1 :])
        marked = text.startswith("#") or bool(_NUMBERED_HEADING.match(text)) or text in chunk.headings
        short = len(text) <= (24 if language(text) == "zh" else 70) and not _PROSE_END.search(text) and "|" not in text
        yield _Line(text, short and (marked or alone), chunk.page)


def _asked(
    paper: _Paper, lines: Sequence[_Line], at: int, line: _Line, plain: str
) -> Iterator[tuple[Origin, str, list[str]]]:
    """What the document asks, names or defines at a line: (kind, question, evidence)."""
    text = _ENUMERATOR.sub("", line.text).strip(" *_`")
    if _QUESTION_END.search(text):
        if answer := _evidence(lines, at):
            yield "faq", text, answer
    elif line.heading:
        question = _about(text, paper.title, plain)
        if question and (answer := _evidence(lines, at)):
            yield "heading", question, answer
    elif "|" not in line.text:
        for sentence in map(str.strip, sentences(text)):
            if question := _defining(sentence, plain):
                yield "definition", question, [sentence]


def _evidence(lines: Sequence[_Line], at: int) -> list[str]:
    """The first sentence of prose below a line, and the next where the first is short; [] where there is none."""
    if at + 1 >= len(lines) or lines[at + 1].heading:
        return []
    text = _ENUMERATOR.sub("", lines[at + 1].text)
    if "|" in text or _NO_ANSWER.match(text) or _QUESTION_END.search(text):
        return []
    said = [s for s in map(str.strip, sentences(text)) if s]
    first = said[:1] if not said or _weight(said[0]) >= 60 else said[:2]
    return first if sum(map(_weight, first)) >= 24 and _PROSE_END.search(first[-1].rstrip(":：")) else []


def _weight(text: str) -> int:
    """Length in characters, a Chinese one counted as three."""
    return len(text) + 2 * sum("\u3400" <= c <= "\u9fff" for c in text)


def _about(heading: str, title: str, plain: str) -> str:
    """The question that a heading answers; "" where it would not be a natural one."""
    words = heading.split()
    odd = re.search(r"[{}<>=`$\\|_/@\[\]]|https?:|[:：]|\d{3}|\d\.\d", heading)
    if odd or heading == title or _SKIPPED_HEADINGS.fullmatch(heading) or not re.search(r"[^\W\d]{2}", heading):
        return ""
    if language(heading) == "zh":
        if re.match(r"如何|怎么|怎样|为什么|为何", heading):
            return f"{heading}？"
        if not title or language(title) != "zh" or re.match(r"第|步骤|附|图|表|其[他它]|常见", heading):
            return ""
        verb = "是怎么规定的" if _RULES_ZH.search(title) else "是怎么说的"
        return f"{_joined('关于', heading)}，《{title.strip('《》')}》{verb}？"
    if heading.isupper():
        words = heading.lower().split()
    if [w.lower() for w in words[:2]] == ["how", "to"] and len(words) > 2:
        return f"How do I {' '.join(words[2:])}?"
    if not title or language(title) != "en" or not 1 <= len(words) <= 7:
        return ""
    if re.match(r"what (is|are|was|were|changed|happens|counts)\b", heading, re.IGNORECASE):
        return f"{' '.join(words)[0].upper()}{' '.join(words)[1:]} according to “{title}”?"
    if _DANGLING.match(heading) or re.match(r"(what|how)\b", heading, re.IGNORECASE):
        return ""
    name = not words[0].istitle() or re.search(rf"[a-z,] {re.escape(words[0])}\b", plain)  # capital within a sentence
    first = words[0] if name else words[0].lower()
    return f"What does “{title}” say about {' '.join([first, *words[1:]])}?"


def _joined(before: str, words: str) -> str:
    """Chinese words, and a space where Latin ones follow."""
    return f"{before} {words}" if words[0].isascii() else before + words


def _defining(sentence: str, plain: str) -> str:
    """The question that a defining sentence answers; "" where it defines nothing."""
    if _weight(sentence) < 40 or not _PROSE_END.search(sentence):
        return ""
    if (match := _DEFINED_ZH.match(sentence)) and not _POINTING_ZH.match(match["x"]):
        return f"{_joined('什么是', match['x'])}？" if match["told"] or plain.count(match["x"]) > 1 else ""
    if (match := _DEFINED.match(sentence)) and not _POINTING.match(match["x"]):
        x = re.sub(r"^An? ", lambda article: article[0].lower(), match["x"])
        bare = re.sub(r"^an? ", "", x)
        term = bare.lower() in plain.lower().replace(sentence.lower(), "", 1)
        return f"What is {x}?" if match["told"] or (term and len(bare.split()) <= 3) else ""
    return ""


# --- with a model ----------------------------------------------------------------------------------------------------


async def _from_model(
    prompt: Prompt, cfg: Config, count: int, known: Sequence[GoldenQuestion], endpoint: Endpoint,
    papers: Iterator[_Paper], progress: Progress,
) -> Drafts:  # fmt: skip
    llm = cfg.llm.model_copy(update={"temperature": 0.0, "max_tokens": min(cfg.llm.max_tokens, 600)})
    fresh = _Fresh(known)
    chosen: list[GoldenQuestion] = []
    bad = 0
    passages = islice(_passages(papers), _ASKED_PER_DRAFT * count)
    while len(chosen) < count and (batch := list(islice(passages, min(_AT_ONCE, count - len(chosen))))):
        replies = await asyncio.gather(*(_ask(prompt, endpoint, llm, hit) for hit in batch), return_exceptions=True)
        for hit, reply in zip(batch, replies, strict=True):
            if isinstance(reply, ModelError) and chosen:
                return Drafts(tuple(chosen), bad, (f"{reply.message}; {reply.hint}",))
            if isinstance(reply, BaseException):
                raise reply
            question = _parsed(reply, hit)
            bad += question is None
            if question and fresh.takes(question):
                chosen.append(question)
        progress("draft", len(chosen), count)
    return Drafts(tuple(chosen), bad)


def _passages(papers: Iterable[_Paper]) -> Iterator[Hit]:
    """Passages worth a question: of each document the longest, then of each the next, a thousand documents in turn."""
    papers = iter(papers)
    while some := list(islice(papers, 1000)):
        fit = [[h for h in paper.chunks if _weight(h.text) >= _SHORTEST_PASSAGE] for paper in some]
        turns = zip_longest(*(sorted(hits, key=lambda hit: -len(hit.text)) for hits in fit))
        yield from (hit for turn in turns for hit in turn if hit is not None)


async def _ask(prompt: Prompt, endpoint: Endpoint, llm: LlmConfig, hit: Hit) -> str:
    """The model's reply about a passage; what it could not end in time or length is cut."""
    tongue = "zh" if hit.language == "zh" else "en"
    name = in_line(hit.title or hit.path).translate(_QUOTES)[:_LONGEST_NAME]
    messages = prompt.render(tongue, {"document": name, "passage": hit.text})
    reply = ""
    with suppress(TimeoutError):
        async with asyncio.timeout(llm.timeout_s), aclosing(chat.stream(endpoint, llm, messages)) as pieces:
            async for piece in pieces:
                reply = chat.joined(reply, piece)
                if len(reply) > _LONGEST_REPLY:
                    break
    return reply


def _parsed(reply: str, hit: Hit) -> GoldenQuestion | None:
    """The question in a model's reply; None where it is not of the form that the prompt asks for.

    The evidence must stand in the passage, and the question must not repeat it or point to "the passage".
    """
    try:
        row = chat.read_json(reply)
    except ValueError:
        return None
    if not isinstance(row, dict) or set(row) != {"question", "answer", "evidence"}:
        return None
    question, answer, evidence = row["question"], row["answer"], row["evidence"]
    if not isinstance(question, str) or not isinstance(answer, str) or not isinstance(evidence, list):
        return None
    said = squeeze(hit.text)
    copied = 1 <= len(evidence) <= 3 and all(
        isinstance(s, str) and len(squeeze(s)) >= 4 and squeeze(s) in said for s in evidence
    )
    natural = (
        6 <= _weight(question.strip()) <= 400 and len(query_tokens(question)) >= 2 and "\n" not in question.strip()
    )
    if not copied or not natural or _ABOUT_THE_PASSAGE.search(question) or squeeze(question).rstrip("?") in said:
        return None
    answer = answer.strip()[:2000]
    return made(question.strip(), evidence, hit.path, "model", folder=hit.folder, page=hit.page, answer=answer)
