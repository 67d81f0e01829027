import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.answering.answer import NO_ANSWER
from app.commands.curate import dataset
from app.measuring import golden
from app.measuring.golden import squeeze
from app.training import dataset_folder
from app.training.dataset import Request, import_chats, run
from app.training.shown import question
from app.training.votes import Vote, add_vote, votes_file
from core.config import Config, load
from core.errors import CatalogError, ConfigError, DatasetError, ModelError
from llm.examples import read_preferences, read_ratings
from prompts import context
from retrieval.embed import Embedder
from retrieval.index import Index
from tests.app.allowances import (
    BOILERPLATE,
    HELD,
    THINGS,
    cfg,
    document,
    documents,
    fact,
    home_of,
    index,
    rows_of,
    served,
    shown,
    sources_of,
    stub,
    with_model,
)
from tests.app.stub_model import Stub
from tests.retrieval.corpus import build
from tests.retrieval.sql import select

NONE = ["Who won the football cup in Brazil?", "Which paint do submarines need?"]


__all__ = ["cfg", "index", "stub"]  # fixtures


@pytest.fixture(scope="module")
def none(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("none") / "none.txt"
    file.write_text("\n".join(NONE))
    return file


@pytest.fixture(scope="module")
def report(cfg: Config, none: Path) -> dict[str, Any]:
    """A finished run without a model."""
    return run(cfg, Request("kb", "whole", unanswerable=none))


# --- the prompts -------------------------------------------------------------------------------------------------


def test_the_right_passage_stands_at_every_place_among_hard_ones(report: dict[str, Any], cfg: Config) -> None:
    places = set()
    for example in (row for rows in rows_of(cfg, "whole").values() for row in rows if row.kind == "answer"):
        (mark,) = set(re.findall(r"\[(\d+)\]", example.answer))
        path, text = sources_of(example)[int(mark)]
        assert example.answer.replace(f" [{mark}]", "") in text
        assert squeeze(path).removeprefix("z-copy-of-") == example.file
        places.add(int(mark))
        others = [text for n, (_, text) in sources_of(example).items() if n != int(mark)]
        assert all("allowance" in text and example.answer[:20] not in text for text in others)
    assert places >= {1, 2, 3, 4}


def test_a_share_of_the_prompts_lacks_the_answer_and_is_refused(report: dict[str, Any], cfg: Config) -> None:
    refused = [row for rows in rows_of(cfg, "whole").values() for row in rows if row.kind == "refusal"]
    bare = [row for row in refused if row.origin == "golden"]
    assert {row.answer for row in refused} == {NO_ANSWER}
    assert len(bare) == round(0.2 * 17) + round(0.2 * 2) + round(0.2 * 5)  # of each side
    assert sorted(question(row.prompt) for row in refused if row.origin == "unanswerable") == sorted(NONE)
    for row in bare:
        n = THINGS.index(row.file.removesuffix(".md"))
        assert sources_of(row)
        assert fact(n) not in shown(row)


def test_a_model_answers_from_the_right_passage_alone_and_its_mark_moves(cfg: Config, stub: Stub) -> None:
    told = with_model(cfg, stub, "Every employee gets it every month [1].")
    made = run(told, Request("kb", "by-model", without_gold=0))
    assert made["answers"] == "stub-model"
    rows = [row for found in rows_of(cfg, "by-model").values() for row in found]
    assert len(rows) == len(THINGS)
    for row in rows:
        (mark,) = re.findall(r"\[(\d+)\]", row.answer)
        assert row.answer == f"Every employee gets it every month [{mark}]."
        assert fact(THINGS.index(row.file.removesuffix(".md"))) in sources_of(row)[int(mark)][1]
    assert len(stub.calls) == len(THINGS)
    assert all(call.text.count("<source n=") == 1 and call.body["temperature"] == 0 for call in stub.calls)


def test_a_model_that_fails_is_told_and_leaves_nothing(cfg: Config, stub: Stub) -> None:
    told = with_model(cfg, stub, "x", failure="error")
    with pytest.raises(ModelError):
        run(told, Request("kb", "failed"))
    assert not home_of(cfg, "failed").exists()


# --- the split -------------------------------------------------------------------------------------------------------


def test_no_passage_of_a_test_file_is_trained_on_nor_a_copy_of_one(cfg: Config, index: Index) -> None:
    for seed in range(2):
        made = run(cfg, Request("kb", f"split-{seed}", seed=seed))
        rows, held = rows_of(cfg, f"split-{seed}"), set(made["held_out"])
        assert all((f"{t}.md" in held) == (f"z-copy-of-{t}.md" in held) for t in (THINGS[n] for n in (0, 5, 9)))
        assert len(rows["test"]) == len([path for path in held if not path.startswith("z-")])
        said = {
            squeeze(text)
            for text, path in select(index.catalog, "SELECT c.text, d.path FROM chunks c JOIN documents d ON d.id = "
                                                 "c.document_id") if path in held
        }  # fmt: skip
        for row in (*rows["train"], *rows["dev"]):
            assert not {path for path, _ in sources_of(row).values()} & held
            prompt = squeeze(shown(row))
            assert not any(text in prompt for text in said)
        tested = {text for row in rows["test"] for text in sources_of(row).values()}
        assert tested
        assert not tested & {text for row in (*rows["train"], *rows["dev"]) for text in sources_of(row).values()}
        dev = set(made["dev_files"])
        assert dev
        assert not any(path in dev for row in rows["train"] for path, _ in sources_of(row).values())


def test_the_questions_of_test_can_be_evaluated(report: dict[str, Any], cfg: Config, index: Index) -> None:
    questions = golden.read(home_of(cfg, "whole") / "questions.jsonl")
    assert {question.file for question in questions} == set(report["held_out"]) & {f"{thing}.md" for thing in THINGS}
    assert {question.status for question in questions} == {"approved"}
    assert golden.locate(index, questions)[1] == []


def test_a_sentence_of_a_test_file_that_stands_elsewhere_too_is_not_trained_on(
    tmp_path: Path, embedder: Embedder
) -> None:
    cfg = load(flags={"app.data": str(tmp_path), "llm.backend": "extractive"}, environ={}).config
    told = {n: document(n) + f"\n\nNote: {fact((n + 1) % 8)}" for n in range(8)}  # each says the next one's fact
    build(cfg, embedder, {f"{THINGS[n]}.md": text for n, text in told.items()}).close()
    file = golden.golden_file(tmp_path, "kb")
    golden.append(
        file,
        [golden.made(f"{THINGS[n]} allowance?", [fact(n)], f"{THINGS[n]}.md", "person", status="approved")
         for n in range(8)],
    )  # fmt: skip
    made = run(cfg, Request("kb", "ring", without_gold=0))
    held = [THINGS.index(path.removesuffix(".md")) for path in made["held_out"]]
    assert held
    for row in rows_of(cfg, "ring")["train"]:
        assert not any(fact(n) in shown(row) for n in held)


def test_what_all_files_say_stays_out_of_training_without_taking_the_rest_along(
    tmp_path: Path, embedder: Embedder
) -> None:
    flags = {"app.data": str(tmp_path), "llm.backend": "extractive", "ingest.chunk_tokens": "32",
             "ingest.chunk_overlap": "0"}  # fmt: skip
    cfg = load(flags=flags, environ={}).config
    own = [" ".join(f"{thing}{i}" for i in range(9)) for thing in THINGS[:8]]  # so that no two are near copies
    texts = {f"{THINGS[n]}.md": f"{fact(n)}\n\n{own[n]}.\n\n{BOILERPLATE}" for n in range(8)}
    index = build(cfg, embedder, texts)
    assert [text for (text,) in select(index.catalog, "SELECT DISTINCT text FROM chunks")].count(BOILERPLATE) == 1
    index.close()
    asked = [golden.made(f"{THINGS[n]} allowance?", [fact(n)], f"{THINGS[n]}.md", "person", status="approved")
             for n in range(8)]  # fmt: skip
    golden.append(golden.golden_file(tmp_path, "kb"), asked)
    run(cfg, Request("kb", "common", without_gold=0))
    rows = rows_of(cfg, "common")
    assert (len(rows["train"]), len(rows["test"])) == (6, 2)
    assert all(BOILERPLATE in shown(row) for row in rows["test"])
    assert not any(BOILERPLATE in shown(row) for row in rows["train"])


# --- the folder ------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(
    report: dict[str, Any], cfg: Config, none: Path
) -> None:
    run(cfg, Request("kb", "again", unanswerable=none))
    run(cfg, Request("kb", "other", unanswerable=none, seed=7))
    first = {file.name: file.read_bytes() for file in home_of(cfg, "whole").iterdir()}
    again = {file.name: file.read_bytes().replace(b"again", b"whole") for file in home_of(cfg, "again").iterdir()}
    assert again == first
    assert {"train.jsonl", "dev.jsonl", "test.jsonl", "questions.jsonl", "README.md", "run.json"} == set(first)
    assert (home_of(cfg, "other") / "train.jsonl").read_bytes() != first["train.jsonl"]


