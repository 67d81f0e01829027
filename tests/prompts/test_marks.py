"""Which brackets of an answer are citations; all that is none stays to the character, however the answer is cut."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompts.context import cite, keep_known, stream_known, without_marks
from prompts.marks import pieces, spans, written
from tests.prompts.test_context import SOURCES, source

PASSAGES = (
    source(1, "Meyer [27] and, before him, Schmidt [2] measured it. The first is args[1]."),
    source(2, "病假的规定见文献 [5]。"),
)
KNOWN = {1: PASSAGES[0].text, 2: PASSAGES[1].text}
WORDS = [
    "So ", "it is ", "[", "1", "]", "[9]", " [2", ", 1]", "。", "\n", "[x]", "【1】", "a[i]", "`", "``", "```", "~~~",
    "\\", "rows[3][0]", "args[1].", " [27]", ".", "\n\n", "- ", "  ", " " * 45, "病假", "py\n", "x" * 70, "［2］",
    "[^1]", ",", "_", " of ", "him, Schmidt",
]  # fmt: skip
answers = st.lists(st.sampled_from(WORDS) | st.characters(codec="utf-8")).map("".join)


@pytest.mark.parametrize(
    "text",
    [
        "Use `args[0]` and `rows[1][0]` and ``a`[2]``.",
        "Use args[0], rows[3][0], grid[i][2] and f(x)[1] here.",
        "Use sys.argv[1], my_rows[1] or $x[1].",
        "```python\nprint(args[1], [9], [1, 2])\n```",
        "- do\n    ~~~\n    [9]\n    ~~~",
        "```\nnever closed [9]\n\n[2]",
        "Use a[i] and [note] and [2024-01-01] and - [ ] and [x](y).",
        "See Meyer [27], as before him, Schmidt [2] did.",
        "The first is args[1].",
        "规定见文献 [5]。",
    ],
)
def test_brackets_that_are_no_citations_are_left_as_they_were_written(text: str) -> None:
    cited = cite(text, PASSAGES)
    assert cited.text == text
    assert cited.unknown == ()
    assert cited.citations == ()


@pytest.mark.parametrize(
    ("text", "shown", "numbers"),
    [
        ("It is `a[0]` [1][2].", "It is `a[0]` [1][2].", [1, 2]),
        ("It is 36 months[1]. It is 36 months[1][2]", "It is 36 months[1]. It is 36 months[1][2]", [1, 1, 2]),
        ("要用 vLLM[2]部署，每月 30 EUR[1]。", "要用 vLLM[2]部署，每月 30 EUR[1]。", [2, 1]),
        ("病假[2]，年假【1】，事假［2］", "病假[2]，年假[1]，事假[2]", [2, 1, 2]),
        ("So it is [Source 1]. (source 2) 年假（资料1、2）。", "So it is [1]. [2] 年假[1][2]。", [1, 2, 1, 2]),
        (
            "Documents (2024) and (see 1), sources (both), 资料（附后）",
            "Documents (2024) and (see 1), sources (both), 资料（附后）",
            [],
        ),
        ("It is so [9]. 不是【9】这样。", "It is so. 不是这样。", []),
        ("\\`It is so [9] \\` and ` so [1]\n` [2]", "\\`It is so \\` and ` so [1]\n` [2]", [1, 2]),
        ("```\na[9]\n```\nIt is so [9] and [1]", "```\na[9]\n```\nIt is so and [1]", [1]),
        ("Meyer wrote it [1, 27].", "Meyer wrote it [1].", [1]),
    ],
)
def test_citations_are_read_beside_code_and_in_any_bracket(text: str, shown: str, numbers: list[int]) -> None:
    assert keep_known(text, KNOWN) == shown
    assert [n for _, _, found in spans(text, KNOWN) for n in found] == numbers


@given(answers)
def test_what_is_no_mark_is_not_changed_and_code_holds_no_mark(text: str) -> None:
    read = list(pieces(text, KNOWN))
    assert "".join(piece.text for piece in read) == text
    assert all(written(piece) == piece.text for piece in read if piece.kind != "mark")
    assert all(piece.text.strip()[0] in "[【［" for piece in read if piece.kind == "mark")
    assert without_marks(text) == "".join(p.text for p in pieces(text, None) if p.kind != "mark")
    for start, end, numbers in spans(text, KNOWN):
        assert text[start] in "[【［"
        assert text[end - 1] in "]】］"
        assert set(numbers) <= {1, 2}


@settings(max_examples=300)
@given(answers, st.lists(st.integers(0, 200)))
def test_a_streamed_answer_is_the_checked_answer(text: str, cuts: list[int]) -> None:
    at = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    parts = [text[a:b] for a, b in pairwise(at)]

    async def feed() -> AsyncIterator[str]:
        for part in parts:
            yield part

    async def collect() -> str:
        return "".join([part async for part in stream_known(feed(), KNOWN)])

    assert asyncio.run(collect()) == keep_known(text, KNOWN)


def test_marks_can_be_given_other_numbers() -> None:
    assert keep_known("So [1], [2] and args[0].", KNOWN, {1: 5, 2: 7}) == "So [5], [7] and args[0]."


def test_a_citation_is_quoted_for_what_stands_before_it_also_behind_another() -> None:
    cited = cite("Sick leave needs a certificate [1]. 年假二十五天`[1]`[2][1]", SOURCES)
    assert [(c.n, c.quote) for c in cited.citations] == [
        (1, "Sick leave needs a certificate."),
        (2, "年假二十五天。"),
    ]
