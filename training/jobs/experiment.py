"""The paper's experiment at small size: what learning from pictures alone brings, beside learning from labels.

Guarantees: every seed has a start of its own (`base`, the shipped policy) and both arms begin there; RRVF sees the
training images, SFT as many labelled ones of the renderer that has labels; both take equally many optimiser steps of
equally many sequences, in the same learner; all three are measured on the same pictures with the same sampling. What is
finished is never done again: stop it at any time and start it again. Nothing is left out of the table.

What it leaves in DIR: rrvf-S/ and sft-S/ (runs' folders), results.json, results.md, curves.png, pictures.png. Whether
the policy uses its feedback is measured on the way.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from actors.contracts import Outage
from actors.files import write_whole
from configs.load import ConfigError, dump, load
from configs.schema import Config
from training.data.image_sets import ImageSet, training_and_evaluation
from training.jobs.train import CACHE
from training.run.ray_env import set_environment

AFTER = "evaluation_after.pkl"
FEEDBACK = "feedback_use.json"


def experiment(file: str, overrides: Sequence[str], seeds: int, folder: Path) -> None:
    """Run what is missing of every seed, then print the table. Raises ConfigError, Outage, OSError."""
    set_environment()
    if seeds < 1:
        raise ConfigError(f"--seeds {seeds}: at least one")
    begin(folder, load(file, overrides))
    for seed in range(seeds):
        settings = [*overrides, f"run.seed={seed}", f"run.dir={folder}"]
        config = load(file, settings)
        learn_from_pictures(file, settings, folder / f"rrvf-{seed}")
        learn_from_labels(file, settings, folder / f"sft-{seed}", config)
        use_of_feedback(config, folder / f"rrvf-{seed}")
    from training.jobs.experiment_report import report

    print(report(folder, load(file, overrides), seeds))


def begin(folder: Path, config: Config) -> None:
    """Note the settings, so that one table never holds two experiments. Raises ConfigError where they are others, or
    no experiment can be made of them."""
    if config.data.images != "drawn" or config.policy.path != "embedded":
        raise ConfigError("the experiment needs labels and a weak start: data.images=drawn, policy.path=embedded")
    folder.mkdir(parents=True, exist_ok=True)
    kept, settings = folder / "settings.yaml", dump(config)
    if kept.exists() and kept.read_text() != settings:
        raise ConfigError(f"{folder} was begun with other settings (see {kept}); choose another --dir")
    write_whole(kept, settings)


def learn_from_pictures(file: str, settings: Sequence[str], folder: Path) -> None:
    """The RRVF arm: an ordinary training run, which also measures the base."""
    from training.run.checkpoint import latest

    if (folder / "summary.json").exists() and (folder / AFTER).exists():
        return
    if latest(folder) is not None:
        _run("training.train", "--resume", str(folder))
    else:
        shutil.rmtree(folder, ignore_errors=True)
        _run("training.train", file, *settings, f"run.name={folder.name}")
    if not (folder / AFTER).exists():
        raise Outage("experiment", f"{folder} was stopped before its end")


def learn_from_labels(file: str, settings: Sequence[str], folder: Path, config: Config) -> None:
    """The SFT arm on the labels of the same images, and its measure."""
    from training.run.checkpoint import latest, read_state

    if (folder / AFTER).exists():
        return
    images, held = training_and_evaluation(config, CACHE)
    pairs = write_pairs(folder.with_suffix(".jsonl"), config)
    batch = config.queue.groups_per_step * config.rollout.group_size
    started = time.monotonic()
    if (newest := latest(folder)) is None or read_state(newest)["step"] < config.run.steps:
        shutil.rmtree(folder, ignore_errors=True)
        _run("training.sft", file, str(pairs), *settings, f"run.name={folder.name}", f"sft.batch={batch}")
        write_whole(folder / "seconds.json", json.dumps({"train_s": round(time.monotonic() - started, 1)}))
    newest = latest(folder)
    if newest is None or read_state(newest)["step"] < config.run.steps:
        raise Outage("experiment", f"{folder} was stopped before its end")
    measure(config, str(newest), folder, images, held)


def use_of_feedback(config: Config, folder: Path) -> None:
    """Whether this seed's RRVF policy uses its feedback, on the held-out images (training/jobs/feedback_use.py)."""
    from training.jobs.feedback_use import measure
    from training.run.checkpoint import latest

    kept = folder / FEEDBACK
    if not kept.exists():
        newest = latest(folder)
        assert newest is not None
        held = training_and_evaluation(config, CACHE)[1]
        write_whole(kept, json.dumps(measure(config, str(newest), folder, held[0]), indent=2) + "\n")


def write_pairs(path: Path, config: Config) -> Path:
    """Image and answer of as many labelled charts as there are training images, in the base policy's own form."""
    from training.data.synthetic_charts import draw, write_images

    count, seed = config.data.count, config.run.seed
    root = write_images(CACHE, "train", count, seed).resolve()
    with path.open("w") as file:
        for number in range(count):
            chart = draw(number, seed, "train")
            row = {"image": str(root / f"{number:05d}.png"), "turns": [{"text": chart.answer}]}
            file.write(json.dumps(row) + "\n")
    return path


def measure(config: Config, model: str, folder: Path, images: ImageSet, held: list[ImageSet]) -> None:
    """Play the held-out sets with `model` in the engine, as a run does after training."""
    import ray

    from training.evaluation.heldout import evaluate_sets
    from training.run.cluster import Cluster, connect, needed_cpus, needed_gpus

    def say(line: str) -> None:
        print(f"{folder.name}: {line}", flush=True)

    try:
        connect(config, needed_cpus(config), needed_gpus(config))
        with Cluster(config, folder, model, model, images.paths, None) as cluster:
            evaluate_sets(config, cluster.env, held, folder / AFTER, say)
    finally:
        ray.shutdown()


def _run(module: str, *arguments: str) -> None:
    """Run one arm. An interrupt reaches it as well: it is left to save and to end, and then we do."""
    command = [sys.executable, "-m", module, *arguments]
    print(" ".join(["python", *command[1:]]), flush=True)
    interrupted = False
    with subprocess.Popen(command) as process:
        while process.returncode is None:
            try:
                process.wait()
            except KeyboardInterrupt:
                interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    if process.returncode:
        raise Outage("experiment", f"{' '.join(command[1:4])} ended with {process.returncode}")
