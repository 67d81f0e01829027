"""Articles of law, asked for in both numerals: `python -m bench.articles`, RAGSTONE_EVAL set.

The statutes are indexed as a folder is. Each question is asked twice, by `第十二条` and by `第12条`; an article is
found where a passage of its file holds the beginning of its text, and cited where the answer without a model points
at such a passage.
"""

import asyncio
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from app.answering.answer import Done, answer
from app.answering.backend import EXTRACTIVE
from app.answering.plan import Plan
from app.keeping.index import run
from app.measuring.golden import squeeze
from bench.record import environment, evaluation_folder, merge, progress, read_rows
from core.config import Config, load
from core.types import Hit
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.search import search

_DIGITS, _TENS = "零一二三四五六七八九", ("", "十", "百", "千")
_ARTICLE = re.compile(r"第(\d+|[零一二三四五六七八九十百千]+)条")
_BEGINNING = 40  # characters of an article's text that name it


def chinese(number: int) -> str:
    """A number below 10,000 as laws write it.

    >>> [chinese(n) for n in (8, 12, 20, 107, 1260)]
    ['八', '十二', '二十', '一百零七', '一千二百六十']
    """
    figures = str(number)
    written = ""
    for place, digit in zip(range(len(figures) - 1, -1, -1), figures, strict=True):
        written += _DIGITS[int(digit)] + (_TENS[place] if digit != "0" else "")
    written = re.sub("零+", "零", written).rstrip("零")
    return written.removeprefix("一") if 10 <= number < 20 else written


def forms(question: str, article: str) -> dict[str, str]:
    """The question with its article in both numerals; `article` is as the law writes it."""
    number = next(n for n in range(1, 10_000) if f"第{chinese(n)}条" == article)
    named = {"第十二条": article, "第12条": f"第{number}条"}
    return {form: _ARTICLE.sub(name, question, count=1) for form, name in named.items()}


def measure(index: Index, cfg: Config, questions: Sequence[tuple[str, str, str]]) -> dict[str, float]:
    """Shares of (question, file, beginning of the article): found first, in the first five, and cited."""

    def right(hit: Hit, file: str, beginning: str, text: str) -> bool:
        return hit.path == file and beginning in squeeze(text)

    async def cited(question: str, file: str, beginning: str) -> bool:
        async for event in answer(index, question, Plan(cfg, EXTRACTIVE)):
            if isinstance(event, Done):
                numbers = {citation.n for citation in event.answer.citations}
                sources = [source for source in event.answer.sources if source.n in numbers]
                return any(right(source.hit, file, beginning, source.text) for source in sources)
        return False

    first = five = quoted = 0
    for done, (question, file, beginning) in enumerate(questions, start=1):
        hits = [right(hit, file, beginning, hit.text) for hit in search(index, [question], cfg.retrieval, k=5)]
        first, five = first + any(hits[:1]), five + any(hits)
        quoted += asyncio.run(cited(question, file, beginning))
        progress("articles", done, len(questions))
    shares = {"first": first, "first five": five, "cited": quoted}
    return {name: round(count / len(questions), 4) for name, count in shares.items()}


def main() -> None:
    """Index the statutes, ask, print and record."""
    root = evaluation_folder(["laws_zh"]) / "laws_zh"
    gold = dict(line.split("\t")[:2] for line in (root / "qrels.tsv").read_text("utf-8").splitlines()[1:])
    paths = {row["_id"]: row.get("path", row["_id"]) for row in read_rows(root / "corpus.jsonl")}
    with tempfile.TemporaryDirectory(prefix="ragstone-bench-") as data:
        cfg = load(flags={"app.data": data, "llm.backend": "extractive"}, environ={}).config
        run(cfg, "laws", [root / "files"], progress=progress)
        index = Index.open(Path(data), "laws", Embedder(cfg.retrieval))
        asked: dict[str, list[tuple[str, str, str]]] = {}
        for row in read_rows(root / "queries.jsonl"):
            file = paths[gold[row["_id"]]].removeprefix("files/")
            for form, question in forms(row["text"], row["article"]).items():
                asked.setdefault(form, []).append((question, file, squeeze(row["answers"][0])[:_BEGINNING]))
        results = {form: measure(index, cfg, questions) for form, questions in asked.items()}
        index.close()
    for form, row in results.items():
        print(form, row)
    merge("articles", results | {"questions": len(asked["第12条"]), "environment": environment(("tantivy",))})


if __name__ == "__main__":
    main()
