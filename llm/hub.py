"""What a model hub says of a repository: the files of a revision with size and hash. Hugging Face and ModelScope.

https://huggingface.co/docs/hub/api and https://modelscope.cn/docs. What a hub answers is data and may be hostile.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, urlsplit

from core.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import httpx

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_REVISION = re.compile(r"[\w][\w./-]{0,254}")
_PART = re.compile(r"[^\x00-\x1f\x7f/\\:]{1,200}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LISTING_BYTES, _MOST_FILES, _DEEPEST = 32 << 20, 20_000, 8
_SYMLINKS = frozenset({"40960", "120000"})  # a symbolic link's mode in git, as a decimal and as an octal number
_PATIENCE_S = 30.0
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Hub:
    """Where models are, in which API, and the token that is shown there."""

    api: Literal["huggingface", "modelscope"]
    address: str
    token: str = ""

    @property
    def token_name(self) -> str:
        """The environment variable that the token is taken from."""
        return "HF_TOKEN" if self.api == "huggingface" else "MODELSCOPE_API_TOKEN"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository. `size` in bytes; `sha256` where the hub states it, else `blob`, git's SHA-1, or ""."""

    name: str
    url: str
    size: int
    sha256: str = ""
    blob: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a revision; `revision` is the commit it stands for."""

    repo: str
    revision: str
    files: tuple[RemoteFile, ...]


def hub_of(named: str, environ: Mapping[str, str]) -> Hub:
    """The hub of a name (huggingface, modelscope) or of the address of a server with the API of Hugging Face.

    HF_ENDPOINT and MODELSCOPE_DOMAIN name mirrors. HF_TOKEN is shown to huggingface.co and HF_ENDPOINT only, and a
    token only over https or on this machine. Raises `ConfigError`.
    """
    if named == "modelscope":
        domain = environ.get("MODELSCOPE_DOMAIN") or "www.modelscope.cn"
        address = domain if "://" in domain else f"https://{domain}"
        return Hub("modelscope", _address(address), _shown(address, environ.get("MODELSCOPE_API_TOKEN", "")))
    own = environ.get("HF_ENDPOINT") or "https://huggingface.co"
    address = _address(own if named in ("", "huggingface") else named)
    return Hub("huggingface", address, _shown(address, environ.get("HF_TOKEN", "") if address == _address(own) else ""))


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ConfigError(
            f"{text!r} is no model hub", 'use "huggingface", "modelscope" or an address, e.g. https://hub.example.org'
        )
    return text.rstrip("/")


def _shown(address: str, token: str) -> str:
    parts = urlsplit(address)
    return token.strip() if parts.scheme == "https" or parts.hostname in _LOCAL else ""


@contextmanager
def client(hub: Hub) -> "Iterator[httpx.Client]":
    """An HTTP client that shows the token to the hub alone: httpx drops both headers when it is sent elsewhere."""
    import httpx

    headers = {"Accept-Encoding": "identity", "User-Agent": "ragstone"}
    if hub.token:
        headers |= {"Authorization": f"Bearer {hub.token}"}
        headers |= {"Cookie": f"m_session_id={hub.token}"} if hub.api == "modelscope" else {}
    local = urlsplit(hub.address).hostname in _LOCAL
    with httpx.Client(timeout=_PATIENCE_S, headers=headers, follow_redirects=True, trust_env=not local) as session:
        yield session


def check_repo(repo: str, revision: str) -> None:
    """Raise `ConfigError` for what cannot name a repository or a revision."""
    if not _REPO.fullmatch(repo) or ".." in repo:
        raise ConfigError(f"{repo!r} names no model of a hub", "give it as maker/name")
    if revision and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise ConfigError(f"{revision!r} names no revision", "give a branch, a tag or a commit")


def listing(session: "httpx.Client", hub: Hub, repo: str, revision: str) -> Listing:
    """All files of a revision (default: the hub's main branch).

    Raises `ModelError` where the hub does not know it or wants another token, for an answer in another form, and for
    names that could leave the folder that they are written to.
    """
    read = _huggingface if hub.api == "huggingface" else _modelscope
    try:
        found = read(session, hub, repo, revision)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{hub.address} answered, but not as a {hub.api} hub does ({type(error).__name__}: {str(error)[:100]})",
            "check the address",
        ) from None
    _check_names(hub, found)
    return found


def _huggingface(session: "httpx.Client", hub: Hub, repo: str, revision: str) -> Listing:
    url = f"{hub.address}/api/models/{repo}/revision/{quote(revision or 'main', safe='')}?blobs=true"
    told = _json(session, hub, url, f"{repo}, revision {revision or 'main'}")
    commit = str(told["sha"])
    if not _REVISION.fullmatch(commit) or ".." in commit:
        raise ValueError("sha is no commit")
    files = []
    for row in told["siblings"]:
        name, lfs = str(row["rfilename"]), row.get("lfs") or {}
        size = lfs.get("size", row.get("size"))
        at = f"{hub.address}/{repo}/resolve/{commit}/{quote(name)}"
        files.append(RemoteFile(name, at, _size(size), _sha256(lfs.get("sha256")), str(row.get("blobId") or "")))
    return Listing(repo, commit, tuple(files))


def _modelscope(session: "httpx.Client", hub: Hub, repo: str, revision: str) -> Listing:
    branch = revision or "master"
    base = f"{hub.address}/api/v1/models/{repo}/repo"
    told = _json(session, hub, f"{base}/files?Revision={quote(branch, safe='')}&Recursive=true", f"{repo}, {branch}")
    if told.get("Code") != 200:
        raise _refused(hub, int(told.get("Code", 0)), f"{repo}, revision {branch}", str(told.get("Message", ""))[:200])
    data = told["Data"]
    files = []
    for row in data["Files"]:
        if row["Type"] == "tree":
            continue
        name = str(row["Path"])
        if row["Type"] != "blob" or str(row.get("Mode", "")) in _SYMLINKS:
            raise ModelError(
                f"{hub.address}: {name!r} of {repo} is a link, not a file", "take the model from another source"
            )
        at = f"{base}?Revision={quote(str(row.get('Revision') or branch), safe='')}&FilePath={quote(name, safe='')}"
        files.append(RemoteFile(name, at, _size(row["Size"]), _sha256(row.get("Sha256"))))
    # the service leaves the commit of the whole empty at times; each file's own is in its address
    commit = str((data.get("LatestCommitter") or {}).get("Id") or branch)
    return Listing(repo, commit, tuple(files))


def _size(told: Any) -> int:
    if not isinstance(told, int) or isinstance(told, bool) or told < 0:
        raise ValueError("a file has no size")
    return told


def _sha256(told: Any) -> str:
    if told and not _SHA256.fullmatch(str(told)):
        raise ValueError("a hash is no SHA-256")
    return str(told or "")


def _check_names(hub: Hub, found: Listing) -> None:
    """Raise `ModelError` unless each name is a relative path that stays within its folder, and no two are the same."""
    seen: set[str] = set()
    for file in found.files:
        parts = file.name.split("/")
        if not all(_PART.fullmatch(part) and part not in (".", "..") for part in parts) or len(parts) > _DEEPEST:
            raise ModelError(
                f"{hub.address}: {found.repo} names a file {file.name[:100]!r}, which could be written anywhere",
                "take the model from another source, and tell the hub",
            )
        seen.add(file.name.casefold())
    above = {str(parent).casefold() for file in found.files for parent in PurePosixPath(file.name).parents}
    if len(seen) < len(found.files) or seen & above or len(seen) > _MOST_FILES:
        raise ModelError(
            f"{hub.address}: {found.repo} has files of the same name, or too many",
            "take the model from another source",
        )


def _json(session: "httpx.Client", hub: Hub, url: str, what: str) -> Any:
    import httpx

    try:
        with session.stream("GET", url) as response:
            body = bytearray()
            for block in response.iter_bytes():
                body += block
                if len(body) > _LISTING_BYTES:
                    raise ValueError("the list of files is too long")
    except httpx.HTTPError as error:
        raise unreachable(hub, error) from None
    if response.status_code != httpx.codes.OK:
        raise _refused(hub, response.status_code, what, "", response.headers.get("Retry-After", ""))
    return json.loads(body)


def _refused(hub: Hub, status: int, what: str, said: str = "", wait: str = "") -> ModelError:
    """An HTTP status of a hub as an error that says what to do."""
    if status in (401, 403):
        shown = f"the token in {hub.token_name} may not read it" if hub.token else f"{hub.token_name} is not set"
        return ModelError(
            f"{hub.address} does not hand out {what}: it does not exist, is private, or asks for a licence ({shown})",
            f"check the name; accept the licence on the hub's page, and set {hub.token_name}",
        )
    if status == 404:
        return ModelError(f"{hub.address} does not have {what}", "check name and revision")
    if status == 429:
        told = f" (it says: in {wait[:40]} s)" if wait else ""
        return ModelError(f"{hub.address} allows no more requests for now{told}", "try again later", retryable=True)
    return ModelError(f"{hub.address} answered HTTP {status} {said}".rstrip(), "try again later", retryable=True)


def unreachable(hub: Hub, error: Exception) -> ModelError:
    """A failed connection as an error that says what to do."""
    return ModelError(
        f"{hub.address} cannot be reached ({error or type(error).__name__})",
        "check the network and proxy, or name a mirror: --from modelscope, --from https://..., or HF_ENDPOINT",
        retryable=True,
    )
