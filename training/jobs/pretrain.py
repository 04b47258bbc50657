"""Making a base policy and measuring what it reads, before it is shipped.

Guarantees: stopped or killed, it goes on when started again; run.seed decides pictures, order and weights; what it
reads of held-out pictures is measured and written into its card.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from configs.domains import find
from configs.load import ConfigError, load
from configs.schema import Config
from training.base import SHIPPED, card, make, page_blocks
from training.data import examples, tiny_policy
from training.data.labels import PAGES, labels_of
from training.run.checkpoint import latest

EXAMPLES, LESSONS = 1500, 300  # of a domain that draws its own
STEPS, BATCH = 400, 16
SUPERVISED = (
    "run.name=sft", f"run.steps={STEPS}", "run.checkpoint_every=50", f"sft.batch={BATCH}", "learner.lr=1e-3",
    "learner.schedule=linear", "learner.warmup_steps=20",
)  # fmt: skip


def pretrain(
    file: str, overrides: Sequence[str], folder: Path, out: Path | None, count: int, shuffled: bool = False
) -> None:
    """Make the policy of charts in `folder` and ship it to `out` (default: the package's own). `shuffled`: the control
    alone, which ships nothing. Of a domain that draws its own examples it is a start from that policy."""
    torch.set_num_threads(1)
    config = load(file, overrides)
    if not (domain := find(config.data.domain)).shipped_pictures and domain.example is not None:
        supervised(file, overrides, folder, out, count)
        return
    if labels_of(config.data.domain) is PAGES:
        raise ConfigError(f"the policy of {domain.name} is made with --pages")
    if shuffled:
        for kind, figures in make.control(folder, config.prompts, config.run.seed).items():
            print(f"{kind}, pictures shuffled in training: " + ", ".join(f"{k} {v:.3f}" for k, v in figures.items()))
        return
    trained = make.make(folder, config.prompts, config.run.seed)
    card.ship(trained, out or SHIPPED, _facts(config, folder, trained, count), card.CHARTS)


def pretrain_pages(
    file: str,
    overrides: Sequence[str],
    folder: Path,
    out: Path | None,
    count: int,
    train_only: bool = False,
) -> None:
    """The same for pages: `folder`/blocks.npz is drawn where it is not there.
    `train_only`: no browser is needed; nothing is shipped."""
    torch.set_num_threads(1)
    config = load(file, overrides)
    drawn = folder / "blocks.npz"
    if not train_only and not drawn.exists():
        page_blocks.write(drawn, config.run.seed)
    trained = make.make_pages(folder, config.prompts, config.run.seed, drawn)
    if train_only:
        print(trained)
        return
    own = SHIPPED.with_name(f"policy_{config.data.domain}")
    card.ship(trained, out or own, _facts(config, folder, trained, count), card.PAGES)


def _facts(config: Config, folder: Path, trained: Path, count: int) -> dict[str, object]:
    """For the card: how it was trained, and what it reads of pictures that it never saw."""
    from training.base.read import measure, own

    last = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
    facts = {"seed": config.run.seed, "steps": last["step"], "cpu_s": last["cpu_s"], "held_out": last["held_out"]}
    facts["pictures"] = count
    shown, pictures = own(config, count)
    for name, temperature in (("greedy", 0.0), ("temperature 1", 1.0)):
        print(f"reading {count} held-out pictures, {name}", flush=True)
        facts[name] = measure(trained, config, shown, pictures, temperature)
    return facts


def supervised(file: str, overrides: Sequence[str], folder: Path, out: Path | None, count: int) -> None:
    """The policy of charts with a domain's words, taught the domain's examples and calls of the tool. They are of
    another seed than what a run of the same settings learns from."""
    from training.base import start
    from training.jobs.sft import learn

    config = load(file, overrides)
    domain, seed, most = config.data.domain, config.run.seed, config.feedback.max_chars
    drawn = examples.write(folder / "examples", domain, "train", EXAMPLES, seed + 1, LESSONS, most)
    if not (model := folder / "untrained").exists():
        tiny_policy.build(model, seed, start.texts(drawn / examples.LESSONS), start=SHIPPED)
    run = folder / "sft"
    if (found := latest(run)) is None or found.name != f"step_{STEPS:06d}":
        mine = [*overrides, *SUPERVISED, f"run.dir={folder}", f"policy.path={model}"]
        learn(file, drawn / examples.LESSONS, mine, run if run.is_dir() else None)
    trained = latest(run)
    assert trained is not None
    held = examples.write(folder / "examples", domain, "heldout", count, seed)
    print(f"reading {count} held-out pictures", flush=True)
    name = find(domain).name
    facts = {"domain": name, "config": file, "seed": seed, "steps": STEPS, "batch": BATCH, "pictures": count}
    facts |= {"examples": EXAMPLES, "lessons": LESSONS, "base_sha256": start.base_sha256()}
    target = out or SHIPPED.with_name(f"policy_{name}")
    card.ship(trained, target, facts | start.measure(trained, config, held), start.KIND)
    print(target)
