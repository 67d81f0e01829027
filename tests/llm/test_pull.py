"""Models from a hub, against a stand-in hub that serves a real tiny model and breaks off, lies and refuses."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from core.errors import ConfigError, ModelError, RagstoneError
from llm import registry
from llm.hub import Hub, hub_of
from llm.pull import Pulled, pull
from tests.llm.hub import COMMIT, REPO, StandIn, serving

APIS: list[Literal["huggingface", "modelscope"]] = ["huggingface", "modelscope"]
SECRET = "hf_a-secret"


@pytest.fixture
def hub(tiny_lm: Path, tmp_path: Path) -> Iterator[StandIn]:
    folder = tmp_path / "repository"
    shutil.copytree(tiny_lm, folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text('{"word_embedding_dimension": 8}')
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (folder / "modeling_tiny.py").write_text("raise SystemExit")
    (folder / ".gitattributes").write_text("* text")
    with serving(folder) as stand_in:
        yield stand_in


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def pulled(
    hub: StandIn, data: Path, *, api: Literal["huggingface", "modelscope"] = "huggingface", revision: str = "",
    token: str = "", said: list[str] | None = None,
) -> Pulled:  # fmt: skip
    lines: list[str] = [] if said is None else said
    return pull(data, Hub(api, hub.address, token), REPO, revision, "", lines.append)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != registry.RECORD
    }


def wanted(hub: StandIn) -> dict[str, bytes]:
    return {name: content for name, content in hub.files().items() if not name.endswith((".bin", ".py", "attributes"))}


@pytest.mark.parametrize("api", APIS)
def test_a_pulled_model_is_the_repository_without_pickles_and_code(
    hub: StandIn, data: Path, api: Literal["huggingface", "modelscope"]
) -> None:
    done = pulled(hub, data, api=api)
    assert contents(done.folder) == wanted(hub)
    assert done.folder == data / "models/tiny"
    assert done.left_out == (".gitattributes", "modeling_tiny.py", "pytorch_model.bin")
    record = registry.read_record(done.folder)
    assert (record["kind"], record["repo"], record["revision"]) == ("pulled", REPO, COMMIT)
    told = {row["name"]: (row["size"], row["sha256"]) for row in record["files"]}
    assert told == {name: (len(body), hashlib.sha256(body).hexdigest()) for name, body in wanted(hub).items()}


def test_a_pulled_model_loads_and_is_listed_and_promoted(hub: StandIn, data: Path) -> None:
    from transformers import AutoModelForCausalLM

    pulled(hub, data)
    model = AutoModelForCausalLM.from_pretrained(str(data / "models/tiny"), local_files_only=True)
    assert model.config.model_type == "qwen3"
    (listed,) = registry.models(data)
    assert (listed.kind, listed.base, listed.problem) == ("pulled", REPO, "")
    registry.promote(data, "tiny")


def test_a_model_that_is_there_needs_no_hub(hub: StandIn, data: Path) -> None:
    pulled(hub, data)
    hub.status = 500
    requests = len(hub.asked)
    again = pulled(hub, data)
    assert (again.fetched, again.revision) == (0, COMMIT)
    assert len(hub.asked) == requests


def test_another_revision_of_a_name_that_is_there_is_refused_and_a_file_cut_short_is_named(
    hub: StandIn, data: Path
) -> None:
    done = pulled(hub, data)
    with pytest.raises(ConfigError, match="other inputs or settings"):
        pulled(hub, data, revision="v2")
    (done.folder / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"config\.json' is not as it was pulled"):
        pulled(hub, data)


def test_a_transfer_that_breaks_off_goes_on_at_the_byte_where_it_stopped(hub: StandIn, data: Path) -> None:
    hub.breaks = [1000, 500]
    done = pulled(hub, data)
    assert contents(done.folder) == wanted(hub)
    assert [asked.range for asked in hub.transfers()] == ["", "bytes=1000-", "bytes=1500-"]
    assert done.fetched == sum(len(body) for body in wanted(hub).values())  # no byte came twice


def test_a_server_without_ranges_is_asked_for_the_whole_again(hub: StandIn, data: Path) -> None:
    hub.breaks, hub.ranges = [1000], False
    assert contents(pulled(hub, data).folder) == wanted(hub)


def test_a_download_that_was_killed_goes_on_where_it_stopped(hub: StandIn, data: Path) -> None:
    hub.breaks = [70_000]
    code = (
        "import sys, threading\nfrom pathlib import Path\nfrom llm import pull\nfrom llm.hub import Hub\n"
        "pull.time.sleep = lambda s: (print('broken', flush=True), threading.Event().wait())\n"
        f"pull.pull(Path(sys.argv[1]), Hub('huggingface', sys.argv[2]), {REPO!r}, '', '', lambda line: None)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(data), hub.address], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"broken\n"
        process.send_signal(signal.SIGKILL)
    assert not (data / "models/tiny").exists()
    hub.asked.clear()
    done = pulled(hub, data)
    assert contents(done.folder) == wanted(hub)
    assert [asked.range for asked in hub.transfers()] == ["bytes=70000-"]
    assert not any("config.json" in asked.path for asked in hub.asked)  # what was whole did not come again


def test_every_file_is_on_the_disk_before_it_has_its_name(
    hub: StandIn, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []
    sync, name = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        done.append(("on the disk", os.readlink(f"/proc/self/fd/{handle}")))
        sync(handle)

    def replace(part: Path, target: Path) -> Path:
        done.append(("named", str(target)))
        return name(part, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    model = pulled(hub, data).folder
    for file in (path for path in model.rglob("*") if path.is_file() and path.name != registry.RECORD):
        own = str(file).replace(str(model), f"{model}.partial")
        place = done.index(("named", own))
        assert ("on the disk", f"{own}.part") in done[:place]
        assert ("on the disk", str(Path(own).parent)) in done[place:]
    assert ("on the disk", f"{model}.partial") in done


def test_what_is_left_of_another_commit_is_not_gone_on_with(hub: StandIn, data: Path) -> None:
    hub.breaks = [1000, 0, 0, 0, 0, 0]
    with pytest.raises(ModelError) as caught:
        _impatient(hub, data)
    assert caught.value.retryable
    hub.commit, hub.breaks = "f00d" * 10, []
    hub.asked.clear()
    said: list[str] = []
    done = pulled(hub, data, said=said)
    assert done.revision == hub.commit
    assert [asked.range for asked in hub.transfers()] == [""]
    assert any("another revision" in line for line in said)


def _impatient(hub: StandIn, data: Path) -> Pulled:
    """A pull that does not wait between its attempts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", lambda s: None)
        return pulled(hub, data)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_is_not_what_the_hub_states_is_removed(
    hub: StandIn, data: Path, api: Literal["huggingface", "modelscope"], name: str
) -> None:
    hub.lies = name
    with pytest.raises(ModelError, match=f"'{name}' .* hash differs") as caught:
        pulled(hub, data, api=api)
    assert "removed" in caught.value.hint
    assert not list((data / "models/tiny.partial").glob(f"{name}*"))
    hub.lies = ""
    assert contents(pulled(hub, data, api=api).folder) == wanted(hub)


