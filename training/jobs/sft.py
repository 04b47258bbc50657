"""Supervised learning on what a good policy would say: image-code pairs, or conversations of several turns.

Guarantees: the learner of GRPO (packing, FSDP, LoRA, clipping, schedule, checkpoints) under Ray Train, with maximum
likelihood as its loss; dialogues are built by the policy's own codec, as rollouts build them; there is loss on what the
policy says and never on a turn that is marked as a mistake; every epoch has a seeded order of its own. The result is a
run's folder: config.yaml, sft.jsonl (a line a step) and checkpoints in Hugging Face layout.

A line of DATA is a pair or a trace; paths are relative to the file:
    {"image": "1.png", "code": "import ..."}                  answered at once, under the prompt without a tool
    {"image": "1.png", "turns": [{"text": "<think>..</think><tool_call>..</tool_call>", "feedback": "..",
                                  "taught": false}, {"text": "<think>..</think><answer>..</answer>"}]}
"""

import hashlib
import json
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from actors.contracts import Outage
from configs.load import ConfigError, dump, load
from configs.schema import Config
from training.base import shipped
from training.run.ray_env import set_environment
from training.run.watchdog import watch

CURVE = "sft.jsonl"


@dataclass(frozen=True)
class TargetTurn:
    """One turn of the policy, the feedback on it, and whether it is to be learned."""

    text: str
    feedback: str = ""
    taught: bool = True


@dataclass(frozen=True)
class Example:
    """One conversation about one image; a single turn is answered under the prompt without a tool."""

    image: str
    turns: tuple[TargetTurn, ...]


