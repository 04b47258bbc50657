"""A program that the machine gives no processor is not blamed for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# argument 1: a program that sleeps, or one that computes for half its time on a processor that four share
SLOW = """
import os, sys, tempfile, time
from serving.jailed import fork_memory, server
from serving.jailed.layers import Jail
from serving.jailed.program import Answer
core = {min(os.sched_getaffinity(0))}
def work(source, max_pixels):
    if source == "sleeps":
        time.sleep(60)
    os.sched_setaffinity(0, core)
    while time.process_time() < 1:
        pass
    return Answer("no_figure", message="done at last")
busy = []
for _ in range(3):
    if (pid := os.fork()) == 0:
        os.setsid()  # a share of its own, as the child has
        os.sched_setaffinity(0, core)
        while True:
            pass
    busy.append(pid)
warmed = server.Server(
    Jail(tempfile.mkdtemp(), ()), server.Limits(60, 2.0, 2**33, 100), fork_memory.unshared(4096), []
)
request = os.memfd_create("program")
os.write(request, sys.argv[1].encode())
try:
    print(bytes(server.attend(request, warmed, work))[17:].decode())
finally:
    for pid in busy:
        os.kill(pid, 9)
"""


@pytest.mark.parametrize(("does", "expected"), [("sleeps", "took longer than 2 s"), ("computes", "done at last")])
def test_what_a_program_waits_for_a_processor_is_not_its_time(does: str, expected: str) -> None:
    command = [sys.executable, "-c", SLOW, does]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert expected in done.stdout, done.stderr
