"""What docs/extending.md shows works as an installed package, and a plug-in that does not is told by its name."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import learning_lm
from tests.conftest import ROOT
from tests.extending import env_with, installed

pytestmark = pytest.mark.slow

NOTEBOOK = b"LAB1\nBuffer trials\n@Acetate\nThe acetate buffer was mixed at pH 4.7.\n?\x07\n\n@Phosphate\nIt froze.\n"
SETTINGS = """
[ingest]
chunker = "plugin:paragraphs"
[retrieval]
embedder = "plugin:acme"
embedder_settings = { size = 512 }
reranker = "plugin:acme"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(tmp_path_factory.mktemp("acme"))


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "trial.lab").write_bytes(NOTEBOOK)
    (folder / "NOTEBOOK").write_bytes(NOTEBOOK)
    (folder / "bad.lab").write_bytes(b"\xff")
    (folder / "travel.md").write_text("# Travel\n\nTrips are approved by the head.\n\nHotels cost 120 euros at most.\n")
    return folder


def ragstone(env: dict[str, str], *words: str, code: int = 0) -> str:
    command = [sys.executable, "-c", "from app.cli import main; main()", *words]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code < 2 else done.stderr


def test_a_knowledge_base_is_read_cut_embedded_and_reranked_by_plug_ins(site: Path, docs: Path, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(SETTINGS)
    env = env_with(site, tmp_path / "data", RAGSTONE_CONFIG=str(file))
    env.pop("RAGSTONE_RETRIEVAL__EMBEDDER", None)
    report = json.loads(ragstone(env, "index", str(docs), "--json", code=1))
    assert (report["added"], report["chunks"]) == (3, 7)
    (failed,) = report["failed"]
    assert "plug-in 'lab' of ragstone-acme 1.0 failed: UnicodeDecodeError" in failed["error"]
    assert ragstone(env, "files").count("1 lines could not be read") == 2
    found = json.loads(ragstone(env, "search", "What was mixed with acetate", "--json"))
    best = found["hits"][0] if isinstance(found, dict) else found[0]
    assert best["text"].strip() == "The acetate buffer was mixed at pH 4.7."
    assert best["headings"] == ["Acetate"]
    assert best["rerank_score"] == pytest.approx(3 / 5)
    assert "plug-in 'paragraphs' of ragstone-acme 1.0" in ragstone(env, "config")
    checks = json.loads(ragstone(env, "doctor", "--json"))["checks"]
    told = {check["name"]: check["detail"] for check in checks}
    assert told["plug-in 'rslora'"] == "of ragstone-acme 1.0 (ragstone.methods)"
    assert told["embedder"].startswith("plugin:acme, 512 numbers a vector, reads 2000 tokens")
    file.write_text(SETTINGS.replace("512", "128"))
    assert "--rebuild" in ragstone(env, "index", str(docs), code=2)
    assert "with other settings than now" in ragstone(env, "search", "acetate", code=2)


def test_a_store_of_others_keeps_the_contract_and_is_searched(site: Path, docs: Path, tmp_path: Path) -> None:
    env = env_with(site, tmp_path / "data", RAGSTONE_APP__DATABASE=f"exact://{tmp_path / 'exact'}")
    assert json.loads(ragstone(env, "index", str(docs), "--json", code=1))["added"] == 3
    assert (tmp_path / "exact" / "default" / "CURRENT").exists()
    assert "120 euros" in ragstone(env, "search", "What may a hotel cost?")
    contract = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/retrieval/test_contract.py"]
    chosen = "store and (brute_force or has_the_types or lets_through)"
    env |= {"RAGSTONE_TEST_STORE": "exact://{}", "PYTEST_ADDOPTS": ""}
    words = [*contract, "-k", chosen, "--basetemp", str(tmp_path / "contract")]
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_method_of_others_is_planned_as_ours_are(site: Path, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    base = learning_lm.build(tmp_path / "base", steps=0)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(learning_lm.rows())
    words = ["finetune", "model", "--name", "m", "--base", str(base), "--data", str(rows), "--dry-run", "--json"]
    env = env_with(site, tmp_path / "data")
    told = json.loads(ragstone(env, *words, "--method", "rslora"))
    assert told["serving"]["as_adapter"] is True
    assert told["parameters"]["trained"] == json.loads(ragstone(env, *words))["parameters"]["trained"] > 0
    assert "there is no method 'lorra'" in ragstone(env, *words, "--method", "lorra", code=2)


def test_a_broken_plug_in_is_told_by_its_name_and_all_else_goes_on(docs: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    info = site / "broken-0.3.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text("[ragstone.readers]\nlab = broken_reader:Reader\n")
    (site / "broken_reader.py").write_text("raise OSError('its model is missing')\n")
    env = env_with(site, tmp_path / "data")
    report = json.loads(ragstone(env, "index", str(docs), "--json", code=1))
    assert report["added"] == 1
    said = "plug-in 'lab' of broken 0.3 cannot be used: OSError: its model is missing"
    assert {row["path"]: row["error"] for row in report["failed"]} == {"bad.lab": said, "trial.lab": said}
    assert "120 euros" in ragstone(env, "search", "What may a hotel cost?")
    found = ragstone(env, "doctor", code=1)
    assert "of broken 0.3 (ragstone.readers): OSError: its model is missing" in " ".join(found.split())
