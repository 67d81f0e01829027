"""Embedders and rerankers of LangChain and LlamaIndex, by their names in the settings."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.api import KnowledgeBase
from core.config import Config, RetrievalConfig, load
from core.errors import CatalogError, ConfigError, ModelError
from retrieval.plugged import PluggedEmbedder, embedder_of
from retrieval.rerank import Reranker

FAKE = "langchain:langchain_core.embeddings:DeterministicFakeEmbedding"
OTHERS = "tests.retrieval.plugged_parts"
QUESTION = "How many days of annual leave?"


class Broken:
    """An embedder whose vectors have several lengths."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[1.0] * (2 + n) for n, _ in enumerate(texts)]

    def embed_query(self, text: str) -> list[float]:
        return [1.0, 1.0]


def settings(**keys: Any) -> RetrievalConfig:
    return RetrievalConfig(**keys)


def test_an_embedder_of_langchain_gives_unit_vectors_and_is_found_again() -> None:
    embedder = embedder_of(settings(embedder=FAKE, embedder_settings={"size": 32}))
    vectors = embedder.embed_passages(["annual leave", "travel"])
    assert vectors.shape == (2, embedder.dimension) == (2, 32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1.0, 1.0], abs=1e-6)
    assert embedder.embed_query("annual leave") == pytest.approx(vectors[0], abs=1e-6)
    assert all(reading.readable for reading in embedder.read(["annual leave", "年休假", "연차"]))
    assert embedder.count_tokens("年休假abcdefgh") == 3 + 3


def test_questions_and_passages_of_a_llama_index_embedder_differ() -> None:
    embedder = embedder_of(settings(embedder=f"llama_index:{OTHERS}:Lengths"))
    assert embedder.embed_query("a") == pytest.approx([0.0, 1.0])
    assert embedder.embed_passages(["abcd"])[0] == pytest.approx(np.array([4.0, 1.0]) / 17**0.5)


def test_the_identity_covers_what_is_configured_but_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights.bin").write_bytes(b"1")

    def identity(name: str = FAKE, **keys: Any) -> str:
        made = PluggedEmbedder(settings(embedder=name, **keys))
        vars(made)["_made"] = type("Made", (), {"what": None})  # it need not take these settings
        return made.identity

    there = identity(embedder_settings={"size": 32, "folder": str(model)})
    assert there == identity(embedder_settings={"folder": str(model), "size": 32})
    others = [
        identity(embedder_settings={"size": 33, "folder": str(model)}),
        identity(embedder_settings={"size": 32, "folder": str(model)}, query_prompt="query: "),
        identity(f"{FAKE}s", embedder_settings={"size": 32, "folder": str(model)}),
    ]
    (model / "weights.bin").write_bytes(b"2")
    others.append(identity(embedder_settings={"size": 32, "folder": str(model)}))
    assert len({there, *others}) == 5
    monkeypatch.setenv("KEY", "one")
    one = identity(embedder_settings={"key": {"env": "KEY"}})
    monkeypatch.setenv("KEY", "two")
    assert identity(embedder_settings={"key": {"env": "KEY"}}) == one


def test_vectors_of_several_lengths_are_an_error_that_names_the_embedder() -> None:
    embedder = embedder_of(settings(embedder=f"langchain:{__name__}:Broken"))
    with pytest.raises(ModelError, match="test_plugged:Broken failed: ValueError"):
        embedder.embed_passages(["a", "b"])
    with pytest.raises(ConfigError, match="embed_url is for an embedder of ours"):
        _ = embedder_of(settings(embedder=FAKE, embed_url="http://127.0.0.1:1")).identity


def test_what_a_postprocessor_leaves_out_stands_behind_what_it_keeps_in_its_order() -> None:
    reranker = Reranker(settings(reranker=f"llama_index:{OTHERS}:Shortest"))
    scored = reranker.scored("q", ["four", "fourteen", "six six", "x"])
    assert sorted(range(4), key=lambda n: -scored.scores[n])[:2] == [3, 0]
    assert scored.scores[1] == scored.scores[2] == 0.0
    assert scored.note.endswith("kept 2 of 4 passages: the others stand behind them")


def test_log_odds_of_a_compressor_are_made_shares() -> None:
    scored = Reranker(settings(reranker=f"langchain:{OTHERS}:Scores")).scored("q", ["a", "b", "c", "d", "e", "f"])
    assert scored.scores[1:] == sorted(scored.scores[1:], reverse=True)
    assert scored.scores[1] == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert scored.scores[0] == min(scored.scores)


def test_a_knowledge_base_by_a_langchain_embedder_is_asked_and_follows_its_settings(
    cfg: Config, write: Callable[[str, str], Path]
) -> None:
    folder = write("leave.md", "# Leave\n\nAnnual leave is 25 days.").parent

    def base(size: int, name: str = FAKE) -> KnowledgeBase:
        own = {"embedder": name, "embedder_settings": {"size": size}}
        return KnowledgeBase("kb", cfg.model_copy(update={"retrieval": cfg.retrieval.model_copy(update=own)}))

    with base(32) as first:
        assert first.sync(folder).embedded == 1
        assert "25 days" in first.ask(QUESTION).text
    with base(48) as other:
        with pytest.raises(CatalogError, match="or other files"):
            other.sync(folder)
        assert other.sync(folder, rebuild=True).embedded == 1
        assert other.index.embedder.dimension == 48


def test_a_catalog_never_names_code_to_run(
    cfg: Config, write: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hostile.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Class: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with KnowledgeBase("kb", cfg) as base:
        base.sync(write("leave.md", "Annual leave is 25 days.").parent)
        told = json.loads(base.index.catalog.manifest().embedder_settings) | {"embedder": "langchain:hostile:Class"}
        base.index.catalog.set_meta("embedder_settings", json.dumps(told))
        base.index.catalog.set_meta("embedder", "another")
    with pytest.raises(CatalogError, match="with other settings than now"):
        _ = KnowledgeBase("kb", load(flags={"app.data": cfg.app.data}, environ={}).config).index
    assert not (tmp_path / "ran").exists()
