"""What learning from pictures alone brings, against every other explanation of the gain.

Guarantees: all arms begin with the shipped base and take equally many optimiser steps of equally many sequences in the
same learner; every seed is another training. Supervised arms get the learning rate that is best on the validation set;
nothing else is chosen, and no held-out picture is looked at before the end. What is finished is never done again: stop
it at any time and start it again. Nothing is left out of the table.

What it leaves in DIR: base/, ARM-SEED/ (runs' folders), results.json, results.md, curves.png, pictures.png.
"""

import ctypes
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from actors.contracts import Outage
from actors.files import write_whole
from configs.load import ConfigError, dump, load
from configs.schema import Config
from training.base import shipped
from training.data import own_images
from training.data.image_sets import ImageSet, drawn, training_and_evaluation
from training.data.labels import Labels, labels_of
from training.data.shipped import unpack
from training.data.synthetic_charts import Split
from training.evaluation.heldout import Evaluation
from training.jobs.train import CACHE
from training.run.ray_env import set_environment

AFTER = "evaluation_after.pkl"
PR_SET_PDEATHSIG = 1  # of Linux, in sys/prctl.h
LIBC = ctypes.CDLL(None)  # loaded here: a child of a process with threads may find the loader's lock taken
RATES = (5e-5, 2e-4)  # of supervised arms, tried on the first seed
SAMPLES = 8  # answers of which rejection sampling, and `best of 8`, take the judge's best
MODES = {"greedy": 0.0, "temperature 0.3": 0.3, "temperature 0.7": 0.7, "sampled": 1.0}
SHORT = {"greedy": 0.0, "sampled": 1.0}


@dataclass(frozen=True)
class Arm:
    """A way to train. `pairs` names what a supervised arm learns; None: GRPO, with `overrides`."""

    name: str
    meaning: str
    overrides: tuple[str, ...] = ()
    pairs: str | None = None


ARMS = (
    Arm("rrvf", "GRPO on the similarity of renders to their pictures"),
    # a base that nearly always runs leaves most of these groups without variance: dropped, they would leave no batch
    Arm(
        "runs",
        "GRPO, paid for programs that run and for nothing else",
        ("reward.vision=0", "reward.tool=0", "queue.drop_zero_variance=false"),
    ),
    Arm("exchanged", "GRPO on the similarity to another picture", ("reward.exchanged=true",)),
    Arm("best", f"supervised on the base's own answers, the judge's best of {SAMPLES} for each picture", (), "best"),
    Arm("labels", "supervised on the programs of the base's own pictures", (), "labels"),
    Arm("shifted", "supervised on the programs that the new renderer's pictures stand for", (), "shifted"),
)
TURNS = (  # what turns bring in training: RRVF lets some of its dialogues call the renderer
    Arm("direct", "RRVF without turns: every answer at once", ("rollout.direct_share=1",)),
    Arm("turns", "RRVF in which every dialogue may call the renderer", ("rollout.direct_share=0",)),
)


def experiment(
    file: str, overrides: Sequence[str], seeds: int, folder: Path, names: Sequence[str] | None = None
) -> None:
    """Do what is missing, then print the table. `names`: of which arms; None: of ARMS. Raises ConfigError, Outage,
    OSError."""
    from training.jobs.experiment_report import report

    set_environment()
    if seeds < 1:
        raise ConfigError(f"--seeds {seeds}: at least one")
    config = load(file, [*overrides, f"run.dir={folder}", "evaluate.before_after=false"])
    begin(folder, config)
    arms = ARMS if names is None else chosen(names)
    images, held = training_and_evaluation(config, CACHE)
    sets = [*held, own(config, "heldout", config.evaluate.count)]
    measure(config, str(shipped(config.data.domain)), folder / "base", images, sets, MODES)
    for seed in range(seeds):
        for arm in arms:
            run = folder / f"{arm.name}-{seed}"
            settings = [*overrides, f"run.dir={folder}", f"run.seed={seed}", "evaluate.before_after=false"]
            if arm.pairs is None:
                newest = learn_from_pictures(file, [*settings, *arm.overrides], run, config.run.steps)
            else:
                newest = learn_from_pairs(file, settings, run, config, pairs(arm.pairs, folder, config, images))
            measure(config, newest, run, images, sets, MODES if arm.name == "rrvf" else SHORT)
    print(report(folder, config, seeds, sets, arms))


