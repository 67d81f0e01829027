import dataclasses
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.keeping.index import chunker
from core.config import Config, RetrievalConfig
from core.errors import CatalogError
from core.text import tokens
from retrieval import lexical
from retrieval.embed import Embedder
from retrieval.home import check_name, names
from retrieval.index import Index
from retrieval.search import search
from tests.retrieval.corpus import build


def data(cfg: Config) -> Path:
    return Path(cfg.app.data)


def test_a_missing_knowledge_base_is_named_with_those_that_exist(cfg: Config, embedder: Embedder) -> None:
    build(cfg, embedder)
    with pytest.raises(CatalogError, match=r"no knowledge base 'none'.*there: kb"):
        Index.open(data(cfg), "none", embedder)
    assert names(data(cfg)) == ["kb"]


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden", "x" * 65, "a\x00", "con\n", "a."])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(CatalogError, match="cannot name"):
        check_name(name)


@pytest.mark.parametrize("name", ["models", "logs", "users.sqlite", "Chats.SQLite-wal", "audit.jsonl.1"])
def test_what_the_app_uses_itself_is_no_knowledge_base(name: str) -> None:
    with pytest.raises(CatalogError, match="another name"):
        check_name(name)


@pytest.mark.parametrize("name", ["handbook", "知识库", "v1.2 notes", "a_b-c"])
def test_ordinary_names_are_taken(name: str) -> None:
    assert check_name(name) == name


class Other(Embedder):
    identity = "other"  # type: ignore[assignment]


def test_writing_with_another_embedder_is_one_error_that_names_the_action(cfg: Config, embedder: Embedder) -> None:
    build(cfg, embedder)
    with pytest.raises(CatalogError, match="was embedded by 'all-MiniLM-L6-v2'") as error:
        Index.open_or_create(data(cfg), "kb", Other(RetrievalConfig(embedder="english")), chunker(cfg.ingest))
    assert "--rebuild" in error.value.hint


def test_reading_goes_on_with_the_embedder_that_made_it(
    cfg: Config, embedder: Embedder, caplog: pytest.LogCaptureFixture
) -> None:
    build(cfg, embedder)
    index = Index.open(data(cfg), "kb", Other(RetrievalConfig(embedder="nowhere/else", precision="float32")))
    assert index.embedder.identity == embedder.identity
    assert search(index, ["holidays"], cfg.retrieval, mode="dense")[0].path == "leave.md"
    assert "--rebuild" in caplog.text


class NewDefault(Embedder):
    """What the default is today; it never had to be loaded."""

    def __init__(self) -> None:
        super().__init__(RetrievalConfig(embedder="auto", precision="float32"))
        self.chosen = "multilingual"


def test_what_was_made_with_the_earlier_default_goes_on_with_it_unasked(
    cfg: Config, embedder: Embedder, caplog: pytest.LogCaptureFixture
) -> None:
    build(cfg, embedder)
    index = Index.open(data(cfg), "kb", NewDefault())
    written = Index.open_or_create(data(cfg), "kb", NewDefault(), chunker(cfg.ingest))
    for each in (index, written):
        assert (each.embedder.name, each.embedder.identity) == (embedder.name, embedder.identity)
    assert caplog.text == ""
    assert search(index, ["holidays"], cfg.retrieval, mode="dense")[0].path == "leave.md"


def test_another_chunk_size_is_one_error_that_names_the_action(cfg: Config, embedder: Embedder) -> None:
    build(cfg, embedder)
    smaller = cfg.ingest.model_copy(update={"chunk_tokens": 50})
    with pytest.raises(CatalogError, match="was cut by") as error:
        Index.open_or_create(data(cfg), "kb", embedder, chunker(smaller))
    assert "--rebuild" in error.value.hint