def test_a_file_longer_than_stated_is_cut_off(hub: StandIn, data: Path) -> None:
    hub.longer = True
    with pytest.raises(ModelError, match="is longer than"):
        pulled(hub, data)
    assert not list(data.rglob("model.safetensors*"))


@pytest.mark.parametrize("api", APIS)
def test_a_refused_token_is_named_by_its_variable_and_never_shown(
    hub: StandIn, data: Path, api: Literal["huggingface", "modelscope"]
) -> None:
    hub.token = "another"
    said: list[str] = []
    for token in ("", SECRET):
        with pytest.raises(ModelError, match="does not hand out maker/tiny") as caught:
            pulled(hub, data, api=api, token=token, said=said)
        assert Hub(api, "").token_name in caught.value.hint
        assert SECRET not in str(caught.value) + "".join(said)


def test_the_token_goes_to_the_hub_and_not_to_where_it_redirects(hub: StandIn, data: Path) -> None:
    for api in APIS:
        hub.token = SECRET
        hub.asked.clear()
        pulled(hub, data / api, api=api, token=SECRET)
        assert {asked.token for asked in hub.asked if asked.host == "127.0.0.1"} == {SECRET}
        assert [(asked.host, asked.token, asked.cookie) for asked in hub.transfers()] == [("localhost", "", "")]
        assert SECRET not in (data / api / "models/tiny/run.json").read_text()


def test_what_the_hub_does_not_have_is_named(hub: StandIn, data: Path) -> None:
    with pytest.raises(ModelError, match="does not have maker/tiny, revision v9"):
        pulled(hub, data, revision="v9")
    with pytest.raises(ModelError, match="does not have maker/other"):
        pull(data, Hub("huggingface", hub.address), "maker/other", "", "", print)


def test_a_hub_that_asks_to_wait_is_obeyed(hub: StandIn, data: Path) -> None:
    hub.refusals = [429, 503]
    said: list[str] = []
    assert contents(pulled(hub, data, said=said).folder) == wanted(hub)
    assert sum("again in 0 s" in line for line in said) == 2


