"""What the tests of durable channels share: a folder for the log, its files, and small filesystems that can be filled."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from stat import S_ISREG
from typing import Any

import pytest

from support.process import PANIC, Courier, StartFailed, run_to_end
from support.web import RawConnection

MOUNT_SECONDS = 20
FILL_BYTES = 65536


def durable(folder: Path, fsync: str = "always", **settings) -> dict:
    """Settings of a server whose every channel is durable."""
    return {"history.durable": True, "history.size": 100_000, "storage.dir": folder, "storage.fsync": fsync} | {
        name.replace("__", "."): value for name, value in settings.items()
    }


def kill(courier):
    """Ends a server without a word."""
    courier.expected_exit = -signal.SIGKILL
    courier.signal(signal.SIGKILL)
    courier.wait_exit()


def still_there(paths: Iterable[Path], look: Callable) -> Iterator[tuple[Path, Any]]:
    """Each path with what a look at it says; a server may remove a file between its being listed and being looked at."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            yield path, look(path)


def files(folder: Path) -> list[Path]:
    """All files below the folder, the largest first: what holds events comes before what counts or locks."""
    found = [(path, told.st_size) for path, told in still_there(folder.rglob("*"), Path.stat) if S_ISREG(told.st_mode)]
    return [path for path, size in sorted(found, key=lambda pair: -pair[1])]


def files_that_hold(folder: Path, text: bytes) -> list[Path]:
    """The files in which this stands now."""
    return [path for path, content in still_there(files(folder), Path.read_bytes) if text in content]


def file_that_holds(folder: Path, text: bytes) -> Path:
    """The segment in which an event's bytes stand."""
    found = files_that_hold(folder, text)
    assert found, f"{text!r} is in no file of {files(folder)}"
    return found[0]


def used_bytes(folder: Path) -> int:
    """What the folder's files take on the disk, holes not counted."""
    return sum(told.st_blocks * 512 for _, told in still_there(files(folder), Path.stat))


def log_command(action: str, folder: Path, *words):
    """`courier log check|list|dump` of a folder."""
    return run_to_end("log", action, "--dir", folder, *words)


class Attempt:
    """A start on a folder that may be wrong: `courier` serves, or it is None and `refusal` says why in clear words."""

    def __init__(self, folder: Path, **settings):
        self.server = Courier(durable(folder, **settings))
        self.courier, self.refusal = None, ""
        try:
            self.courier = self.server.start()
        except StartFailed as failed:
            self.refusal = str(failed)
            self.server.expected_exit, self.server.logs_are_json = None, False
            assert "silent" not in self.refusal and not PANIC.search(self.refusal), self.refusal
            assert not self.refusal.startswith("exit 0;"), self.refusal

    def words(self) -> str:
        """What it has said so far on its way."""
        return self.courier.stderr() if self.courier else self.refusal

    def end(self):
        RawConnection.close_all(self.server.port)
        self.server.stop()


@contextlib.contextmanager
def small_disk(point: Path, kind: str, size: int):
    """A filesystem of `size` bytes mounted on `point`: `tmpfs`, or `ext4` in a file by a loop device."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    point.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", point]
    if kind == "ext4":
        image = point.with_suffix(".image")
        with image.open("wb") as file:
            file.truncate(size)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True, capture_output=True, timeout=MOUNT_SECONDS)
        command = ["mount", "-o", "loop", image, point]
    mounted = subprocess.run(command, capture_output=True, text=True, timeout=MOUNT_SECONDS)
    if mounted.returncode != 0:
        pytest.skip(f"no mount here: {mounted.stderr.strip()}")
    try:
        yield point
    finally:
        # Lazily: a server that a failed test has left there is ended after this.
        subprocess.run(["umount", "-l", point], check=True, timeout=MOUNT_SECONDS)


def fill(point: Path, leave: int) -> Path:
    """Takes all space but about `leave` bytes with one file; removing it gives the space back."""
    ballast = point / "ballast"
    space = os.statvfs(point)
    left = space.f_bavail * space.f_frsize - leave
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):  # the filesystem keeps some for itself
        while left > 0:
            left -= file.write(b"\0" * min(left, FILL_BYTES))
        os.fsync(file.fileno())
    return ballast
