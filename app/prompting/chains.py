"""Recipe: demonstrations that reason, made of questions whose answers are known.

Auto-CoT (Zhang et al. 2022, https://arxiv.org/abs/2210.03493): the questions are clustered by their vectors, and each
cluster is shown by the one next to its centre whose reasoning is short. What the paper cannot know is known here:
whether the reasoning ends at the right answer and cites what holds it. One that does not is passed over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from app.answering.backend import Backend
from app.answering.promotions import Choice, applied, check_answers
from app.keeping.index import Progress, quiet
from app.measuring.scores import final, plain
from app.prompting.compare import Asked, Outcome, answers, check_model
from core.config import Config
from core.errors import EvalError
from core.text import query_tokens, tokens
from prompts import context
from prompts.load import Demo, Prompt, load
from prompts.marks import spans
from prompts.resting import check_for, mark
from prompts.versions import save
from retrieval.index import Index

SHOWN = "-shown"  # what a prompt with such demonstrations is called after its own name
_TRIES = 4  # questions of a cluster that are answered
_ROOM = 700  # tokens of a demonstration's sources
_LONGEST_QUESTION = 60  # tokens, as in the paper
_MOST_STEPS = 6  # as the prompts ask for
_CLOSE = 0.4  # token F1 with what is wanted, of an answer that is taken for right


@dataclass(frozen=True, slots=True)
class Shown:
    """Prompt and questions of a run: `chosen` are shown by it, `passed` is how many were answered and not taken."""

    prompt: Prompt
    chosen: tuple[str, ...]
    passed: int


def show(
    index: Index, asked: Sequence[Asked], choice: Choice, cfg: Config, backend: Backend, count: int,
    progress: Progress = quiet,
) -> Shown:  # fmt: skip
    """Save the next version of NAME-shown: the prompt of `choice` with at most `count` demonstrations a language.

    It rests on the knowledge base. Raises `ConfigError` without a model, `EvalError` where no answer can be shown,
    `ModelError`, `PromptError` for a prompt that quotes documents of another knowledge base.
    """
    check_model(backend)
    library = Path(cfg.prompts.library)
    prompt = check_for(check_answers(load(library, choice.name, choice.version)), index.identity, index.name)
    settings = applied(cfg, choice.model_copy(update={"steps": 0, "samples": 1}))  # their reports are no reasoning
    pool: dict[str, list[Asked]] = {}
    for each in asked:
        language = context.reply_language(each.question)
        short = context.estimate_tokens(each.question) <= _LONGEST_QUESTION
        if short and each.gold and each.gold.answerable and language in prompt.parts:
            pool.setdefault(language, []).append(each)
    parts = [(language, part) for language, own in pool.items() for part in clusters(index, own, count)]
    demos: dict[str, list[Demo]] = {}
    chosen: list[str] = []
    passed = 0
    for n, (language, part) in enumerate(parts):
        progress("demonstrations", n, len(parts))
        for each in part[:_TRIES]:
            (outcome,) = answers(index, [each], settings, backend, stage="demonstrations")
            if demo := _demo(each, outcome, "<reasoning>" in prompt.parts[language][0]):
                demos.setdefault(language, []).append(demo)
                chosen.append(each.question)
                break
            passed += 1
    progress("demonstrations", len(parts), len(parts))
    if not demos:
        raise EvalError(
            f"none of {passed} answers by {prompt.label} is right, cited and short enough to be shown",
            "try a larger model, or write demonstrations by hand: docs/prompts.md",
        )
    return Shown(save(library, _with(prompt, demos, index)), tuple(chosen), passed)


def clusters(index: Index, asked: Sequence[Asked], count: int) -> list[list[Asked]]:
    """The questions in `count` groups by their vectors (k-means), each from its centre outward, the largest first."""
    import faiss

    vectors = np.stack([index.embedder.embed_query(each.question) for each in asked])
    count = min(count, len(asked))
    means = faiss.Kmeans(vectors.shape[1], count, spherical=True, min_points_per_centroid=1, seed=1)
    means.train(vectors)
    near = vectors @ np.asarray(means.centroids).T
    own = near.argmax(axis=1)
    groups = [sorted(np.flatnonzero(own == n), key=lambda row: (-near[row, n], row)) for n in range(count)]
    return [[asked[row] for row in rows] for rows in sorted(groups, key=len, reverse=True) if rows]


def _right(asked: Asked, outcome: Outcome) -> bool:
    """Whether an answer says what is wanted, in its words or with all of them, and cites a source that says so."""
    answer, values = outcome.answer, outcome.row.values
    if not answer.answered or answer.finish != "stop" or not values.get("citation_recall"):
        return False
    wanted = set(query_tokens(plain(asked.gold.answer))) if asked.gold else set()
    return values["token_f1"] >= _CLOSE or (bool(wanted) and wanted <= set(tokens(plain(final(answer.text)))))


def _demo(asked: Asked, outcome: Outcome, tagged: bool) -> Demo | None:
    """The question with the reply as it was written and what it names; None where it would show a mistake.

    The sources are numbered from 1, as in a prompt, with one more that the reply does not name.
    """
    answer = outcome.answer
    thoughts = answer.thoughts.strip() if tagged else ""
    reply = f"<reasoning>\n{thoughts}\n</reasoning>\n{answer.text.strip()}" if thoughts else answer.text.strip()
    steps = sum(bool(line.strip()) for line in (thoughts or reply).splitlines())
    if steps > _MOST_STEPS or not _right(asked, outcome):
        return None
    named = {n for _, _, numbers in spans(reply, context.bodies(answer.sources)) for n in numbers}
    other = next((source.n for source in answer.sources if source.n not in named), None)
    kept = [source for source in answer.sources if source.n in {*named, other}]
    shown = context.pack(((source.hit, source.text) for source in kept), _ROOM)
    numbers = {old.n: new.n for old in kept for new in shown if old.hit == new.hit}
    if not named <= numbers.keys():
        return None
    reply = context.keep_known(reply, context.bodies(kept), numbers)
    return Demo({"sources": context.render(shown), "question": asked.question}, reply)


def _with(prompt: Prompt, demos: Mapping[str, Sequence[Demo]], index: Index) -> Prompt:
    """The prompt with these demonstrations alone, in the languages that have some."""
    shown = ", ".join(f"{len(rows)} {language}" for language, rows in demos.items())
    return replace(
        prompt, name=prompt.name.removesuffix(SHOWN) + SHOWN, parent=prompt.label,
        demos={language: tuple(rows) for language, rows in demos.items()},
        notes=f"{prompt.label} with reasoning demonstrated on questions about {index.name}: {shown}",
        rests_on=mark(index.identity, index.home.parent),
    )  # fmt: skip
