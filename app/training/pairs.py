"""Questions with the passages that answer them, to train retrieval on: where they come from, and their split by file.

They are asked (a golden set, a JSONL file, a folder in BEIR form), drafted from the documents without a model, or to be
had from any text without a question: its title and headings, a sentence and the passage it was taken out of (inverse
cloze task; Lee, Chang and Toutanova 2019), a passage and the next one.
"""

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from app.answering.backend import EXTRACTIVE
from app.keeping.index import Progress, chunker, write_documents
from app.measuring import golden
from app.measuring.draft import draft
from app.measuring.evaluate import Judged, Question, TestSet, golden_testset, indexed, judge_documents, read_testset
from app.measuring.golden import GoldenQuestion, golden_file, locate, made, squeeze
from core.config import Config
from core.errors import EvalError
from core.text import digest, heading_line, query_tokens, sentences
from core.types import Document, Hit, Section
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.minhash import SIMILAR, similarity
from retrieval.plugged import embedder_of

_CLOZE_KEPT = 0.1  # of the sentences stay in their passage, so that the same words are learned as well
_SHORTEST = 4  # search tokens of a sentence that may stand for a question
_LEAST_FILES = 10  # below, none are set aside for early stopping


@dataclass(frozen=True, slots=True)
class Example:
    """A question, and per answer to it the chunks that hold that answer; `files` are those of all of them.

    `asked` judges rankings; where it is None the example is for training only. `passage` is what is trained on in
    place of a chunk as it stands.
    """

    question: str
    homes: tuple[frozenset[int], ...]
    files: frozenset[str]
    origin: str
    asked: Question | None = None
    passage: str = ""


@dataclass(frozen=True, slots=True)
class Material:
    """A knowledge base, or a temporary one, with its examples; `depth` is how deep a ranking is judged."""

    index: Index
    examples: tuple[Example, ...]
    depth: int


@dataclass(frozen=True, slots=True)
class Split:
    """Examples apart by file. `held_out` are the files that nothing is trained on, near copies of them included."""

    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    held_out: frozenset[str]
    dev_files: frozenset[str]
    left_out: Mapping[str, int]


@contextmanager
def opened(cfg: Config, kb: str, source: Path | None, progress: Progress) -> Iterator[Material]:
    """The asked questions of a source (a BEIR folder, a JSONL file, else the golden set), and the index they are of.

    Raises `EvalError` for a source that is not in its form, `CatalogError` for a knowledge base that cannot be used.
    """
    embedder = embedder_of(cfg.retrieval)
    with ExitStack() as stack:
        if source is not None and source.is_dir():
            testset = read_testset(source)
            index = stack.enter_context(indexed(source, cfg, embedder, progress))
            yield Material(index, _documents_of(index, testset, _relevant(source)), testset.chunks)
            return
        rows = _read_rows(source) if source is not None else []
        if source is not None and any(row.passage for row in rows):
            if not all(row.passage for row in rows):
                raise EvalError(f"{str(source)!r} mixes rows with a passage and rows with a file", "keep one form")
            index = stack.enter_context(_passages_indexed(rows, cfg, embedder, progress))
            yield Material(index, _documents_of(index, *_passage_testset(rows)), 100)
            return
        index = Index.open(Path(cfg.app.data), kb, embedder, cfg.app.database)
        stack.callback(index.close)
        if index.embedder is not embedder:
            index.check_writable(embedder, index.catalog.manifest().chunker)
        if not index.counts().documents:
            raise EvalError(f"knowledge base {kb!r} has no documents", f"`ragstone index FOLDER --kb {kb}` first")
        if source is None:
            questions = [q for q in golden.read(golden_file(Path(cfg.app.data), kb)) if q.status == "approved"]
        else:
            questions = [_as_golden(row) for row in rows]
        origin = "golden" if source is None else "file"
        yield Material(index, _evidence_of(index, list({q.id: q for q in questions}.values()), origin), 100)


