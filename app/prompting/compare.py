"""Recipe: the same questions answered by several prompts, side by side: scores, wins and losses, how sure that is.

Passages are searched without the model's other wordings of a question, which differ from one time to the next: the
prompts are compared on the same passages.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.answering.answer import Done, answer
from app.answering.backend import HOW_TO, Backend, by_model
from app.answering.plan import planned
from app.answering.promotions import Choice, applied, check_answers
from app.keeping.index import Progress, quiet
from app.measuring import golden
from app.measuring.scores import METRICS, Gold, Row, means, objective, paired, row
from core.config import Config
from core.errors import ConfigError, EvalError, ModelError
from core.files import write_whole
from core.text import digest
from core.types import Answer
from llm import chat
from llm.endpoint import Endpoint
from prompts import context
from prompts.load import Prompt, load
from prompts.resting import check_for
from retrieval.index import Index

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

SCORES = "prompt-scores.json"  # what prompts scored last, per knowledge base
OBJECTIVE = ("token_f1", "citation_f1")
_AT_ONCE = 4  # questions
_MOST = 5_000  # questions of a file
_KEYS = {"id", "question", "answer", "evidence", "file", "unanswerable"}
_GRADES = 5
_SCHEMA = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "score": {"type": "integer", "minimum": 1, "maximum": _GRADES}},
    "required": ["reason", "score"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with what is wanted of its answer (None: nobody said), and the document it is about, where known."""

    id: str
    question: str
    gold: Gold | None
    file: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one prompt made of one question."""

    answer: Answer
    row: Row


def check_objective(names: Sequence[str]) -> tuple[str, ...]:
    """The scores whose mean is the objective. Raises `ConfigError` for one that there is not."""
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise ConfigError(f"there is no score {', '.join(unknown) or 'named'}", f"scores: {', '.join(METRICS)}")
    return tuple(names)


# --- questions -------------------------------------------------------------------------------------------------------


def golden_questions(index: Index) -> list[Asked]:
    """The approved golden questions of a knowledge base whose evidence it still holds. Raises `EvalError` for none."""
    approved = [q for q in golden.read(index.home / golden.FILE) if q.status == "approved"]
    located, _ = golden.locate(index, approved)
    if not located:
        raise EvalError(
            f"the golden set of {index.name!r} has no approved question whose evidence stands",
            f"`ragstone golden draft --kb {index.name}`, then `ragstone golden approve ID...`; or give a JSONL file",
        )
    questions = [found.question for found in located]
    return [Asked(q.id, q.question, Gold(q.answer.strip(), tuple(q.evidence)), q.file) for q in questions]


def read_questions(file: Path) -> list[Asked]:
    """Questions of a JSONL file: question, and answer or evidence (a list), or "unanswerable": true; id, file.

    Raises `EvalError` naming the line.
    """
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise EvalError(f"{str(file)!r} cannot be read: {reason}", "give a JSONL file, a question a line") from None
    asked = [_parsed(f"{file}:{number}", line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not 0 < len(asked) <= _MOST:
        raise EvalError(f"{str(file)!r} has {len(asked)} questions", f"1 to {_MOST} can be asked")
    return list({each.id: each for each in asked}.values())


def _parsed(where: str, line: str) -> Asked:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise EvalError(f"{where}: not JSON", "a line is an object with question and answer") from None
    if not isinstance(data, dict) or not data.keys() <= _KEYS:
        raise EvalError(f"{where}: not an object with the keys {', '.join(sorted(_KEYS))}", "mend the line")
    evidence = data.get("evidence", [])
    texts = {key: data.get(key, "") for key in ("id", "question", "answer", "file")}
    if not isinstance(evidence, list) or not all(isinstance(text, str) for text in (*texts.values(), *evidence)):
        raise EvalError(f"{where}: something is no string", "all are strings, evidence is a list of them")
    gold = Gold(texts["answer"].strip(), tuple(evidence))
    if not texts["question"].strip() or gold.answerable == (data.get("unanswerable") is True):
        raise EvalError(
            f"{where}: a question needs an answer or evidence, or else unanswerable = true", "mend the line"
        )
    own = texts["id"] or digest(f"{texts['question']}\0{texts['file']}").hex()[:10]
    return Asked(own, texts["question"].strip(), gold, texts["file"])


def unseen(asked: Sequence[Asked], prompts: Sequence[Prompt]) -> list[Asked]:
    """The questions that none of the prompts demonstrates: what a model was shown cannot be scored.

    Raises `EvalError` where none is left.
    """
    shown = {demo.values.get("question") for p in prompts for demos in p.demos.values() for demo in demos}
    left = [each for each in asked if each.gold is None or each.question not in shown]
    if not left:
        raise EvalError(
            f"each of the {len(asked)} questions is demonstrated by a prompt that is to be scored",
            "approve more golden questions, or name other prompts",
        )
    return left


# --- answers ---------------------------------------------------------------------------------------------------------


def check_model(backend: Backend) -> Endpoint:
    """The model that is asked. Raises `ConfigError` where there is none: prompts change nothing without one."""
    if backend.endpoint is None:
        reason = " ".join(note for note in backend.notes if note != HOW_TO)
        raise ConfigError(
            f"prompts are for a model, and none answers{': ' + reason if reason else ''}",
            "set llm.base_url to an OpenAI-compatible server, or llm.vllm_model and run `ragstone serve`",
        )
    return backend.endpoint


def answers(
    index: Index, asked: Sequence[Asked], cfg: Config, backend: Backend, *, judged: bool = False,
    progress: Progress = quiet, stage: str = "answers",
) -> list[Outcome]:  # fmt: skip
    """Each question answered by the configuration, whatever is promoted, and scored, in order. Raises `ModelError`."""
    judge = check_model(backend)
    (found,) = asyncio.run(_in_turn(index, asked, [(stage, cfg, backend)], judge if judged else None, progress))
    return found


async def _in_turn(
    index: Index, asked: Sequence[Asked], sides: Sequence[tuple[str, Config, Backend]], judge: Endpoint | None,
    progress: Progress,
) -> list[list[Outcome]]:  # fmt: skip
    """What each side, (stage, configuration, who answers), makes of the questions, graded where there is a judge.

    So that the times of several can be compared, each answers one question that does not count, then a few at a time by
    all of them, another one first each time; none has the vector of a question that another has embedded.
    """
    settings = [(_fixed(cfg), backend) for _, cfg, backend in sides]
    if len(sides) > 1:
        for cfg, backend in settings:
            await _outcome(index, asked[0], cfg, backend, judge=None)
    found: list[list[Outcome]] = [[] for _ in sides]
    for batch, start in enumerate(range(0, len(asked), _AT_ONCE)):
        some = asked[start : start + _AT_ONCE]
        for turn in range(len(sides)):
            at = (batch + turn) % len(sides)
            progress(sides[at][0], start, len(asked))
            index.forget_questions()
            found[at] += await asyncio.gather(*(_outcome(index, each, *settings[at], judge) for each in some))
    for stage, *_ in sides:
        progress(stage, len(asked), len(asked))
    return found


def _fixed(cfg: Config) -> Config:
    """The configuration, whatever is promoted, without the wordings of a model, which differ each time.

    What is asked to measure is no question of a person, so that none of it is kept.
    """
    app = cfg.app.model_copy(update={"keep_unanswered": False})
    retrieval = cfg.retrieval.model_copy(update={"variants": 0})
    prompts = cfg.prompts.model_copy(update={"promoted": False})
    return cfg.model_copy(update={"app": app, "retrieval": retrieval, "prompts": prompts})


async def _outcome(index: Index, asked: Asked, cfg: Config, backend: Backend, judge: Endpoint | None) -> Outcome:
    done = None
    sent: list[int] = []
    written: list[int] = []

    def hear(messages: "Sequence[BaseMessage]", text: str) -> None:
        sent.append(sum(context.estimate_tokens(message.text) for message in messages))
        written.append(context.estimate_tokens(text))

    plan = await planned(cfg, index.home, backend=backend)
    with chat.heard(hear):
        async for event in answer(index, asked.question, plan):
            if isinstance(event, Done):
                done = event.answer
    assert done is not None  # an answer ends with it, or raises
    grade = await _judge(asked, done, plan.cfg, judge) if judge else None
    scored = row(asked.question, done, asked.gold, grade)
    return Outcome(done, replace(scored, calls=len(sent), sent=sum(sent), written=sum(written)))


async def _judge(asked: Asked, done: Answer, cfg: Config, endpoint: Endpoint) -> float | None:
    """What a model says of an answer by the prompt `judge`, 0 to 1; None where there is nothing to compare with.

    A reply that is no grade is None too: it must not count as a bad answer.
    """
    if asked.gold is None or not asked.gold.answerable:
        return None
    if not done.answered:
        return 0.0
    prompt = load(Path(cfg.prompts.library), cfg.prompts.judge, cfg.prompts.judge_version)
    values = {"question": asked.question, "reference": asked.gold.text, "answer": done.text}
    messages = prompt.render(context.reply_language(asked.question), values)
    sure = cfg.llm.model_copy(update={"temperature": 0.0, "max_tokens": min(cfg.llm.max_tokens, 300)})
    try:
        reply = await chat.ask_json(endpoint, sure, messages, "grade", _SCHEMA)
    except ModelError as error:
        if error.retryable:
            raise
        return None
    score = reply.get("score") if isinstance(reply, dict) else None
    return (score - 1) / (_GRADES - 1) if type(score) is int and 1 <= score <= _GRADES else None


# --- side by side ----------------------------------------------------------------------------------------------------


def compare(
    index: Index, asked: Sequence[Asked], choices: Sequence[Choice], cfg: Config, backend: Backend, *,
    names: Sequence[str] = OBJECTIVE, judged: bool = False, progress: Progress = quiet,
) -> dict[str, Any]:  # fmt: skip
    """The questions by each choice, the others against the first, as plain data; all graded by the backend's model.

    Those that a prompt demonstrates are left out. Raises `ConfigError`, `EvalError` where none is left, `ModelError`,
    `PromptError` for a prompt that quotes documents of another knowledge base.
    """
    judge = check_model(backend)
    names = check_objective(names)
    prompts = [check_answers(load(Path(cfg.prompts.library), choice.name, choice.version)) for choice in choices]
    for prompt in prompts:
        check_for(prompt, index.identity, index.name)
    given, asked = len(asked), unseen(asked, prompts)
    named = [asyncio.run(by_model(backend, choice.model, cfg.llm)) if choice.model else backend for choice in choices]
    sides = [(c.label, applied(cfg, c), answering) for c, answering in zip(choices, named, strict=True)]
    found = asyncio.run(_in_turn(index, asked, sides, judge if judged else None, progress))
    values = [[objective(outcome.row, names) for outcome in outcomes] for outcomes in found]
    variants = [
        {
            "label": choice.label, "choice": choice.model_dump(exclude_none=True),
            "means": means([outcome.row for outcome in outcomes]), "objective": round(sum(own) / len(own), 4),
            "against": None if own is values[0] else paired(values[0], own),
        }
        for choice, outcomes, own in zip(choices, found, values, strict=True)
    ]  # fmt: skip
    rows = [
        side_by_side(each, [outcomes[n] for outcomes in found], [own[n] for own in values])
        for n, each in enumerate(asked)
    ]
    return {
        "kb": index.name, "model": backend.model, "objective": list(names), "questions": len(asked),
        "demonstrated": given - len(asked),
        "variants": variants, "rows": rows, "when": time.strftime("%Y-%m-%d %H:%M:%S"),
    }  # fmt: skip


def side_by_side(asked: Asked, outcomes: Sequence[Outcome], values: Sequence[float]) -> dict[str, Any]:
    """A question and what became of it, as plain data."""
    told = [
        {"text": o.answer.text, "objective": round(value, 4), "refused": o.row.refused, "tokens": o.row.tokens,
         "seconds": round(o.row.seconds, 3), "calls": o.row.calls,
         "scores": {k: round(v, 4) for k, v in o.row.values.items()}, "cited": [asdict(c) for c in o.answer.citations]}
        for o, value in zip(outcomes, values, strict=True)
    ]  # fmt: skip
    return {
        "id": asked.id,
        "question": asked.question,
        "wanted": asked.gold.text if asked.gold else "",
        "answers": told,
    }


def remember(home: Path, result: Mapping[str, Any]) -> None:
    """Keep what each variant scored on a set, so that a list of versions can show it; the last time stands."""
    kept = scores_of(home)
    for variant in result["variants"]:
        kept[variant["label"]] = {
            "objective": variant["objective"], "means": variant["means"], "questions": result["questions"],
            "model": result["model"], "when": result["when"],
        }  # fmt: skip
    write_whole(home / SCORES, json.dumps(kept, ensure_ascii=False, indent=1) + "\n")


def scores_of(home: Path) -> dict[str, Any]:
    """What prompts scored last on questions of a knowledge base, by label. Raises `EvalError` for a damaged file."""
    try:
        return dict(json.loads((home / SCORES).read_text("utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise EvalError(f"{str(home / SCORES)!r} cannot be used: {error}", "remove it, and compare again") from None
