"""Files that browsers sent: whose they are, and when they go."""

import os
import subprocess
import sys
from pathlib import Path

from app.running.uploads import Uploads, named_folder


def received(uploads: Uploads, name: str, size: int = 3) -> str:
    """A file as Gradio leaves it."""
    folder = uploads.folder / name
    folder.mkdir()
    (folder / "note.md").write_bytes(b"x" * size)
    return str(folder / "note.md")


def test_what_was_sent_is_the_senders_until_it_is_used(tmp_path: Path) -> None:
    uploads = Uploads(10_000, tmp_path / "up")
    (path,) = uploads.add("ann", [received(uploads, "a", 7000)])
    assert uploads.owns("ann", path)
    assert not uploads.owns("bob", path)
    assert (uploads.reserve("ann"), uploads.reserve("bob")) == ((3000, "own"), (10_000, "own"))
    for who, room in (("ann", 3000), ("bob", 10_000)):
        uploads.release(who, room)
    os.unlink(path)  # used
    assert not uploads.owns("ann", path)
    assert uploads.reserve("ann") == (10_000, "own")


def test_a_file_takes_room_however_small_it_is(tmp_path: Path) -> None:
    uploads = Uploads(10_000, tmp_path / "up")
    uploads.add("ann", [received(uploads, name, 0) for name in ("a", "b")])
    assert uploads.reserve("ann")[0] == 10_000 - 2 * 4096


def test_what_is_being_sent_takes_room_before_it_has_come(tmp_path: Path) -> None:
    uploads = Uploads(10, tmp_path / "up")
    assert [uploads.reserve("ann", 4)[0] for _ in range(3)] == [4, 4, 0]
    assert uploads.reserve("bob", 10)[0] == 10
    uploads.release("ann", 4)
    assert uploads.reserve("ann")[0] == 6  # however much comes
    assert uploads.reserve("ann", 1)[0] == 0


def test_an_app_that_starts_itself_anew_takes_no_folder_over_from_before(tmp_path: Path) -> None:
    assert named_folder(str(tmp_path)) == tmp_path
    assert named_folder(str(Uploads(10).folder)) is None
    assert named_folder(None) is None


def test_what_was_not_used_in_time_goes_and_what_came_just_now_stays(tmp_path: Path) -> None:
    uploads = Uploads(10, tmp_path / "up")
    (old,) = uploads.add("ann", [received(uploads, "a")])
    broken_off = uploads.folder / "half-a-file"
    broken_off.write_bytes(b"x")
    for entry in (Path(old).parent, broken_off):
        os.utime(entry, (1, 1))
    (new,) = uploads.add("ann", [received(uploads, "b")])
    uploads.sweep()
    assert not uploads.owns("ann", old)
    assert uploads.owns("ann", new)
    assert not broken_off.exists()


def test_the_folder_is_private_and_goes_with_the_app_however_it_ends(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from app.running.uploads import Uploads
folder = Uploads(10).folder
(folder / "left").write_text("x")
print(folder, oct(folder.stat().st_mode & 0o777), flush=True)
os.kill(os.getpid(), getattr(signal, sys.argv[1])) if sys.argv[1:] else None
"""
    env = os.environ | {"TMPDIR": str(tmp_path)}

    def run(*args: str) -> Path:
        done = subprocess.run([sys.executable, "-c", code, *args], env=env, capture_output=True, text=True, check=False)
        folder, mode = done.stdout.split()
        assert mode == "0o700"
        return Path(folder)

    assert not run().exists()
    killed = run("SIGKILL")
    assert killed.exists()
    run()
    assert not killed.exists()