def test_a_hub_that_asks_for_an_hour_is_not_waited_for(hub: StandIn, data: Path) -> None:
    hub.refusals, hub.retry_after = [429], "3600"
    with pytest.raises(ModelError, match="HTTP 429") as caught:
        pulled(hub, data)
    assert "60 minutes" in caught.value.hint
    hub.status = 429
    with pytest.raises(ModelError, match="in 3600 s"):
        pulled(hub, data)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    "name",
    ["../evil.json", "a/../../evil.json", "/etc/evil.json", "a\\..\\evil.json", "C:evil.json", "a//b.json", "a/.",
     "x\0.json", "a/b/c/d/e/f/g/h/i.json", "CONFIG.json", "config.json/evil.json"],
)  # fmt: skip
def test_names_that_could_be_written_elsewhere_are_refused(
    hub: StandIn, data: Path, api: Literal["huggingface", "modelscope"], name: str
) -> None:
    hub.names = [name]
    with pytest.raises(ModelError, match=r"could be written anywhere|same name"):
        pulled(hub, data, api=api)
    assert not list(data.rglob("*.json"))


def test_a_symbolic_link_is_refused(hub: StandIn, data: Path) -> None:
    hub.modes = {"config.json": "40960"}
    with pytest.raises(ModelError, match=r"'config\.json' .* is a link"):
        pulled(hub, data, api="modelscope")


def test_a_hub_cannot_bring_its_own_proof_of_parity(hub: StandIn, data: Path) -> None:
    (hub.folder / registry.PARITY).write_text('{"passed": true}')
    assert not (pulled(hub, data).folder / registry.PARITY).exists()


def test_weights_that_are_pickles_only_are_refused_by_name(hub: StandIn, data: Path) -> None:
    (hub.folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"pickles only \(pytorch_model\.bin\)") as caught:
        pulled(hub, data)
    assert "safetensors" in caught.value.hint
    (hub.folder / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match=r"has no \*\.safetensors"):
        pulled(hub, data)


def test_a_model_that_lacks_a_shard_of_its_index_is_not_whole(hub: StandIn, data: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (hub.folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="lacks model-00002-of-00002"):
        pulled(hub, data)
    assert not (data / "models/tiny").exists()


def test_a_disk_that_is_too_small_is_said_before_anything_comes(
    hub: StandIn, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(data.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1 << 20))
    with pytest.raises(ModelError, match=r"are to come, and .* has 1\.05 MB free"):
        pulled(hub, data)
    assert hub.transfers() == []


@pytest.mark.parametrize(
    "body", [b"<html>a router's login page", b"[]", b'{"sha": "x"}', b'{"sha": "..", "siblings": []}']
)
def test_an_answer_that_is_no_hubs_is_said(hub: StandIn, data: Path, body: bytes) -> None:
    hub.body = body
    with pytest.raises(ModelError, match="not as a huggingface hub does"):
        pulled(hub, data)


def test_a_hub_that_is_not_there_is_named_with_the_mirrors(data: Path) -> None:
    with pytest.raises(ModelError, match=r"http://127\.0\.0\.1:9 cannot be reached") as caught:
        pull(data, Hub("huggingface", "http://127.0.0.1:9"), REPO, "", "", print)
    assert "modelscope" in caught.value.hint


@pytest.mark.parametrize("repo", ["../x", "a/b/c", "", "a b", "-x/y", "a/..", "maker/x..y"])
def test_what_cannot_be_a_repository_is_refused(data: Path, repo: str) -> None:
    with pytest.raises(RagstoneError):
        pull(data, Hub("huggingface", "http://127.0.0.1:9"), repo, "", "name", print)


def test_the_token_of_one_hub_is_not_shown_to_another() -> None:
    tokens = {"HF_TOKEN": SECRET, "MODELSCOPE_API_TOKEN": "ms"}
    assert hub_of("", tokens) == Hub("huggingface", "https://huggingface.co", SECRET)
    assert hub_of("modelscope", tokens) == Hub("modelscope", "https://www.modelscope.cn", "ms")
    assert hub_of("https://hub.example.org/", tokens) == Hub("huggingface", "https://hub.example.org", "")
    mirror = tokens | {"HF_ENDPOINT": "https://hub.example.org"}
    assert hub_of("huggingface", mirror).token == hub_of("https://hub.example.org", mirror).token == SECRET
    assert hub_of("", tokens | {"HF_ENDPOINT": "http://hub.example.org"}).token == ""
    for wrong in ("ftp://x", "hugginface", "https://user:pass@host"):
        with pytest.raises(ConfigError, match="no model hub"):
            hub_of(wrong, os.environ)
