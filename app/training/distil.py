"""Recipe: a teacher answers the questions of a data set, and a smaller model is trained on what it says.

data set -> each prompt to the teacher, as the chat sends it -> answers that our own checks do not hold for are left
out -> data/datasets/<name>/. The test side stays as it was, so that teacher and student are measured by the same.
"""

import asyncio
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from app.keeping.index import Progress, quiet
from app.training import parity
from app.training.dataset_folder import Rows, alone, dataset_home, finished, write_dataset
from app.training.quantize import find, side_file
from app.training.raft import supported
from app.training.rewards import REWARDS, refused, sources_of
from app.training.shown import question
from core.config import Config, LlmConfig
from core.errors import DatasetError
from core.text import digest
from llm import chat, registry
from llm.endpoint import Endpoint, probe_all
from llm.examples import SIDES, Example, Message, read_examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.messages import BaseMessage

_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Request:
    """`source`: a data set. `teacher`: the address of an OpenAI-compatible server, as llm.base_url, or a model's folder
    or name, which vLLM then serves meanwhile. `model`: which of a server's models, "" for the first.
    """

    source: str
    name: str
    teacher: str
    model: str = ""
    review: bool = False


def run(
    cfg: Config, request: Request, progress: Progress = quiet, say: "Callable[[str], None]" = lambda _: None
) -> dict[str, Any]:
    """Let the teacher answer, and return what run.json says; one of the same inputs is not made again.

    Raises `DatasetError` for the data set and where no answer is good, `ModelError` where the teacher does not answer.
    """
    data = Path(cfg.app.data)
    sides = ("train",) if Path(request.source).is_file() else SIDES
    files = {side: file for side in sides if (file := side_file(data, request.source, side)).is_file()}
    if "train" not in files:
        raise DatasetError(f"{request.source!r} is no data set with questions", "`ragstone dataset make` makes one")
    settings = {key: value for key, value in asdict(request).items() if key != "name"}
    inputs = {file.name: registry.file_hash(file) for file in files.values()}
    record: dict[str, Any] = {
        "kind": "dataset",
        "name": request.name,
        "seed": 0,
        "inputs": inputs,
        "settings": settings,
    }
    key = digest(repr([sorted(inputs.items()), sorted(settings.items())])).hex()
    record |= {"key": key, "versions": {"ragstone": version("ragstone")}}
    home = dataset_home(data, request.name)
    if done := finished(home, key):
        return done
    asked = {side: [row for row in read_examples(file) if row.status == "approved"] for side, file in files.items()}
    with alone(home):
        with _served(cfg, request, say) as llm:
            rows, scores = asyncio.run(_answered(llm, asked, progress))
        return write_dataset(
            home, record | {"answers": llm.model or request.teacher, "teacher": scores}, rows, drafts=request.review
        )


async def _answered(
    llm: LlmConfig, asked: dict[str, list[Example]], progress: Progress
) -> tuple[Rows, dict[str, float]]:
    """The rows with the teacher's answers, and what the checks say of all of these, before any is left out."""
    endpoint = await probe_all((llm.base_url,), llm)
    rows = Rows()
    rows.examples["test"] = asked.pop("test", [])
    todo = [(side, example) for side, found in asked.items() for example in found]
    said: list[str] = []
    for start in range(0, len(todo), _AT_ONCE):
        batch = todo[start : start + _AT_ONCE]
        said += await asyncio.gather(*(_reply(llm, endpoint, example) for _, example in batch))
        progress("answers", len(said), len(todo))
    for (side, example), answer in zip(todo, said, strict=True):
        if reason := unfit(example, answer):
            rows.left[reason] += 1
            continue
        messages = (*example.prompt, Message(role="assistant", content=answer))
        rows.examples[side].append(
            example.model_copy(update={"messages": messages, "origin": f"teacher:{endpoint.model}"})
        )
    return rows, scored([example for _, example in todo], said)


async def _reply(llm: LlmConfig, endpoint: Endpoint, example: Example) -> str:
    reply = ""
    pieces = chat.stream(endpoint, llm.model_copy(update={"temperature": 0.0}), _messages(example.prompt))
    async for piece in pieces:
        cut = isinstance(piece, chat.Finish) and piece.reason == "length"
        reply = chat.joined(reply, piece) + (" …" if cut else "")
    return reply.strip()


def _messages(prompt: Sequence[Message]) -> "list[BaseMessage]":
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

    kinds = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
    return [kinds[message.role](content=message.content) for message in prompt]


def unfit(example: Example, answer: str) -> str:
    """Why an answer should not be learnt; "" where it should."""
    if not answer or answer.endswith("…"):
        return "the teacher's answer was empty or cut off"
    if refused(answer) != (example.kind == "refusal"):
        return "the teacher answers what is to be refused" if example.kind == "refusal" else "the teacher refuses"
    sources = sources_of([message.model_dump() for message in example.prompt])
    if example.kind == "answer" and sources and not supported(answer, question(example.prompt), sources):
        return "the teacher's answer is not supported by what it cites"
    return ""


def scored(examples: Sequence[Example], answers: Sequence[str]) -> dict[str, float]:
    """The mean of each reward (app/training/rewards.py) over answers to the examples."""
    columns = {
        "prompts": [[message.model_dump() for message in example.prompt] for example in examples],
        "completions": [[{"role": "assistant", "content": answer}] for answer in answers],
        "gold": [example.answer for example in examples], "kind": [example.kind for example in examples],
    }  # fmt: skip
    found = {}
    for reward in REWARDS:
        if values := [value for value in reward(**columns) if value is not None]:
            found[reward.__name__] = round(fmean(values), 4)
    return found


@contextmanager
def _served(cfg: Config, request: Request, say: "Callable[[str], None]") -> "Iterator[LlmConfig]":
    """The settings by which the teacher is asked; a folder is served by vLLM as long as that takes."""
    if request.teacher.startswith(("http://", "https://")):
        yield cfg.llm.model_copy(update={"base_url": request.teacher, "model": request.model})
        return
    from llm.serve import Server

    folder = find(Path(cfg.app.data), request.teacher)
    record = registry.record_of(folder)
    beside = parity.served_beside(cfg.llm, folder, record)
    with Server.start(beside, Path(cfg.app.data) / "logs" / "teacher.log", say) as server:
        yield cfg.llm.model_copy(update={"base_url": server.base_url, "model": parity.SERVED_AS})
