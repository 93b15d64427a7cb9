"""A worker's memory: how much it may take, how it keeps what it freed, and how running out of it is told from other errors."""

import contextlib
import ctypes
import errno
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_SAID = ("can't allocate memory", "cannot allocate memory", "malloc () failed", "bad_alloc", "bad allocation")
"""What torch, libsndfile and C++ say in a RuntimeError where Python would raise MemoryError."""


def limit_memory(limit_mb: int | None) -> None:
    """Lets this process have so much memory of its own (RLIMIT_DATA), and MemoryError where it wants more. None: no limit.

    Not the address space (RLIMIT_AS): libraries reserve three times as much of it as they ever use.
    """
    if limit_mb is None or sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = limit_mb << 20
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, of whatever class, says that there was no memory left."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _SAID)


def keep_freed_memory() -> None:
    """Lets glibc keep up to 64 MB of what is freed: to fetch every block of samples anew costs a fifth of the time."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
            libc.mallopt(_M_TRIM_THRESHOLD, 64 << 20)
