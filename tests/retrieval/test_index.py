import dataclasses
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.index import chunker
from core.config import Config, RetrievalConfig
from core.errors import CatalogError
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


@pytest.mark.parametrize("name", ["handbook", "知识库", "v1.2 notes", "a_b-c"])
def test_ordinary_names_are_taken(name: str) -> None:
    assert check_name(name) == name


class Other(Embedder):
    identity = "other"  # type: ignore[assignment]


def test_writing_with_another_embedder_is_one_error_that_names_the_action(cfg: Config, embedder: Embedder) -> None:
    build(cfg, embedder)
    with pytest.raises(CatalogError, match="was embedded by 'all-MiniLM-L6-v2'") as error:
        Index.open_or_create(data(cfg), "kb", Other(RetrievalConfig()), chunker(cfg.ingest))
    assert "--rebuild" in error.value.hint


def test_reading_goes_on_with_the_embedder_that_made_it(
    cfg: Config, embedder: Embedder, caplog: pytest.LogCaptureFixture
) -> None:
    build(cfg, embedder)
    index = Index.open(data(cfg), "kb", Other(RetrievalConfig(embedder="nowhere/else", precision="float32")))
    assert index.embedder.identity == embedder.identity
    assert search(index, ["holidays"], cfg.retrieval, mode="dense")[0].path == "leave.md"
    assert "--rebuild" in caplog.text


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


@pytest.mark.parametrize("harm", ["vectors flipped", "vectors gone", "lexical gone", "lexical damaged"])
def test_a_damaged_cache_is_built_again_from_the_catalog(cfg: Config, embedder: Embedder, harm: str) -> None:
    index = build(cfg, embedder)
    before = search(index, ["annual leave days"], cfg.retrieval)
    index.close()
    vectors, lexical = index.folder / "vectors.faiss", index.folder / "lexical"
    if harm == "vectors flipped":
        raw = bytearray(vectors.read_bytes())
        raw[100] ^= 4
        vectors.write_bytes(raw)
    elif harm == "vectors gone":
        vectors.unlink()
    for file in lexical.iterdir() if harm.startswith("lexical") else ():
        if harm == "lexical gone":
            file.unlink()
        elif file.name != ".tantivy-writer.lock":
            file.write_bytes(b"\x00")
    again = Index.open(data(cfg), "kb", embedder)
    assert search(again, ["annual leave days"], cfg.retrieval) == before
    assert bool(again.verify()) is (harm == "vectors flipped")  # said once, and mended
    assert again.verify() == []


def test_verify_finds_what_is_wrong(cfg: Config, embedder: Embedder) -> None:
    index = build(cfg, embedder)
    assert index.verify() == []
    with index.catalog.transaction() as write:
        write.db.execute("UPDATE chunks SET text = text || '!' WHERE id = 1")
        write.db.execute("DELETE FROM embeddings WHERE key = (SELECT key FROM chunks WHERE id = 2)")
    problems = " ".join(index.verify())
    assert "do not match their offsets" in problems
    assert "lost their embedding" in problems


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
