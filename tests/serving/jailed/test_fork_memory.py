"""What the chart server does to its memory: in processes of its own, since it changes the one that it runs in."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# a buffer of eight huge pages that is a chain of its own in the map, and what a child writes there
BUFFER = """
import ctypes, mmap, os, resource, signal
from serving.jailed.fork_memory import HUGE, PAGE, copy, ranges, reserve, unshared, written
area = mmap.mmap(-1, 8 * HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
area[:] = bytes([7]) * len(area)
start = ctypes.addressof(ctypes.c_char.from_buffer(area))
inside = [address - start for address in ranges() if start <= address <= start + len(area) - HUGE]
def write(offset, pages):
    for page in range(offset, offset + pages * PAGE, PAGE):
        area[page] = 9
def in_child(work):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = int(work() or 0)
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]
"""


def run(body: str) -> str:
    command = [sys.executable, "-c", BUFFER + body]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout


def test_what_a_child_writes_is_found_by_huge_pages() -> None:
    found = run("""
def work():
    write(inside[1], 100), write(inside[2], 120), write(inside[4], 20), write(inside[5], 200)
runs = [(a - start, b - start) for a, b in written(work, 90) if start <= a < start + len(area)]
print(runs == [(inside[1], inside[3]), (inside[5], inside[5] + HUGE)], area[inside[1]])
""")
    assert found.split() == ["True", "7"]


def test_a_copy_in_bulk_has_the_same_content_and_spares_the_faults() -> None:
    """Where the kernel has no huge page to give, the content is all that is promised."""
    found = run("""
runs = [(start + inside[1], start + inside[4])]
huge = ctypes.CDLL(None).madvise(ctypes.c_void_p(start + inside[6]), ctypes.c_size_t(HUGE), 25) == 0
def faults(work):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def work():
    copy(runs)
    assert bytes(area) == bytes([7]) * len(area)
    taken = faults(lambda: write(inside[1], 3 * 512))
    print(huge, taken, flush=True)
assert in_child(work) == 0
print(area[inside[1]])
""")
    huge, taken, content = found.split()
    assert content == "7"
    assert int(taken) < 200 or huge == "False", found


def test_reserved_memory_is_where_new_objects_go() -> None:
    found = run("""
reserve(8)
from serving.jailed.fork_memory import _kept
kept = {id(block) >> 20 for block in _kept}
new = [bytes(300) for _ in range(10_000)]
print(sum(id(block) >> 20 in kept for block in new) / len(new), max(kept) - min(kept) < 40)
""")
    assert found.split()[1] == "True" and float(found.split()[0]) > 0.9


def test_a_child_does_not_see_what_is_not_shared_with_it() -> None:
    found = run("""
inbox = unshared(PAGE)
inbox[:6] = b"secret"
print(os.WTERMSIG(in_child(lambda: inbox[0])) == signal.SIGSEGV, bytes(inbox[:6]))
""")
    assert found.split() == ["True", "b'secret'"]