def read(path: Path) -> list[Example]:
    """The examples of a JSONL file. Raises ConfigError naming the line at fault."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; it is to hold lines like {{'image': PATH, 'code': PROGRAM}}")
    found = []
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # a JSON text may hold other line ends
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            turns = row["turns"] if "turns" in row else [{"text": f"<think></think><answer>\n{row['code']}</answer>"}]
            image = (path.parent / row["image"]).resolve()
            found.append(Example(str(image), tuple(TargetTurn(**turn) for turn in turns)))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConfigError(f"{path}:{number}: no pair and no trace ({type(error).__name__}: {error})") from None
        if not image.is_file():
            raise ConfigError(f"{path}:{number}: there is no image {image}")
        try:
            with Image.open(image) as picture:
                picture.verify()
        except Exception as error:  # a decoder may raise anything
            raise ConfigError(f"{path}:{number}: {image} is not a readable image ({type(error).__name__})") from None
        if not all(isinstance(words, str) for turn in found[-1].turns for words in (turn.text, turn.feedback)):
            raise ConfigError(f"{path}:{number}: `text`, `code` and `feedback` are texts")
        if not found[-1].turns:
            raise ConfigError(f"{path}:{number}: a trace without turns")
    if not found:
        raise ConfigError(f"{path}: no examples")
    return found


def order(count: int, batch: int, step: int, seed: int) -> list[int]:
    """Which of `count` examples batch `step` (0-based) holds: epochs follow each other without a gap."""
    picked = []
    for place in range(step * batch, (step + 1) * batch):
        epoch, position = divmod(place, count)
        shuffled = list(range(count))
        random.Random(f"{seed}/{epoch}").shuffle(shuffled)
        picked.append(shuffled[position])
    return picked


def row(example: Example, codec: Any, learner: Any, max_pixels: int) -> tuple[Any, dict[str, bytes]]:
    """A conversation as the learner packs it, and its pictures by content hash."""
    from actors.dialogue import Dialogue
    from actors.images import read_image

    dialogue = Dialogue.start(codec, read_image(example.image, max_pixels), direct=len(example.turns) == 1)
    for number, turn in enumerate(example.turns):
        known = len(dialogue.sampled)
        dialogue.add_text(turn.text)
        if not turn.taught:
            dialogue.sampled[known:] = [False] * (len(dialogue.sampled) - known)
        if number + 1 < len(example.turns):
            dialogue.add_feedback(turn.feedback, last=number + 2 == len(example.turns))
    made = row_of(dialogue, learner.pixels, learner.limits.image_token)
    return made, dict(zip(made.images, dialogue.images, strict=True))


def row_of(dialogue: Any, pixels: Any, image_token: int) -> Any:
    """A finished dialogue as the learner packs it; every taught token weighs the same."""
    import numpy as np

    from training.learner.packing import Row, placeholder_runs

    names = tuple(hashlib.sha256(png).hexdigest() for png in dialogue.images)
    grids = tuple(pixels.grid(png, name) for png, name in zip(dialogue.images, names, strict=True))
    ids = np.asarray(dialogue.full_ids, dtype=np.int64)
    assert len(placeholder_runs(ids, image_token)) == len(grids)
    sampled = np.asarray(dialogue.sampled, dtype=bool)
    zeros = np.zeros(len(ids), dtype=np.float32)
    return Row(ids, sampled, zeros, np.zeros(len(ids), dtype=np.int64), names, grids, 0, 0, weight=1.0)


def train_loop(settings: dict[str, Any]) -> None:
    """Ray Train's loop function. `settings`: config, examples, model, run (folder), start, resume."""
    import ray.train
    import torch

    from actors.dialogue import Codec
    from training.learner.model import named_weights
    from training.learner.packing import pack, weigh
    from training.learner.ranks import Ranks
    from training.learner.update import Learner, Shard
    from training.run import checkpoint

    config: Config = settings["config"]
    examples: list[Example] = settings["examples"]
    folder = Path(settings["run"])
    torch.set_num_threads(config.learner.threads)
    torch.manual_seed(config.run.seed)
    ranks = Ranks.join(config.learner.gpus)
    learner = Learner(settings["model"], config, ranks, settings["base"])
    if settings["resume"]:
        checkpoint.restore(Path(settings["resume"]), learner.policy, learner.optimizer)
    codec = Codec.load(settings["base"], config.prompts)
    limit_s = config.run.checkpoint_s
    writer = checkpoint.Writer(folder, settings["base"], config.run.keep, ranks.rank, ranks.size, limit_s)
    for step in range(settings["start"], config.run.steps):
        began = time.perf_counter()
        shards = None
        if ranks.rank == 0:
            rows: list[Any] = []
            images: dict[str, bytes] = {}
            for place, index in enumerate(order(len(examples), config.sft.batch, step, config.run.seed)):
                one, shown = row(examples[index], codec, learner, config.data.max_pixels)
                rows.append(replace(one, group=place))
                images |= shown
            budget = config.learner.token_budget
            parts = pack(weigh(rows, config.grpo), budget, ranks.size, learner.limits.image_token)
            shards = [Shard((tuple(part),), images) for part in parts]
        panel = learner.train(ranks.scatter(shards), step, step)
        stop = ranks.scatter([(folder / "STOP").exists()] * ranks.size if ranks.rank == 0 else None)
        last = stop or step + 1 == config.run.steps
        if last or (step + 1) % config.run.checkpoint_every == 0:
            shard = checkpoint.shard_of(learner.policy, learner.optimizer)
            weights = {n: v.cpu().clone() for n, v in named_weights(learner.policy, learner.dtype)}
            state = {"reward": None, "base": settings["base"], "version": step + 1}
            writer.start(step + 1, shard, weights, b"", state)
        if ranks.rank == 0:
            line: dict[str, Any] = {"step": step + 1, "step_s": round(time.perf_counter() - began, 3)}
            line |= {name: panel[name] for name in ("loss", "grad_norm", "lr", "sampled_tokens", "skipped")}
            with (folder / CURVE).open("a") as curve:
                curve.write(json.dumps(line) + "\n")
        if last:
            break
    writer.wait()
    if writer.error:
        raise OSError(writer.error)
    ray.train.report({})


