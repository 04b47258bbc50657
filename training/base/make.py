"""Making a base policy: pictures, tool turns and training, in one go.

Guarantees: started again after whatever ended it, it goes on where it was; the same seed and sources give the same
plan, pictures and batches.
"""

import json
import multiprocessing
import os
from pathlib import Path

import torch

from configs.schema import Prompts
from training.base import SHIPPED, curriculum, lessons, pages, pictures, repairs, teach
from training.base.charts import Charts
from training.base.page_blocks import Blocks
from training.base.pages import Pages
from training.base.wordlist import PAGE_WORDS, page_texts, texts
from training.data import tiny_policy
from training.data.synthetic_charts import KINDS


def make(folder: Path, prompts: Prompts, seed: int) -> Path:
    """The trained policy's folder under `folder`, in float32; drawing runs beside training in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "trained"
    if done.exists():
        return done
    if not (untrained := folder / "untrained").exists():
        tiny_policy.build(untrained, seed, texts(seed))
    drawing = multiprocessing.get_context("spawn").Process(
        target=_draw, args=(folder / "pictures", seed), name="drawing", daemon=True
    )
    drawing.start()
    try:
        pools = pictures.Pools(folder / "pictures", seed, drawing.is_alive)
        course, reading = Charts(pools, seed), folder / "reading"
        teach.train(untrained, folder, course, prompts, seed, reading, steps=curriculum.READS)
        repairs.make(folder / "pictures", reading, prompts, curriculum.REPAIRS, seed, os.cpu_count() or 1)
        teach.train(untrained, folder, course, prompts, seed, done, steps=curriculum.TOTAL)
    finally:
        drawing.kill()
    return done


def make_pages(folder: Path, prompts: Prompts, seed: int, drawn: Path) -> Path:
    """The trained policy of pages, in float32, from that of charts, which knows letters and colours, and the file of
    blocks; no browser is needed."""
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "trained"
    if done.exists():
        return done
    if not (untrained := folder / "untrained").exists():
        tiny_policy.build(untrained, seed, page_texts(seed), PAGE_WORDS, start=SHIPPED, apart=())
    teach.train(untrained, folder, Pages(Blocks(drawn), seed), prompts, seed, done, steps=pages.TOTAL)
    return done


def control(folder: Path, prompts: Prompts, seed: int) -> dict[str, dict[str, float]]:
    """What the first stage teaches when every chart comes with another's picture: held-out figures, by kind and look.
    More than chance in the values would be a leak of the pipeline."""
    drawn, shuffled = folder / "pictures", folder / "shuffled"
    first = curriculum.STAGES[0]
    drawn.mkdir(parents=True, exist_ok=True)
    shuffled.mkdir(exist_ok=True)
    for split, kind, look, number in curriculum.needed_shards():
        if (kind, look) != (first.new, "plain"):
            break
        pictures.draw_shard(drawn, split, kind, look, number, seed)
    if not (untrained := folder / "untrained").exists():
        tiny_policy.build(untrained, seed, texts(seed))
    pools, out = pictures.Pools(drawn, seed), shuffled / "trained"
    teach.train(untrained, shuffled, Charts(pools, seed, shuffled=True), prompts, seed, out, steps=first.steps)
    lines = (shuffled / "log.jsonl").read_text().splitlines()
    found: dict[str, dict[str, float]] = json.loads(lines[-1])["held_out"]
    return found


def _draw(folder: Path, seed: int) -> None:
    """Everything that training shows, in the order in which it is needed; what is there already is kept."""
    os.nice(5)
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    for split, kind, look, number in curriculum.needed_shards():
        pictures.draw_shard(folder, split, kind, look, number, seed)
    if not (folder / lessons.FILE).exists():
        lessons.make(folder, KINDS, curriculum.LESSON_LOOKS, curriculum.LESSONS, seed)
