"""What goes between hosts: addresses that are encrypted or on this machine, messages of a fixed form, no code."""

import json
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.keeping.wire import Failed, address_of, allow_pickle, checked, packed, refuse_pickle, unpacked
from app.keeping.work import prepare
from core.config import IngestConfig
from core.errors import ConfigError, WorkersError
from core.types import Document, FileEntry, Section
from retrieval.embed import Embedder
from tests.cluster import certificates
from tests.conftest import ROOT


def named(files: dict[str, str], scheme: str = "tls") -> IngestConfig:
    return IngestConfig.model_validate({"workers": f"{scheme}://10.0.0.5:8786"} | files)


@pytest.mark.parametrize("text", ["10.0.0.5:8786", "dask://host", "http://h:1", "dask://127.0.0.1:x", "tls://:8786"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no address of a cluster"):
        address_of(IngestConfig(workers=text))


@pytest.mark.parametrize("text", ["dask://10.0.0.5:8786", "tcp://workers.example:8786", "dask://0.0.0.0:8786"])
def test_off_this_machine_nothing_goes_in_clear(text: str) -> None:
    with pytest.raises(ConfigError, match="documents go there only encrypted"):
        address_of(IngestConfig(workers=text))


@pytest.mark.parametrize("text", ["dask://127.0.0.1:8786", "dask://localhost:8786", "dask://[::1]:8786"])
def test_on_this_machine_no_certificate_is_needed(text: str) -> None:
    address = address_of(IngestConfig(workers=text))
    assert not address.encrypted
    assert address.url == text.replace("dask", "tcp")


def test_tls_needs_all_three_files_and_they_must_belong_together(tmp_path: Path) -> None:
    own, other = certificates(tmp_path, "own"), certificates(tmp_path, "other")
    files = {key.removeprefix("RAGSTONE_INGEST__").lower(): value for key, value in own.items()}
    with pytest.raises(ConfigError, match=r"needs ingest\.workers_key"):
        address_of(named(files | {"workers_key": ""}))
    with pytest.raises(ConfigError, match="is not there"):
        address_of(named(files | {"workers_ca": str(tmp_path / "none.pem")}))
    foreign = other["RAGSTONE_INGEST__WORKERS_KEY"]
    with pytest.raises(ConfigError, match="cannot be used"):
        address_of(named(files | {"workers_key": foreign}))
    for scheme in ("tls", "dask"):  # with the files, either is encrypted
        address = address_of(named(files, scheme))
        assert address.url == "tls://10.0.0.5:8786"
        assert address.security.require_encryption


def test_what_was_read_comes_back_from_json_as_it_was(embedder: Embedder) -> None:
    text = "# 休假 Leave\n\nEverybody has 25 days of leave. 每年 25 天。\n"
    sections = (Section(0, 10, ("休假 Leave",), 1), Section(10, len(text), (), None))
    document = Document(text, "休假", sections, 2, (2,), "gb18030", 1, (1,), ("a note",), ("hr",), "2026-01")
    work = prepare(FileEntry("a/b.md", len(text), 1, 2, 3, "00"), document, IngestConfig(), embedder, 0.25)
    assert work.indexed.chunks
    again = unpacked(packed(work), FileEntry("a/b.md", len(text), 1, 2, 3), "00")
    assert again == work


def test_passages_that_do_not_stand_in_a_document_are_refused(embedder: Embedder) -> None:
    text = "Everybody has 25 days of leave."
    document = Document(text, sections=(Section(0, len(text)),))
    work = prepare(FileEntry("a.md", 9, 1, 2, 3), document, IngestConfig(), embedder)
    said = json.loads(packed(work))
    said["chunks"][0]["text"] = "Three."
    with pytest.raises(WorkersError, match="do not stand in it"):
        unpacked(json.dumps(said), work.indexed.entry, "00")


@pytest.mark.parametrize(
    "text", ["{}", "[]", '{"kind": 1, "error": "x"}', '{"kind": "a", "error": "b", "more": 1}', "x"]
)
def test_a_message_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(WorkersError, match="a worker sent what is no failed"):
        checked(Failed, text)


@pytest.mark.parametrize("loads", [pickle.loads, pickle._loads], ids=["c", "python"])  # type: ignore[attr-defined]
def test_a_thread_that_refuses_unpickles_no_name_and_others_do(loads: object) -> None:
    data, found = pickle.dumps(Path("/")), []

    def refusing() -> None:
        refuse_pickle()
        try:
            with pytest.raises(pickle.UnpicklingError, match="refused to unpickle pathlib"):
                loads(data)  # type: ignore[operator]
            found.append(loads(pickle.dumps({"a": [1, "b"]})))  # type: ignore[operator]
        finally:
            allow_pickle()

    thread = threading.Thread(target=refusing)
    thread.start()
    thread.join()
    assert found == [{"a": [1, "b"]}]
    assert loads(data) == Path("/")  # type: ignore[operator]


def test_refused_everywhere_no_thread_unpickles_a_name() -> None:
    code = """
import pickle, threading
from pathlib import Path
from app.keeping.wire import allow_pickle, refuse_pickle
refuse_pickle(everywhere=True)
allow_pickle()
def load():
    try:
        pickle.loads(pickle.dumps(Path("/")))
        print("ran")
    except pickle.UnpicklingError:
        print("refused")
load()
thread = threading.Thread(target=load)
thread.start()
thread.join()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused", "refused"]
