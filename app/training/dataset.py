"""Recipe: a data set to fine-tune the answering model on, from a knowledge base or from another tool's file.

questions and votes -> split by file -> prompts as served, answers with [n] (raft.py) -> near-duplicates out ->
data/datasets/<name>/, which is there only when all of it is: conversations, preferences, a data card, run.json.
"""

import asyncio
import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from app.answering.backend import Backend, resolve
from app.answering.promotions import settings_for
from app.keeping.index import Progress, quiet
from app.measuring import golden
from app.measuring.draft import draft
from app.measuring.evaluate import golden_testset
from app.measuring.golden import Located, golden_file, locate, squeeze
from app.training import raft, votes
from app.training.dataset_folder import Rows, alone, dataset_home, finished, write_dataset
from app.training.pairs import Example as Pair
from app.training.pairs import Split, copies, fingerprint, held_texts, split
from app.training.raft import Asked, Fence
from app.training.shown import passages, words
from app.training.votes import as_served, learnt, quoted_files, rated, read_votes, votes_file
from core.config import Config
from core.errors import DatasetError, EvalError
from core.text import digest
from llm.chat_formats import Format, read_chats
from llm.examples import Example, Message
from prompts.load import load
from retrieval import dictionary, tuning
from retrieval.index import Index
from retrieval.minhash import SIMILAR, bands, similarity, sketch
from retrieval.plugged import embedder_of

_DISTINCTIVE = 20  # characters without white space: a shorter sentence may stand in two files by chance
_DECIDES_NOTHING = {"rerank_key", "embed_url"}  # a secret; where the same vectors are made
_NEAR = "nearly another example"


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be made of a knowledge base; together with the inputs it decides what comes out.

    `without_gold` is the share of questions whose answer is left out of the prompt; `unanswerable` a file of questions,
    one a line, that no document answers; `review` leaves every example a draft.
    """

    kb: str
    name: str
    drafted: int = 0
    without_gold: float = 0.2
    held_out: float = 0.2
    dev: float = 0.1
    unanswerable: Path | None = None
    review: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Sides:
    """The questions of each side, and the files that are not trained on."""

    asked: Mapping[str, Sequence[Located]]
    held_out: frozenset[str] = frozenset()
    dev_files: frozenset[str] = frozenset()

    def of_line(self, line: str, request: Request) -> str:
        """The side of a question without a file: the hash decides."""
        at = random.Random(f"{request.seed} {line}").random()
        if at < request.held_out and self.held_out:
            return "test"
        return "dev" if at < request.held_out + request.dev and self.dev_files else "train"

    def of_files(self, files: Iterable[str]) -> str:
        """The side of what quotes these files; "" where some are held out and others are not."""
        files = set(map(_shown, files)) - {""}
        held = files & set(map(_shown, self.held_out))
        if held:
            return "test" if held == files else ""
        return "dev" if files & set(map(_shown, self.dev_files)) else "train"


def run(cfg: Config, request: Request, progress: Progress = quiet) -> dict[str, Any]:
    """Make a data set of a knowledge base, and return what run.json says; one of the same inputs is not made again.

    Raises `DatasetError` for a name that is taken, nothing to ask and a full disk, `CatalogError` for the knowledge
    base, `ModelError` where the configured model fails.
    """
    home = dataset_home(Path(cfg.app.data), request.name)
    cfg = settings_for(cfg, Path(cfg.app.data) / request.kb)
    backend = asyncio.run(resolve(cfg.llm))
    record = _record(cfg, request, backend)
    if done := finished(home, record["key"]):
        return done
    with alone(home):
        index = Index.open(Path(cfg.app.data), request.kb, embedder_of(cfg.retrieval), cfg.app.database)
        try:
            rows = asyncio.run(_made(index, cfg, request, backend, progress))
        finally:
            index.close()
        return write_dataset(home, record, rows, drafts=request.review)


def import_chats(
    cfg: Config, file: Path, format: Format | None, name: str, *, held_out: float = 0.1, dev: float = 0.1,
    review: bool = False, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Make a data set of another tool's conversations, split at random, as they name no source file.

    Raises `DatasetError` naming the row that is malformed, and as `run` does.
    """
    home = dataset_home(Path(cfg.app.data), name)
    found = read_chats(file, format)
    settings = {"format": found.format, "held_out": held_out, "dev": dev, "review": review, "seed": seed}
    inputs = {file.name: _hash(file)}
    record = {"kind": "dataset", "name": name, "seed": seed, "inputs": inputs, "settings": settings}
    record |= {"key": _key(record), "versions": {"ragstone": version("ragstone")}}
    if done := finished(home, record["key"]):
        return done
    rows = Rows()
    rows.left["a message is empty"] = len(found.empty)
    rows.notes = [f"left out, as a message is empty: {', '.join(found.empty)}"] if found.empty else []
    kept = _Fresh().of(found.examples, rows)
    random.Random(seed).shuffle(kept)
    test = min(round(held_out * len(kept)), len(kept) - 1)
    aside = test + min(round(dev * len(kept)), len(kept) - test - 1)
    rows.examples = {"test": kept[:test], "dev": kept[test:aside], "train": kept[aside:]}
    with alone(home):
        return write_dataset(home, record, rows, drafts=review)


