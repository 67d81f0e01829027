"""Recipe: the answers of a model to a data set's questions, scored by the app's own checks: what training gained.

Greedy answers by transformers on the CPU, of the model and of another one beside it, to the same questions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.keeping.index import Progress, quiet
from app.training.distil import scored
from app.training.parity import conversations, ends_of
from app.training.quantize import find
from core.config import Config
from core.errors import ConfigError
from llm import registry
from llm.examples import Example
from llm.parity import Reference
from llm.tokens import load_tokenizer


@dataclass(frozen=True, slots=True)
class Request:
    """`model`: a name in the registry, or a folder. `source`: a data set, of which `samples` of the test side are asked
    (else of the dev side), or a JSONL file. `against`: another model; "" is the base of an adapter or a merged model.
    """

    model: str
    source: str
    against: str = ""
    samples: int = 32
    most: int = 256


def run(cfg: Config, request: Request, progress: Progress = quiet) -> dict[str, Any]:
    """The mean of each check for the model and, where there is one, for what it is compared with.

    Raises `ConfigError` for a model that is quantized or lacks its base, `DatasetError` where nothing can be asked.
    """
    data = Path(cfg.app.data)
    folder = find(data, request.model)
    base, adapter = _parts(folder)
    record = registry.record_of(folder)
    named = request.against or str(record.get("base", {}).get("name", ""))
    other = _parts(find(data, named)) if named else None
    examples, notes = conversations(cfg, request.source, request.samples)
    report: dict[str, Any] = {"model": str(folder), "against": named, "notes": notes}
    report["scores"] = scored(examples, _said(base, adapter, examples, request.most, progress))
    report["before"] = scored(examples, _said(*other, examples, request.most, progress)) if other else {}
    return report | {"conversations": len(examples)}


def _parts(folder: Path) -> tuple[Path, Path | None]:
    """The whole weights of a model, and the adapter over them."""
    record = registry.record_of(folder)
    if record.get("kind") == "quantized":
        raise ConfigError(f"{folder.name!r} is quantized", "score the model that it was made from, and take its parity")
    if record.get("kind") == "adapter":
        return Path(record["base"]["name"]), folder
    return folder, None


def _said(base: Path, adapter: Path | None, examples: Sequence[Example], most: int, progress: Progress) -> list[str]:
    """The greedy answers of a model."""
    tokenizer: Any = load_tokenizer(base)
    model = Reference(base, adapter)
    ends = ends_of(tokenizer, model.model)
    said = []
    for number, example in enumerate(examples, start=1):
        messages = [message.model_dump() for message in example.prompt]
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        said.append(tokenizer.decode(model.generate(list(prompt), most, ends), skip_special_tokens=True))
        progress(f"answers of {(adapter or base).name}", number, len(examples))
    return said
