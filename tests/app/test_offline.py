"""Nothing leaves the machine: the app runs where there is no network, and does not so much as try to reach one.

Every connect and send of every process is written down by strace, of whatever library it comes.
"""

import ipaddress
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

APART = ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "-"]  # a network of one's own: loopback alone
CALLS = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-e", "signal=none"]
ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')


def attempts(log: Path) -> list[str]:
    """The calls that were to reach another machine."""
    found = []
    for line in log.read_text(errors="replace").splitlines():
        named = [ipaddress.ip_address(one or other) for one, other in ADDRESS.findall(line)]
        if any(not (a.is_loopback or a.is_unspecified) for a in named):
            found.append(line)
    return found


def run_apart(tmp_path: Path, data: Path, model: str) -> list[str]:
    """Go through `offline_run` without a network; what was tried to be reached."""
    for program in ("unshare", "strace", "ip"):
        if not shutil.which(program):
            reason = f"there is no {program}: install strace, util-linux and iproute2"
            pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    if subprocess.run([*APART, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody have a network of one's own (unshare -rn)")
    log = tmp_path / "calls.log"
    command = [*APART, *CALLS, "-o", str(log), sys.executable, "-m", "tests.app.offline_run", str(data), model]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert log.stat().st_size  # it looked
    return attempts(log)


def test_attempts_are_recognised(tmp_path: Path) -> None:
    log = tmp_path / "log"
    out = '7 connect(3, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("198.51.100.7")}, 16) = -1'
    six = '7 connect(3, {sa_family=AF_INET6, inet_pton(AF_INET6, "2001:db8::1", &sin6_addr)}, 28) = -1'
    log.write_text(
        f'7 connect(3, {{sin_addr=inet_addr("127.0.0.1")}}, 16) = 0\n{out}\n7 connect(3, {{"/run/x"}})\n{six}\n'
    )
    assert attempts(log) == [out, six]


@pytest.mark.slow
def test_indexing_asking_training_and_the_page_reach_for_nothing(tmp_path: Path) -> None:
    assert run_apart(tmp_path, tmp_path / "data", "-") == []