# --- from a knowledge base -------------------------------------------------------------------------------------------


async def _made(index: Index, cfg: Config, request: Request, backend: Backend, progress: Progress) -> Rows:
    if not index.counts().documents:
        raise DatasetError(
            f"knowledge base {request.kb!r} has no documents", f"`ragstone index FOLDER --kb {request.kb}` first"
        )
    rows = Rows(notes=list(backend.notes))
    given = read_votes(votes_file(Path(cfg.app.data), request.kb))
    given = [vote.model_copy(update={"prompt": as_served(cfg, vote.prompt)}) for vote in given]
    origins = await _asked(index, cfg, request, backend, rows, progress)
    if not origins and not given:
        raise DatasetError(
            f"there is no question to make an example of in knowledge base {request.kb!r}",
            f"approve some (`ragstone golden draft --kb {request.kb}`, then `golden approve`), or add --drafted 200",
        )
    same = copies(index)
    quoted = {path for vote in given for path in (vote.file, *quoted_files(vote.prompt))}
    sides = _split(index, [found for found, _ in origins.values()], same, quoted, request, rows)
    rows.held_out, rows.dev_files = sorted(sides.held_out), sorted(sides.dev_files)
    fresh = _Fresh()
    for side in ("test", "dev", "train"):  # what is nearly an example of the test side stays out of the others
        todo = [
            Asked(found.question.id, found.question.question, origins[found.question.id][1], found.question.file, found)
            for found in sides.asked[side]
        ]
        todo += [
            Asked(digest(line).hex()[:10], line, "unanswerable")
            for line in _lines(request.unanswerable) if sides.of_line(line, request) == side
        ]  # fmt: skip
        found = await raft.examples(
            index, cfg, backend, todo, _fence(index, sides, side), without_gold=request.without_gold,
            same=same, seed=request.seed, left=rows.left, progress=progress,
        )  # fmt: skip
        rows.examples[side] += fresh.of(found, rows)
        if side == "test":
            rows.questions = [found.question for found in sides.asked[side]]
            _add_votes(given, sides, fresh, rows)
    return rows