def chosen(names: Sequence[str]) -> tuple[Arm, ...]:
    """The arms of these names, in the order of the table. Raises ConfigError."""
    known_ones = [arm.name for arm in (*ARMS, *TURNS)]
    if unknown := [name for name in names if name not in known_ones]:
        raise ConfigError(f"--arms {','.join(unknown)}: there are {', '.join(known_ones)}")
    if "rrvf" not in names:
        raise ConfigError("--arms needs rrvf: the others are compared with it")
    return tuple(arm for arm in (*ARMS, *TURNS) if arm.name in names)


def own(config: Config, split: Split, count: int) -> ImageSet:
    """Pictures of what the base policy learned from, drawn plainly."""
    root = own_images.write(CACHE, config, known(config), split, count)
    return drawn(root, "own", config.data.domain)


def known(config: Config) -> Labels:
    """What the pictures of the config's domain show. Raises ConfigError where nobody says."""
    labels = labels_of(config.data.domain)
    if labels is None:
        raise ConfigError(f"the experiment needs labels: data.domain={config.data.domain} has no shipped pictures")
    return labels


def begin(folder: Path, config: Config) -> None:
    """Note the settings, so that one table never holds two experiments. Raises ConfigError where they are others, or
    no experiment can be made of them."""
    if config.data.images != "drawn" or config.policy.path != "embedded":
        raise ConfigError("the experiment needs labels and a weak start: data.images=drawn, policy.path=embedded")
    known(config)
    folder.mkdir(parents=True, exist_ok=True)
    kept, settings = folder / "settings.yaml", dump(config)
    if kept.exists() and kept.read_text() != settings:
        raise ConfigError(f"{folder} was begun with other settings (see {kept}); choose another --dir")
    write_whole(kept, settings)


def done(run: Path, steps: int) -> str | None:
    """The checkpoint of a run that took all of its steps."""
    from training.run.checkpoint import latest, read_state

    newest = latest(run)
    return str(newest) if newest is not None and read_state(newest)["step"] >= steps else None


def learn_from_pictures(file: str, settings: Sequence[str], run: Path, steps: int) -> str:
    """An ordinary training run; its last checkpoint."""
    from training.run.checkpoint import latest

    if (newest := done(run, steps)) is not None:
        return newest
    if latest(run) is not None:
        _run("training.train", "--resume", str(run))
    else:
        shutil.rmtree(run, ignore_errors=True)
        _run("training.train", file, *settings, f"run.name={run.name}")
    if (newest := done(run, steps)) is None:
        raise Outage("experiment", f"{run} was stopped before its end")
    return newest


def learn_from_pairs(file: str, settings: Sequence[str], run: Path, config: Config, data: Path) -> str:
    """A supervised run on `data` at the rate that is best on the validation set; its last checkpoint."""
    rate = best_rate(file, settings, run.parent, run.name.split("-")[0], config, data)
    return supervised(file, [*settings, f"learner.lr={rate}"], run, config, data)


def supervised(file: str, settings: Sequence[str], run: Path, config: Config, data: Path) -> str:
    """One supervised run; its last checkpoint."""
    if (newest := done(run, config.run.steps)) is not None:
        return newest
    batch = config.queue.groups_per_step * config.rollout.group_size
    shutil.rmtree(run, ignore_errors=True)
    _run("training.sft", file, str(data), *settings, f"run.name={run.name}", f"sft.batch={batch}")
    if (newest := done(run, config.run.steps)) is None:
        raise Outage("experiment", f"{run} was stopped before its end")
    return newest


def best_rate(file: str, settings: Sequence[str], folder: Path, arm: str, config: Config, data: Path) -> float:
    """Of RATES the one whose policy draws the validation pictures most alike, greedy."""
    kept = folder / f"{arm}-rate.json"
    if not kept.exists():
        images = drawn(unpack(known(config).file, CACHE) / "validation", "validation", config.data.domain)
        found = {}
        for rate in RATES:
            run = folder / f"{arm}-rate-{rate:g}"
            newest = supervised(file, [*settings, "run.seed=0", f"learner.lr={rate}"], run, config, data)
            rows = measure(config, newest, run, images, [images], {"greedy": 0.0})["validation"]["greedy"]
            found[f"{rate:g}"] = sum(row.similarity for row in rows) / len(rows)
        write_whole(kept, json.dumps({"rates": found, "best": max(found, key=lambda r: found[r])}, indent=2) + "\n")
    return float(json.loads(kept.read_text())["best"])


