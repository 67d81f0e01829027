import asyncio

import pytest

from app.answering.backend import EXTRACTIVE
from app.answering.compared import compared
from app.answering.find import find
from app.answering.plan import Plan
from core.config import Config
from retrieval.embed import Embedder
from tests.retrieval.corpus import build


@pytest.mark.parametrize(
    ("question", "things"),
    [
        ("年假与病假有什么不同？", ("年假", "病假")),
        ("比较一下年假和病假", ("年假", "病假")),
        ("2024年和2026年的年假有什么区别？", ("2024年", "2026年的年假")),
        ("LT-300和LT-520哪个贵？", ("LT-300", "LT-520")),
        ("Compare annual leave with sick leave.", ("annual leave", "sick leave")),
        ("How does v1.2 compare to v1.3?", ("v1.2", "v1.3")),
        ("What are the differences between AAS and ICP, in short?", ("AAS", "ICP")),
        ("年假和病假怎么请？", ()),
        ("What are the rules for travel and hotels?", ()),
        ("", ()),
    ],
)
def test_what_a_question_compares_is_told_by_its_words(question: str, things: tuple[str, ...]) -> None:
    assert compared(question) == things


def test_each_of_two_things_has_its_passages(cfg: Config, embedder: Embedder) -> None:
    leave = {
        f"leave{n}.md": f"Annual leave differs: rule {n} is about annual leave and its differences." for n in range(9)
    }
    index = build(cfg, embedder, {**leave, "port.md": "Crane bookings open at noon."})
    question = "What is the difference between annual leave and crane bookings?"
    _, result = asyncio.run(find(index, question, Plan(cfg, EXTRACTIVE)))
    assert "port.md" in [hit.path for hit in result.hits[:2]]
    assert [query.text for query in result.trace.queries][:3] == [question, "annual leave", "crane bookings"]
