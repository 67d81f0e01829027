"""New wordings of a prompt that answers, written by the model from what the present one fails at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.config import Config
from core.errors import ModelError
from llm import chat
from llm.endpoint import Endpoint
from prompts.load import Prompt, load

_SHOWN = 5  # failures
_LONGEST = 4_000  # characters of a wording
_CUT = 400  # of what is quoted of a failure
_SCHEMA = {
    "type": "object",
    "properties": {key: {"type": "string"} for key in ("en", "zh", "notes")},
    "required": ["en", "zh", "notes"],
    "additionalProperties": False,
}
_SOURCES = "{sources}"


async def propose(
    endpoint: Endpoint, cfg: Config, prompt: Prompt, failures: Sequence[tuple[str, str, str]], seed: int
) -> Prompt | str:
    """Another wording of the system part in both languages, unsaved; or why the model's reply gives none.

    `failures` are (question, wanted, said), the worst first; `seed` makes each wording another. Raises `ModelError`
    where the model cannot be asked.
    """
    asking = load(Path(cfg.prompts.library), "propose")
    shown = "\n\n".join(
        f"Question: {question}\nWanted: {wanted}\nSaid: {said}"
        for question, wanted, said in ([" ".join(text[:_CUT].split()) for text in row] for row in failures[:_SHOWN])
    )
    values = {"prompt": _shown(prompt), "failures": shown or "none"}
    creative = cfg.llm.model_copy(update={"temperature": 0.9, "seed": seed})
    try:
        reply = await chat.ask_json(endpoint, creative, asking.render("en", values), "wording", _SCHEMA)
    except ModelError as error:
        if error.retryable:
            raise
        return error.message
    if not _usable(reply):
        return "the reply holds no prompt in English and Chinese"
    parts = {
        language: (_system(reply.get(language), system), user) for language, (system, user) in prompt.parts.items()
    }
    notes = f"Proposed by {endpoint.model}: {' '.join(reply['notes'].split())[:300]}"
    return Prompt(prompt.name, 0, "", prompt.variables, parts, prompt.demos, prompt.label, notes)


def _shown(prompt: Prompt) -> str:
    systems = [prompt.parts[language][0].replace(_SOURCES, "").strip() for language in ("en", "zh") if
               language in prompt.parts]  # fmt: skip
    return "\n\n".join(systems).replace("{{", "{").replace("}}", "}")


def _usable(reply: Any) -> bool:
    return (
        isinstance(reply, dict)
        and all(isinstance(reply.get(key), str) for key in ("en", "zh", "notes"))
        and all(20 <= len(reply[key].strip()) <= _LONGEST for key in ("en", "zh"))
    )


def _system(written: str | None, present: str) -> str:
    """The wording as a template, with the sources where the present one has them; of other languages the present."""
    if written is None:
        return present
    text = written.strip().replace("{", "{{").replace("}", "}}")
    return f"{text}\n\n{_SOURCES}" if _SOURCES in present else text
