"""Where documents come from: a folder of this machine, a prefix in a bucket, `s3://bucket/prefix`, a page of the web.

A source is a text: the absolute path of a folder, or an address in the one form that `address` or `checked` gives it.
"""

import hashlib
import re
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from core.errors import ReadError

BUCKETS = "s3://"
PAGES = ("http://", "https://")
MIRRORS = ("s3", "web")  # below the folder of a knowledge base: what was downloaded of buckets, and of pages
_SAFE = "/%:@!$&'()*+,;=~-._?"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


def in_bucket(source: str | Path) -> bool:
    """Whether a source is a bucket's."""
    return isinstance(source, str) and source.startswith(BUCKETS)


def in_web(source: str | Path) -> bool:
    """Whether a source is the address of a page of the web, and so may stand as a link."""
    return isinstance(source, str) and source.lower().startswith(PAGES)


def mirrored(source: str | Path) -> bool:
    """Whether what a source holds is downloaded into a folder of the knowledge base."""
    return in_bucket(source) or in_web(source)


def address(text: str) -> str:
    """The one form of a bucket's address, without a slash at its end. Raises `ReadError`.

    What is wrong is never repeated: somebody may have put a key into it.

    >>> address("s3://papers/2026/")
    's3://papers/2026'
    """
    bucket, *folders = text.removeprefix(BUCKETS).rstrip("/").split("/")
    if "@" in bucket or not _BUCKET.fullmatch(bucket):
        raise ReadError(
            "this address names no bucket of S3",
            "write s3://bucket/prefix; keys and the endpoint belong in the environment, never in the address",
        )
    if any(name in ("", ".", "..") for name in folders) or any(ord(c) < 32 for c in text):
        raise ReadError(
            f"the prefix of an address in bucket {bucket!r} is none of folders",
            "write s3://bucket/folder/folder, without empty names, '.' and '..'",
        )
    return "/".join([BUCKETS + bucket, *folders])


def checked(text: str) -> str:
    """The one form of a web address, in ASCII and without a fragment. Raises `ReadError`.

    What is wrong is never repeated: somebody may have put a password into it.

    >>> checked("HTTPS://Example.org/a b#top")
    'https://example.org/a%20b'
    """
    hint = "write https://host/path, without a name and a password"
    try:
        parts = urlsplit(text.strip())
        host = (parts.hostname or "").rstrip(".")
        host = host if ":" in host else host.encode("idna").decode("ascii")
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        raise ReadError("this is no web address", hint) from None
    if parts.scheme not in ("http", "https") or not host or any(ord(c) < 33 for c in host):
        raise ReadError("this is no web address", hint)
    if "@" in parts.netloc:
        raise ReadError("this web address has a name or a password in it, which is not sent", hint)
    netloc = f"[{host}]{port}" if ":" in host else host.lower() + port
    return urlunsplit((parts.scheme, netloc, quote(parts.path or "/", _SAFE), quote(parts.query, _SAFE), ""))


def named(source: str | Path) -> str:
    """A source as a knowledge base knows it. Raises `ReadError` for an address that is none."""
    if isinstance(source, str) and mirrored(source):
        return address(source) if in_bucket(source) else checked(source)
    return str(Path(source).resolve())


def mirror(home: Path, source: str) -> Path:
    """The folder of a knowledge base that holds what was downloaded of a bucket or of a page."""
    kind = MIRRORS[in_web(source)]
    return home / kind / hashlib.blake2b(source.encode(), digest_size=10).hexdigest()


def place(home: Path, source: str | Path) -> Path:
    """The folder of this machine in which the files of a source lie: itself or, of what is mirrored, its mirror's."""
    return mirror(home, source) / "objects" if isinstance(source, str) and mirrored(source) else Path(source)
