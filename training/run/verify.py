"""Before a run is resumed: do its checkpoint, its queue and its ledger agree?

Guarantees: changes nothing; says what it found in lines for a person, and every contradiction as a problem.
"""

import io
import pickle
from collections import Counter
from pathlib import Path

from actors.replay.queue import ledger_of
from configs.schema import Config
from training.run.checkpoint import read_state
from training.run.ledger_summary import account, read


def verify(checkpoint: Path, config: Config) -> tuple[list[str], list[str]]:
    """(what was found, problems) of one checkpoint folder."""
    state, problems = read_state(checkpoint), []
    snapshot = (checkpoint / "queue.bin").read_bytes()
    try:
        entries = read(checkpoint)
    except (OSError, ValueError) as error:
        return [], [str(error)]
    if len(entries) != (issued := ledger_of(snapshot)["issued"]):
        problems.append(f"the ledger has {len(entries)} groups, {issued} were dispatched")
    found = account(entries)
    problems += found.errors
    steps = Counter(e.step for e in entries if e.state == "consumed")
    want = dict.fromkeys(range(int(state["step"])), config.queue.groups_per_step)
    for step in sorted(set(want) | set(steps)):
        if steps.get(step, 0) != want.get(step, 0):
            problems.append(f"step {step} consumed {steps.get(step, 0)} groups, it must have {want.get(step, 0)}")
    held = _held(snapshot)
    ready = {e.group for e in entries if e.state == "ready"}
    if held != ready:
        problems.append(f"groups ready in the ledger and not stored, or the reverse: {sorted(held ^ ready)}")
    late = [e.group for e in entries if e.newest > int(state["step"])]
    if late:
        problems.append(f"groups {late} have tokens of weights later than the checkpoint's")
    if not list(checkpoint.glob("learner_*.pt")):
        problems.append("the learner's state (learner_R_of_W.pt) is missing")
    lines = [
        f"{checkpoint.name}: {state['step']} steps, {found.consumed} groups trained, {found.dispatched} dispatched",
        f"{len(ready)} groups are ready and go on; {found.pending['running']} were being played and are issued again",
        f"dropped so far: {', '.join(f'{n} {s}' for s, n in found.dropped.items())}",
    ]
    return lines, problems


def _held(snapshot: bytes) -> set[int]:
    """Numbers of the groups that are stored in a queue's snapshot."""
    stream = io.BytesIO(snapshot)
    pickle.load(stream)
    return set(pickle.load(stream))
