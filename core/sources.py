"""Where documents come from: a folder of this machine, or what lies below a prefix in a bucket, `s3://bucket/prefix`.

A source is a text: the absolute path of a folder, or an address in the one form that `address` gives it.
"""

import hashlib
import re
from pathlib import Path

from core.errors import ReadError

BUCKETS = "s3://"
MIRRORS = "s3"  # below the folder of a knowledge base
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


def in_bucket(source: str | Path) -> bool:
    """Whether a source is a bucket's."""
    return isinstance(source, str) and source.startswith(BUCKETS)


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


def named(source: str | Path) -> str:
    """A source as a knowledge base knows it. Raises `ReadError` for an address that is none."""
    return address(source) if isinstance(source, str) and in_bucket(source) else str(Path(source).resolve())


def mirror(home: Path, source: str) -> Path:
    """The folder of a knowledge base that holds what was downloaded from a bucket."""
    return home / MIRRORS / hashlib.blake2b(source.encode(), digest_size=10).hexdigest()


def place(home: Path, source: str | Path) -> Path:
    """The folder of this machine in which the files of a source lie: itself or, of a bucket, its mirror's."""
    return mirror(home, source) / "objects" if isinstance(source, str) and in_bucket(source) else Path(source)
