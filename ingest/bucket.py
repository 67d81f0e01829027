"""A bucket of S3 as a source: what it lists below a prefix, and its objects as files, by s3fs.

Keys, region and endpoint come from the environment, by the rules of AWS's own clients (AWS_ACCESS_KEY_ID,
AWS_ENDPOINT_URL, a profile, the role of a machine). No message repeats them, nor what a server says in its own words.
"""

import asyncio
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import ReadError
from core.sources import BUCKETS
from core.types import FileError

if TYPE_CHECKING:
    from s3fs import S3FileSystem

_CONNECT_S, _SILENT_S = 10, 60  # for a connection; without a byte
_TRIES = 3
_BLOCK = 1 << 18
_OF_ONE = ("AccessDenied", "NoSuchKey", "InvalidObjectState", "InvalidRequest", "403", "404")
_NO_KEY = ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound")
_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_SAID = {  # what a server's code or a client's error means, and what to do
    **dict.fromkeys(_NO_KEY, ("there is no key for it", f"set {_KEYS} in the environment")),
    "InvalidAccessKeyId": ("the key is not known there", f"check {_KEYS}, and AWS_ENDPOINT_URL"),
    "SignatureDoesNotMatch": ("the key does not fit its secret", f"check {_KEYS}"),
    "ExpiredToken": ("the key has expired", f"renew {_KEYS} with AWS_SESSION_TOKEN"),
    "InvalidToken": ("the key has another session token", f"renew {_KEYS} with AWS_SESSION_TOKEN"),
    "AccessDenied": ("the key may not list it", "allow it s3:ListBucket and s3:GetObject"),
    "NoSuchBucket": ("there is no such bucket", "check its name, and AWS_ENDPOINT_URL"),
    "PermanentRedirect": ("it lies in another region", "set AWS_DEFAULT_REGION"),
    "AuthorizationHeaderMalformed": ("it lies in another region", "set AWS_DEFAULT_REGION"),
    "ParamValidationError": ("its name is none of a bucket", "check the address"),
    "ResponseParserError": ("what answers there does not speak S3", "check AWS_ENDPOINT_URL"),
    "SSLError": ("the certificate of its server is not trusted", "set AWS_CA_BUNDLE to a file that holds its issuer"),
    "RequestTimeTooSkewed": ("the clock of this machine is wrong", "set it"),
    "SlowDown": ("its server is overloaded", "run the same command again later"),
}
_SILENT = ("its server does not answer", "check AWS_ENDPOINT_URL and the network; the next run goes on from here")


@dataclass(frozen=True, slots=True)
class Object:
    """What a bucket lists: the key below the prefix, bytes, seconds since 1970, and its mark of this version."""

    key: str
    size: int
    modified: float
    etag: str


class _OfThisDisk(Exception):
    """An `OSError` that is no server's."""