def drafted(material: Material, cfg: Config, count: int, seed: int) -> list[Example]:
    """Up to `count` examples from the documents: drafted questions first, then what needs no question.

    Drafted questions judge rankings only where nobody asked one.
    """
    index = material.index
    drafts = asyncio.run(draft(index, cfg, count, [], EXTRACTIVE, seed=seed)).questions
    approved = [question.model_copy(update={"status": "approved"}) for question in drafts]
    found = _evidence_of(index, approved, "drafted")
    if material.examples:
        found = tuple(Example(e.question, e.homes, e.files, e.origin) for e in found)
    return [*found, *_unasked(index, count - len(found), random.Random(seed))]


# --- asked -----------------------------------------------------------------------------------------------------------

_Text = Annotated[str, StringConstraints(pattern=r"\S")]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    question: _Text
    passage: _Text | None = None
    file: _Text | None = None
    evidence: _Text | list[_Text] | None = None


def _read_rows(file: Path) -> list[_Row]:
    forms = '{"question", "passage"} or {"question", "file", "evidence"}'
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise EvalError(f"{str(file)!r} cannot be read: {reason}", f"give a JSONL file with rows {forms}") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = _Row.model_validate_json(line)
        except ValidationError as error:
            raise EvalError(f"{file}:{number}: {error.errors()[0]['msg']}", f"a row is {forms}") from None
        if (row.passage is None) == (row.file is None) or (row.file is None) != (row.evidence is None):
            raise EvalError(f"{file}:{number}: neither of the two forms", f"a row is {forms}")
        rows.append(row)
    return rows


def _as_golden(row: _Row) -> GoldenQuestion:
    evidence = [row.evidence] if isinstance(row.evidence, str) else row.evidence or []
    return made(row.question, evidence, row.file or "", "person", status="approved")


def _evidence_of(index: Index, approved: Sequence[GoldenQuestion], origin: str) -> tuple[Example, ...]:
    """The questions whose evidence the knowledge base holds."""
    if not approved:
        return ()
    asked = golden_testset(index, approved).questions
    examples = []
    for question, found in zip(asked, locate(index, approved)[0], strict=True):
        paths = {hit.path for hit in index.hits(sorted(frozenset[int]().union(*found.homes))).values()}
        examples.append(Example(question.text, found.homes, frozenset(paths), origin, question))
    return tuple(examples)


@contextmanager
def _passages_indexed(rows: Sequence[_Row], cfg: Config, embedder: Embedder, progress: Progress) -> Iterator[Index]:
    texts = {_name(row.passage): row.passage for row in rows if row.passage}
    documents = ((name, Document(text, "", (Section(0, len(text)),))) for name, text in texts.items())
    with TemporaryDirectory(prefix="ragstone-train-") as data:
        index = Index.open_or_create(Path(data), "passages", embedder, chunker(cfg.ingest))
        try:
            write_documents(index, documents, cfg.ingest, progress)
            yield index
        finally:
            index.close()


def _name(passage: str | None) -> str:
    return digest(passage or "").hex()


def _passage_testset(rows: Sequence[_Row]) -> tuple[TestSet, dict[str, set[str]]]:
    relevant: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        relevant[row.question].add(_name(row.passage))
    asked = tuple(Question(text, text, min(names), _judge_of(names)) for text, names in relevant.items())
    return TestSet(asked, 100, {}), relevant


def _judge_of(names: set[str]) -> Callable[[Sequence[Hit], int], Judged]:
    gains = dict.fromkeys(sorted(names), 1.0)
    return lambda hits, k: judge_documents([hit.path for hit in hits], gains, k)


def _relevant(folder: Path) -> dict[str, set[str]]:
    """Of each question of a BEIR folder, by id, the relevant documents; `read_testset` has checked the file."""
    found: dict[str, set[str]] = defaultdict(set)
    for line in (folder / "qrels.tsv").read_text("utf-8").splitlines():
        query, document, grade = line.split("\t") if line.strip() else ("", "", "0")
        if query != "query-id" and float(grade) > 0:
            found[query].add(document)
    return found


