"""Three hosts, as network namespaces on a bridge: workers on two of them, over TLS, and one is cut off and killed."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.app.app_process import ROOT, command, environment
from tests.cluster import HELD, SMALL, Cluster, certificates, end, until

pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True)
class Host:
    """A namespace with an address of its own."""

    namespace: str
    link: str  # its end on the bridge
    address: str

    @property
    def inside(self) -> list[str]:
        """What stands before a command that runs there."""
        return ["ip", "netns", "exec", self.namespace]


def ip(*args: str, check: bool = True) -> bool:
    return subprocess.run(["ip", *args], capture_output=True, check=check).returncode == 0


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    """Three hosts that reach each other and nobody else."""
    if not shutil.which("ip") or os.geteuid() != 0:
        pytest.skip("namespaces of the network need iproute2 and root")
    tag = f"{os.getpid() % 100_000:05d}"
    bridge = f"rsb{tag}"
    made = [Host(f"ragstone-{tag}-{n}", f"rsv{tag}{n}", f"10.213.7.{n}") for n in (1, 2, 3)]
    if not ip("netns", "add", made[0].namespace, check=False):
        pytest.skip("no namespace of the network can be made here (CAP_NET_ADMIN)")
    try:
        if not ip("link", "add", bridge, "type", "bridge", check=False):
            pytest.skip("no bridge can be made here")
        ip("link", "set", bridge, "up")
        for host in made:
            if host is not made[0]:
                ip("netns", "add", host.namespace)
            ip("link", "add", host.link, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
            ip("link", "set", host.link, "master", bridge, "up")
            for args in (["addr", "add", f"{host.address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"],
                         ["link", "set", "lo", "up"]):  # fmt: skip
                subprocess.run([*host.inside, "ip", *args], check=True)
        yield made
    finally:
        for host in made:
            ip("netns", "del", host.namespace, check=False)
        ip("link", "del", bridge, check=False)


def test_a_host_that_is_cut_off_and_killed_costs_a_retry(hosts: list[Host], tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(12):
        (docs / f"{number:02d}.md").write_text(f"# Rule {number}\n\nRoom {number} closes at {number} o'clock.\n")
    (docs / "05.md").write_text(f"# Rule 5\n\nThis one {HELD}.\n")
    first, second, third = hosts
    made = Cluster(tmp_path / "cluster", f"tls://{first.address}:8786", certificates(tmp_path / "certificates"))
    made.folder.mkdir()
    env = environment(tmp_path / "data", SMALL | dict(made.settings))
    args = [*first.inside, *command("index", str(docs), "--kb", "far", "--workers", made.url, "--json")]
    try:
        made.scheduler(before=first.inside)
        lost = made.worker("lost", before=second.inside, faulty=True)
        indexing = subprocess.Popen(
            args, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        made.processes.append(indexing)
        until((made.folder / "held").exists, "the file that is held")
        ip("link", "set", second.link, "down")  # nothing tells the others: no connection is closed
        end(lost, signal.SIGKILL)
        made.worker("stays", before=third.inside)
        out, told = indexing.communicate(timeout=240)
    finally:
        made.close()
    report = json.loads(out)
    assert (report["added"], report["failed"]) == (12, []), told.decode()
