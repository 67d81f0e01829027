from dataclasses import replace

import pytest

from app.measuring.scores import (
    Gold,
    bleu,
    citations,
    exact,
    final,
    means,
    objective,
    paired,
    rouge_l,
    row,
    supported_share,
)
from core.types import Answer, Citation, Source
from tests.prompts.test_context import source

ONE = source(1, "Annual leave is 25 days. It lapses in March.")
TWO = source(2, "Hotels cost up to 180 euros a night.")
GOLD = Gold("25 days", ("Annual leave is 25 days.",))


def answered(text: str, cited: tuple[int, ...] = (), sources: tuple[Source, ...] = (ONE, TWO)) -> Answer:
    marks = tuple(Citation(n, "a.md", None, "") for n in cited)
    return Answer(text, True, marks, sources, "openai", "stub", "", 2.0)


REFUSED = replace(answered("The documents do not cover this question."), answered=False)


@pytest.mark.parametrize(
    ("answer", "gold", "wanted"),
    [
        ("Ten days. [1]", "ten days", 1),
        ("年假十天[1]。", "年假十天", 1),
        ("ten whole days", "ten days", 0),
        ("", "ten", 0),
    ],
)
def test_exact_match_is_blind_to_case_punctuation_and_marks(answer: str, gold: str, wanted: float) -> None:
    assert exact(answer, gold) == wanted


def test_rouge_l_is_the_f1_of_the_longest_common_subsequence() -> None:
    # "police killed the gunman" and "police kill the gunman" (Lin 2004): stems are equal; swapped, the longest common
    # subsequence is "the gunman" or "police": 2 of 4 words.
    assert rouge_l("police kill the gunman", "police killed the gunman") == 1
    assert rouge_l("the gunman kill police", "police killed the gunman") == 2 * 2 / (4 + 4)
    # pairs of 年假有十天: 年假 假有 有十 十天; of 年假十天: 年假 假十 十天; in common, in order: 年假 十天
    assert rouge_l("年假有十天", "年假十天") == pytest.approx(2 * 2 / (4 + 3))
    assert (rouge_l("", "ten"), rouge_l("", "")) == (0, 1)


def test_bleu_cuts_chinese_into_characters() -> None:
    assert bleu("年假十天", "年假十天") == pytest.approx(1)
    # 5 characters against 4, no brevity penalty: precisions 4/5, 2/4; no trigram or 4-gram matches, which sacrebleu
    # smooths to 1/(2*3) and 1/(4*2)
    assert bleu("年假有十天", "年假十天") == pytest.approx((4 / 5 * 2 / 4 * 1 / 6 * 1 / 8) ** 0.25)
    assert bleu("", "ten") == 0


def test_only_what_follows_the_last_answer_line_is_the_answer() -> None:
    assert final("1. Leave is 25 days [1].\nAnswer: not this\n**Answer:** 25 days [1]") == "25 days [1]"
    assert final("1. 年假[1]。\n答案：二十五天[1]") == "二十五天[1]"
    assert final("The answer: is here") == "The answer: is here"


def test_citations_count_where_their_sources_hold_the_evidence() -> None:
    both = Gold("x", ("Annual leave is 25 days.", "up to 180 euros"))
    assert citations([ONE], GOLD) == (1, 1)
    assert citations([ONE, TWO], GOLD) == (0.5, 1)
    assert citations([TWO], GOLD) == (0, 0)
    assert citations([ONE], both) == (1, 0.5)
    assert citations([], GOLD) == (0, 0)


def test_without_evidence_a_source_must_hold_all_words_of_the_answer() -> None:
    assert citations([ONE, TWO], Gold("In March 25 days lapse.")) == (0.5, 1)
    assert citations([ONE], Gold("26 days")) == (0, 0)


def test_a_sentence_is_supported_where_its_source_holds_its_numbers_and_words() -> None:
    share = lambda text: supported_share(text, "How long is leave?", (ONE, TWO))  # noqa: E731
    assert share("Annual leave is 25 days [1]. Hotels cost up to 180 euros [2].") == 1
    assert share("Annual leave is 25 days. [1] Hotels cost up to 180 euros. [1]") == 0.5  # the wrong source
    assert share("Annual leave is 26 days [1].") == 0  # another number
    assert share("Annual leave is 25 days.") == 0  # no mark
    assert share("Annual leave [1] is 25 days.") == 1  # a mark within
    assert share("") == 0


def test_own_knowledge_that_is_told_apart_claims_no_support() -> None:
    text = "Annual leave is 25 days [1].\n\nNot from the documents:\nIn France it is 30."
    assert supported_share(text, "", (ONE,)) == 1


def test_an_answer_has_every_score_and_a_refusal_of_what_is_answered_has_none() -> None:
    good = row("How long is leave?", answered("Annual leave is 25 days [1].", (1,)), GOLD)
    # tokens: annual leav is 25 day against 25 day
    assert good.values["token_f1"] == pytest.approx(2 * 2 / (5 + 2))
    assert (good.values["citation_f1"], good.values["supported"], good.values["refusal"]) == (1, 1, 1)
    bad = row("How long is leave?", REFUSED, GOLD)
    assert set(bad.values.values()) == {0.0}
    assert (bad.refused, good.refused, good.seconds) == (True, False, 2.0)


def test_a_question_that_nothing_answers_counts_by_its_refusal() -> None:
    right, wrong = row("?", REFUSED, Gold()), row("?", answered("Red [1].", (1,)), Gold())
    assert (right.values, wrong.values) == ({"refusal": 1.0}, {"refusal": 0.0})
    assert (objective(right, ["token_f1"]), objective(wrong, ["token_f1"])) == (1, 0)
    told = means([right, wrong, row("?", REFUSED, GOLD)])
    assert (told["refused_rightly"], told["refused_wrongly"], told["refusal"]) == (1, 1, 0.3333)


def test_the_objective_is_the_mean_of_the_named_scores() -> None:
    found = row("How long is leave?", answered("Annual leave is 25 days [1].", (1,)), GOLD)
    assert objective(found, ["token_f1", "citation_f1"]) == pytest.approx((4 / 7 + 1) / 2)


def test_without_gold_only_support_is_told() -> None:
    assert row("?", answered("Annual leave is 25 days [1].", (1,)), None).values == {"supported": 1.0}


def test_a_paired_interval_is_of_the_differences() -> None:
    same = paired([0.1, 0.9, 0.4], [0.3, 1.1, 0.6])
    assert (same["mean"], same["low"], same["high"], same["wins"]) == (0.2, 0.2, 0.2, 3)
    mixed = paired([0, 1, 0, 1, 0, 1], [1, 0, 1, 0, 0, 1])
    assert (mixed["mean"], mixed["wins"], mixed["losses"], mixed["ties"]) == (0, 2, 2, 2)
    assert mixed["low"] < 0 < mixed["high"]