def _documents_of(index: Index, testset: TestSet, relevant: Mapping[str, set[str]]) -> tuple[Example, ...]:
    """Questions that whole documents answer."""
    wanted = frozenset[str]().union(*relevant.values())
    chunks: dict[str, set[int]] = defaultdict(set)
    for document in index.catalog.documents():
        if document.path in wanted:
            chunks[document.path].update(hit.chunk_id for hit in index.catalog.chunks_of(document.id))
    examples = []
    for question in testset.questions:
        files = frozenset(relevant.get(question.id, ()))
        homes = tuple(frozenset(chunks[path]) for path in sorted(files) if path in chunks)
        if homes:
            examples.append(Example(question.text, homes, files, "file", question))
    return tuple(examples)


# --- not asked -------------------------------------------------------------------------------------------------------


def _unasked(index: Index, count: int, rng: random.Random) -> Iterator[Example]:
    """Pairs that are to be had from any text, of three kinds in turn; the seed decides the order of the passages."""
    ids = index.catalog.chunk_ids()
    rng.shuffle(ids)
    kinds = [_from_heading, _from_sentence, _from_neighbour]
    made_so_far = 0
    for chunk_id in ids:
        if made_so_far >= count:
            return
        hit = index.hits([chunk_id])[chunk_id]
        turn = made_so_far % len(kinds)
        pairs = (kind(index, hit, rng) for kind in kinds[turn:] + kinds[:turn])
        if example := next((pair for pair in pairs if pair), None):
            made_so_far += 1
            yield example


def _from_heading(index: Index, hit: Hit, rng: random.Random) -> Example | None:
    """Title and heading -> the passage below, without them: with them the words alone would do."""
    words = heading_line(hit.title, hit.headings[-1:])
    return _pair(hit, words.replace(" > ", " "), "heading", hit.text) if words else None


def _from_sentence(index: Index, hit: Hit, rng: random.Random) -> Example | None:
    parts = sentences(hit.text)
    fit = [n for n, part in enumerate(parts) if len(query_tokens(part)) >= _SHORTEST]
    if len(fit) < 2:
        return None
    at = rng.choice(fit)
    rest = hit.text if rng.random() < _CLOZE_KEPT else "".join(parts[:at] + parts[at + 1 :])
    return _pair(hit, parts[at].strip(), "sentence", f"{heading_line(hit.title, hit.headings)}\n{rest}".strip())


def _from_neighbour(index: Index, hit: Hit, rng: random.Random) -> Example | None:
    following = index.catalog.around(hit.document_id, hit.ordinal + 1, hit.ordinal + 1)
    return _pair(following[0], hit.text, "neighbour", following[0].text) if following else None


def _pair(hit: Hit, question: str, origin: str, passage: str) -> Example | None:
    if len(query_tokens(question)) < 2 or len(query_tokens(passage)) < _SHORTEST:
        return None
    return Example(question, (frozenset({hit.chunk_id}),), frozenset({hit.path}), origin, None, passage)


# --- the split -------------------------------------------------------------------------------------------------------


def copies(index: Index) -> dict[str, str]:
    """Of each file that has near copies, the first of them by path."""
    first: dict[str, str] = {}

    def root(path: str) -> str:
        while first.get(path, path) != path:
            path = first[path]
        return path

    ids = sorted(document.id for document in index.catalog.documents())
    for own, others in index.catalog.near(ids):
        for other in others:
            if similarity(own.sketch, other.sketch) >= SIMILAR:
                low, high = sorted((root(own.path), root(other.path)))
                first[high] = first[low] = low
    return {path: root(path) for path in first}


