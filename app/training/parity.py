"""Recipe: show that what vLLM serves is what was trained.

conversations -> reference (base and adapter by transformers) -> the same from vLLM -> checks against limits, likely
causes -> parity.json in the model's folder, which `ragstone promote` asks for.
"""

import json
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from app.keeping.index import Progress, quiet
from app.training.quantize import find, side_file
from core.config import Config, LlmConfig
from core.errors import ConfigError, DatasetError, ModelError
from core.files import write_whole
from llm import registry
from llm.examples import Example, examples_file, read_examples
from llm.methods import serving
from llm.parity import (
    CLOSE,
    QUANTIZED,
    Evidence,
    Found,
    Reference,
    Served,
    causes,
    checks,
    common,
    served_dtype,
    strip,
    token_f1,
)
from llm.serve import Server
from llm.tokens import load_tokenizer
from llm.vllm_env import build_of

_MOST = 64  # tokens of an answer
_ALONE = "compared one conversation at a time, each computed from its first token, as the reference is"
# vLLM's CPU build compiles a counter of ranks for the first log probabilities, for 45 s; uncompiled it is the same.
_UNCOMPILED = {"TORCHDYNAMO_DISABLE": "1"}
SERVED_AS, _HOST = "parity", "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Request:
    """`model`: a name in the registry, or a folder. `source`: a data set, of which the test side is compared on (else
    the dev side), or a JSONL file; `samples` conversations of it. `against`: a model to compare with; "" is what the
    model was made of: its base and its adapter.
    """

    model: str
    source: str
    against: str = ""
    samples: int = 32


@dataclass(frozen=True, slots=True)
class _Asked:
    """A conversation with the reference's prompt and greedy answer, as token ids."""

    messages: list[dict[str, str]]
    wanted: str
    prompt: list[int]
    answer: list[int]


