from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.measuring.evaluate import Judged, Question
from app.training.pairs import Example, copies, drafted, held_texts, opened, split
from core.config import Config, load
from core.errors import EvalError
from core.types import Hit
from retrieval.embed import Embedder
from retrieval.index import Index
from tests.retrieval.corpus import build as build_index
from tests.retrieval.sql import select


def judge(hits: Sequence[Hit], k: int) -> Judged:
    return Judged((0.0,) * 5, None)


PATHS = [f"{n}.md" for n in range(12)]
EXAMPLES = st.lists(
    st.builds(
        lambda text, files, asked: Example(
            text, (frozenset({1}),), frozenset(files), "file", Question(text, text, files[0], judge) if asked else None
        ),
        st.sampled_from([f"question {n}" for n in range(30)]), st.lists(st.sampled_from(PATHS), min_size=1, max_size=3),
        st.booleans(),
    ),
    max_size=40,
)  # fmt: skip
SAME = st.dictionaries(st.sampled_from(PATHS), st.sampled_from(PATHS[:3])).map(lambda d: d | {d[p]: d[p] for p in d})


@settings(max_examples=150, deadline=None)
@given(EXAMPLES, SAME, st.floats(0.01, 0.9), st.integers(0, 5))
def test_the_split_never_leaks(examples: list[Example], same: dict[str, str], share: float, seed: int) -> None:
    try:
        parts = split(examples, same, share, 0.2, seed)
    except EvalError:
        asked = {path for example in examples if example.asked for path in example.files}
        assert len({same.get(path, path) for path in asked}) < 2
        return
    assert parts.held_out
    assert not parts.held_out & parts.dev_files
    trained = {path for example in (*parts.train, *parts.dev) for path in example.files}
    assert not trained & parts.held_out
    assert all(example.files <= parts.held_out for example in parts.test)
    assert not {e.question for e in parts.test} & {e.question for e in (*parts.train, *parts.dev)}
    for path, other in same.items():  # near copies are on one side
        assert (path in parts.held_out) == (other in parts.held_out)
    assert parts == split(examples, same, share, 0.2, seed)


def test_near_copies_of_a_file_stay_together(documents: tuple[Config, Index]) -> None:
    cfg, index = documents
    text = "The long text of a rule about the use of company cars, " * 3
    data = {"a.md": text + "of 2024.", "b.md": text + "of 2025.", "c.md": "Something else altogether. " * 9}
    other = build_index(cfg, index.embedder, data, "copies")
    assert copies(other) == {"a.md": "a.md", "b.md": "a.md"}
    assert held_texts(other, frozenset({"a.md"})).isdisjoint(held_texts(other, frozenset({"c.md"})))
    assert len(held_texts(other, frozenset({"a.md", "b.md"}))) == 2
    other.close()


@pytest.fixture
def documents(tmp_path: Path) -> Iterator[tuple[Config, Index]]:
    """Documents with headings, and no question."""
    cfg = load(flags={"app.data": str(tmp_path / "d"), "retrieval.precision": "float32"}, environ={}).config
    texts = {
        f"{name}.md": f"{name.title()} leave lasts {n} days. It is granted by the manager of the unit. "
        f"A form must be signed by both sides in week {n}. Money is paid at the end of the month."
        for n, name in enumerate(("annual", "sick", "parental", "study"), start=3)
    }
    index = build_index(cfg, Embedder(cfg.retrieval), texts)
    yield cfg, index
    index.close()


def test_pairs_are_made_from_documents_without_a_question(documents: tuple[Config, Index]) -> None:
    cfg, _ = documents
    with opened(cfg, "kb", None, lambda *_: None) as material:
        made = drafted(material, cfg, 4, seed=0)
        assert made == drafted(material, cfg, 4, seed=0)
    assert len(made) == 4
    assert len({example.question for example in made}) == 4
    assert all(len(example.files) == 1 for example in made)


def test_a_sentence_stands_for_a_question_of_the_passage_it_left(documents: tuple[Config, Index]) -> None:
    cfg, index = documents
    with opened(cfg, "kb", None, lambda *_: None) as material:
        made = [e for seed in range(8) for e in drafted(material, cfg, 4, seed=seed) if e.origin == "sentence"]
    assert made
    texts = {i: text for i, text in select(index.catalog, "SELECT id, text FROM chunks")}
    gone = 0
    for example in made:
        ((chunk_id,),) = example.homes
        assert example.question in texts[chunk_id]
        gone += example.question not in example.passage
    assert gone >= len(made) / 2  # nine in ten, by chance


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "Invalid JSON"), ('{"question": "q"}', "two forms"), ('{"question": "q", "file": "a"}', "two forms"),
        ('{"question": " ", "passage": "p"}', "match pattern"), ('{"question": "q", "passage": 3}', "valid string"),
        ('{"question": "q", "passage": "p", "file": "a", "evidence": "e"}', "two forms"),
    ],
)  # fmt: skip
def test_a_row_that_is_no_pair_is_named_by_its_line(cfg: Config, tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"question": "q", "passage": "p"}\n' + line)
    with pytest.raises(EvalError, match=said) as error, opened(cfg, "kb", file, lambda *_: None):
        pass
    assert f"{file}:2" in error.value.message
