"""Whether a model as served says what it said when it was trained: what is compared, the limits, and the likely cause.

The reference is transformers (and peft) on the CPU, greedy. Its answer to each prompt is put to the server again token
by token, so that both are asked for the next word after the same words: first choices and distributions are compared
there, and one early difference does not spoil the rest.

Both compute one conversation at a time and each from its first token: in bfloat16 the sums of a batch, or of a prompt
whose beginning is cached, are rounded otherwise, and greedy answers part at near ties (He et al. 2025, "Defeating
Nondeterminism in LLM Inference"). How many answers a batch changes is measured beside it, and is no drift.
"""

import math
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import ConfigError, ModelError
from core.text import tokens
from llm.bf16 import multiply_in_float32

if TYPE_CHECKING:
    import torch

Row = dict[int, float]  # token -> log probability: the server's likeliest tokens at one place

_FLOOR = 1e-9  # of the probability of all other tokens
_NEUTRAL = {
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
_TIE = 2  # units in the last place of the likeliest logit, within which either of two tokens may come out on top
_DAMAGED = 0.01  # of a weight that should be equal: Frobenius norm of the difference by its own


@dataclass(frozen=True, slots=True)
class Limits:
    """What a served model may differ by. Shares are 0 to 1, `kl` is in nats a token, `score` in token F1."""

    template: float = 1.0
    tokens: float = 0.8
    first_choice: float = 0.95
    kl: float = 0.02
    score: float = 0.05


CLOSE = Limits()
# 4 and 8 bits change near ties; what they may cost is the score, and a distribution that is another is not "quantized".
QUANTIZED = Limits(tokens=0.5, first_choice=0.9, kl=0.1, score=0.05)


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured.

    template: share of prompts that the server renders to the reference's very token ids
    tokens: share of the reference's greedy answer that the server generates before it first differs, over the chat; an
        answer that parts at a near tie counts whole, since what follows is another, as good a continuation
    first_choice: share of places where the server's likeliest token is the reference's
    kl: mean over these places of KL(reference || served), over the server's k likeliest tokens and all others taken as
        one: a lower bound of that over the whole vocabulary
    score, score_reference: token F1 with the data set's answers; exact, exact_reference: share that are those answers
    sampling: share of answers that the server's own sampling defaults change, in spite of temperature 0
    batch: share of answers that stay the same when all are asked at once
    ties: share of answers that part at a near tie, which the number format decides
    """

    template: float
    tokens: float
    first_choice: float
    kl: float
    kl_most: float
    score: float
    score_reference: float
    exact: float
    exact_reference: float
    sampling: float
    batch: float = 1.0
    ties: float = 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a cause is told by.

    `template`: how the first prompt differs, `damaged`: weights that are not what they were, `generation`: the served
    sampling settings where they are not the reference's, `dtypes`: of the reference and as served, `kl_in_dtype`: KL to
    the reference in the served number format (None: the same), `scheme` of a quantized model, `other`: the name of
    another model that it was asked to be compared with.
    """

    template: str = ""
    damaged: tuple[str, ...] = ()
    generation: str = ""
    dtypes: tuple[str, str] = ("", "")
    kl_in_dtype: float | None = None
    scheme: str = ""
    other: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison with its limit; `sign` is which side of it is good."""

    found: float
    sign: str
    limit: float
    passed: bool = field(init=False)

    def __post_init__(self) -> None:
        good = self.found >= self.limit if self.sign == "≥" else self.found <= self.limit  # NaN is neither
        object.__setattr__(self, "passed", good)


def checks(found: Found, evidence: Evidence, limits: Limits) -> dict[str, Check]:
    """Every comparison that must pass."""
    changed = found.sampling if evidence.generation else 0.0  # the model's own settings are no drift
    return {
        "template: prompts alike": Check(found.template, "≥", limits.template),
        "damaged weights": Check(float(len(evidence.damaged)), "≤", 0.0),
        "sampling: answers changed by defaults": Check(changed, "≤", 0.0),
        "greedy tokens before the first difference": Check(found.tokens, "≥", limits.tokens),
        "first choices alike": Check(found.first_choice, "≥", limits.first_choice),
        "KL(reference || served), nats a token": Check(found.kl, "≤", limits.kl),
        "golden set: loss of token F1": Check(found.score_reference - found.score, "≤", limits.score),
    }


def causes(found: Found, evidence: Evidence, limits: Limits) -> list[str]:
    """The likely causes of a drift, the surest first; none where every check passes."""
    if all(check.passed for check in checks(found, evidence, limits).values()):
        return []
    named = []
    if found.template < limits.template:
        named.append(f"template: the server renders {1 - found.template:.0%} of prompts otherwise: {evidence.template}")
    if evidence.damaged:
        shown = ", ".join(evidence.damaged[:3]) + (", …" if len(evidence.damaged) > 3 else "")
        named.append(f"damaged weights: {shown}")
    if found.sampling and evidence.generation:
        named.append(f"sampling: defaults change {found.sampling:.0%} of the answers: {evidence.generation}")
    apart = not (found.kl <= limits.kl and found.first_choice >= limits.first_choice)
    if evidence.other and apart:
        named.append(f"other weights: what is served is another model than {evidence.other}")
    elif apart and not evidence.damaged:
        named.append(_of_numbers(evidence, limits))
    return named or ["unexplained: the server's next words are the reference's, its answers are not; see llm.vllm_args"]


def _of_numbers(evidence: Evidence, limits: Limits) -> str:
    trained, served = evidence.dtypes
    if evidence.kl_in_dtype is not None and evidence.kl_in_dtype <= limits.kl:
        return f"dtype: trained in {trained}, served in {served}, in which the reference says the same as the server"
    if evidence.scheme:
        return f"quantization: {evidence.scheme} changes the distributions; calibrate with more rows, or use 8 bits"
    return "unexplained: the weights are whole, but the server computes something else; see its log and llm.vllm_args"


# --- measures --------------------------------------------------------------------------------------------------------


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two answers share before they first differ."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def token_f1(answer: str, wanted: str) -> float:
    """Harmonic mean of precision and recall over the words of two texts (Chinese: character pairs), as in SQuAD."""
    said, expected = Counter(tokens(answer)), Counter(tokens(wanted))
    if not said or not expected:
        return float(said == expected)
    both = (said & expected).total()
    return 2 * both / (said.total() + expected.total())


def kl_cells(reference: "torch.Tensor", served: Row) -> float:
    """KL(reference || served) in nats, over the tokens of `served` and one cell for all others.

    `reference` has the log probabilities of the whole vocabulary, shape (vocabulary,). Merging cells never raises a
    KL, so this is a lower bound.
    """
    p = [math.exp(float(reference[token])) for token in served]
    q = [math.exp(value) for value in served.values()]
    p.append(max(1 - sum(p), _FLOOR))
    q.append(max(1 - sum(q), _FLOOR))
    return max(sum(a * (math.log(a) - math.log(max(b, _FLOOR))) for a, b in zip(p, q, strict=True) if a > 0), 0.0)


# --- the reference ---------------------------------------------------------------------------------------------------


class Reference:
    """A model as it was trained: transformers on the CPU, with its adapter beside it where it has one."""

    def __init__(self, base: Path, adapter: Path | None) -> None:
        """Load. Raises `ModelError` for weights that cannot be read."""
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM

        multiply_in_float32()
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(
                str(base), dtype="auto", local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
            if adapter:
                from peft import PeftModel

                model = PeftModel.from_pretrained(model, str(adapter), local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise ModelError(
                f"the reference {str(adapter or base)!r} cannot be loaded: {str(error).splitlines()[0]}",
                "check that its folder is whole",
            ) from error
        self.model = model.eval()
        self.adapted = adapter is not None

    @property
    def dtype(self) -> str:
        """The number format of the weights."""
        return str(self.model.dtype).removeprefix("torch.")

    def generate(self, prompt: Sequence[int], most: int, ends: Sequence[int]) -> list[int]:
        """The greedy answer, without the token that ends it; no penalties, whatever the model's own settings say."""
        import torch
        from transformers import GenerationConfig

        ids = torch.tensor([list(prompt)])
        greedy = GenerationConfig(
            do_sample=False, max_new_tokens=most, eos_token_id=list(ends), pad_token_id=next(iter(ends), 0)
        )
        self.model.generation_config = greedy  # or what it leaves open is taken from the model's own
        with torch.no_grad():
            said = self.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=greedy)
        return strip(said[0, len(prompt) :].tolist(), ends)

    def compare(self, prompt: Sequence[int], answer: Sequence[int], served: Sequence[Row]) -> list[tuple[bool, float]]:
        """At each token of the answer: whether the first choices are the same, and the KL."""
        import torch

        with torch.no_grad():
            logits = self.model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
        known = torch.log_softmax(logits.float(), dim=-1)
        return [
            (int(row.argmax()) == max(seen, key=seen.__getitem__), kl_cells(row, seen))
            for row, seen in zip(known, served, strict=True)
        ]

    def ties(self, before: Sequence[int], other: int, dtype: str) -> bool:
        """Whether another token than the likeliest after `before` is as likely, as far as a number format tells."""
        import torch

        with torch.no_grad():
            logits = self.model(input_ids=torch.tensor([list(before)])).logits[0, -1].float()
        unit = torch.finfo(getattr(torch, dtype)).eps
        return bool(logits.max() - logits[other] <= _TIE * unit * logits.max().abs())

    def to(self, dtype: str) -> None:
        """Change the number format."""
        import torch

        self.model.to(getattr(torch, dtype))

    def damaged(self, folder: Path) -> tuple[str, ...]:
        """The weights of a folder that are not the reference's with its adapter merged; the adapter is used up."""
        import torch
        from safetensors import SafetensorError, safe_open

        if self.adapted:
            self.model, self.adapted = self.model.merge_and_unload(), False
        wanted, found = self.model.state_dict(), set()
        bad = []
        try:
            for file in sorted(folder.glob("*.safetensors")):
                with safe_open(str(file), framework="pt") as opened:
                    for name in opened.keys():  # noqa: SIM118  # it is no dict
                        found.add(name)
                        if name not in wanted or not _alike(opened.get_tensor(name), wanted[name]):
                            bad.append(name)
        except (OSError, SafetensorError) as error:
            return (f"{folder.name} cannot be read: {error}",)
        tied = {name for name, weight in wanted.items() if weight.data_ptr() in _pointers(wanted, found)}
        missing = sorted(name for name in wanted.keys() - found - tied if torch.is_floating_point(wanted[name]))
        return (*bad, *(f"{name} (missing)" for name in missing))


