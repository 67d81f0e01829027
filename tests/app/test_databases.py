"""Knowledge bases in PostgreSQL, by commands, in Python and over HTTP."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from app.api import KnowledgeBase
from app.keeping.index import Report, run
from app.keeping.plan import forecast
from app.keeping.watch import follow
from app.measuring import golden
from app.running.bases import Bases
from app.running.embedders import with_embedder
from app.upkeep.purge import purge
from core.config import Config
from core.errors import CatalogError, ConfigError, ReadError
from retrieval.embed import Embedder
from retrieval.filters import Filter
from retrieval.index import Index
from tests.app.app_process import running as running_app
from tests.conftest import ROOT
from tests.retrieval.pg import Cluster

Write = Callable[[str, str], Path]


def paths(base: KnowledgeBase, question: str, where: Filter | None = None) -> list[str]:
    return [hit.path for hit in base.search(question, where=where).hits]


def test_a_folder_is_indexed_changed_and_asked(shared: Config, embedder: Embedder, write: Write) -> None:
    docs = write("leave.md", "# Leave\n\nAnnual leave is 25 days.").parent
    write(
        "it/vpn.md", "---\ntags: [network]\n---\n# VPN\n\nConnect on port 8443.\x00 Error E-4102 is an expired token."
    )
    write("nianjia.md", "年假每年二十五天。")
    write("empty.txt", "")
    report = run(shared, "kb", [docs], embedder=embedder)
    assert (report.added, [error.path for error in report.failed]) == (3, ["empty.txt"])
    with KnowledgeBase("kb", shared, embedder) as base:
        assert paths(base, "How many days of annual leave?")[0] == "leave.md"
        assert paths(base, "E-4102")[0] == "it/vpn.md"
        assert paths(base, "年假")[0] == "nianjia.md"
        assert set(paths(base, "leave", Filter(tags=("network",)))) == {"it/vpn.md"}
        answer = base.ask("How many days of annual leave?")
        assert answer.answered
        assert "25 days" in answer.text
        again = base.sync()
        assert (again.added, again.changed, again.deleted, again.unchanged, again.embedded) == (0, 0, 0, 3, 0)
        write("leave.md", "# Leave\n\nAnnual leave is 30 days.")
        (docs / "nianjia.md").rename(docs / "moved.md")
        (docs / "it" / "vpn.md").unlink()
        after = base.sync()
        assert (after.changed, after.moved, after.deleted, after.embedded) == (1, 1, 1, 1)
        assert "30 days" in base.search("annual leave").hits[0].text
        assert paths(base, "年假")[0] == "moved.md"
        assert "it/vpn.md" not in paths(base, "E-4102")
        assert base.index.verify() == []
    assert Index.names(Path(shared.app.data), shared.app.database) == ["kb"]
    assert not (Path(shared.app.data) / "kb").exists()


def test_what_lies_there_does_not_depend_on_the_home(
    shared: Config, cfg: Config, embedder: Embedder, write: Write
) -> None:
    texts = (
        "Travel costs are reimbursed.",
        "Hotels up to 180 euros a night.",
        "差旅费在三十天内报销。",
        "VPN on port 8443.",
    )
    docs = Path()
    for n, text in enumerate(texts):
        docs = write(f"{n}.md", f"# Title {n}\n\n{text}").parent
    found = []
    for each in (cfg, shared):
        run(each, "kb", [docs], embedder=embedder)
        with KnowledgeBase("kb", each, embedder) as base:
            questions = ("Which hotel costs?", "差旅费", "port 8443", "Title 2")
            hits = [base.search(question).hits for question in questions]
            found.append(
                [[(hit.path, hit.start, hit.text, hit.dense_rank, hit.lexical_rank) for hit in own] for own in hits]
            )
    assert found[0] == found[1]


def test_a_server_that_is_away_is_an_error_and_one_that_is_back_answers(
    shared: Config, cluster: Cluster, embedder: Embedder, write: Write
) -> None:
    docs = write("a.md", "Annual leave is 25 days.").parent
    run(shared, "kb", [docs], embedder=embedder)
    with KnowledgeBase("kb", shared, embedder) as base:
        assert paths(base, "leave") == ["a.md"]
        cluster.stop()
        try:
            for attempt in (
                lambda: base.search("leave"),
                lambda: base.ask("leave?"),
                base.sync,
                lambda: run(shared, "kb"),
            ):
                with pytest.raises(CatalogError, match=r"the database of app\.database cannot be used"):
                    attempt()
        finally:
            cluster.start()
        assert paths(base, "leave") == ["a.md"]


def ragstone(cfg: Config, *arguments: str) -> "subprocess.CompletedProcess[str]":
    own = {
        "RAGSTONE_DATA": cfg.app.data, "RAGSTONE_APP__DATABASE": cfg.app.database,
        "RAGSTONE_LLM__BACKEND": "extractive", "RAGSTONE_RETRIEVAL__EMBEDDER": cfg.retrieval.embedder,
    }  # fmt: skip
    command = [sys.executable, "-c", "from app.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | own, timeout=300)


def test_the_commands_work_and_the_password_is_not_shown(shared: Config, write: Write) -> None:
    docs = write("a.md", "Annual leave is 25 days.").parent
    done = ragstone(shared, "index", str(docs), "--kb", "kb", "--json")
    assert (done.returncode, json.loads(done.stdout)["added"]) == (0, 1), done.stderr
    found = json.loads(ragstone(shared, "search", "annual leave", "--kb", "kb", "--json").stdout)
    assert [hit["path"] for hit in found["hits"]] == ["a.md"]
    away = shared.model_copy(
        update={"app": shared.app.model_copy(update={"database": "postgresql://me:s3cret@127.0.0.1:9/none"})}
    )
    done = ragstone(away, "ask", "How many days of annual leave?", "--kb", "kb")
    assert done.returncode == 2
    assert "the database of app.database cannot be used" in done.stderr
    shown = ragstone(away, "config")
    assert shown.returncode == 0
    assert "s3cret" not in done.stdout + done.stderr + shown.stdout + shown.stderr


def test_a_rebuild_leads_back_and_a_purge_says_what_it_wrote(shared: Config, embedder: Embedder, write: Write) -> None:
    docs = write("a.md", "Annual leave is 25 days.").parent
    write("b.md", "The password of the vault is quarzberg.")
    run(shared, "kb", [docs], embedder=embedder)
    (docs / "b.md").unlink()
    report = run(shared, "kb", [docs], rebuild=True, embedder=embedder)
    assert (report.added, report.chunks, report.notes) == (1, 1, [])
    with KnowledgeBase("kb", shared, embedder) as base:
        assert paths(base, "quarzberg") == ["a.md"]
        done = ragstone(shared, "rollback", "--kb", "kb")
        assert "answers from generation g0001 again; g0002 was removed" in done.stdout
        assert paths(base, "quarzberg")[0] == "b.md"
        base.sync()
        assert paths(base, "quarzberg") == ["a.md"]
    receipt = json.loads(ragstone(shared, "purge", "--kb", "kb", "--json").stdout)
    assert (receipt["documents"], receipt["chunks"]) == (1, 1)
    assert {"ragstone.chunks_1", "ragstone.documents"} <= {row["file"] for row in receipt["files"]}
    checked = json.loads(ragstone(shared, "verify", "--kb", "kb", "--json").stdout)
    assert (checked["ok"], checked["recall_at_10"]) == (True, 1.0)
    listed = json.loads(ragstone(shared, "files", "--kb", "kb", "--json").stdout)
    assert [card["path"] for card in listed["files"]] == ["a.md"]
    assert "1 documents of" in ragstone(shared, "remove", str(docs), "--kb", "kb").stdout


def test_a_rebuild_of_a_folder_that_is_away_leaves_what_answers(
    shared: Config, embedder: Embedder, write: Write
) -> None:
    docs = Path()
    for n in range(10):
        docs = write(f"{n}.md", f"Word number {n}.").parent
    run(shared, "kb", [docs], embedder=embedder)
    for file in docs.glob("*.md"):
        file.unlink()
    with pytest.raises(ReadError, match="had 10 documents and now holds none"):
        run(shared, "kb", [docs], rebuild=True, embedder=embedder)
    with KnowledgeBase("kb", shared, embedder) as base:
        assert base.index.counts().documents == 10


def test_two_processes_share_what_is_uploaded_rebuilt_and_made_again(
    shared: Config, embedder: Embedder, write: Write, tmp_path: Path
) -> None:
    one, other = Bases(shared), Bases(shared.model_copy(update={"app": shared.app.model_copy()}))
    docs = write("a.md", "Annual leave is 25 days.").parent
    run(shared, "kb", [docs], embedder=embedder)
    assert (one.names(), other.names()) == (["kb"], ["kb"])
    known = one.identity("kb")
    assert known == other.identity("kb") != ""
    assert one.get("kb").catalog.paths() == other.get("kb").catalog.paths() == ["a.md"]
    upload = tmp_path / "parking.md"
    upload.write_text("The garage opens at 06:30.", encoding="utf-8")
    assert one.upload("kb", [upload]).added == 1
    assert other.get("kb").catalog.paths() == ["a.md", "parking.md"]
    held = other.get("kb")
    run(shared, "kb", rebuild=True, embedder=embedder)
    assert held.superseded
    assert other.get("kb") is not held
    assert other.get("kb").catalog.paths() == ["a.md", "parking.md"]
    assert other.identity("kb") == known  # the same knowledge base, made anew
    assert other.update("kb").unchanged == 2
    assert one.identity("none") == ""
    assert one.make("new").counts().documents == 0
    assert other.identity("new") not in ("", known)


def test_a_plan_says_what_a_run_will_do(shared: Config, embedder: Embedder, write: Write) -> None:
    docs = write("a.md", "Annual leave is 25 days.").parent
    run(shared, "kb", [docs], embedder=embedder)
    write("b.md", "Hotels up to 180 euros.")
    forecast_ = forecast(shared, "kb", embedder=embedder)
    assert [entry.path for entry in forecast_.plans[str(docs)].added] == ["b.md"]
    assert forecast_.chunks == 1
    assert Index.open(Path(shared.app.data), "kb", embedder, shared.app.database).catalog.paths() == ["a.md"]


def test_a_folder_is_followed_over_a_rebuild(shared: Config, embedder: Embedder, write: Write) -> None:
    docs = write("a.md", "One.").parent
    run(shared, "kb", [docs], embedder=embedder)
    index, stop = Index.open(Path(shared.app.data), "kb", embedder, shared.app.database), threading.Event()
    done: list[Report] = []
    follower = threading.Thread(target=lambda: done.extend(follow(index, shared.ingest, stop)))
    follower.start()
    try:
        for n, name in enumerate(("b.md", "c.md")):
            write(name, f"Number {n}.")
            paths = {"a.md", "b.md", name}
            while set(index.anew().catalog.paths()) != paths:
                assert follower.is_alive()
                time.sleep(0.05)
            if not n:
                run(shared, "kb", rebuild=True, embedder=embedder)
    finally:
        stop.set()
        follower.join()


def test_a_golden_set_is_measured_and_purged(shared: Config, embedder: Embedder, write: Write) -> None:
    docs = write("a.md", "Annual leave is 25 days.").parent
    write("b.md", "The vault opens with quarzberg.")
    run(shared, "kb", [docs], embedder=embedder)
    file = golden.golden_file(Path(shared.app.data), "kb")
    with KnowledgeBase("kb", shared, embedder) as base:
        golden.add(base.index, file, "How many days of leave?", ["Annual leave is 25 days."], "a.md")
        gone = golden.add(base.index, file, "What opens the vault?", ["The vault opens with quarzberg."], "b.md")
        assert base.evaluate()["questions"] == 2
        (docs / "b.md").unlink()
        base.sync()
    receipt = purge(Path(shared.app.data), "kb", embedder, shared.app.database)
    assert f"golden.jsonl: question {gone.id}" in receipt.removed
    assert "quarzberg" not in file.read_text("utf-8")
    assert {row.file for row in receipt.files} >= {"golden.jsonl", "ragstone.chunks_1"}


def test_the_api_answers_from_a_database_and_says_where_it_is_away(
    shared: Config, cluster: Cluster, embedder: Embedder, write: Write, tmp_path: Path
) -> None:
    run(shared, "handbook", [write("a.md", "Annual leave is 25 days.").parent], embedder=embedder)
    env = {
        "RAGSTONE_APP__DATABASE": shared.app.database, "RAGSTONE_LLM__BACKEND": "extractive",
        "RAGSTONE_RETRIEVAL__EMBEDDER": shared.retrieval.embedder, "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }  # fmt: skip
    body = {"model": "handbook", "messages": [{"role": "user", "content": "How many days of annual leave?"}]}
    with running_app("serve", Path(shared.app.data), tmp_path / "log", env) as app:
        answer = httpx.post(f"{app.url}/v1/chat/completions", json=body, timeout=120)
        assert "25 days" in answer.json()["choices"][0]["message"]["content"]
        cluster.stop()
        try:
            away = httpx.post(f"{app.url}/v1/chat/completions", json=body, timeout=120)
            assert away.status_code >= 500
            assert "the database of app.database cannot be used" in away.text
        finally:
            cluster.start()
        again = httpx.post(f"{app.url}/v1/chat/completions", json=body, timeout=120)
        assert "25 days" in again.json()["choices"][0]["message"]["content"]


def test_a_dictionary_is_refused(shared: Config, embedder: Embedder, write: Write) -> None:
    run(shared, "kb", [write("a.md", "Annual leave is 25 days.").parent], embedder=embedder)
    home = Path(shared.app.data) / "kb"
    home.mkdir(parents=True)
    (home / "dictionary.txt").write_text("leave = holiday\n", encoding="utf-8")
    with KnowledgeBase("kb", shared, embedder) as base, pytest.raises(ConfigError, match=r"dictionary\.txt"):
        base.search("leave")


def test_a_url_of_another_kind_is_refused(cfg: Config) -> None:
    with pytest.raises(ConfigError, match="no URL of a PostgreSQL"):
        Index.names(Path(cfg.app.data), "mysql://me:s3cret@host/none")


def test_another_embedder_is_not_chosen_on_the_page(shared: Config) -> None:
    with pytest.raises(ConfigError, match="does not change the embedder"):
        with_embedder(shared, "multilingual")
