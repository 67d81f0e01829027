"""What suits a model by its config.json and template, for the families that people run: no weights are there."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.config import LlmConfig
from core.errors import ModelError
from llm.serve import build_argv
from llm.suits import parser_of, suited

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "num_hidden_layers": 32,
         "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
         "tie_word_embeddings": False}  # fmt: skip
QWEN2 = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_size": 3584, "num_hidden_layers": 28,
         "num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064,
         "tie_word_embeddings": False}  # fmt: skip
QWEN3 = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_size": 4096, "num_hidden_layers": 36,
         "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 12288,
         "vocab_size": 151936, "tie_word_embeddings": False}  # fmt: skip
GEMMA3 = {"model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "hidden_size": 1152,
          "num_hidden_layers": 26, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256,
          "intermediate_size": 6912, "vocab_size": 262144, "sliding_window": 512}  # fmt: skip
PHI4 = {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "hidden_size": 5120, "num_hidden_layers": 40,
        "num_attention_heads": 40, "num_key_value_heads": 10, "intermediate_size": 17920, "vocab_size": 100352,
        "tie_word_embeddings": False, "pad_token_id": 100349, "eos_token_id": 100265}  # fmt: skip
GLM4 = {"model_type": "glm4", "architectures": ["Glm4ForCausalLM"], "hidden_size": 4096, "num_hidden_layers": 40,
        "num_attention_heads": 32, "num_key_value_heads": 2, "head_dim": 128, "intermediate_size": 13696,
        "vocab_size": 151552, "tie_word_embeddings": False, "pad_token_id": 151329}  # fmt: skip
MINICPM = {"model_type": "minicpm", "architectures": ["MiniCPMForCausalLM"], "hidden_size": 2304,
           "num_hidden_layers": 40, "num_attention_heads": 36, "num_key_value_heads": 36, "intermediate_size": 5760,
           "vocab_size": 122753, "auto_map": {"AutoConfig": "configuration_minicpm.MiniCPMConfig"}}  # fmt: skip
INTERNLM = {"model_type": "internlm2", "architectures": ["InternLM2ForCausalLM"], "hidden_size": 4096,
            "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336,
            "vocab_size": 92544, "auto_map": {"AutoConfig": "configuration_internlm2.InternLM2Config"}}  # fmt: skip

PLAIN = "{% for m in messages %}{{ m.content }}{% endfor %}"
HYBRID = PLAIN + "{% if enable_thinking is false %}<think>\n\n</think>{% endif %}"
THINKS = PLAIN + "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"


def folder(tmp_path: Path, config: dict[str, Any], template: object = PLAIN, name: str = "a-model") -> Path:
    made = tmp_path / name
    made.mkdir()
    (made / "config.json").write_text(json.dumps(config))
    (made / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    return made


@pytest.mark.parametrize(
    ("config", "parameters", "token_bytes"),
    [  # as their makers state them, and 2 x layers x KV heads x head size x 2 bytes
        (LLAMA, 8_030_261_248, 2 * 32 * 8 * 128 * 2),
        (QWEN2, 7_615_616_512, 2 * 28 * 4 * 128 * 2),
        (QWEN3, 8_190_735_360, 2 * 36 * 8 * 128 * 2),
        (GEMMA3, 999_885_952, 2 * 26 * 1 * 256 * 2),
        (PHI4, 14_659_507_200, 2 * 40 * 10 * 128 * 2),
        (GLM4, 9_400_279_040, 2 * 40 * 2 * 128 * 2),
    ],
    ids=["llama3", "qwen2.5", "qwen3", "gemma3", "phi4", "glm4"],
)
def test_a_family_that_transformers_has_can_be_trained_quantized_and_given_adapters(
    tmp_path: Path, config: dict[str, Any], parameters: int, token_bytes: int
) -> None:
    found = suited(folder(tmp_path, config), "cuda-8.9")
    assert (found.parameters, found.token_bytes) == (parameters, token_bytes)
    assert [found.methods[method] for method in ("lora", "qlora", "dora", "prefix", "full")] == [""] * 5
    assert set(found.schemes.values()) == {""}
    assert (found.adapter, found.parser) == ("", "")
    assert ("LLaMA-Adapter is written for" in found.methods["llama-adapter"]) is (config is not LLAMA)


@pytest.mark.parametrize("config", [MINICPM, INTERNLM], ids=["minicpm", "internlm"])
def test_a_family_that_vllm_alone_has_is_served_and_not_trained(tmp_path: Path, config: dict[str, Any]) -> None:
    found = suited(folder(tmp_path, config), "cuda-8.9")
    assert all("transformers has no model" in why for why in found.methods.values())
    assert all("transformers has no model" in why for why in found.schemes.values())
    assert found.adapter == ""
    assert found.token_bytes > 0


def test_widths_that_a_format_does_not_take_and_a_card_that_is_too_old_are_said(tmp_path: Path) -> None:
    odd = folder(tmp_path, LLAMA | {"intermediate_size": 14350, "num_hidden_layers": 1})
    found = suited(odd, "cuda-8.9")
    assert "share no group size" in found.schemes["w4a16"]
    assert found.schemes["w8a8"] == ""
    assert all("compute capability" in why for why in suited(odd, "cuda-7.0").schemes.values())


def test_a_model_that_is_quantized_is_not_quantized_again(tmp_path: Path) -> None:
    form = {"quantization_config": {"quant_method": "awq", "bits": 4}}
    found = suited(folder(tmp_path, QWEN2 | form), "cuda-8.9")
    assert set(found.schemes.values()) == {"it is quantized already (awq)"}
    assert "take the model that it was made from" in found.methods["full"]


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        suited(tmp_path, "cpu")


@pytest.mark.parametrize(
    ("kind", "template", "name", "parser"),
    [
        ("qwen3", HYBRID, "Qwen3-8B", "qwen3"),
        ("qwen3", PLAIN, "Qwen3-4B-Instruct-2507", ""),
        ("qwen2", THINKS, "QwQ-32B", "deepseek_r1"),
        ("qwen2", PLAIN, "DeepSeek-R1-Distill-Qwen-7B", "deepseek_r1"),  # its first template does not begin thoughts
        ("llama", THINKS, "tuned", "deepseek_r1"),
        ("llama", HYBRID, "hybrid", ""),  # the general parser takes an answer without thoughts for thoughts
        ("llama", PLAIN, "Llama-3.1-8B-Instruct", ""),
        ("gpt_oss", PLAIN, "gpt-oss-20b", "openai_gptoss"),
        ("glm4_moe", HYBRID, "GLM-4.5-Air", "glm45"),
        ("glm4", PLAIN, "GLM-4-9B-0414", ""),
        ("mistral", PLAIN + "[THINK]", "Magistral-Small", "mistral"),
        ("seed_oss", PLAIN + "<seed:think>", "Seed-OSS-36B", "seed_oss"),
        ("minicpm", PLAIN, "MiniCPM-2B", ""),
        ("internlm2", PLAIN, "internlm2_5-7b-chat", ""),
        ("qwen3", [{"name": "tool_use", "template": "x"}, {"name": "default", "template": HYBRID}], "several", "qwen3"),
        ("qwen3", None, "none", ""),
    ],
)
def test_a_model_that_thinks_is_served_with_the_parser_of_its_thoughts(
    tmp_path: Path, kind: str, template: object, name: str, parser: str
) -> None:
    made = folder(tmp_path, {"model_type": kind}, template, name)
    assert parser_of(made) == parser
    argv = build_argv(LlmConfig(vllm_model=str(made)), "gpu")
    assert argv[argv.index("--reasoning-parser") :][1:2] == [parser] if parser else "--reasoning-parser" not in argv
    own = build_argv(LlmConfig(vllm_model=str(made), vllm_args=["--reasoning-parser=granite"]), "gpu")
    assert [arg for arg in own if arg.startswith("--reasoning-parser")] == ["--reasoning-parser=granite"]


@pytest.mark.vllm
def test_vllm_knows_each_parser(vllm_cfg: LlmConfig) -> None:
    [registry] = Path(vllm_cfg.vllm_env).glob("lib/python3*/site-packages/vllm/reasoning/__init__.py")
    known = registry.read_text("utf-8")
    names = {"openai_gptoss", "glm45", "qwen3", "hunyuan_a13b", "ernie45", "seed_oss", "minimax_m2", "mistral", "olmo3",
             "kimi_k2", "deepseek_r1"}  # fmt: skip
    assert [name for name in sorted(names) if f'"{name}"' not in known] == []