def _alike(a: "torch.Tensor", b: "torch.Tensor") -> bool:
    if a.shape != b.shape:
        return False
    a, b = a.float(), b.float()
    return bool((a - b).norm() <= _DAMAGED * b.norm().clamp(min=1e-12))  # NaN is not


def _pointers(weights: "dict[str, torch.Tensor]", names: set[str]) -> set[int]:
    return {weights[name].data_ptr() for name in names if name in weights}


def strip(answer: list[int], ends: Sequence[int]) -> list[int]:
    """An answer without the token that ends it."""
    return answer[:-1] if answer and answer[-1] in ends else answer


# --- what is served --------------------------------------------------------------------------------------------------


class Served:
    """A running vLLM, asked for token ids and log probabilities; nothing is taken from its prefix cache."""

    def __init__(self, base_url: str, model: str, timeout_s: float = 900.0) -> None:
        import httpx

        self._client = httpx.Client(base_url=base_url, timeout=timeout_s, trust_env=False)
        self._model = model

    def chat(self, messages: list[dict[str, str]], most: int, *, neutral: bool) -> tuple[list[int], list[int]]:
        """The ids of the rendered prompt and of the answer, its thoughts too, at temperature 0.

        `neutral` sets all else that the server would take from the model's generation_config.json.
        """
        body = {"messages": messages, "max_tokens": most, "temperature": 0.0, "return_token_ids": True}
        reply = self._post("/chat/completions", body | (_NEUTRAL if neutral else {}))
        choice = reply["choices"][0]
        return reply["prompt_token_ids"], choice["token_ids"]

    def together(self, conversations: Sequence[list[dict[str, str]]], most: int) -> list[list[int]]:
        """The ids of the answers to conversations that are asked at once, which the server computes as batches."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=max(len(conversations), 1)) as pool:
            return list(pool.map(lambda messages: self.chat(messages, most, neutral=True)[1], conversations))

    def rows(self, prompt: Sequence[int], answer: Sequence[int], top: int = 20) -> list[Row]:
        """The likeliest tokens at each place of an answer, given the prompt and the answer up to there."""
        body = {"prompt": [*prompt, *answer], "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": top}
        told = self._post("/completions", body)["choices"][0]["prompt_logprobs"][len(prompt) :]
        return [{int(token): float(entry["logprob"]) for token, entry in row.items()} for row in told]

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        import httpx

        try:
            unshared = {"model": self._model, "cache_salt": secrets.token_hex(8)}
            response = self._client.post(path, json=unshared | body)
            response.raise_for_status()
            return response.json()
        except httpx.HTTPStatusError as error:
            raise ModelError(
                f"vLLM answered HTTP {error.response.status_code}: {error.response.text[:300]}", "see its log"
            ) from error
        except (httpx.HTTPError, ValueError) as error:
            raise ModelError(f"vLLM did not answer the comparison: {error}", "see its log") from error


def served_dtype(config_dtype: str, vllm_args: Sequence[str]) -> str:
    """The number format that vLLM computes in: its `--dtype`, else the model's own, and bfloat16 for float32."""
    words = [word for arg in vllm_args for word in arg.split("=", 1)]
    named = next((words[n + 1] for n, word in enumerate(words[:-1]) if word == "--dtype"), "auto")
    named = {"half": "float16", "float": "float32"}.get(named, named)
    if named != "auto":
        if named not in ("float16", "bfloat16", "float32"):
            raise ConfigError(f"llm.vllm_args: --dtype {named!r} is unknown", "use auto, bfloat16, float16 or float32")
        return named
    return "bfloat16" if config_dtype == "float32" else config_dtype