def train(
    config: Config,
    examples: Sequence[Example],
    model: str,
    folder: Path,
    resume: Path | None,
    placed: Callable[[], None] = lambda: None,
) -> Path:
    """Train `model` into a run's `folder`; the newest checkpoint. `placed` is called after the first step. Raises
    Outage where the learner failed."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from training.run.checkpoint import latest, read_state
    from training.run.metrics_log import trim

    start = read_state(resume)["step"] if resume else 0
    resources = {"CPU": config.learner.cpus} | ({"GPU": config.learner.gpus} if config.learner.gpus else {})
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={
            "config": config,
            "examples": list(examples),
            "model": str(resume) if resume else model,
            "base": read_state(resume)["base"] if resume else model,
            "run": str(folder),
            "start": start,
            "resume": str(resume) if resume else None,
        },
        scaling_config=ScalingConfig(
            num_workers=config.learner.workers, use_gpu=config.learner.gpus > 0, resources_per_worker=resources
        ),
        run_config=RunConfig(name="sft", storage_path=str(folder / ".train")),
    )
    stop = folder / "STOP"
    stop.unlink(missing_ok=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os._exit(130) if stop.exists() else stop.touch())
    trim(folder / CURVE, start)
    printed = start

    def look() -> None:
        nonlocal printed
        printed = _tell(folder / CURVE, printed, config.run.steps)
        if printed > start:
            placed()

    if (failed := watch(trainer.fit, folder / CURVE, config.learner.step_s, look)) is not None:
        raise Outage("learner", failed)
    if stop.exists():
        print(f"stopped cleanly; go on with: --resume {folder}", flush=True)
    done = latest(folder)
    if done is None:
        raise Outage("learner", f"{folder} has no checkpoint")
    return done


def _tell(curve: Path, printed: int, steps: int) -> int:
    """Print the steps after `printed`; the last one that was printed. A line is read when it is complete."""
    for line in curve.read_text().splitlines(keepends=True)[printed:] if curve.exists() else []:
        if line.endswith("\n"):
            row = json.loads(line)
            printed = row["step"]
            print(f"step {printed:4d}/{steps}  loss {row['loss']:.4f}  {row['step_s']:.1f} s", flush=True)
    return printed


def learn(file: str, data: Path, overrides: Sequence[str], resume: Path | None) -> None:
    """Train on `data` in a new folder, or go on with the run's folder `resume`; prints the newest checkpoint. Raises
    ConfigError, Outage, OSError."""
    set_environment()
    config = load(file, overrides)
    examples = read(data)

    checkpoint = _checkpoint(resume) if resume else None
    folder = (resume or Path(config.run.dir) / config.run.name).resolve()
    if resume is None and folder.exists():
        raise ConfigError(f"{folder} exists; choose another run.name, or --resume it")
    model = str(shipped(config.data.domain)) if config.policy.path == "embedded" else config.policy.path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(dump(config))
    config.grpo.surrogate, config.grpo.aggregate = "likelihood", "token"  # of this job; not a choice of a config
    import ray

    from training.run.cluster import join
    from training.run.nodes.checks import prove_shared
    from training.run.nodes.room import LEARNER, wait_for_room

    try:
        join(config)
        turn = wait_for_room(config, print, LEARNER)
        prove_shared(folder)
        print(f"{len(examples)} examples, {config.run.steps} steps of {config.sft.batch}: {folder}", flush=True)
        print(train(config, examples, model, folder, checkpoint, turn.release))
    finally:
        ray.shutdown()


def _checkpoint(run: Path) -> Path | None:
    """The newest checkpoint of the run's folder to go on with; None where it has none yet. Raises ConfigError."""
    from training.run.checkpoint import latest

    if not run.is_dir():
        raise ConfigError(f"--resume {run}: no such folder")
    if any(run.iterdir()) and not (run / "config.yaml").is_file():  # a start that failed leaves an empty folder behind
        raise ConfigError(f"--resume {run}: not a run's folder (it has no config.yaml)")
    if (found := latest(run)) is None:
        print(f"{run} has no checkpoint yet: starting it anew")
    return found
