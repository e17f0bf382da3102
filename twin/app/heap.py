"""What memory the server gives back: to the system what arrays and the start no longer need, to the collector nothing
that lives as long as the process.

Measured with a full city (docs/cost.md): without this a seventh of the world's memory is room between live arrays.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import sys

import pyarrow as pa

LOG = logging.getLogger(__name__)

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # <malloc.h> of the GNU C library
LARGE = 1 << 20  # bytes: arrays from here on have mappings of their own, and leave no hole when they go
SPARE = 16 << 20  # bytes that a heap keeps at its end
ARENAS = (
    2  # heaps that threads share: each keeps its own spare room, and the interpreter's lock lets one work at a time
)


def thrifty() -> None:
    """Before threads start: few heaps, and large arrays outside of them. Without GNU's malloc nothing is changed but
    that Arrow takes its memory from there: its own pools keep what sealing needed once an hour."""
    pa.set_memory_pool(pa.system_memory_pool())
    libc = _libc()
    if libc is not None and hasattr(libc, "mallopt"):
        for what, value in ((M_ARENA_MAX, ARENAS), (M_MMAP_THRESHOLD, LARGE), (M_TRIM_THRESHOLD, SPARE)):
            if not libc.mallopt(what, value):
                LOG.debug("malloc takes no %d = %d", what, value)


def settle() -> None:
    """When the server is open: what is there now stays until the end. The collector looks at it no more (and writes no
    mark into its pages, which a forked checkpoint would have to copy); what opening left over goes back."""
    gc.collect()
    gc.freeze()
    give_back()


def give_back() -> None:
    """Free pages inside the heaps go back to the system."""
    libc = _libc()
    if libc is not None and hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
