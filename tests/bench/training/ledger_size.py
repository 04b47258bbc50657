"""A million groups through the ledger, from 64 rollout actors: does a group cost the same at the end as at first, and
does memory stay as it was?

The journal's lines are made as in a run and thrown away; settled groups are written to the archive as the queue does.
"""

import time
from pathlib import Path
from typing import Any

GROUPS, ACTORS, PER_STEP, PARTS = 1_000_000, 64, 64, 10


def main(out_dir: Path) -> dict[str, Any]:
    import psutil

    from actors.files import write_whole
    from actors.replay import archive
    from actors.replay.ledger import Ledger
    from actors.replay.queue import SETTLED
    from configs.schema import Queue

    ledger = Ledger(Queue(groups_per_step=PER_STEP, max_staleness=2), prompts=50_000, group_size=8)
    process, done, rewards = psutil.Process(), ("done",) * 8, [0.1 * n for n in range(8)]
    costs: list[float] = []
    memory: list[int] = []
    version = 0
    while ledger.counts["consumed"] < GROUPS:
        began, until = time.process_time(), ledger.counts["consumed"] + GROUPS // PARTS
        first = ledger.counts["consumed"]
        while ledger.counts["consumed"] < until:
            number = 0
            while (ticket := ledger.dispatch(f"rollout-{number % ACTORS}/{number // ACTORS}")) is not None:
                ledger.changes()
                ledger.resolve(ticket.group, done, rewards, (version, version), 1000)
                ledger.changes()
                number += 1
            ledger.recall(version)
            assert ledger.cut(step=version) is not None
            ledger.changes()
            if len(ledger.entries) - len(ledger.unsettled) > SETTLED:
                settled = ledger.settled()
                ledger.forget(settled, archive.append(out_dir / archive.NAME, ledger.archive, settled))
                write_whole(out_dir / "queue.jsonl", ledger.snapshot())
            version += 1
            ledger.version = version
        costs.append((time.process_time() - began) / (ledger.counts["consumed"] - first) * 1e6)
        memory.append(process.memory_info().rss)
        print(
            f"{ledger.counts['consumed']:,} groups: {costs[-1]:.1f} us a group, {memory[-1] / 2**20:.0f} MB", flush=True
        )
    return {
        "groups": ledger.counts["consumed"],
        "us_a_group": [round(cost, 2) for cost in costs],
        "last_against_first": round(costs[-1] / costs[0], 3),
        "bytes_a_group": round((memory[-1] - memory[1]) / (GROUPS * (PARTS - 2) / PARTS)),
        "ms_a_step": round(costs[-1] * PER_STEP / 1000, 2),
    }