def test_a_second_writer_is_told_who_holds_the_lock(cfg: Config, embedder: Embedder) -> None:
    index = build(cfg, embedder)
    code = """
import sys, time
from pathlib import Path
from retrieval.home import writer_lock
with writer_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", code, str(index.home)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(CatalogError, match=f"being written by process {holder.pid}"), index.writing():
            pass
        assert search(index, ["annual leave"], cfg.retrieval)
    finally:
        holder.kill()
        holder.wait()
    with index.writing():  # a dead holder holds nothing
        pass


HARMS = {
    "vectors flipped": "vectors.faiss does not match its checksum",
    "vectors gone": "vectors.faiss is missing",
    "lexical gone": "lexical/meta.json is missing",
    "lexical damaged": "lexical/ is damaged",
    "segment flipped": ".term does not match its checksum",
    "segment cut": ".idx does not match its checksum",
    "segment gone": ".fast is missing",
}


def do_harm(folder: Path, harm: str) -> None:
    what, how = harm.split()
    part = {"flipped": "term", "cut": "idx", "gone": "fast"}.get(how, "")
    files = {"vectors": [folder / "vectors.faiss"], "segment": sorted((folder / "lexical").glob(f"*.{part}"))}
    for file in files.get(what) or [f for f in (folder / "lexical").iterdir() if f.suffix != ".lock"]:
        raw = file.read_bytes()
        if how == "gone":
            file.unlink()
        else:
            changed = {"flipped": raw[:9] + bytes([raw[9] ^ 4]) + raw[10:], "cut": raw[:-4]}.get(how, b"\x00")
            file.write_bytes(changed)


def state(folder: Path) -> dict[str, bytes]:
    """Every file but those that SQLite makes for a reader."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.suffix not in (".sqlite-shm", ".sqlite-wal"))
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_cache_is_reported_and_nothing_written_until_it_is_repaired(
    cfg: Config, embedder: Embedder, harm: str
) -> None:
    index = build(cfg, embedder)
    before = search(index, ["annual leave days"], cfg.retrieval)
    index.close()
    do_harm(index.folder, harm)
    harmed = state(index.home)
    again = Index.open(data(cfg), "kb", embedder)
    found = again.verify()
    assert HARMS[harm] in " ".join(found), found
    assert again.verify() == found
    assert state(index.home) == harmed
    assert again.verify(repair=True) == found
    assert again.verify() == []
    assert search(again, ["annual leave days"], cfg.retrieval) == before


@pytest.mark.parametrize("harm", ["vectors flipped", "vectors gone", "lexical gone", "lexical damaged"])
def test_a_search_over_a_damaged_cache_finds_the_same(cfg: Config, embedder: Embedder, harm: str) -> None:
    index = build(cfg, embedder)
    before = search(index, ["annual leave days"], cfg.retrieval)
    index.close()
    do_harm(index.folder, harm)
    assert search(Index.open(data(cfg), "kb", embedder), ["annual leave days"], cfg.retrieval) == before


def test_a_lexical_index_that_lacks_chunks_or_is_of_long_ago_is_reported(cfg: Config, embedder: Embedder) -> None:
    index = build(cfg, embedder)
    old = index.folder.parent / "old"
    shutil.copytree(index.folder / "lexical", old)
    build(cfg, embedder, {f"new{i}.md": f"Text number {i} about nothing." for i in range(300)}).close()
    with index.writing(), index.files.transaction() as write:
        write.remove(1)
    with index.writing():
        index.store.save(whole=True)
    assert index.verify() == []
    shutil.rmtree(index.folder / "lexical")
    shutil.copytree(old, index.folder / "lexical")
    assert index.verify() == ["lexical/ is too far behind the catalog to be caught up"]

    record = index.folder / "lexical" / "ragstone.json"
    record.write_text(json.dumps(json.loads(record.read_text("utf-8")) | {"generation": index.catalog.generation}))
    assert index.verify() == ["lexical/ holds 5 chunks, the catalog 304"]


def test_what_was_never_saved_is_not_missing(cfg: Config, embedder: Embedder) -> None:
    assert Index.open_or_create(data(cfg), "kb", embedder, chunker(cfg.ingest)).verify() == []