async def _asked(
    index: Index, cfg: Config, request: Request, backend: Backend, rows: Rows, progress: Progress
) -> dict[str, tuple[Located, str]]:
    """The approved questions, then drafted ones, as far as the documents hold the evidence; by id, with the origin."""
    known = golden.read(golden_file(Path(cfg.app.data), request.kb))
    asked = {question.id: (question, "golden") for question in known if question.status == "approved"}
    if request.drafted:
        drafts = await draft(index, cfg, request.drafted, known, backend, seed=request.seed, progress=progress)
        rows.left["the model's reply was no question"] += drafts.bad_replies
        rows.notes += drafts.notes
        if len(drafts.questions) < request.drafted:
            rows.notes.append(f"{len(drafts.questions)} questions could be drafted, not {request.drafted}")
        approved = (question.model_copy(update={"status": "approved"}) for question in drafts.questions)
        asked |= {question.id: (question, "drafted") for question in approved if question.id not in asked}
    found, gone = locate(index, [question for question, _ in asked.values()])
    rows.left["the documents no longer hold its evidence"] += len(gone)
    return {one.question.id: (one, asked[one.question.id][1]) for one in found}


def _split(
    index: Index, asked: Sequence[Located], same: Mapping[str, str], quoted: set[str], request: Request, rows: Rows
) -> _Sides:
    """The questions apart by file. Files that votes quote are held out only where there are no two others."""
    if not request.held_out or not asked:
        return _Sides({"train": asked, "dev": (), "test": ()})
    judges = golden_testset(index, [found.question for found in asked]).questions
    pairs = {
        Pair(found.question.question, found.homes, frozenset({found.question.file}), "golden", judge): found
        for found, judge in zip(asked, judges, strict=True)
    }
    groups = {same.get(path, path) for path in (*same, *(f.question.file for f in asked)) if _shown(path) in quoted}
    voted = {pair for pair in pairs if {same.get(path, path) for path in pair.files} & groups}
    if len({same.get(path, path) for pair in pairs.keys() - voted for path in pair.files}) >= 2:
        pairs = {(replace(pair, asked=None) if pair in voted else pair): found for pair, found in pairs.items()}
    try:
        parts: Split = split(list(pairs), same, request.held_out, request.dev, request.seed)
    except EvalError as error:
        raise DatasetError(
            error.message, "ask questions of more files, add --drafted 200, or --held-out 0 for no test set"
        ) from None
    rows.left.update(parts.left_out)
    apart = {"train": parts.train, "dev": parts.dev, "test": parts.test}
    asked_of = {side: [pairs[pair] for pair in found] for side, found in apart.items()}
    return _Sides(asked_of, parts.held_out, parts.dev_files)


def _fence(index: Index, sides: _Sides, side: str) -> Fence:
    """What may stand in a side's prompts: in test, held-out files only; elsewhere, nothing of the sides after it."""
    if side == "test":
        return Fence(index, only=sides.held_out)
    out = sides.held_out | (sides.dev_files if side == "train" else frozenset())
    return Fence(
        index, out, held_texts(index, out), _evidence(sides, ("dev", "test") if side == "train" else ("test",))
    )


def _evidence(sides: _Sides, among: Sequence[str]) -> frozenset[str]:
    said = {squeeze(text) for side in among for found in sides.asked[side] for text in found.question.evidence}
    return frozenset(text for text in said if len(text) >= _DISTINCTIVE)


def _add_votes(given: Sequence[votes.Vote], sides: _Sides, fresh: "_Fresh", rows: Rows) -> None:
    """What votes teach, on the side of all files that their prompts quote."""
    told = _evidence(sides, ("test",))

    def side_of(prompt: Sequence[Message], file: str) -> str:
        side = sides.of_files((file, *quoted_files(prompt)))
        said = squeeze(passages(prompt)) if side in ("train", "dev") else ""
        return "" if any(text in said for text in told) else side

    examples, preferences, left = learnt(given)
    rows.left.update(left)
    tested = fresh.asked
    for preference in preferences:
        side = side_of(preference.prompt, preference.file)
        if not side or (side != "test" and _said(preference.prompt) in tested):
            rows.left["a preference about what is held out"] += 1
        else:
            rows.preferences[side].append(preference)
    for rating in rated(given):
        side = side_of(rating.prompt, rating.file)
        if side and (side == "test" or _said(rating.prompt) not in tested):
            rows.ratings[side].append(rating)
    for example in examples:
        if side := side_of(example.prompt, example.file):
            rows.examples[side] += fresh.of([example], rows)
        else:
            rows.left["a vote whose prompt quotes what is held out"] += 1