def run(
    cfg: Config, request: Request, *, progress: Progress = quiet, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Compare, write parity.json into the model's folder, and return what it says.

    Raises `ConfigError` where the reference is not there any more, `ModelError` where the model cannot be served.
    """
    data = Path(cfg.app.data)
    folder = find(data, request.model)
    record = registry.record_of(folder)
    base, adapter = _trained(find(data, request.against) if request.against else folder)
    served_cfg = served_beside(cfg.llm, folder, record)
    started = time.monotonic()
    tokenizer = load_tokenizer(base)
    examples, notes = conversations(cfg, request.source, request.samples)
    say(f"the reference is {adapter or base}, by transformers on the CPU")
    reference = Reference(base, adapter)
    ends = ends_of(tokenizer, reference.model)
    asked = _answers(cfg, reference, tokenizer, examples, ends, progress)
    env = _UNCOMPILED if build_of(cfg.llm) == "cpu" else None
    with Server.start(served_cfg, data / "logs" / "parity.log", say, env=env) as server:
        served = Served(server.base_url, SERVED_AS)
        try:
            found, evidence = _compared(asked, served, reference, tokenizer, ends, cfg.llm.vllm_args, progress)
        finally:
            served.close()
    evidence |= {"damaged": _damaged(folder, record, reference, base, other=bool(request.against))}
    evidence |= {"generation": _generation(folder, base), "scheme": str(record.get("scheme", ""))}
    evidence |= {"other": request.against}
    notes += [_ALONE + f"; asked all at once in {evidence['dtypes'][1]}, {found.batch:.0%} of the answers are the same"]
    if found.ties:
        notes.append(f"{found.ties:.0%} of the answers part from the reference's at a near tie, and count as alike")
    told, limits = Evidence(**evidence), QUANTIZED if record.get("scheme") else CLOSE
    done = checks(found, told, limits)
    report = {
        "passed": all(check.passed for check in done.values()), "causes": causes(found, told, limits),
        "model": str(folder), "against": str(adapter or base), "files": _files_hash(folder),
        "checks": {name: asdict(check) for name, check in done.items()}, "found": asdict(found),
        "limits": asdict(limits), "dtypes": told.dtypes, "conversations": len(asked), "notes": notes,
        "seconds": round(time.monotonic() - started, 1), "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
    }  # fmt: skip
    if not request.against:  # what it was compared with otherwise says nothing of how it is served
        write_whole(folder / registry.PARITY, json.dumps(report, ensure_ascii=False, indent=1) + "\n")
    return report


def _files_hash(folder: Path) -> str:
    """What a parity report is about: all of a model's files but the report itself."""
    return registry.folder_hash(folder, lambda name: name != registry.PARITY)


def check_unchanged(folder: Path) -> None:
    """Raise `ModelError` where a model's files are no longer those that its parity report is about."""
    report = folder / registry.PARITY
    if report.exists() and json.loads(report.read_text("utf-8")).get("files") != _files_hash(folder):
        raise ModelError(
            f"{folder.name!r} has changed since its parity report", f"run `ragstone parity {folder.name}` again"
        )


# --- what is compared ------------------------------------------------------------------------------------------------


def _trained(folder: Path) -> tuple[Path, Path | None]:
    """The base and the adapter that a model is of; a whole model is its own base."""
    record = registry.record_of(folder)
    match record.get("kind"):
        case "adapter":
            base, adapter = Path(record["base"]["name"]), folder
        case "merged":
            base, adapter = Path(record["base"]["name"]), Path(record["adapter"]["name"])
        case "quantized":
            return _trained(_there(Path(record["source"]["name"]), folder))
        case _:
            return folder, None
    return _there(base, folder), _there(adapter, folder)


def _there(part: Path, of: Path) -> Path:
    if not part.is_dir():
        raise ConfigError(
            f"{of.name!r} was made of {str(part)!r}, which is there no more", "name what to compare with: --against"
        )
    return part


def served_beside(llm: LlmConfig, folder: Path, record: dict[str, Any]) -> LlmConfig:
    """How to serve the model beside a server that may run already: a whole model, or an adapter over its base."""
    told: dict[str, Any] = {"vllm_model": str(folder), "vllm_name": SERVED_AS, "vllm_host": _HOST}
    told |= {"vllm_port": _free_port(), "vllm_lora_rank": 0}
    if record.get("kind") == "adapter":
        rank = int(json.loads((folder / "adapter_config.json").read_text("utf-8")).get("r", 16))
        how = serving(record["method"], rank)
        if not how.as_adapter:
            hint = f"`ragstone models merge {folder.name}`, then compare that" if how.merged else "train with lora"
            raise ConfigError(f"{folder.name!r} cannot be served as an adapter: {how.reason}", hint)
        lora = ["--lora-modules", f"{SERVED_AS}={folder}"]
        told |= {"vllm_model": record["base"]["name"], "vllm_name": "base", "vllm_args": [*llm.vllm_args, *lora]}
        told |= {"vllm_lora_rank": rank}
    return llm.model_copy(update=told)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return probe.getsockname()[1]


def conversations(cfg: Config, source: str, samples: int) -> tuple[list[Example], list[str]]:
    """The conversations to compare on, and what is to be known of them. Raises `DatasetError` where there are none."""
    files = dict.fromkeys(side_file(Path(cfg.app.data), source, side) for side in ("test", "dev", "train"))
    for file in files:
        rows = [row for row in read_examples(file) if row.status == "approved"] if file.is_file() else []
        if rows:
            trained = file.name == examples_file("train")
            return rows[:samples], ["compared on what was trained on: no other side has rows"] * trained
    raise DatasetError(
        f"{source!r} has no approved conversation to compare on", "give a data set or a JSONL file: --data"
    )


def _answers(
    cfg: Config, reference: Reference, tokenizer: Any, examples: Sequence[Example], ends: list[int], progress: Progress
) -> list[_Asked]:
    """The reference's answers."""
    context = getattr(reference.model.config, "max_position_embeddings", 0) or 1 << 30
    most = min(context, cfg.llm.vllm_max_model_len or context)
    asked = []
    for number, example in enumerate(examples):
        progress("reference", number, len(examples))
        messages = [{"role": message.role, "content": message.content} for message in example.prompt]
        prompt = list(
            tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        )
        if len(prompt) + _MOST < most:
            answer = reference.generate(prompt, _MOST, ends)
            asked.append(_Asked(messages, example.answer, prompt, answer))
    if not any(each.answer for each in asked):
        raise DatasetError(
            f"the reference answers none of {len(examples)} conversations within {most} tokens", "give shorter ones"
        )
    return asked


def _compared(
    asked: Sequence[_Asked], served: Served, reference: Reference, tokenizer: Any, ends: list[int],
    vllm_args: Sequence[str], progress: Progress,
) -> tuple[Found, dict[str, Any]]:  # fmt: skip
    """What the server says to the same, and what a cause is told by."""
    same: list[bool] = []
    changed: list[bool] = []
    heads: list[tuple[float, bool]] = []
    trained = reference.dtype
    computed = served_dtype(trained, vllm_args)
    texts: list[str] = []
    alone: list[list[int]] = []
    rows = []
    difference = ""
    for number, each in enumerate(asked):
        progress("served", number, len(asked))
        prompt, said_ids = served.chat(each.messages, _MOST, neutral=True)
        same.append(prompt == each.prompt)
        difference = difference or ("" if same[-1] else _difference(tokenizer, each.prompt, prompt))
        changed.append(served.chat(each.messages, _MOST, neutral=False)[1] != said_ids)
        answer = strip(said_ids, ends)
        alone.append(answer)
        heads.append(_head(reference, each, said_ids, ends, computed))
        texts.append(tokenizer.decode(answer, skip_special_tokens=True))
        rows.append(served.rows(each.prompt, each.answer) if each.answer else [])
    progress("all at once", 0, 1)
    together = served.together([each.messages for each in asked], _MOST)
    batch = fmean(strip(one, ends) == other for one, other in zip(together, alone, strict=True))
    places = _places(reference, asked, rows)
    said = [tokenizer.decode(each.answer, skip_special_tokens=True) for each in asked]
    wanted = [each.wanted for each in asked]
    found = Found(
        fmean(same), fmean(head for head, _ in heads), fmean(alike for alike, _ in places),
        fmean(kl for _, kl in places), max(kl for _, kl in places),
        fmean(map(token_f1, texts, wanted)), fmean(map(token_f1, said, wanted)),
        fmean(a.strip() == b.strip() for a, b in zip(texts, wanted, strict=True)),
        fmean(a.strip() == b.strip() for a, b in zip(said, wanted, strict=True)), fmean(changed), batch,
        fmean(tied for _, tied in heads),
    )  # fmt: skip
    kl_in_dtype = None
    if computed != trained and found.kl > CLOSE.kl:
        reference.to(computed)
        kl_in_dtype = fmean(kl for _, kl in _places(reference, asked, rows))
        reference.to(trained)
    return found, {"template": difference, "dtypes": (trained, computed), "kl_in_dtype": kl_in_dtype}


def _head(
    reference: Reference, each: _Asked, said: list[int], ends: list[int], dtype: str
) -> tuple[float, bool]:  # fmt: skip
    """The share of the reference's answer before the server's differs, all of it where that is at a near tie; and
    whether it is.
    """
    answer = strip(said, ends)
    longest, place = max(len(each.answer), len(answer)), common(each.answer, answer)
    if place == longest:
        return 1.0, False
    tied = place < len(said) and reference.ties([*each.prompt, *each.answer[:place]], said[place], dtype)
    return (1.0 if tied else place / longest), tied


def _places(reference: Reference, asked: Sequence[_Asked], rows: Sequence[Any]) -> list[tuple[bool, float]]:
    pairs = zip(asked, rows, strict=True)
    return [place for each, row in pairs if each.answer for place in reference.compare(each.prompt, each.answer, row)]


def _difference(tokenizer: Any, reference: list[int], served: list[int]) -> str:
    """Where two prompts part, as text."""
    place = common(reference, served)
    parts = [tokenizer.decode(ids[max(place - 2, 0) : place + 8]) for ids in (reference, served)]
    return f"at token {place}, {parts[0]!r} became {parts[1]!r}"


def ends_of(tokenizer: Any, model: Any) -> list[int]:
    """The tokens at which vLLM ends an answer: the tokenizer's, and those of the model's settings."""
    named = getattr(model.generation_config, "eos_token_id", None)
    return sorted({tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None})


# --- what tells a cause ----------------------------------------------------------------------------------------------


def _damaged(folder: Path, record: dict[str, Any], reference: Reference, base: Path, *, other: bool) -> tuple[str, ...]:
    """Weights that are not what was written: by hash where run.json has one, else against base and adapter."""
    bad = []
    identity = record.get("base", {}).get("identity") if isinstance(record.get("base"), dict) else ""
    if identity and base != folder and not other and identity != registry.weights_hash(base):
        bad.append(f"the base {base.name!r} has changed since training")
    if record.get("weights") and record["weights"] != registry.weights_hash(folder):
        bad.append(f"the files of {folder.name!r} are not those that run.json was written for")
    if record.get("kind") == "merged" and not other:
        bad += reference.damaged(folder)
    return tuple(bad)


def _generation(folder: Path, base: Path) -> str:
    """The served sampling settings where they are not the base's."""
    served, trained = (_settings(place / "generation_config.json") for place in (folder, base))
    if (folder / "adapter_config.json").is_file() or served == trained:
        return ""
    differ = sorted(key for key in served.keys() | trained.keys() if served.get(key) != trained.get(key))
    return "generation_config.json says " + ", ".join(f"{key} = {served.get(key)}" for key in differ)


def _settings(file: Path) -> dict[str, Any]:
    try:
        told = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in told.items() if k != "transformers_version"} if isinstance(told, dict) else {}
