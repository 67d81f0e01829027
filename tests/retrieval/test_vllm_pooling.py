"""Rerankers and embedders behind vLLM itself: what they say is what the models say here."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.upkeep.doctor import examine
from core.config import Config, LlmConfig, RetrievalConfig
from llm.serve import Server
from retrieval.embed import Embedder
from retrieval.rerank import Reranker
from tests.fixtures_vllm import free_port, say
from tests.retrieval.test_rerank import PASSAGES, QUESTION, build, local

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def pooling(vllm_cfg: LlmConfig, folder: Path) -> LlmConfig:
    keys = {"vllm_model": str(folder), "vllm_port": free_port(), "vllm_lora_rank": 0}
    return vllm_cfg.model_copy(update=keys | {"vllm_args": ["--runner", "pooling", "--dtype", "float32"]})


@pytest.fixture(scope="module")
def reranker(vllm_cfg: LlmConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Server]]:
    folder = build(tmp_path_factory.mktemp("served") / "reranker", hidden=128)  # vLLM's CPU build has no heads of 16
    with Server.start(pooling(vllm_cfg, folder), folder.parent / "vllm.log", say) as server:
        yield folder, server


def test_a_passage_beyond_the_rerankers_context_is_cut_and_said(reranker: tuple[Path, Server]) -> None:
    folder, server = reranker
    served = Reranker(RetrievalConfig(rerank_url=server.base_url, reranker=server.model_name))
    here = local(folder)
    short = [passage for passage in PASSAGES if len(passage.split()) < 20]
    told = served.scored(QUESTION, short)
    assert told.note == ""
    assert told.scores == pytest.approx(here.score(QUESTION, short), abs=1e-4)
    told = served.scored(QUESTION, PASSAGES)
    assert "longer than reranker" in told.note
    scores = dict(zip(PASSAGES, told.scores, strict=True))
    assert [scores[passage] for passage in short] == pytest.approx(here.score(QUESTION, short), abs=1e-4)
    assert np.isfinite(told.scores).all()


@pytest.fixture(scope="module")
def embedder(vllm_cfg: LlmConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    whole = Embedder(RetrievalConfig(embedder="multilingual"))._folder()
    assert whole
    folder = tmp_path_factory.mktemp("served") / "e5"
    folder.mkdir()
    for file in whole.iterdir():
        if file.name != "pieces.safetensors":  # the app's own, which vLLM takes for weights
            (folder / file.name).symlink_to(file)
    with Server.start(pooling(vllm_cfg, folder), folder.parent / "vllm.log", say) as server:
        yield server


def test_an_embedder_behind_vllm_gets_the_prompts_and_the_length_of_its_folder(embedder: Server) -> None:
    cfg = RetrievalConfig(embedder="multilingual", precision="float32")
    here, served = Embedder(cfg), Embedder(cfg.model_copy(update={"embed_url": embedder.base_url}))
    assert served.identity == here.identity  # the vectors of an index stay what they are
    texts = ["Annual leave is ten days a year.", "年假每年十天。", "The rain fell on the old town. " * 400]
    ours, theirs = here.embed_passages(texts), served.embed_passages(texts)
    assert np.sum(ours * theirs, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert here.embed_query(texts[0]) @ served.embed_query(texts[0]) == pytest.approx(1, abs=1e-5)
    assert served.embed_query(texts[0]) @ theirs[0] < 0.999  # a question has another prompt than a passage


def test_doctor_compares_a_served_embedder_with_the_embedder_itself(embedder: Server, cfg: Config) -> None:
    def check(**keys: object) -> tuple[bool, str]:
        retrieval = cfg.retrieval.model_copy(update={"embedder": "multilingual", "embed_url": embedder.base_url} | keys)
        found = {check.name: check for check in examine(cfg.model_copy(update={"retrieval": retrieval}))}
        return found["endpoint retrieval.embed_url"].ok, found["endpoint retrieval.embed_url"].detail

    good, told = check()
    assert good, told
    assert "cosine to the embedder's own vectors at least 1.0000" in told
    good, told = check(embedder="english")  # another model, of as many numbers
    assert not good
    assert "these are other vectors" in told
