import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.measuring.evaluate import Judged, Question, judge_documents
from app.measuring.evaluate import TestSet as Questions
from app.measuring.tune import WEIGHTS, tune
from core.config import Config
from core.errors import EvalError
from core.types import Hit
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.search import search
from tests.retrieval.corpus import build

# Each document is asked for by other words (only meaning finds it); a decoy shares the words of the question.
TOPICS = [
    ("cat.md", "The kitten slept on the sofa.", "Where did the young feline rest?"),
    ("car.md", "The automobile would not start this morning.", "Why did the vehicle fail?"),
    ("doc.md", "The physician prescribed a medicine.", "What did the medical practitioner give?"),
    ("job.md", "She was hired as an engineer in spring.", "When did she get employment?"),
    ("sea.md", "The ocean was rough during the storm.", "How was the water in bad weather?"),
    ("pay.md", "Wages rise by three percent next year.", "How much more salary will there be?"),
    ("dog.md", "The puppy chewed the shoes.", "What did the young canine destroy?"),
    ("tea.md", "Guests are served a hot drink at noon.", "Which beverage do visitors receive?"),
    ("fly.md", "The airplane landed two hours late.", "How delayed was the aircraft?"),
    ("ill.md", "Influenza kept half of the staff at home.", "Which sickness made employees absent?"),
]


@pytest.fixture
def index(cfg: Config, embedder: Embedder) -> Index:
    decoys = {
        f"decoy{i}.md": question.replace("?", ".") + " Nobody knows." for i, (_, _, question) in enumerate(TOPICS)
    }
    return build(cfg, embedder, {name: text for name, text, _ in TOPICS} | decoys)


def judging(name: str) -> "Question":
    def judge(hits: Sequence[Hit], k: int) -> Judged:
        return judge_documents([hit.path for hit in hits], {name: 1.0}, k)

    return Question(name, next(q for n, _, q in TOPICS if n == name), name, judge)


def by_words(index: Index, cfg: Config) -> Questions:
    """The decoys are what is wanted: words alone find them first."""
    questions = []
    for i, (_, _, text) in enumerate(TOPICS):
        name = f"decoy{i}.md"
        judge = lambda hits, k, name=name: judge_documents([hit.path for hit in hits], {name: 1.0}, k)  # noqa: E731
        questions.append(Question(name, text, name, judge))
    return Questions(tuple(questions), 10, {})


def test_the_weight_is_no_worse_than_either_retriever_alone_and_searches_use_it(index: Index, cfg: Config) -> None:
    testset = Questions(tuple(judging(name) for name, _, _ in TOPICS), 10, {})
    found = tune(index, testset, cfg)
    (curve,) = found.curves
    assert (curve.language, curve.questions, len(curve.ndcg)) == ("en", 10, len(WEIGHTS))
    assert curve.ndcg[WEIGHTS.index(curve.chosen)] >= max(curve.ndcg[0], curve.ndcg[-1])
    assert json.loads((index.home / "tuning.json").read_text())["dense_weight"] == {"en": curve.chosen}
    explicit = cfg.retrieval.model_copy(update={"dense_weight": curve.chosen})
    assert search(index, [TOPICS[0][2]], cfg.retrieval) == search(index, [TOPICS[0][2]], explicit)


def test_where_all_weights_are_as_good_the_default_stays(index: Index, cfg: Config) -> None:
    assert tune(index, by_words(index, cfg), cfg).tuning.dense_weight == {"en": 0.5}


def test_a_threshold_separates_questions_without_an_answer(index: Index, cfg: Config) -> None:
    unanswerable = ["Who painted the ceiling of the chapel?", "红烧肉怎么做？", "What is the boiling point of mercury?"]
    found = tune(index, by_words(index, cfg), cfg, unanswerable)
    assert found.coverage
    assert (found.coverage.false_refusals, found.coverage.refusals) == (0.0, 1.0)
    assert found.tuning.min_relevance == found.coverage.threshold


def test_too_few_questions_say_how_to_get_more(index: Index, cfg: Config) -> None:
    few = Questions(tuple(judging(name) for name, _, _ in TOPICS[:9]), 10, {})
    with pytest.raises(EvalError, match="9 questions are too few") as error:
        tune(index, few, cfg)
    assert "golden draft" in error.value.hint
    assert not Path(index.home / "tuning.json").exists()