class Bucket:
    """What lies below a prefix. Raises `ReadError` where s3fs is missing, or the environment is wrong."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.name, _, folder = source.removeprefix(BUCKETS).partition("/")
        self.prefix = f"{folder}/" if folder else ""
        self._s3 = _connected()

    def listed(self, most: int | None = None) -> list[Object]:
        """Every object below the prefix, or the first page of at most `most`. Raises `ReadError`: all of it or none."""
        return self._wait(self._listed(most))

    def fetch(self, wanted: Sequence[tuple[Object, Path]], most: int) -> list[str | FileError]:
        """Write objects of at most `most` bytes to files, all at once; of each its ETag as it came, or what failed.

        Raises `ReadError` where it is not one object that fails but the bucket, or the server is gone; `OSError` where
        the files cannot be written.
        """
        return self._wait(self._fetch(wanted, most))

    def _wait(self, work: Any) -> Any:
        from fsspec.asyn import sync

        async def told() -> Any:
            try:
                return await work
            except _OfThisDisk as error:
                raise error.args[0] from None
            except (OSError, *_errors()) as error:
                raise self._failed(error) from None

        return sync(self._s3.loop, told)

    async def _listed(self, most: int | None) -> list[Object]:
        found: dict[str, Object] = {}
        more: dict[str, Any] = {"MaxKeys": most} if most else {}
        while True:
            page = await self._s3._call_s3("list_objects_v2", Bucket=self.name, Prefix=self.prefix, **more)
            try:
                for row in page.get("Contents", ()):
                    key = row["Key"].removeprefix(self.prefix)
                    found[key] = Object(key, row["Size"], row["LastModified"].timestamp(), row.get("ETag", ""))
                before, more = more, {"ContinuationToken": page.get("NextContinuationToken", "")}
            except (LookupError, TypeError, ValueError, AttributeError):
                raise self._told("ResponseParserError") from None
            if most or not page.get("IsTruncated"):
                return list(found.values())
            if more in (before, {"ContinuationToken": ""}):
                raise self._told("ResponseParserError")  # it would go on for ever

    async def _fetch(self, wanted: Sequence[tuple[Object, Path]], most: int) -> list[str | FileError]:
        tasks = [self._one(each, file, most) for each, file in wanted]
        came = await asyncio.gather(*tasks, return_exceptions=True)
        for each in came:
            if isinstance(each, BaseException):
                raise each
        return [each for each in came if not isinstance(each, BaseException)]

    async def _one(self, wanted: Object, file: Path, most: int) -> str | FileError:
        for _ in range(_TRIES):
            try:
                answer = await self._s3._call_s3("get_object", Bucket=self.name, Key=self.prefix + wanted.key)
            except OSError as error:
                if _code(error) in _OF_ONE:
                    return FileError(
                        wanted.key, f"cannot be downloaded ({_code(error)})", "allow the key s3:GetObject of it"
                    )
                raise
            size, length = await self._written(answer, file, most), answer["ContentLength"]
            if size > most:
                hint = "run the same command again"
                return FileError(wanted.key, "it grew beyond ingest.max_file_mb while it was read", hint)
            if size == length:
                return answer.get("ETag", "")
        return FileError(wanted.key, "its server breaks off before its end", "run the same command again")

    async def _written(self, answer: Mapping[str, Any], file: Path, most: int) -> int:
        """How many bytes came of an object; one that breaks off has fewer than it said."""
        size = 0
        async with answer["Body"] as body:
            with _on_this_disk(), file.open("wb"):
                pass
            while size <= most:
                try:
                    block = await body.read(_BLOCK)
                except (OSError, *_errors()):
                    return -1
                if not block:
                    break
                with _on_this_disk(), file.open("ab") as handle:
                    handle.write(block)
                size += len(block)
        return size

    def _failed(self, error: BaseException) -> ReadError:
        code = _code(error)
        answered = (f"its server answers {code}", "see what this means there")
        return self._told(code, _SILENT if code == type(error).__name__ else answered)

    def _told(self, code: str, else_said: tuple[str, str] = _SILENT) -> ReadError:
        what, hint = _SAID.get(code, else_said)
        return ReadError(f"{self.source!r} cannot be read: {what}", hint)


@contextmanager
def _on_this_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _OfThisDisk(error) from error


def check_bucket(source: str) -> None:
    """Raise `ReadError` where a bucket cannot be listed, or has nothing below the prefix of its address."""
    bucket = Bucket(source)
    if not bucket.listed(1) and bucket.prefix:
        raise ReadError(f"nothing lies below {source!r}", "check the spelling; a prefix ends where a folder would")


def _connected() -> "S3FileSystem":
    try:
        from s3fs import S3FileSystem
    except ImportError:
        raise ReadError(
            "documents in S3 need the package s3fs, which is not installed", "install it: pip install 'ragstone[s3]'"
        ) from None
    # Servers of one's own seldom have a name for each bucket; those that want one (OSS, COS) are told by the variable.
    own = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    style = os.environ.get("AWS_S3_ADDRESSING_STYLE") or ("path" if own else "auto")
    config: dict[str, Any] = {
        "connect_timeout": _CONNECT_S, "read_timeout": _SILENT_S, "s3": {"addressing_style": style},
        "retries": {"max_attempts": _TRIES, "mode": "standard"},
    }  # fmt: skip
    made = S3FileSystem(skip_instance_cache=True, use_listings_cache=False, config_kwargs=config)
    made.retries = 1  # botocore tries again
    try:
        made.connect()
    except (ValueError, *_errors()) as error:
        code = type(error).__name__
        what, hint = _SAID.get(code, ("the settings of S3 in the environment are wrong", "check the variables AWS_*"))
        raise ReadError(what, hint) from None
    return made


def _errors() -> tuple[type[Exception], ...]:
    """What the client raises of itself, where no server answered in the form of S3."""
    from aiohttp import ClientError
    from botocore.exceptions import BotoCoreError
    from botocore.exceptions import ClientError as Refused

    return BotoCoreError, Refused, ClientError


def _code(error: BaseException) -> str:
    """The code of a server's answer, which is anybody's text, or the name of the client's error."""
    answer = getattr(error.__cause__ or error, "response", None)
    code = answer.get("Error", {}).get("Code", "") if isinstance(answer, dict) else type(error).__name__
    return re.sub(r"\W", "", str(code))[:40] or "nothing"