def pairs(kind: str, folder: Path, config: Config, images: ImageSet) -> Path:
    """Image and answer of as many pictures as GRPO sees, in the base policy's own form."""
    path = folder / f"{kind}.jsonl"
    if path.exists():
        return path
    if kind == "best":
        rows = own_best(config, images, folder)
    elif kind == "labels":
        rows = _answers(config, own(config, "train", config.data.count))
    else:
        rows = _answers(config, images)
    write_whole(path, "".join(json.dumps({"image": p, "turns": [{"text": text}]}) + "\n" for p, text in rows))
    return path


def _answers(config: Config, images: ImageSet) -> list[tuple[str, str]]:
    """Path and right answer of every picture."""
    shown_by = known(config).shown_by
    return [(path, shown_by(facts).answer) for path, facts in zip(images.paths, images.facts, strict=True)]


def own_best(config: Config, images: ImageSet, folder: Path) -> list[tuple[str, str]]:
    """Of every picture's answers by the base at temperature 1 the one that the judge likes best, where any runs and
    they are not all alike."""
    modes = {f"sample {n}": 1.0 for n in range(SAMPLES)}
    base = str(shipped(config.data.domain))
    found = measure(config, base, folder / "samples", images, [images], modes)[images.name]
    chosen = []
    for rows in zip(*found.values(), strict=True):
        best = max(rows, key=lambda row: row.similarity)
        if best.executed and best.similarity > min(row.similarity for row in rows):
            chosen.append((best.path, best.text))
    return chosen


def measure(
    config: Config, model: str, folder: Path, images: ImageSet, sets: Sequence[ImageSet], modes: dict[str, float]
) -> Evaluation:
    """What `model` answers to every set, in the engine, as a run measures itself; done once. With the modes of the
    base and of RRVF, `best of 8` of the held-out pictures as well."""
    import pickle

    import ray

    from training.evaluation.heldout import evaluate_sets
    from training.run.cluster import Cluster, join
    from training.run.nodes.room import wait_for_room

    kept = folder / AFTER
    if not kept.exists():

        def say(line: str) -> None:
            print(f"{folder.name}: {line}", flush=True)

        folder.mkdir(parents=True, exist_ok=True)
        try:
            join(config)
            turn = wait_for_room(config, say)
            with Cluster(config, folder, model, model, images.paths, None) as cluster:
                turn.release()
                extra: Evaluation = {}
                if modes is MODES:
                    several = {f"sample {n}": 1.0 for n in range(SAMPLES)}
                    first = [replace(sets[0], name="heldout")]
                    extra = evaluate_sets(config, cluster.env, first, folder / "samples.pkl", say, several)
                found = evaluate_sets(config, cluster.env, sets, folder / "sets.pkl", say, modes)
        finally:
            ray.shutdown()
        for name, by_mode in extra.items():
            answers = zip(*by_mode.values(), strict=True)
            found[name][f"best of {SAMPLES}"] = [max(rows, key=lambda row: row.similarity) for rows in answers]
        write_whole(kept, pickle.dumps(found))
    result: Evaluation = pickle.loads(kept.read_bytes())
    return result


def _run(module: str, *arguments: str) -> None:
    """Run one arm. An interrupt is passed on, as often as it comes: the arm is left to save and to end, then we do. It
    saves and ends as well where the experiment is killed."""
    command = [sys.executable, "-m", module, *arguments]
    print(" ".join(["python", *command[1:]]), flush=True)
    interrupted = False
    # in a session of its own a terminal's Ctrl-C does not reach it as well; twice would not let it save
    with subprocess.Popen(command, start_new_session=True, preexec_fn=_ends_with_its_parent) as process:
        while process.returncode is None:
            try:
                process.wait()
            except KeyboardInterrupt:
                interrupted = True
                process.terminate()
    if interrupted:
        raise KeyboardInterrupt
    if process.returncode:
        raise Outage("experiment", f"{' '.join(command[1:4])} ended with {process.returncode}")


def _ends_with_its_parent() -> None:
    """In a child: SIGTERM when its parent is gone, in whatever way."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
