import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.config import RetrievalConfig
from core.errors import ModelError
from retrieval import rerank
from retrieval.embed import Embedder
from retrieval.rerank import Reranker, Scored, reranker_of

WORDS = tuple(f"{a}{b}" for a in "ba be bi bo bu da de di do du".split() for b in "kan len mir nor pux ras sit".split())
QUESTION = "bakan belen bimir"
MAX_TOKENS = 32
ROOM = MAX_TOKENS - 3  # [CLS] question [SEP] passage [SEP]
KEY = "sk-very-secret"


def words(n: int, seed: int) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, n))


PASSAGES = [words(n, seed=n) for n in (5, 90, 1, 12, 40, 26, 3, 25)]


def build(folder: Path, labels: int = 1, hidden: int = 32) -> Path:
    """A one-layer BERT with a head, random but with weights large enough that every word matters."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS))}
    bare = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    bare.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))  # type: ignore[assignment]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=MAX_TOKENS,
    )  # fmt: skip
    torch.manual_seed(11)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=hidden, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=48, max_position_embeddings=64, initializer_range=0.5,
    )  # fmt: skip
    config.num_labels = labels
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def local(folder: Path, **settings: object) -> Reranker:
    known = {"reranker": str(folder), "device": "cpu", "precision": "float32"}
    return Reranker(RetrievalConfig.model_validate(known | settings))


def by_hand(folder: Path, question: str, passage: str) -> np.ndarray:
    """The logits of one pair, from transformers alone."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        return model(**tokenizer(question, passage, return_tensors="pt", truncation=False)).logits[0].numpy()


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("reranker"))


def test_scores_are_the_models_own_with_long_passages_cut_at_their_end(folder: Path) -> None:
    cut = [" ".join(passage.split()[: ROOM - 3]) for passage in PASSAGES]
    expected = [sigmoid(by_hand(folder, QUESTION, passage).item()) for passage in cut]
    assert np.diff(np.sort(expected)).min() > 1e-3  # no two are alike
    assert local(folder).score(QUESTION, PASSAGES) == pytest.approx(expected, abs=1e-5)


