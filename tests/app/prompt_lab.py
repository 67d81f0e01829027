"""A model whose answers depend on what its prompt says, and a library with a deliberately poor prompt beside ours."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from core.config import Config
from prompts.load import Prompt
from prompts.versions import save
from tests.app.stub_model import Call, Stub
from tests.conftest import ROOT

POOR = ("Say something about this.\n\n{sources}", "{question}")
FACT = re.compile(r"The (\w+) allowance is \d+ euros a month for every employee who asks for it in writing\.")
SOURCE = re.compile(r'<source n="(\d+)"[^\n]*>\n(.*?)\n</source>', re.DOTALL)


def library(folder: Path) -> Path:
    """A copy of the library, with `poor/v001`."""
    shutil.copytree(ROOT / "prompts" / "library", folder)
    save(folder, Prompt("poor", 0, "", ("sources", "question"), {"en": POOR, "zh": POOR}, notes="Asks for nothing."))
    return folder


def with_library(cfg: Config, folder: Path, stub: Stub | None = None, answer: str = "poor") -> Config:
    """The configuration with that library, answering by a prompt of it, and perhaps the stub as its model."""
    prompts = cfg.prompts.model_copy(update={"library": str(folder), "answer": answer, "answer_version": 1})
    llm = cfg.llm.model_copy(update={"backend": "openai", "base_url": stub.base_url} if stub else {})
    return cfg.model_copy(update={"prompts": prompts, "llm": llm})


def asked_for(call: Call) -> str:
    """The thing whose allowance is asked for."""
    return re.findall(r"How much is the (\w+) allowance", str(call.body["messages"][-1]["content"]))[-1]


def reader(cites: Callable[[Call], bool]) -> Callable[[Call], str]:
    """A model that finds the sentence; it puts the number of the source behind it only where `cites` says so."""

    def thinks(call: Call) -> str:
        for n, body in SOURCE.findall(call.text):
            for match in FACT.finditer(body):
                if match[1] == asked_for(call):
                    return f"{match[0][:-1]} [{n}]." if cites(call) else match[0]
        return "NO_ANSWER"

    return thinks


def told_to_cite(call: Call) -> bool:
    """Whether the prompt asks for numbers."""
    return "the number of the source" in str(call.body["messages"][0]["content"])