def _shown(path: str) -> str:
    """A path as prompts have it."""
    return path.replace('"', "'").replace("\n", " ")


def _said(messages: Sequence[Message]) -> str:
    """What the user says in a conversation, to compare it by."""
    return squeeze("\n".join(words(message) for message in messages if message.role == "user"))


class _Fresh:
    """Takes an example once: not the same question again, and not nearly the same question and answer (MinHash)."""

    def __init__(self) -> None:
        self._asked: set[str] = set()
        self._bands: dict[int, list[bytes]] = defaultdict(list)

    @property
    def asked(self) -> frozenset[str]:
        """What was asked so far."""
        return frozenset(self._asked)

    def of(self, examples: Iterable[Example], rows: Rows) -> list[Example]:
        """Those of the examples that are new; the others are counted."""
        return [example for example in examples if self._takes(example, rows)]

    def _takes(self, example: Example, rows: Rows) -> bool:
        said = _said(example.messages)
        own = sketch(f"{said}\n{example.answer}")
        keys = bands(own)
        if said in self._asked or any(similarity(own, other) >= SIMILAR for key in keys for other in self._bands[key]):
            rows.left[_NEAR] += 1
            return False
        self._asked.add(said)
        for key in keys:
            self._bands[key].append(own)
        return True


# --- what it is made of ----------------------------------------------------------------------------------------------


def _record(cfg: Config, request: Request, backend: Backend) -> dict[str, Any]:
    """What decides the outcome, and the key that it has by that."""
    home = Path(cfg.app.data) / request.kb
    inputs = fingerprint(cfg, request.kb, None)
    for name in (golden.FILE, votes.FILE, tuning.FILE, dictionary.FILE):
        if (home / name).is_file():
            inputs[name] = _hash(home / name)
    settings = asdict(request) | {"unanswerable": None}
    del settings["name"]
    if request.unanswerable:
        _lines(request.unanswerable)
        settings["unanswerable"] = request.unanswerable.name
        inputs[request.unanswerable.name] = _hash(request.unanswerable)
    prompt = load(Path(cfg.prompts.library), cfg.prompts.answer, cfg.prompts.answer_version)
    shown = {"name": prompt.name, "version": prompt.version, "id": prompt.id, "sources": cfg.prompts.sources}
    record: dict[str, Any] = {
        "kind": "dataset", "name": request.name, "kb": request.kb, "seed": request.seed, "inputs": inputs,
        "settings": settings, "prompt": shown,
        "answers": backend.model,
    }  # fmt: skip
    room = [cfg.llm.max_tokens, backend.endpoint.context if backend.endpoint else None]
    decides = record | {"retrieval": cfg.retrieval.model_dump(exclude=_DECIDES_NOTHING), "room": room}
    return record | {"key": _key(decides), "versions": {"ragstone": version("ragstone")}}


def _key(decides: Mapping[str, Any]) -> str:
    return digest(json.dumps({k: v for k, v in decides.items() if k != "name"}, sort_keys=True)).hex()


def _hash(file: Path) -> str:
    try:
        with file.open("rb") as handle:
            return hashlib.file_digest(handle, "blake2b").hexdigest()[:32]
    except OSError as error:
        raise DatasetError(f"{str(file)!r} cannot be read: {error.strerror}", "check its permissions") from None


def _lines(file: Path | None) -> list[str]:
    try:
        text = file.read_text("utf-8-sig") if file else ""
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise DatasetError(f"{str(file)!r} cannot be read: {reason}", "give a text file, one question a line") from None
    return list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