def test_a_long_question_keeps_half_of_the_length(folder: Path) -> None:
    question, passage = words(40, seed=1), words(60, seed=2)
    kept, rest = question.split()[: ROOM // 2], passage.split()[: ROOM - ROOM // 2]
    expected = sigmoid(by_hand(folder, " ".join(kept), " ".join(rest)).item())
    assert local(folder).score(question, [passage]) == pytest.approx([expected], abs=1e-5)
    assert local(folder).score(" ".join(kept[:-1]), [passage]) != pytest.approx([expected], abs=1e-3)


def test_batches_change_no_score(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = local(folder).score(QUESTION, PASSAGES)
    backwards = local(folder).score(QUESTION, PASSAGES[::-1])
    monkeypatch.setattr(rerank, "_BATCH_TOKENS", 40)  # one long pair or a few short ones
    assert local(folder).score(QUESTION, PASSAGES) == pytest.approx(whole, abs=1e-5)
    assert backwards[::-1] == pytest.approx(whole, abs=1e-5)


def test_batches_are_bounded_by_tokens(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerank, "_BATCH_TOKENS", 100)
    lengths = [7, 250, 30, 1, 50, 50, 33, 9]
    batches = list(rerank._batches(lengths))
    assert batches == [[1], [4, 5], [6, 2, 7], [0, 3]]


def test_bfloat16_stays_close_and_its_logits_do_not_tie(folder: Path) -> None:
    passages = [words(20, seed) for seed in range(60)]
    exact, fast = (np.array(local(folder, precision=p).score(QUESTION, passages)) for p in ("float32", "bfloat16"))
    assert np.abs(exact - fast).max() < 0.05
    assert len(set(fast)) == 60


def test_two_classes_are_no_and_yes(tmp_path: Path) -> None:
    folder = build(tmp_path, labels=2)
    no, yes = by_hand(folder, QUESTION, PASSAGES[0])
    expected = np.exp(yes) / (np.exp(no) + np.exp(yes))
    assert local(folder).score(QUESTION, PASSAGES[:1]) == pytest.approx([expected], abs=1e-5)


def test_other_classes_are_no_scores(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="3 classes"):
        local(build(tmp_path, labels=3)).score(QUESTION, PASSAGES)


def test_an_embedder_is_no_reranker(embedder: Embedder) -> None:
    builtin = embedder._folder()
    assert builtin
    with pytest.raises(ModelError, match="no reranker"):  # it would load, with a head made at random
        local(builtin).score(QUESTION, PASSAGES)


def test_a_reranker_that_cannot_be_loaded_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist") as absent:
        local(tmp_path / "absent").score(QUESTION, PASSAGES)
    assert "retrieval.reranker" in absent.value.hint
    with pytest.raises(ModelError, match="cannot be loaded"):
        local(tmp_path).score(QUESTION, PASSAGES)
    build(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        local(tmp_path).score(QUESTION, PASSAGES)


def test_scores_that_are_no_numbers_are_refused(folder: Path) -> None:
    import torch

    reranker = local(folder)
    reranker._model.get_parameter("0.model.classifier.bias").data.fill_(torch.nan)
    with pytest.raises(ModelError, match="NaN or infinity for 8 of 8"):
        reranker.score(QUESTION, PASSAGES)


def test_a_reranker_is_there_where_one_is_configured() -> None:
    assert reranker_of(RetrievalConfig()) is None
    served = reranker_of(RetrievalConfig(rerank_url="http://127.0.0.1:1/v1"))
    named = reranker_of(RetrievalConfig(rerank_url="http://127.0.0.1:1/v1", reranker="bge"))
    assert served
    assert named
    assert (served.name, named.name) == ("http://127.0.0.1:1/v1", "bge")
    assert served.score("x", []) == []


@dataclass
class Endpoint:
    """A rerank server: `answer` makes the reply to a request's body, or is one."""

    url: str = ""
    status: int = 200
    answer: Callable[[dict[str, Any]], object] | bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    refuses: Callable[[dict[str, Any]], tuple[int, str] | None] | None = None
    asked: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def score(self, passages: list[str], **settings: object) -> list[float]:
        return self.scored(passages, **settings).scores

    def scored(self, passages: list[str], **settings: object) -> Scored:
        cfg = RetrievalConfig.model_validate({"rerank_url": self.url, "rerank_key": KEY} | settings)
        return Reranker(cfg).scored(QUESTION, passages)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    state = Endpoint(answer=by_length)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.asked.append((self.path, self.headers.get("Authorization", ""), body))
            reply = state.answer if isinstance(state.answer, bytes) else json.dumps(state.answer(body)).encode()
            refused = state.refuses(body) if state.refuses else None
            if refused:
                reply = refused[1].encode()
            self.send_response(refused[0] if refused else state.status)
            for name, value in ({"Content-Length": str(len(reply))} | state.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply)

        do_GET = do_POST

        def log_message(self, format: str, *args: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield state
        server.shutdown()
        thread.join()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves early is what is tested."""


def by_length(body: dict[str, Any]) -> object:
    """A ranking as vLLM sends it, best first: the shorter the better."""
    scored = [(1 / len(text), i) for i, text in enumerate(body["documents"])]
    results = [{"index": i, "document": {"text": "…"}, "relevance_score": s} for s, i in sorted(scored, reverse=True)]
    return {"id": "rerank-1", "model": body.get("model"), "usage": {"total_tokens": 9}, "results": results}


def test_an_endpoint_is_asked_in_the_common_form(endpoint: Endpoint) -> None:
    assert endpoint.score(["aaaa", "a", "aa"], reranker="bge") == [0.25, 1.0, 0.5]
    body = {"model": "bge", "query": QUESTION, "documents": ["aaaa", "a", "aa"], "top_n": 3}
    assert endpoint.asked == [("/v1/rerank", f"Bearer {KEY}", body)]
    endpoint.score(["a"], rerank_key="", rerank_url=endpoint.url + "/")
    assert endpoint.asked[1] == ("/v1/rerank", "", {"query": QUESTION, "documents": ["a"], "top_n": 1})


def test_many_documents_go_in_several_requests(endpoint: Endpoint) -> None:
    passages = ["a" * (1 + i % 7) for i in range(250)]
    assert endpoint.score(passages) == [1 / len(passage) for passage in passages]
    assert [body["top_n"] for _, _, body in endpoint.asked] == [100, 100, 50]


def longest(body: dict[str, Any]) -> int:
    return max(map(len, body["documents"]))


def test_an_endpoint_that_can_cut_is_asked_to_only_where_it_refuses_a_length_and_that_is_said(
    endpoint: Endpoint,
) -> None:
    said = "This model's maximum context length is 32 tokens. However, your request has 90 input tokens."
    endpoint.refuses = lambda body: (400, said) if longest(body) > 50 and "truncate_prompt_tokens" not in body else None
    assert endpoint.scored(["a", "aa"]) == Scored([1.0, 0.5])
    told = endpoint.scored(["a", "a" * 100], reranker="bge")
    assert told.scores == [1.0, 0.01]
    assert told.note == "a passage is longer than reranker bge reads: its end was not read"
    assert ["truncate_prompt_tokens" in body for _, _, body in endpoint.asked] == [False, False, True]
    assert endpoint.asked[-1][2]["truncate_prompt_tokens"] == -1


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (500, '{"error": {"message": "input (900 tokens) is too large to process. increase the physical batch size"}}'),
        (413, '{"error": "`inputs` must have less than 512 tokens. Given: 900", "error_type": "Validation"}'),
        (422, '{"message": "document is too long"}'),
    ],
)
def test_an_endpoint_that_cannot_cut_is_sent_shorter_passages(endpoint: Endpoint, status: int, said: str) -> None:
    endpoint.refuses = lambda body: (status, said) if longest(body) > 500 else None
    told = endpoint.scored(["a", "a" * 1500, "a" * 300])
    assert told.scores == [1.0, 1 / 375, 1 / 300]
    assert "cut to 375 characters" in told.note
    endpoint.refuses = lambda body: (status, said)  # whatever is sent
    with pytest.raises(ModelError, match=f"HTTP {status}"):
        endpoint.score(["a" * 1500])


def test_logits_of_an_endpoint_become_scores(endpoint: Endpoint) -> None:
    endpoint.answer = results((0, 7.7), (1, -2.3), (2, 0.0))
    assert endpoint.score(["a", "b", "c"]) == pytest.approx([sigmoid(7.7), sigmoid(-2.3), 0.5])
    endpoint.answer = results((0, 1e300), (1, -1e300))
    assert endpoint.score(["a", "b"]) == [1.0, 0.0]


def results(*scored: tuple[object, object]) -> bytes:
    return json.dumps({"results": [{"index": i, "relevance_score": s} for i, s in scored]}).encode()


HOSTILE = {
    "no JSON": b"<html>login page</html>",
    "nothing": b"",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "no results": b'{"data": []}',
    "missing": results((0, 0.5)),
    "too many": results((0, 0.5), (1, 0.5), (2, 0.5)),
    "twice": results((0, 0.5), (0, 0.6)),
    "twice beside all": results((0, 0.5), (1, 0.5), (1, 0.9)),
    "out of range": results((0, 0.5), (2, 0.5)),
    "negative": results((0, 0.5), (-1, 0.5)),
    "huge index": results((0, 0.5), (10**400, 0.5)),
    "text index": results(("0", 0.5), ("1", 0.5)),
    "true as index": results((False, 0.5), (True, 0.5)),
    "NaN": results((0, 0.5), (1, float("nan"))),
    "infinity": results((0, 0.5), (1, float("inf"))),
    "huge score": results((0, 0.5), (1, 10**400)),
    "text score": results((0, 0.5), (1, "0.5")),
    "no score": results((0, 0.5), (1, None)),
    "bytes": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("reply", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_reply_that_is_no_ranking_is_refused(endpoint: Endpoint, reply: bytes) -> None:
    endpoint.answer = reply
    with pytest.raises(ModelError, match="no ranking") as error:
        endpoint.score(["a", "b"])
    assert endpoint.url in error.value.message
    assert len(error.value.message) < 500


def test_an_endless_reply_is_cut_short(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerank, "_REPLY_BYTES", 1000)
    endpoint.answer = b'{"results": [' + b" " * 100_000
    with pytest.raises(ModelError, match="more than 1012 bytes"):
        endpoint.score(["a", "b"])


@pytest.mark.parametrize(
    ("status", "said", "retryable"),
    [
        (401, "refuses the key", False), (403, "refuses the key", False), (404, "is not a rerank endpoint", False),
        (405, "is not a rerank endpoint", False), (400, "HTTP 400: too long", False), (500, "HTTP 500", True),
        (429, "HTTP 429", True),
    ],
)  # fmt: skip
def test_a_refusal_says_what_to_do_and_never_the_key(
    endpoint: Endpoint, status: int, said: str, retryable: bool
) -> None:
    endpoint.status, endpoint.answer = status, f"too long \x1b[31m for {KEY}".encode()
    with pytest.raises(ModelError, match=said) as error:
        endpoint.score(["a"])
    assert error.value.hint
    assert error.value.retryable is retryable
    assert KEY not in str(error.value)
    assert "\x1b" not in str(error.value)


def test_a_redirect_is_not_followed(endpoint: Endpoint) -> None:
    endpoint.status, endpoint.headers = 307, {"Location": f"{endpoint.url}/elsewhere"}
    with pytest.raises(ModelError, match="HTTP 307"):
        endpoint.score(["a"])
    assert [path for path, _, _ in endpoint.asked] == ["/v1/rerank"]


def test_no_proxy_of_the_environment_is_used(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert endpoint.score(["aa"]) == [0.5]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "127.0.0.1:8000", "http://127.0.0.1:99999", f"http://{'a' * 70}.invalid", "http://["]
)
def test_an_address_where_nothing_answers_is_one_message(url: str) -> None:
    with pytest.raises(ModelError, match="no rerank server answers") as error:
        Endpoint(url).score(["a"])
    assert "retrieval.rerank_url" in error.value.hint


def test_a_server_that_does_not_answer_in_time_is_left(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerank, "_TIMEOUT_S", 0.2)
    endpoint.headers = {"Content-Length": "1000"}  # and no more comes
    with pytest.raises(ModelError, match="did not answer within") as error:
        endpoint.score(["a"])
    assert error.value.retryable


def test_a_key_that_is_none_is_not_sent_nor_shown(endpoint: Endpoint) -> None:
    with pytest.raises(ModelError, match="rerank_key") as error:
        endpoint.score(["a"], rerank_key=f"{KEY}\n")
    assert KEY not in str(error.value)
    assert endpoint.asked == []


def test_a_reranker_is_made_once_for_the_same_settings() -> None:
    cfg = RetrievalConfig(reranker="some/model")
    assert reranker_of(cfg) is reranker_of(cfg.model_copy())
    assert reranker_of(cfg) is not reranker_of(cfg.model_copy(update={"reranker_revision": "v2"}))
