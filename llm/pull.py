"""Models from a hub into the models folder: resumable, checked against the hub's hashes, whole or not there.

huggingface_hub's own download resumes too, but compares sizes only, and knows one hub. Weights are taken as
safetensors, or out of one GGUF file: the other formats are pickles, and to open a pickle is to run what its maker put
in.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from core.errors import ModelError
from core.files import name_whole, sync_folder
from core.text import digest
from llm import gguf, registry
from llm.hub import Hub, Listing, RemoteFile, check_repo, client, listing, unreachable

if TYPE_CHECKING:
    import httpx

Progress = Callable[[str], None]

_WANTED = frozenset({".json", ".jinja", ".model", ".safetensors", ".tiktoken", ".txt"})
_NOTICES = ("LICENSE", "LICENCE", "NOTICE", "README.md")
_PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack"})
_OTHER_FORMS = frozenset({"original", "onnx", "openvino", "coreml", "gguf", "metal"})  # the same weights once more
_OURS = frozenset({registry.RECORD, registry.PARITY, "request.json"})
_PART = ".part"
_INDEX = "model.safetensors.index.json"
_BLOCK = 1 << 20
_MARGIN = 64 << 20  # bytes of the disk that stay free
_ATTEMPTS, _LONGEST_WAIT_S = 5, 300.0
_REPORT_S = 2.0


@dataclass(frozen=True, slots=True)
class Pulled:
    """A model that is here now. `fetched`: bytes that came over the network this time."""

    folder: Path
    repo: str
    revision: str
    files: int
    bytes: int
    fetched: int
    left_out: tuple[str, ...] = ()


class _Broken(Exception):
    """A transfer that may go on where it stopped, after `wait_s` seconds."""

    def __init__(self, error: ModelError, wait_s: float | None = None) -> None:
        super().__init__(str(error))
        self.error, self.wait_s = error, wait_s


def pull(
    data: Path, hub: Hub, repo: str, revision: str, name: str, progress: Progress, *, file: str = ""
) -> Pulled:  # fmt: skip
    """Fetch a repository's safetensors, tokenizer and configuration into `data/models/<name>` (default: its own name).

    Where it has GGUF files alone, its only one, or the one that `file` names, is fetched and unpacked (see gguf.py).

    `revision` is a branch, tag or commit (default: the hub's main branch); run.json has the commit. A model that is
    there is left as it is, without a look at the hub. What was stopped goes on where it stopped, unless the branch has
    moved. Raises `ConfigError` for names, `ModelError` for what the hub or the disk refuse, a file that is not what the
    hub says, and a model without safetensors.
    """
    check_repo(repo, revision)
    folder = registry.home(data, name or repo.rpartition("/")[2])
    key = digest(json.dumps(["pulled", hub.api, repo, revision, *([file] if file else [])])).hex()
    if record := registry.finished(folder, key):
        return _there(folder, record)
    with registry.alone(folder) as partial, client(hub) as session:
        progress(f"asking {hub.address} for {repo}")
        found = listing(session, hub, repo, revision)
        files, left_out = _chosen(hub, found, file)
        _begin(partial, key, found.revision, progress)
        fetched = _fetch_all(session, hub, files, partial, progress)
        _check_shards(partial, repo)
        rows = [
            {"name": file.name, "size": file.size, "sha256": file.sha256 or registry.file_hash(partial / file.name)}
            for file in files
        ]
        record = {"repo": repo, "revision": found.revision, "asked": revision, "hub": hub.address}
        record = _unpacked(partial, record | {"files": rows}, progress)
        record = _finished(partial, key, record | {"left_out": list(left_out)})
    sizes = [row["size"] for row in record["files"]]
    return Pulled(folder, repo, found.revision, len(sizes), sum(sizes), fetched, left_out)


def take(data: Path, file: Path, name: str, progress: Progress) -> Pulled:
    """Unpack a GGUF file of this machine into `data/models/<name>` (default: the file's name), as `pull` does.

    Raises `ConfigError` for names, `ModelError` for a file that is none or cannot be made into a model.
    """
    gguf.header(file)  # before all of it is read for its hash
    identity = registry.file_hash(file)
    folder = registry.home(data, name or file.stem)
    key = digest(json.dumps(["taken", file.name, identity])).hex()
    if record := registry.finished(folder, key):
        return _there(folder, record)
    with registry.alone(folder) as partial:
        registry.begin(partial, key, resume=False)
        progress(f"unpacking {file}")
        told = gguf.unpack(file, partial) | {"sha256": identity}
        record = {"repo": file.name, "revision": identity, "hub": "", "gguf": told, "files": _rows(partial)}
        record = _finished(partial, key, record | {"left_out": []})
    sizes = [row["size"] for row in record["files"]]
    return Pulled(folder, file.name, identity, len(sizes), sum(sizes), 0)


def _unpacked(partial: Path, record: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """What run.json says of a repository; where its weights came as a GGUF file, that becomes the folder's files."""
    weights = [row for row in record["files"] if row["name"].endswith(gguf.ENDING)]
    if not weights:
        return record
    progress(f"unpacking {weights[0]['name']}")
    source = partial / weights[0]["name"]
    told = gguf.unpack(source, partial) | {"sha256": weights[0]["sha256"]}
    source.unlink()
    for above in source.relative_to(partial).parents:
        if above != Path() and not any((partial / above).iterdir()):
            (partial / above).rmdir()
    return record | {"gguf": told, "files": _rows(partial)}


def _rows(partial: Path) -> list[dict[str, Any]]:
    names = sorted(file.relative_to(partial).as_posix() for file in partial.rglob("*") if file.is_file())
    return [
        {"name": name, "size": (partial / name).stat().st_size, "sha256": registry.file_hash(partial / name)}
        for name in names
        if name not in _OURS
    ]


def _finished(partial: Path, key: str, record: dict[str, Any]) -> dict[str, Any]:
    base = {"name": record["repo"], "revision": record["revision"]}
    told = {"kind": "pulled", "base": base, "key": key, "finished": time.strftime("%Y-%m-%d %H:%M:%S")}
    return registry.finish(partial, told | record)


def _there(folder: Path, record: dict[str, Any]) -> Pulled:
    """What was pulled before; raises `ModelError` where files of it are gone or cut short."""
    for row in record["files"]:
        file = folder / row["name"]
        if not file.is_file() or file.stat().st_size != row["size"]:
            raise ModelError(
                f"{str(file)!r} is not as it was pulled", f"remove {str(folder)!r} and pull the model again"
            )
    sizes = [row["size"] for row in record["files"]]
    return Pulled(folder, record["repo"], record["revision"], len(sizes), sum(sizes), 0, tuple(record["left_out"]))


def _chosen(hub: Hub, found: Listing, named: str) -> tuple[tuple[RemoteFile, ...], tuple[str, ...]]:
    """The files that are wanted, and the names of the others. Raises `ModelError` where there are no such weights."""
    names = [file.name for file in found.files]
    packed = [name for name in names if name.endswith(gguf.ENDING) and "mmproj" not in name]  # that is for pictures
    wanted = {name for name in names if _wanted(name, names)}
    if named and named not in packed:
        raise ModelError(
            f"{found.repo} at {hub.address} has no GGUF file {named!r}",
            f"name one of: {', '.join(packed[:10])}" if packed else "leave --file out: its weights are safetensors",
        )
    if not named and not any(name.endswith(".safetensors") for name in wanted):
        if len(packed) > 1:
            raise ModelError(
                f"{found.repo} at {hub.address} has {len(packed)} GGUF files", f"--file {packed[0]}, or another of them"
            )
        if not packed:
            raise _no_weights(hub, found.repo, sorted(set(names) - wanted))
        named = packed[0]
    if named:  # its tokenizer and configuration are in the file, and others beside it may be of something else
        wanted = {named, *(name for name in wanted if name.startswith(_NOTICES))}
    files = tuple(file for file in found.files if file.name in wanted)
    return files, tuple(sorted(set(names) - wanted))


def _no_weights(hub: Hub, repo: str, left_out: list[str]) -> ModelError:
    if pickles := [name for name in left_out if PurePosixPath(name).suffix in _PICKLES]:
        return ModelError(
            f"{repo} at {hub.address} has its weights as pickles only ({', '.join(pickles[:3])}); to open "
            "them is to run whatever their maker put in",
            "name a revision that has safetensors (often refs/pr/1 on Hugging Face), or another model",
        )
    return ModelError(
        f"{repo} at {hub.address} has no *.safetensors and no *.gguf", "name a model in transformers' form"
    )


def _wanted(name: str, names: list[str]) -> bool:
    path = PurePosixPath(name)
    if any(part.startswith(".") for part in path.parts) or path.parts[0] in _OTHER_FORMS or name in _OURS:
        return False
    if path.name.startswith("consolidated") and "config.json" in names:  # Mistral's own form beside transformers'
        return False
    return path.suffix in _WANTED or path.name.startswith(_NOTICES)


def _begin(partial: Path, key: str, commit: str, progress: Progress) -> None:
    """Go on with what an earlier call left of the same commit; anything else is removed."""
    try:
        state = registry.state(partial)
        same = state["key"] == key and state.get("commit") == commit
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        same = False
    if not same and partial.exists():
        progress("what an earlier download left is of another revision, and is removed")
    registry.begin(partial, key, resume=same)
    registry.keep(partial, {"key": key, "commit": commit})


def _fetch_all(
    session: "httpx.Client", hub: Hub, files: tuple[RemoteFile, ...], partial: Path, progress: Progress
) -> int:
    """Fetch what is missing; the bytes that came. Raises `ModelError` where the disk is too small for it."""
    missing = [file for file in files if not (partial / file.name).is_file()]
    needed = sum(file.size - _had(partial / (file.name + _PART)) for file in missing)
    free = shutil.disk_usage(partial).free
    if needed + _MARGIN > free:
        raise ModelError(
            f"{_gb(needed)} are to come, and {str(partial.parent)!r} has {_gb(free)} free",
            "free some space, or set RAGSTONE_DATA to a folder on another disk",
        )
    bar = _Bar(sum(file.size for file in files), sum(file.size for file in files) - needed, progress)
    for file in sorted(missing, key=lambda file: file.size):  # what is wrong with the small ones is known at once
        _fetch(session, hub, file, partial / file.name, bar)
    for folder in {above for file in missing for above in Path(file.name).parents}:
        sync_folder(partial / folder)
    return bar.fetched


class _Bar:
    """Says every few seconds how far it is."""

    def __init__(self, total: int, had: int, progress: Progress) -> None:
        self.total, self.had, self.progress = total, had, progress
        self.fetched, self.started = 0, time.monotonic()
        self.said = self.started

    def add(self, name: str, count: int) -> None:
        self.fetched += count
        now = time.monotonic()
        if now - self.said >= _REPORT_S:
            self.said = now
            speed = self.fetched / (now - self.started) / 1e6
            share = 100 * (self.had + self.fetched) / max(self.total, 1)
            self.progress(f"{share:.0f}% of {_gb(self.total)}, {speed:.1f} MB/s: {name}")


def _fetch(session: "httpx.Client", hub: Hub, file: RemoteFile, target: Path, bar: _Bar) -> None:
    """Fetch one file, again and again while it makes progress, and give it its name once it is what the hub says."""
    part = target.with_name(target.name + _PART)
    part.parent.mkdir(parents=True, exist_ok=True)
    if _had(part) > file.size:
        part.unlink()
    failures = 0
    while _had(part) != file.size or not part.exists():
        before = _had(part)
        try:
            _transfer(session, hub, file, part, bar)
        except _Broken as broken:
            failures = 1 if _had(part) > before else failures + 1
            if failures >= _ATTEMPTS:
                raise broken.error from None
            wait = 0.5 * 2**failures if broken.wait_s is None else broken.wait_s
            bar.progress(f"{broken.error.message}; again in {wait:.0f} s")
            time.sleep(wait)
    _check(hub, file, part)
    try:
        name_whole(part, target)
    except OSError as error:
        raise _unwritten(target, error) from None


def _transfer(session: "httpx.Client", hub: Hub, file: RemoteFile, part: Path, bar: _Bar) -> None:
    """One request; what comes is appended to what is there. Raises `_Broken` where it may be tried again."""
    import httpx

    had = _had(part)
    headers = {"Range": f"bytes={had}-"} if had else {}
    try:
        with session.stream("GET", file.url, headers=headers) as response:
            _check_status(hub, file, response)
            whole = response.status_code == httpx.codes.OK  # the server knows no ranges: from the start
            if not whole and not response.headers.get("Content-Range", "").startswith(f"bytes {had}-"):
                part.unlink(missing_ok=True)
                raise _Broken(ModelError(f"{hub.address} sent another part of {file.name!r} than was asked for"))
            with part.open("wb" if whole else "ab", buffering=0) as sink:
                for block in response.iter_raw():
                    if sink.tell() + len(block) > file.size:
                        part.unlink()
                        raise ModelError(
                            f"{file.name!r} is longer than the {file.size} bytes that {hub.address} states",
                            "try again later, or another source",
                        )
                    sink.write(block)
                    bar.add(file.name, len(block))
        if _had(part) < file.size:  # a server that states no length ends early without an error
            raise _Broken(ModelError(f"{hub.address} broke off in {file.name!r}", "try again later", retryable=True))
    except httpx.HTTPError as error:
        raise _Broken(unreachable(hub, error)) from None
    except OSError as error:
        raise _unwritten(part, error) from None


def _unwritten(file: Path, error: OSError) -> ModelError:
    return ModelError(
        f"{str(file)!r} cannot be written: {error.strerror}",
        "free some space, then give the same command again: it goes on where it stopped",
    )


def _check_status(hub: Hub, file: RemoteFile, response: "httpx.Response") -> None:
    import httpx

    status = response.status_code
    if status in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
        return
    error = ModelError(f"{hub.address} answered HTTP {status} for {file.name!r}", "try again later", retryable=True)
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= 500:
        told = response.headers.get("Retry-After", "")
        wait = float(told) if told.isdecimal() else None
        if wait is not None and wait > _LONGEST_WAIT_S:
            hint = f"give the same command again in {wait / 60:.0f} minutes"
            raise ModelError(error.message, hint, retryable=True)
        raise _Broken(error, wait)
    if status in (401, 403):
        raise ModelError(
            f"{hub.address} does not hand out {file.name!r} (HTTP {status})",
            f"accept the model's licence on the hub's page, and set {hub.token_name}",
        )
    raise error


def _check(hub: Hub, file: RemoteFile, part: Path) -> None:
    """Raise `ModelError`, and remove the file, where its hash is not the stated one."""
    if file.sha256:
        right = registry.file_hash(part) == file.sha256
    elif file.blob and part.stat().st_size < _BLOCK * 64:
        content = part.read_bytes()
        right = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == file.blob
    else:
        right = True  # its size is all that the hub states
    if not right:
        part.unlink()
        raise ModelError(
            f"{file.name!r} as {hub.address} sent it is not the file that the hub states: its hash differs",
            "it was removed; try again, and where it happens again, take the model from another source",
        )


def _check_shards(partial: Path, repo: str) -> None:
    """Raise `ModelError` where the index names weights that the repository does not have."""
    try:
        told = json.loads((partial / _INDEX).read_text("utf-8"))["weight_map"].values()
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{repo}: {_INDEX} is damaged", "take the model from another source") from None
    if lacking := sorted({str(name) for name in told if not (partial / str(name)).is_file()}):
        raise ModelError(f"{repo} lacks {', '.join(lacking[:3])}, which its index names", "name another revision")


def _had(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e7 else f"{count / 1e6:.2f} MB"
