"""Counters of the kernel's performance events, opened by a direct system call.

``perf_event_open(2)`` has no wrapper in the C library; https://man7.org/linux/man-pages/man2/perf_event_open.2.html
describes its arguments. Only the 64 bytes of the first version of ``perf_event_attr`` are passed.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import weakref

SYSCALL = {"x86_64": 298, "aarch64": 241}
ATTRIBUTES = struct.Struct("=IIQQQQQIIQ")
"""type, size, config, sample_period, sample_type, read_format, flags, wakeup_events, bp_type, config1."""
ANY_PROCESS = -1
NO_GROUP = -1
CLOSE_ON_EXEC = 8


class PerfEvent:
    """An event that counts on one processor, for all processes, from now on.

    Args:
        kind: number of the event source.
        config: number of the event within the source.
        cpu: number of the processor.

    Raises:
        OSError: the kernel refuses; ``errno`` is EACCES or EPERM without the required privilege.
    """

    def __init__(self, kind: int, config: int, cpu: int) -> None:
        number = SYSCALL.get(platform.machine())
        if number is None:
            raise OSError(f"the system call number of perf_event_open is unknown on {platform.machine()}")
        library = ctypes.CDLL(None, use_errno=True)
        attributes = ATTRIBUTES.pack(kind, ATTRIBUTES.size, config, 0, 0, 0, 0, 0, 0, 0)
        descriptor = library.syscall(
            # syscall() is variadic: ctypes would pass plain Python integers as 32-bit ints.
            ctypes.c_long(number),
            ctypes.create_string_buffer(attributes, len(attributes)),
            ctypes.c_int(ANY_PROCESS),
            ctypes.c_int(cpu),
            ctypes.c_int(NO_GROUP),
            ctypes.c_ulong(CLOSE_ON_EXEC),
        )
        if descriptor < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        self._descriptor: int = descriptor
        # Meters have no close method, so the descriptor is closed with the object.
        weakref.finalize(self, os.close, descriptor)

    def read(self) -> int:
        """Return the count.

        Raises:
            OSError: it can no longer be read.
            ValueError: the kernel gave no count (the processor went offline).
        """
        content = os.read(self._descriptor, 8)
        if len(content) != 8:
            raise ValueError("the kernel gave no count; the processor may be offline")
        return int.from_bytes(content, "little")
