"""The chart server's memory, laid out so that a fork of it is cheap: in few pieces, on huge pages, copied in bulk.

Guarantees: nothing here changes what a program reads, computes or may do; a step that a kernel does not offer is left
out. What it is for: a program writes a reference count on some three thousand of its server's pages, and the kernel
copies a page at a time at 2 to 3.5 us each, but a huge page (512 of them) at once for the price of sixty.
"""

import ctypes
import mmap
import os
import struct
from collections.abc import Callable

PAGE, HUGE = mmap.PAGESIZE, 2 * 2**20
POPULATE_WRITE, COLLAPSE = 23, 25  # of madvise(2), since Linux 5.14 and 6.1
ARENA, BLOCK = 2**20, 512  # bytes that CPython maps at a time for small objects, and the largest of those
PRESENT, EXCLUSIVE = 1 << 63, 1 << 56  # of an entry of /proc/PID/pagemap
_kept: list[bytes] = []  # an object in each arena: an empty one would be given back
_madvise = ctypes.CDLL(None).madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def reserve(arenas: int) -> None:
    """Have CPython map its next so many MB for small objects now, in one piece, while nothing else comes in between."""
    blocks = [bytes(BLOCK - 72) for _ in range(arenas * ARENA // BLOCK)]
    _kept.extend({id(block) // ARENA: block for block in blocks}.values())


def ranges() -> list[int]:
    """Addresses of the huge pages that this process's heap could be made of."""
    found: list[int] = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            where, access, *_, inode, name = [*line.split(), ""][:6]
            if access == "rw-p" and name in ("", "[heap]") and inode == "0":
                start, end = (int(part, 16) for part in where.split("-"))
                found += range(-(-start // HUGE) * HUGE, end // HUGE * HUGE, HUGE)
    return found


def collapse() -> None:
    """Put the heap on huge pages: a fork then copies one entry for 512."""
    for start in ranges():
        _madvise(start, HUGE, COLLAPSE)


def own_pages(start: int) -> int:
    """How many of a huge page's pages are present and this process's alone."""
    with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
        entries = os.pread(pagemap.fileno(), HUGE // PAGE * 8, start // PAGE * 8)
    mine = PRESENT | EXCLUSIVE
    return sum(entry & mine == mine for (entry,) in struct.iter_unpack("Q", entries))


def written(work: Callable[[], object], least: int) -> list[tuple[int, int]]:
    """Start and end of the runs of huge pages of each of which a child that does `work` writes at least `least` pages;
    none where the kernel does not say."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            found = [start for start in ranges() if own_pages(start) >= least]
            os.write(writer, struct.pack(f"{len(found)}Q", *found))
        finally:
            os._exit(0)
    os.close(writer)
    runs: list[tuple[int, int]] = []
    with open(reader, "rb") as file:
        for (start,) in struct.iter_unpack("Q", file.read()):
            first = runs.pop()[0] if runs and runs[-1][1] == start else start
            runs.append((first, start + HUGE))
    os.waitpid(pid, 0)
    return runs


def copy(runs: list[tuple[int, int]]) -> None:
    """In a fresh child: make these huge pages its own now. The first page of each tells the kernel that they differ."""
    for start, end in runs:
        for huge in range(start, end, HUGE):
            _madvise(huge, PAGE, POPULATE_WRITE)
        if _madvise(start, end - start, COLLAPSE) != 0:  # there are no huge pages left, and looking for them is slow
            return


def unshared(size: int) -> memoryview:
    """Memory that a fork does not pass on: children cannot see it, and writing to it beside them copies nothing."""
    area = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.madvise(mmap.MADV_DONTFORK)
    return memoryview(area)
