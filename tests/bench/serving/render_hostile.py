"""A hostile load: 200 renders of which half attack, against the honest half alone, on one renderer.

Both loads take turns in blocks, so that a change of the machine's pace meets both. The attacks are those of the corpora
that end by themselves: one that waits for its deadline costs that deadline, which is a setting. Honest programs are
those that models have written; every second text is honest, so that each follows an attack.
"""

import asyncio
import json
import random
import time
from pathlib import Path

from configs.schema import Render, Sandbox
from serving.render.charts import ChartRenderer
from tests.data import real
from tests.serving.jailed.hostile_charts import ATTACKS, source

HONEST, BLOCK = 100, 10
PLACES = {"FILE": "/etc/hostname", "TARGET": "/etc/hostname", "TCP": 9, "UDP": 9, "SERVER": 1, "WORKER": 1}


async def measure() -> dict[str, float]:
    """Seconds of both loads, over the same honest programs."""
    rng = random.Random(0)
    written = [json.loads(line) for line in real("vlm_programs.jsonl").read_text().splitlines()]
    honest = [row["code"] for row in written if row["ran_in_matplotlib_3_8_4"]][:HONEST]
    quick = [source(attack, **PLACES) for _, ends, attack in ATTACKS if "timeout" not in ends]
    attacks = rng.sample(quick, HONEST)
    renderer = ChartRenderer(Render(sandbox=Sandbox(memory_mb=512)))
    taken = {"honest_s": 0.0, "mixed_s": 0.0}
    try:
        for program in honest[:2]:
            await renderer.render(program)
        for start in range(0, len(honest), BLOCK):
            block = range(start, min(start + BLOCK, len(honest)))
            alone = [honest[n] for n in block]
            mixed = [text for n in block for text in (attacks[n], honest[n])]
            for name, texts in (("honest_s", alone), ("mixed_s", mixed)):
                started = time.perf_counter()
                for text in texts:
                    await renderer.render(text)
                taken[name] += time.perf_counter() - started
        return {**taken, "servers": renderer.starts, "honest": len(honest), "attacks": len(attacks)}
    finally:
        await renderer.close()


def main(out_dir: Path) -> dict:
    """The ratio of the two loads: 2 means that an attack costs as much as an honest program."""
    found = asyncio.run(measure())
    found["mixed/honest"] = found["mixed_s"] / found["honest_s"]
    print(f"{found['honest']} honest in {found['honest_s']:.1f} s, with as many attacks {found['mixed_s']:.1f} s: "
          f"{found['mixed/honest']:.2f} times, on {found['servers']} server processes")  # fmt: skip
    return found
