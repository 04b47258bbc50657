"""A million groups through the ledger, from 64 rollout actors: does a group cost the same at the end as at first?

The journal's lines are made as in a run and thrown away. What grows is the ledger's own memory: it keeps every entry.
"""

import time
from pathlib import Path
from typing import Any

GROUPS, ACTORS, PER_STEP, PARTS = 1_000_000, 64, 64, 10


def main(out_dir: Path) -> dict[str, Any]:
    import psutil

    from actors.replay.ledger import Ledger
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