def split(examples: Sequence[Example], same: Mapping[str, str], share: float, dev_share: float, seed: int) -> Split:
    """Set files aside for measuring (a share of those with asked questions) and for early stopping.

    `same` maps near copies to one of them; they stay together. An example belongs to a side when all of its files do;
    what lies on both is left out, as is a training question that is asked of a held-out file too. Raises `EvalError`
    where too few files have questions.
    """
    rng = random.Random(seed)
    asked = {path for example in examples if example.asked for path in example.files}
    groups = {same.get(path, path) for path in asked}
    if len(groups) < 2:
        raise EvalError(
            f"no file can be held out: questions are asked of {len(groups)} file(s), near copies counted once",
            "ask questions of more files: `ragstone golden draft`, --from FILE.jsonl, or --drafted 500",
        )
    held = _chosen(groups, share, rng)
    left = Counter[str]()
    test, rest = _apart(examples, same, held, left)
    test = [example for example in test if example.asked]
    told = {squeeze(example.question) for example in test}
    known = [example for example in rest if squeeze(example.question) in told]
    left["asked of a held-out file too"] += len(known)
    rest = [example for example in rest if squeeze(example.question) not in told]
    training = {same.get(path, path) for example in rest for path in example.files}
    aside = _chosen(training, dev_share, rng) if dev_share and len(training) >= _LEAST_FILES else frozenset[str]()
    dev, train = _apart(rest, same, aside, left)
    members: dict[str, set[str]] = defaultdict(set)
    for path in {*same, *(path for example in examples for path in example.files)}:
        members[same.get(path, path)].add(path)
    held_out, dev_files = (frozenset[str]().union(*(members[g] for g in part)) for part in (held, aside))
    return Split(tuple(train), tuple(dev), tuple(test), held_out, dev_files, dict(+left))


def _chosen(groups: set[str], share: float, rng: random.Random) -> frozenset[str]:
    """A share of the groups, at least one and never all."""
    return frozenset(rng.sample(sorted(groups), min(max(round(share * len(groups)), 1), len(groups) - 1)))


def _apart(
    examples: Sequence[Example], same: Mapping[str, str], groups: frozenset[str], left: Counter[str]
) -> tuple[list[Example], list[Example]]:
    """The examples all of whose files are in the groups, and those none of whose files are."""
    inside, outside = [], []
    for example in examples:
        found = {same.get(path, path) in groups for path in example.files}
        if len(found) == 2:
            left["answered by files on both sides"] += 1
        else:
            (inside if found == {True} else outside).append(example)
    return inside, outside


def held_texts(index: Index, held_out: frozenset[str]) -> frozenset[bytes]:
    """Hashes of the passages of held-out files: the same passage in another file must not be trained on either."""
    documents = (document.id for document in index.catalog.documents() if document.path in held_out)
    return frozenset(digest(squeeze(hit.text)) for i in documents for hit in index.catalog.chunks_of(i))


def fingerprint(cfg: Config, kb: str, source: Path | None) -> dict[str, str]:
    """Hashes of what the examples come from: the files of a source; of a knowledge base its documents and questions."""
    try:
        if source is not None and source.is_dir():
            files = sorted(path for path in source.rglob("*") if path.is_file())
            return {path.relative_to(source).as_posix(): _hash(path) for path in files}
        inputs = {} if source is None else {source.name: _hash(source)}
    except OSError as error:
        raise EvalError(f"{str(source)!r} cannot be read: {error.strerror}", "give a file or a folder") from None
    index = _opened(cfg, kb) if _needs_kb(source) else None
    if index:
        documents = [(each.folder, each.path, each.hash) for each in index.catalog.documents()]
        inputs["documents"] = digest(json.dumps([*documents, index.catalog.manifest().chunker])).hex()
        index.close()
        if source is None:
            lines = [q.line() for q in golden.read(golden_file(Path(cfg.app.data), kb)) if q.status == "approved"]
            inputs["golden.jsonl"] = digest("\n".join(lines)).hex()
    return inputs


def _needs_kb(source: Path | None) -> bool:
    return source is None or any(row.file for row in _read_rows(source))


def _hash(file: Path) -> str:
    import hashlib

    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "blake2b").hexdigest()[:32]


def _opened(cfg: Config, kb: str) -> Index:
    return Index.open(Path(cfg.app.data), kb, embedder_of(cfg.retrieval), cfg.app.database)