def test_verify_finds_what_is_wrong(cfg: Config, embedder: Embedder) -> None:
    index = build(cfg, embedder)
    assert index.verify() == []
    with index.files.transaction() as write:
        write.db.execute("UPDATE chunks SET text = text || '!' WHERE id = 1")
        write.db.execute("DELETE FROM embeddings WHERE key = (SELECT key FROM chunks WHERE id = 2)")
    problems = " ".join(index.verify())
    assert "do not match their offsets" in problems
    assert "lost their embedding" in problems


def test_chunks_that_a_search_cannot_read_are_not_called_well(
    cfg: Config, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = build(cfg, embedder)
    assert index.verify() == []

    def fails_at_times(text: str) -> list[str]:
        if "E-4102" in text:
            raise OverflowError("too much")
        return tokens(text)

    monkeypatch.setattr(lexical, "tokens", fails_at_times)
    (problem,) = index.verify()
    assert "1 chunks cannot be searched by words, such as one of 'vpn.md'" in problem
    assert "too much" in problem


def test_an_index_of_words_that_finds_nothing_is_not_called_well(
    cfg: Config, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = build(cfg, embedder)
    monkeypatch.setattr(lexical.Lexical, "search", lambda *args: [])
    assert index.verify() == ["lexical/ finds none of the words that the chunks hold"]


@pytest.mark.parametrize("number", ["9" * 5_000, "九" * 5_000, "九千" * 5_000], ids=["Arabic", "Chinese", "mixed"])
def test_a_number_of_thousands_of_digits_stops_no_search(cfg: Config, embedder: Embedder, number: str) -> None:
    index = build(cfg, embedder, {"law.md": f"总则\n\n第{number}条 年假每年二十五天。", "other.md": "病假超过三天。"})
    assert {hit.path for hit in search(index, [f"年假 第{number}条"], cfg.retrieval)} >= {"law.md"}
    assert index.verify(repair=True) == []


def test_a_catalog_that_is_no_database_is_one_clear_error(cfg: Config, embedder: Embedder) -> None:
    index = build(cfg, embedder)
    index.close()
    for name in ("catalog.sqlite-wal", "catalog.sqlite-shm"):
        (index.folder / name).unlink(missing_ok=True)
    (index.folder / "catalog.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(CatalogError, match="damaged"):
        Index.open(data(cfg), "kb", embedder)


def test_readers_in_other_threads_follow_a_writer(cfg: Config, embedder: Embedder) -> None:
    reader = build(cfg, embedder)
    failures: list[str] = []
    stop = threading.Event()

    def keep_searching() -> None:
        while not stop.is_set():
            hits = search(reader, ["annual leave days"], cfg.retrieval)
            if not hits or hits[0].path != "leave.md":
                failures.append(str(hits[:1]))

    threads = [threading.Thread(target=keep_searching) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(5):
        build(cfg, embedder, {f"new{i}.md": f"Text number {i} about nothing."})
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert search(reader, ["number 4"], cfg.retrieval, mode="lexical")[0].path == "new4.md"


def test_a_deleted_document_is_out_of_every_retriever_at_once(cfg: Config, embedder: Embedder) -> None:
    reader, writer = build(cfg, embedder), Index.open(data(cfg), "kb", embedder)
    gone = next(hit for hit in search(reader, ["annual leave"], cfg.retrieval) if hit.path == "leave.md")
    with writer.catalog.transaction() as write:
        write.remove(gone.document_id)
    for mode in ("dense", "lexical", "hybrid"):
        assert "leave.md" not in [h.path for h in search(reader, ["annual leave"], cfg.retrieval, mode=mode)]


def test_the_holder_file_names_process_and_host(cfg: Config, embedder: Embedder) -> None:
    index = build(cfg, embedder)
    with index.writing():
        record = json.loads((index.home / "writer.json").read_text("utf-8"))
    assert {"pid", "host", "since"} == set(record)


def test_counts_tell_chunks_with_a_vector(cfg: Config, embedder: Embedder) -> None:
    assert dataclasses.astuple(build(cfg, embedder).counts()) == (5, 5, 3)
