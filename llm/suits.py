"""What suits a model, by its config.json and chat template alone: how it can be trained, made smaller, and served.

Nothing is downloaded and no weight is read; layers are counted on a model without memory. What vLLM serves was read
from its registry of models and of reasoning parsers (0.32.0).
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ConfigError, ModelError
from llm.fit import config_of, quantized_as, token_bytes
from llm.methods import METHODS, Method, Shape, check, peft_config
from llm.quantize import SCHEMES, Scheme, Sizes, check_target
from llm.thinking import thinks_first

# Families that vLLM has by themselves and transformers has not: trained they cannot be, as no code of a model is run.
_SERVED_ONLY = frozenset({"minicpm", "internlm2", "internlm3", "chatglm", "baichuan", "xverse", "orion"})
_BY_TYPE = (
    (re.compile(r"gpt_oss"), "openai_gptoss", ""), (re.compile(r"glm4.*moe"), "glm45", "<think>"),
    (re.compile(r"qwen3"), "qwen3", "<think>"), (re.compile(r"hunyuan"), "hunyuan_a13b", "<think>"),
    (re.compile(r"ernie4_5"), "ernie45", "<think>"), (re.compile(r"seed_oss"), "seed_oss", "<seed:think>"),
    (re.compile(r"minimax_m2"), "minimax_m2", ""), (re.compile(r"mistral"), "mistral", "[THINK]"),
    (re.compile(r"olmo3"), "olmo3", "<think>"), (re.compile(r"kimi_k2"), "kimi_k2", "<think>"),
)  # fmt: skip
_SWITCH = re.compile(r"enable_thinking|\bthinking\b|reasoning_effort|think_mode")
_TAIL = 400  # characters of a template in which it ends a prompt


@dataclass(frozen=True, slots=True)
class Suited:
    """`methods` and `schemes` with the reason why not, "" where they fit; `parser` of its thoughts, "" for none;
    `adapter`: why vLLM loads no LoRA over it, ""; `parameters` and `token_bytes` of the KV cache in 16 bits, 0 where
    they are not known here.
    """

    kind: str
    methods: dict[Method, str]
    schemes: dict[Scheme, str]
    adapter: str
    parser: str
    parameters: int
    token_bytes: int


def suited(folder: Path, target: str) -> Suited:
    """What suits the model of a folder that holds a config.json at least, served on `target` (cpu, cuda-8.9).

    Raises `ModelError` for a config.json that cannot be read.
    """
    told = config_of(folder)
    kind = str(told.get("model_type", ""))
    cache, parser, form = token_bytes(told, 2), parser_of(folder), quantized_as(told)
    why, model, config = _built(folder, kind)
    if model is None:
        no_scheme = why if kind not in _SERVED_ONLY else f"llm-compressor loads it by transformers, and {why}"
        adapter = "" if kind in _SERVED_ONLY else why
        refused: dict[Method, str] = {method: why for method in METHODS}
        return Suited(kind, refused, {scheme: no_scheme for scheme in SCHEMES}, adapter, parser, 0, cache)
    methods: dict[Method, str] = {method: _unfit(method, model, config) for method in METHODS}
    schemes: dict[Scheme, str] = {scheme: _unserved(scheme, target, _widths(model)) for scheme in SCHEMES}
    if form:
        schemes = {scheme: f"it is quantized already ({form})" for scheme in SCHEMES}
        methods["full"] = f"its weights are quantized ({form}): take the model that it was made from"
    parameters = sum(weight.numel() for weight in model.parameters())
    return Suited(kind, methods, schemes, "", parser, parameters, cache)


def _built(folder: Path, kind: str) -> tuple[str, Any, Any]:
    """The model without memory, and its configuration; or why transformers has none."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        return "", model, config.get_text_config()
    except (ValueError, KeyError, OSError, AttributeError, TypeError, RuntimeError):
        return f"transformers has no model {kind!r} of its own, and code that comes with a model is not run", None, None


def _unfit(method: Method, model: Any, config: Any) -> str:
    try:
        check(method, Shape(), config)
        if method not in ("full", "llama-adapter"):
            peft_config(method, Shape(), config)
    except (ConfigError, ValueError, KeyError, AttributeError) as error:
        return error.message if isinstance(error, ConfigError) else str(error)
    return ""


def _widths(model: Any) -> Sizes:
    """The widths of its linear layers; the head is never quantized."""
    import torch

    head = model.get_output_embeddings()
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    return Sizes(frozenset(m.in_features for m in layers), frozenset(m.out_features for m in layers))


def _unserved(scheme: Scheme, target: str, sizes: Sizes) -> str:
    try:
        check_target(scheme, target, sizes)
    except ConfigError as error:
        return error.message
    return ""


# --- what a model thinks ---------------------------------------------------------------------------------------------


def parser_of(folder: Path) -> str:
    """The reasoning parser that vLLM should be started with for a model folder, "" for none.

    Where a template lets a question switch thoughts off, and its family has no parser that knows so, none is named: the
    text is split here (thinking.py), while vLLM's general one takes an answer without thoughts for thoughts.
    """
    try:
        kind = str(config_of(folder).get("model_type", ""))
    except ModelError:  # it is told where the model is examined
        return ""
    template = _template(folder)
    for pattern, parser, mark in _BY_TYPE:
        if pattern.match(kind) and (not mark or mark in template):
            return parser
    begins = "<think>" in template[-_TAIL:] and not _SWITCH.search(template)
    return "deepseek_r1" if begins or thinks_first(folder.name) else ""


def _template(folder: Path) -> str:
    """The chat template's text, "" where there is none."""
    try:
        if (folder / "chat_template.jinja").is_file():
            return (folder / "chat_template.jinja").read_text("utf-8")
        told = json.loads((folder / "tokenizer_config.json").read_text("utf-8")).get("chat_template")
    except (OSError, ValueError, AttributeError):
        return ""
    if isinstance(told, list):  # several, each with a name
        told = next((row.get("template") for row in told if isinstance(row, dict) and row.get("name") == "default"), "")
    return told if isinstance(told, str) else ""
