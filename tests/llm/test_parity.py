import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import ConfigError, ModelError
from llm.parity import (
    CLOSE,
    QUANTIZED,
    Evidence,
    Found,
    Limits,
    Reference,
    causes,
    checks,
    common,
    kl_cells,
    served_dtype,
    token_f1,
)
from llm.tokens import load_tokenizer
from tests import learning_lm

SAME = Found(1, 1, 1, 0, 0, 0.8, 0.8, 0.5, 0.5, 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    torch.set_num_threads(1)
    return learning_lm.build(tmp_path_factory.mktemp("model"), answers=learning_lm.RIGHT)


def test_kl_over_the_named_tokens_and_one_cell_for_the_rest_is_as_worked_by_hand() -> None:
    import torch

    reference = torch.log(torch.tensor([0.5, 0.25, 0.125, 0.125]))
    served = {0: math.log(0.25), 1: math.log(0.25)}
    by_hand = 0.5 * math.log(0.5 / 0.25) + 0.25 * math.log(0.25 / 0.25) + 0.25 * math.log(0.25 / 0.5)
    assert kl_cells(reference, served) == pytest.approx(by_hand, rel=1e-5)
    assert kl_cells(reference, {0: math.log(0.5), 1: math.log(0.25)}) == pytest.approx(0, abs=1e-6)


def test_kl_over_cells_is_a_lower_bound_that_grows_to_the_whole_as_more_tokens_are_named() -> None:
    import torch

    generator = np.random.default_rng(0)
    p, q = (np.exp(row) / np.exp(row).sum() for row in generator.normal(0, 2, (2, 50)))
    whole = float((p * np.log(p / q)).sum())
    best = np.argsort(-q)
    found = [
        kl_cells(torch.tensor(np.log(p)), {int(t): float(np.log(q[t])) for t in best[:top]}) for top in (1, 5, 20, 50)
    ]
    assert found == sorted(found)
    assert found[-1] == pytest.approx(whole, rel=1e-5)
    assert found[1] < whole


def test_token_f1_counts_shared_words_in_both_languages() -> None:
    assert token_f1("annual leave is ten days", "annual leave: ten days") == pytest.approx(2 * 4 / (5 + 4))
    assert token_f1("年假十天", "年假十天") == 1
    assert token_f1("年假十天", "病假五天") == 0
    assert token_f1("", "ten") == 0


def test_answers_share_what_stands_before_their_first_difference() -> None:
    assert common([1, 2, 3], [1, 2, 4]) == 2
    assert common([1, 2], [1, 2, 3]) == 2
    assert common([], [1]) == 0


@pytest.mark.parametrize(
    ("found", "evidence", "limits", "named"),
    [
        (SAME, Evidence(), CLOSE, []),
        (replace(SAME, template=0.5), Evidence(template="at token 3"), CLOSE, ["template: .* 50%.*at token 3"]),
        (SAME, Evidence(damaged=("a", "b", "c", "d")), CLOSE, ["damaged weights: a, b, c, …"]),
        (replace(SAME, kl=2, first_choice=0), Evidence(damaged=("a",), scheme="w8a8"), QUANTIZED, ["damaged"]),
        (replace(SAME, sampling=0.5), Evidence(generation="repetition_penalty = 2"), CLOSE, ["sampling: .*50%.*= 2"]),
        (replace(SAME, sampling=0.5), Evidence(), CLOSE, []),
        (replace(SAME, kl=0.05), Evidence(dtypes=("float32", "half"), kl_in_dtype=0.001), CLOSE, ["dtype: .*half"]),
        (replace(SAME, kl=0.05), Evidence(dtypes=("float32", "half"), kl_in_dtype=0.05), CLOSE, ["unexplained"]),
        (replace(SAME, kl=0.05), Evidence(scheme="awq"), QUANTIZED, []),
        (replace(SAME, kl=0.2), Evidence(scheme="awq"), QUANTIZED, ["quantization: awq"]),
        (replace(SAME, kl=0.2), Evidence(other="m"), CLOSE, ["other weights: .*than m"]),
        (replace(SAME, tokens=0.2), Evidence(), CLOSE, ["unexplained: the server's next words"]),
        (replace(SAME, kl=math.nan), Evidence(), CLOSE, ["unexplained"]),
    ],
)  # fmt: skip
def test_a_drift_is_named_by_what_tells_its_cause(
    found: Found, evidence: Evidence, limits: Limits, named: list[str]
) -> None:
    told = causes(found, evidence, limits)
    assert len(told) == len(named)
    assert all(re.search(pattern, cause) for pattern, cause in zip(named, told, strict=True)), told
    passed = all(check.passed for check in checks(found, evidence, limits).values())
    assert passed == (not named)


def test_a_lower_score_on_the_golden_set_is_a_drift_by_itself() -> None:
    drifted = replace(SAME, score=SAME.score_reference - 0.1)
    assert [name for name, check in checks(drifted, Evidence(), CLOSE).items() if not check.passed] == [
        "golden set: loss of token F1"
    ]
    assert causes(drifted, Evidence(), CLOSE)


def test_the_served_number_format_is_told_by_vllms_rule() -> None:
    assert served_dtype("float32", []) == "bfloat16"
    assert served_dtype("float16", []) == "float16"
    assert served_dtype("float32", ["--dtype", "half"]) == "float16"
    assert served_dtype("bfloat16", ["--dtype=float"]) == "float32"
    with pytest.raises(ConfigError, match="dtype 'int3'"):
        served_dtype("float32", ["--dtype", "int3"])


def test_the_reference_answers_greedily_whatever_the_models_settings_say(model: Path, tmp_path: Path) -> None:
    import torch

    folder = shutil.copytree(model, tmp_path / "model")
    (folder / "generation_config.json").write_text('{"repetition_penalty": 5.0, "do_sample": true, "eos_token_id": 2}')
    tokenizer, reference = load_tokenizer(folder), Reference(folder, None)
    messages = [{"role": "user", "content": learning_lm.QUESTIONS[0]}]
    told: Any = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
    prompt = told["input_ids"]
    answer = reference.generate(prompt, 32, [2])
    assert tokenizer.decode(answer) == learning_lm.RIGHT[0]
    with torch.no_grad():
        logits = reference.model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
    known = torch.log_softmax(logits, -1)
    own = [{int(t): float(row[t]) for t in row.topk(20).indices} for row in known]
    assert [alike for alike, _ in reference.compare(prompt, answer, own)] == [True] * len(answer)
    assert all(kl < 1e-4 for _, kl in reference.compare(prompt, answer, own))
    turned = [{t: own[n][t] for t in sorted(own[n])} | {answer[n]: -9.0} for n in range(len(answer))]
    places = reference.compare(prompt, answer, turned)
    assert not any(alike for alike, _ in places)
    assert all(kl > 1 for _, kl in places)


def test_a_damaged_a_missing_and_an_unreadable_weight_are_named(model: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    reference = Reference(model, None)
    assert reference.damaged(model) == ()
    folder = shutil.copytree(model, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][0] = torch.nan
    weights["model.layers.0.self_attn.q_proj.weight"] *= 1.05
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert set(reference.damaged(folder)) == {
        "model.layers.1.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.weight", "model.norm.weight (missing)",
    }  # fmt: skip
    (folder / "model.safetensors").write_bytes(b"\x00" * 100)
    assert "cannot be read" in reference.damaged(folder)[0]
    with pytest.raises(ModelError, match="cannot be loaded"):
        Reference(folder, None)


def test_two_tokens_that_a_number_format_does_not_tell_apart_are_a_tie(model: Path) -> None:
    import torch

    reference = Reference(model, None)
    tokenizer = load_tokenizer(model)
    before = tokenizer("Which colour is sand?")["input_ids"]
    with torch.no_grad():
        logits = reference.model(input_ids=torch.tensor([before])).logits[0, -1]
        first, second = (int(token) for token in logits.topk(2).indices)
        assert not reference.ties(before, second, "bfloat16")  # far behind
        head = reference.model.lm_head.weight
        head[second] = head[first] * (1 - 1e-3)
    assert [reference.ties(before, second, dtype) for dtype in ("bfloat16", "float32")] == [True, False]
    assert reference.ties(before, first, "float32")
