"""Runs a command in a poorer world: without io_uring, without rights, with low limits.

As a program it installs a seccomp filter that refuses io_uring's system calls and then becomes the command:
`sandbox.py EPERM|ENOSYS COMMAND…`. Its functions build prefixes for a server's command line.
"""

import ctypes
import errno
import os
import shutil
import struct
import sys
import tempfile
from pathlib import Path

IO_URING_CALLS = (
    425,
    426,
    427,
)  # setup, enter, register: the same numbers on every architecture since Linux 5.1
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD_NUMBER, JUMP_IF_EQUAL, RETURN = (
    0x20,
    0x15,
    0x06,
)  # classic BPF: BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ, BPF_RET
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
NOBODY = 65534


def without_io_uring(error: str) -> list[str]:
    return [sys.executable, str(Path(__file__).resolve()), error]


def with_limits(**limits) -> list[str]:
    """A prefix for `nofile=256` or `memlock=16384` (both soft and hard)."""
    return ["prlimit", *(f"--{name}={value}:{value}" for name, value in limits.items())]


def without_rights() -> list[str]:
    """Drops root's identity and capabilities; nothing to do for anyone else."""
    if os.geteuid() != 0:
        return []
    return [
        "setpriv",
        f"--reuid={NOBODY}",
        f"--regid={NOBODY}",
        "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
    ]


def readable_copy(binary: Path) -> Path:
    """The binary where an unprivileged user may run it."""
    folder = Path(tempfile.mkdtemp(prefix="courier-binary-"))
    folder.chmod(0o755)
    copy = Path(shutil.copy(binary, folder / "courier"))
    copy.chmod(0o755)
    return copy


def _refuse_io_uring(error: int):
    rules = [(LOAD_NUMBER, 0, 0, 0)]
    for index, call in enumerate(IO_URING_CALLS):
        rules.append((JUMP_IF_EQUAL, len(IO_URING_CALLS) - index, 0, call))
    rules += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE | error)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
    filters = struct.pack("HxxxxxxP", len(rules), ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filters, 0, 0)):
        if libc.prctl(*call) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    _refuse_io_uring(getattr(errno, sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
