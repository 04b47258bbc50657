"""Pictures of what a domain's base policy learned from: its generator's plain sources, drawn as in rollouts.

Guarantees: a set is made once for the same sources in the same size; `train` and `heldout` share no source; no picture
is other where a layer of the jail is missing.
"""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from actors.contracts import RenderResult
from actors.files import beside, publish
from configs.schema import Config, Render
from training.data.labels import Labels
from training.data.synthetic_charts import Split


def trusting(settings: Render) -> Any:
    """The renderer of rollouts (serving.render.service.Renders) for sources of ours: nothing is kept, and a layer that
    this machine lacks is not missed."""
    from serving.render.sandbox import LAYERS
    from serving.render.service import Renders

    return Renders(replace(settings, cache_mb=0, sandbox=replace(settings.sandbox, allow_missing=list(LAYERS))))


async def rendered(sources: Sequence[str], domain: str, settings: Render) -> list[RenderResult]:
    """What became of each source, in order, through the renderer of rollouts. Raises Outage."""
    renders = trusting(settings)
    try:
        return list(await asyncio.gather(*(renders.render(source, domain) for source in sources)))
    finally:
        await renders.close()


def write(root: Path, config: Config, labels: Labels, split: Split, count: int, seed: int = 0) -> Path:
    """PNGs and manifest.jsonl of the first `count` of a split, in a folder under `root`. Raises Outage."""
    shown = [labels.draw(i, seed, split) for i in range(count)]
    sources = [one.program for one in shown]
    key = hashlib.sha256("".join([str(config.render.viewport), *sources]).encode()).hexdigest()[:12]
    folder = root / f"own-{split}-{count}-{seed}-{key}"
    if not (folder / "manifest.jsonl").exists():
        _save(folder, shown, asyncio.run(rendered(sources, config.data.domain, config.render)))
    return folder


def _save(folder: Path, shown: Sequence[Any], results: Sequence[RenderResult]) -> None:
    fresh = beside(folder)
    with (fresh / "manifest.jsonl").open("w") as manifest:
        for number, (one, result) in enumerate(zip(shown, results, strict=True)):
            if result.png is None:
                raise RuntimeError(f"{folder.name}: source {number} does not render: {result.message}")
            (fresh / f"{number:05d}.png").write_bytes(result.png)
            manifest.write(json.dumps({"file": f"{number:05d}.png", **one.facts}) + "\n")
    publish(fresh, folder)