def test_the_same_inputs_are_not_made_again_and_other_ones_need_another_name(
    report: dict[str, Any], cfg: Config, none: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.training.dataset.draft", None)
    assert run(cfg, Request("kb", "whole", unanswerable=none)) == report | {"skipped": True}
    with pytest.raises(DatasetError, match="other inputs or settings") as error:
        run(cfg, Request("kb", "whole", unanswerable=none, without_gold=0.3))
    assert "--name" in error.value.hint


def test_the_record_and_the_card_say_what_is_in_it(report: dict[str, Any], cfg: Config) -> None:
    home, rows = home_of(cfg, "whole"), rows_of(cfg, "whole")
    assert json.loads((home / "run.json").read_text("utf-8")) | {"skipped": False} == report
    assert report["counts"] == {side: len(found) for side, found in rows.items()}
    assert {"documents", "golden.jsonl", "none.txt"} == set(report["inputs"])
    lengths = sorted(sum(context.estimate_tokens(m.content) for m in e.messages) for r in rows.values() for e in r)
    assert report["tokens"]["most"] == lengths[-1]
    assert report["tokens"]["median"] == lengths[(len(lengths) - 1) // 2]
    card = (home / "README.md").read_text("utf-8")
    assert f"| train | {len(rows['train'])} |" in card
    assert f"id `{report['prompt']['id']}`" in card
    assert all(f"- {path}\n" in card for found in report["files"].values() for path in found)
    assert "## Licence" in card


def test_where_nobody_asked_the_questions_are_drafted(cfg: Config, embedder: Embedder) -> None:
    build(cfg, embedder, {name: text for name, text in documents().items() if name < "l"}, "unasked").close()
    made = run(cfg, Request("unasked", "drafted", drafted=50, without_gold=0))
    files = [name for name in documents() if name < "l"]
    assert made["notes"] == [f"{len(files)} questions could be drafted, not 50"]
    rows = [row for found in rows_of(cfg, "drafted").values() for row in found]
    assert {(row.kind, row.origin) for row in rows} == {("answer", "drafted")}
    assert {row.file for row in rows} == set(files)


def test_nothing_is_left_behind_where_the_disk_is_full(
    cfg: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "chats.jsonl"
    file.write_text('{"instruction": "a", "output": "b"}')
    real = dataset_folder.write_whole

    def full(target: Path, text: str) -> None:
        if target.name == "README.md":
            raise OSError(28, "No space left on device")
        real(target, text)

    monkeypatch.setattr(dataset_folder, "write_whole", full)
    with pytest.raises(DatasetError, match="cannot be written: No space left on device") as error:
        import_chats(cfg, file, None, "full")
    assert "free space" in error.value.hint
    assert not list(home_of(cfg, "full").parent.glob("full*[!k]"))


def test_what_cannot_be_made_is_one_message(cfg: Config, tmp_path: Path, embedder: Embedder) -> None:
    with pytest.raises(CatalogError, match="there is no knowledge base 'absent'"):
        run(cfg, Request("absent", "x"))
    for name in ("../x", "", "a/b", ".", "x.partial"):
        with pytest.raises(DatasetError, match="cannot name a data set"):
            run(cfg, Request("kb", name))
    bare = load(flags={"app.data": str(tmp_path), "llm.backend": "extractive"}, environ={}).config
    build(bare, embedder, {}, "empty").close()
    with pytest.raises(DatasetError, match="has no documents"):
        run(bare, Request("empty", "x"))
    build(bare, embedder, {"hotel.md": document(0)}).close()
    with pytest.raises(DatasetError, match="there is no question") as error:
        run(bare, Request("kb", "x"))
    assert "--drafted" in error.value.hint
    asked = golden.made("How much is it?", [fact(0)], "hotel.md", "person", status="approved")
    golden.append(golden.golden_file(tmp_path, "kb"), [asked])
    with pytest.raises(DatasetError, match="no file can be held out") as error:
        run(bare, Request("kb", "x"))
    assert "--held-out 0" in error.value.hint
    assert run(bare, Request("kb", "x", held_out=0, without_gold=0))["counts"] == {"train": 1, "dev": 0, "test": 0}
    with pytest.raises(DatasetError, match="no example is left to train on"):
        run(bare, Request("kb", "y", held_out=0, without_gold=1))
    with pytest.raises(DatasetError, match="cannot be read"):
        run(cfg, Request("kb", "x", unanswerable=tmp_path / "absent.txt"))
    with (
        dataset_folder.alone(home_of(cfg, "busy")),
        pytest.raises(DatasetError, match="being made by another process"),
    ):
        run(cfg, Request("kb", "busy"))


# --- votes -----------------------------------------------------------------------------------------------------------


def vote_on(index: Index, cfg: Config, stub: Stub, n: int, id: str, **more: Any) -> Vote:
    """A vote on what was really asked and sent."""
    question = f"Please tell me what the {THINGS[n]} allowance amounts to"
    _, messages = served(index, cfg, stub, question)
    row = {"id": id, "time": "t", "question": question, "prompt": messages, "answer": f"It is {100 + n} euros [1].",
           "vote": "up", "file": f"{THINGS[n]}.md"}  # fmt: skip
    return Vote.model_validate(row | more)


def test_votes_become_examples_and_preferences_on_the_side_of_all_files_they_quote(
    tmp_path: Path, embedder: Embedder, stub: Stub
) -> None:
    flags = {"app.data": str(tmp_path), "retrieval.precision": "float32", "llm.backend": "extractive"}
    cfg = load(flags=flags | {"retrieval.k": "2"}, environ={}).config
    index = build(cfg, embedder, {f"{THINGS[n]}.md": document(n) for n in range(12)})
    asked = [golden.made(f"How much is the {THINGS[n]} allowance?", [fact(n)], f"{THINGS[n]}.md", "person",
                         status="approved") for n in range(12)]  # fmt: skip
    golden.append(golden.golden_file(tmp_path, "kb"), asked)
    file = votes_file(tmp_path, "kb")
    add_vote(file, vote_on(index, cfg, stub, 1, "v1"))
    add_vote(file, vote_on(index, cfg, stub, 2, "v2", vote="down", answer="No.", correction="It is 102 euros [1]."))
    index.close()
    made = run(cfg, Request("kb", "voted"))
    rows = {row.id: (side, row) for side, found in rows_of(cfg, "voted").items() for row in found}
    assert rows["v1"][0] in ("train", "dev")
    assert rows["v1"][1].answer == "It is 101 euros [1]."
    assert rows["v2"][1].answer == "It is 102 euros [1]."
    assert not {path for i in ("v1", "v2") for path, _ in sources_of(rows[i][1]).values()} & set(made["held_out"])
    (pair,) = [
        pair for side in ("train", "dev") if made["preferences"][side]
        for pair in read_preferences(home_of(cfg, "voted") / f"preferences-{side}.jsonl")
    ]  # fmt: skip
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("It is 102 euros [1].", "No.")
    assert made["inputs"]["votes.jsonl"]
    ratings = [
        rating for side in ("train", "dev") if made["ratings"][side]
        for rating in read_ratings(home_of(cfg, "voted") / f"ratings-{side}.jsonl")
    ]  # fmt: skip
    assert {(rating.id, rating.label) for rating in ratings} == {
        ("v1-good", True),
        ("v2-good", True),
        ("v2-bad", False),
    }

    index = Index.open(tmp_path, "kb", embedder)  # all files are voted on: some of them must be held out
    for n in range(12):
        add_vote(file, vote_on(index, cfg, stub, n, f"w{n}", correction=f"Exactly {100 + n} euros [1]."))
    index.close()
    made = run(cfg, Request("kb", "all-voted"))
    held = set(made["held_out"])
    sides = rows_of(cfg, "all-voted")
    assert held
    assert not any(path in held for r in (*sides["train"], *sides["dev"]) for path, _ in sources_of(r).values())
    for side in ("train", "dev", "test"):
        file = home_of(cfg, "all-voted") / f"preferences-{side}.jsonl"
        for pair in read_preferences(file) if file.exists() else ():
            quoted = {path for _, path, _ in HELD.findall(pair.prompt[-1].content)}
            assert quoted <= held if side == "test" else not quoted & held
    assert made["left_out"]["a vote whose prompt quotes what is held out"] > 0


# --- import and commands ---------------------------------------------------------------------------------------------


def test_imported_conversations_are_split_and_near_duplicates_left_out(cfg: Config, tmp_path: Path) -> None:
    long = " ".join(fact(n) for n in range(9))
    rows = [{"instruction": f"Task {n}", "output": f"Answer {n}"} for n in range(20)]
    rows += [{"instruction": "Task 1", "output": "again"}, {"instruction": "Task 2", "output": ""}]
    rows += [{"instruction": f"Write it {how}", "output": long + how} for how in ("now", "later")]
    file = tmp_path / "alpaca.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    made = import_chats(cfg, file, None, "imported")
    assert made["counts"] == {"train": 17, "dev": 2, "test": 2}
    assert made["left_out"] == {"nearly another example": 2, "a message is empty": 1}
    assert made["notes"] == ["left out, as a message is empty: line 22"]
    assert import_chats(cfg, file, None, "imported") == made | {"skipped": True}
    with pytest.raises(DatasetError, match="other inputs or settings"):
        import_chats(cfg, file, None, "imported", seed=1)


def test_the_commands_make_import_and_review(cfg: Config, tmp_path: Path) -> None:
    told = load(flags={"app.data": cfg.app.data}, environ={})
    object.__setattr__(told, "config", cfg)
    runner = CliRunner()

    def ok(*words: str) -> str:
        done = runner.invoke(dataset, words, obj=told)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    assert "edit review.md there" in ok("make", "--kb", "kb", "--name", "cli", "--review")
    home = home_of(cfg, "cli")
    assert {row.status for rows in rows_of(cfg, "cli").values() for row in rows} == {"draft"}
    first = rows_of(cfg, "cli")["train"][0]
    assert first.id in ok("review", "cli")
    ok("review", "cli", "--reject", first.id)
    assert f"- [-] `{first.id}`" in (home / "review.md").read_text("utf-8")
    assert json.loads(ok("review", "cli", "--approve-rest", "--json")) == {
        "statuses": {"rejected": 1, "approved": 23}, "drafts": [],
    }  # fmt: skip
    file = tmp_path / "chats.jsonl"
    file.write_text(json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}))
    assert "train: 1 conversations" in ok("import", str(file))
    assert json.loads(ok("import", str(file), "--format", "openai", "--json"))["skipped"]
    refused = runner.invoke(dataset, ["import", str(file), "--format", "x"], obj=told).exception
    assert isinstance(refused, ConfigError)
