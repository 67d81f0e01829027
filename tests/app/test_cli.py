import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the sample handbook indexed."""
    data = tmp_path_factory.mktemp("cli")
    done = ragstone(data, "index", "examples/handbook", "--kb", "handbook", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["added"], report["failed"]) == (0, 21, [])
    return data


def ragstone(data: Path, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    env = os.environ | {"RAGSTONE_DATA": str(data), "RAGSTONE_LLM__BACKEND": "extractive"} | environ
    command = [sys.executable, "-c", "from app.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=120)


def one_object(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


def test_a_second_index_changes_nothing(home: Path) -> None:
    report = one_object(ragstone(home, "index", "examples/handbook", "--kb", "handbook", "--json"))
    counts = {key: report[key] for key in ("added", "changed", "moved", "deleted", "unchanged", "embedded")}
    assert counts == {"added": 0, "changed": 0, "moved": 0, "deleted": 0, "unchanged": 21, "embedded": 0}
    assert report["chunks"] > 50
    assert report["cache_hits"] == 0


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_search_json_has_the_promised_form(home: Path, mode: str) -> None:
    done = ragstone(home, "search", "turbidity range", "--kb", "handbook", "--k", "3", "--mode", mode, "--json")
    result = one_object(done)
    assert result["mode"] == mode
    assert [hit["rank"] for hit in result["hits"]] == [1, 2, 3]
    first = result["hits"][0]
    assert {"rank", "score", "path", "page", "start", "end", "text", "dense_rank", "lexical_rank"} <= set(first)
    assert len(first["text"]) == first["end"] - first["start"]
    assert (first["dense_rank"] is None) == (mode == "lexical")


def test_search_can_be_limited_and_explained(home: Path) -> None:
    asked = ["search", "How many days of annual leave?", "--kb", "handbook", "--path", "people/**"]
    result = one_object(ragstone(home, *asked, "--explain", "--sentence", "No such sentence stands here.", "--json"))
    assert {hit["path"].split("/")[0] for hit in result["hits"]} == {"people"}
    assert result["trace"]["queries"][0]["text"] == "How many days of annual leave?"
    assert "no chunk holds" in result["sentence"][0]
    shown = ragstone(home, *asked, "--explain", COLUMNS="200").stdout
    assert "query 1 (question" in shown
    assert "lexical 1: #" in shown
    assert "1. terms: " in shown


def test_ask_json_answers_with_citations(home: Path) -> None:
    result = one_object(ragstone(home, "ask", "How long does my password have to be?", "--kb", "handbook", "--json"))
    assert result["answered"] is True
    assert "14 characters" in result["answer"]
    assert result["backend"] == "extractive"
    assert {"n", "path", "url", "page", "quote"} == set(result["citations"][0])
    assert f"[{result['citations'][0]['n']}]" in result["answer"]


def test_ask_says_when_the_documents_do_not_cover_it(home: Path) -> None:
    result = one_object(ragstone(home, "ask", "如何做红烧肉？", "--kb", "handbook", "--json"))
    assert (result["answered"], result["citations"]) == (False, [])
    assert "没有" in result["answer"]


def test_verify_and_config_json(home: Path) -> None:
    assert one_object(ragstone(home, "verify", "--kb", "handbook", "--json"))["ok"] is True
    settings = one_object(ragstone(home, "--set", "retrieval.k=3", "config", "--json"))
    assert settings["retrieval.k"] == {"value": 3, "origin": "flag"}
    assert settings["app.data"] == {"value": str(home), "origin": "RAGSTONE_DATA"}


def test_a_bad_file_makes_index_exit_1_and_is_listed(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "good.md").write_text("# Good\n\nFine.", encoding="utf-8")
    (docs / "bad.pdf").write_bytes(b"%PDF-1.4 broken")
    done = ragstone(tmp_path / "data", "index", str(docs), "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert [set(row) for row in report["failed"]] == [{"folder", "path", "error", "hint", "transient", "known"}]
    assert (report["added"], report["failed"][0]["path"]) == (1, "bad.pdf")
    assert "bad.pdf" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environ", "parts"),
    [
        (["index", "no/such/folder"], {}, ["does not exist", "→"]),
        (["search", "x", "--kb", "nothere"], {}, ["no knowledge base 'nothere'", "ragstone index FOLDER --kb nothere"]),
        (["search", "x", "--kb", "../etc"], {}, ["cannot name a knowledge base"]),
        (["ui", "--kb", "nope"], {}, ["no knowledge base 'nope' (there: handbook)", "ragstone index FOLDER --kb nope"]),
        (["serve", "--kb", "nope"], {}, ["no knowledge base 'nope'"]),
        (["--set", "retrieval.topk=3", "config"], {}, ["unknown key retrieval.topk", "known:"]),
        (["--config", "none.toml", "config"], {}, ["none.toml", "does not exist"]),
        (["config"], {"RAGSTONE_APP__PORT": "x"}, ["RAGSTONE_APP__PORT", "whole number"]),
        (["eval", "examples"], {}, ["corpus.jsonl", "missing"]),
        (["ask", "x", "--kb", "handbook"], {"RAGSTONE_LLM__BACKEND": "openai", "RAGSTONE_LLM__BASE_URL":
         "http://127.0.0.1:9/v1"}, ["no model server answers at http://127.0.0.1:9/v1", "llm.base_url"]),
    ],
)  # fmt: skip
def test_an_error_is_one_message_with_a_hint_and_exit_code_2(
    home: Path, arguments: list[str], environ: dict[str, str], parts: list[str]
) -> None:
    done = ragstone(home, *arguments, **environ)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    for part in parts:
        assert part in done.stderr


def test_a_data_folder_that_cannot_be_made_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be", encoding="utf-8")
    done = ragstone(tmp_path / "data", "index", "examples/handbook")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "data") in done.stderr


def test_eval_measures_a_folder_in_beir_form(tmp_path: Path) -> None:
    rows = [{"_id": "a", "title": "Leave", "text": "Annual leave is 25 days."},
            {"_id": "b", "title": "VPN", "text": "The VPN port is 8443."}]  # fmt: skip
    queries = [{"_id": "1", "text": "annual leave days"}, {"_id": "2", "text": "vpn port"}]
    for name, items in (("corpus", rows), ("queries", queries)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, items)), encoding="utf-8")
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n2\tb\t1\n", encoding="utf-8")
    result = one_object(ragstone(tmp_path / "data", "eval", str(tmp_path), "--json"))
    assert (result["documents"], result["chunks"]) == (2, 2)
    assert set(result["modes"]) == {"dense", "lexical", "hybrid"}
    for row in result["modes"].values():
        assert (row["ndcg@10"], row["recall@10"], row["recall@100"], row["mrr@10"]) == (1.0, 1.0, 1.0, 1.0)
        assert row["p95_ms"] >= row["p50_ms"] > 0


def test_doctor_says_what_is_there_and_what_to_do(home: Path) -> None:
    checks = {check["name"]: check for check in one_object(ragstone(home, "doctor", "--json"))["checks"]}
    assert "reads English" in checks["embedder"]["detail"]
    assert "bge-m3" in checks["embedder"]["hint"]
    assert "21 documents" in checks["knowledge base 'handbook'"]["detail"]


def test_watch_follows_the_folder_until_it_is_ended(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "first.md").write_text("# First\n\nOne.", encoding="utf-8")
    env = os.environ | {"RAGSTONE_DATA": str(tmp_path / "data")}
    command = [sys.executable, "-c", "from app.cli import main; main()", "index", str(docs), "--watch"]
    log = tmp_path / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, cwd=ROOT, env=env)

    def wait_for(text: str) -> bool:
        end = time.monotonic() + 60
        while text not in log.read_text("utf-8") and process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        return text in log.read_text("utf-8")

    try:
        assert wait_for("watching")
        time.sleep(1)  # the watch itself is set up after the line is printed
        (docs / "second.md").write_text("# Second\n\nA zebra.", encoding="utf-8")
        assert wait_for("1 embedded, 2 chunks in"), log.read_text("utf-8")
        (docs / "first.md").unlink()
        assert wait_for("0 added, 0 changed, 0 moved, 1 deleted"), log.read_text("utf-8")
    finally:
        process.kill()
        process.wait()
    hits = one_object(ragstone(tmp_path / "data", "search", "zebra", "--json"))["hits"]
    assert [hit["path"] for hit in hits] == ["second.md"]
