"""The learner's loop under Ray Train: take a batch, train on it, publish the weights, say so, write it down.

Guarantees: weights are published before the queue hears of their version, the first ones and the first trained ones
are checked on every engine (training.learner.sync_check), and a step is in the journal before the next
begins; a checkpoint holds weights, optimiser and queue of one moment; a stop request (RUN/STOP) ends the loop after the
step under way, with a checkpoint. Rank 0 alone talks to queue and policy actors; the others get their work from it.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch

from actors.contracts import Outage
from actors.dialogue import Codec
from actors.replay.queue import Batch, fetch
from actors.trajectory import Group
from configs.schema import Config
from training.learner import sight, sync_check
from training.learner.model import named_weights
from training.learner.packing import Screened
from training.learner.ranks import Ranks
from training.learner.update import Learner, Shard
from training.learner.weight_sync import Publisher, SyncReport
from training.run import checkpoint, recording, trajectory_log
from training.run.metrics_log import MetricsLog, play_figures

SPARE_S = 60.0  # beyond a deadline that the other side keeps itself
# Dense bfloat16 peak of one GPU in FLOP/s, from the makers' data sheets; others report no MFU.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "B200": 2250e12}


@dataclass(frozen=True)
class Order:
    """What rank 0 tells a rank to do next: train on a shard (None: end), and which checkpoint to report."""

    shard: Shard | None
    last: bool
    finished: str | None


def train_loop(settings: dict[str, Any]) -> None:
    """Ray Train's loop function. `settings`: config (Config), model, run (folder), start (steps done), resume (a
    checkpoint folder or None), queue and policies (actor handles). Raises what ends the run: Outage, Barren,
    Diverged."""
    config: Config = settings["config"]
    torch.set_num_threads(config.learner.threads)
    torch.manual_seed(config.run.seed)
    ranks = Ranks.join(config.learner.gpus)
    loop = Loop(settings, config, ranks)
    try:
        loop.run()
    finally:
        loop.close()


class Loop:
    """One rank's side of a run."""

    def __init__(self, settings: dict[str, Any], config: Config, ranks: Ranks) -> None:
        self.config, self.ranks = config, ranks
        self.folder = Path(settings["run"])
        self.start: int = settings["start"]
        self.queue = settings["queue"]
        resume = Path(settings["resume"]) if settings["resume"] else None
        self.base: str = checkpoint.read_state(resume)["base"] if resume else settings["model"]
        self.learner = Learner(settings["model"], config, ranks, self.base)
        if resume is not None:
            checkpoint.restore(resume, self.learner.policy, self.learner.optimizer)
        self.writer = checkpoint.Writer(
            self.folder, settings["model"], config.run.keep, ranks.rank, ranks.size, config.run.checkpoint_s
        )
        self.metrics_log: MetricsLog | None = None
        self.policies = settings["policies"]
        self.publisher = Publisher(self.policies, self.learner, config)
        self.codec = Codec.load(self.base, config.prompts) if ranks.rank == 0 else None
        if ranks.rank == 0:
            self.metrics_log = MetricsLog(self.folder, config, self.start)
            if config.run.record and self.start == 0:
                recording.begin(self.folder, settings["model"])
        self.rewards: list[float] = []  # of the steps since the last checkpoint
        self.reported: Path | None = None
        self.seconds: dict[str, float] = {}
        self.notes: list[str] = []  # of this step, for whoever watches the run

    def run(self) -> None:
        self._publish(self.start)
        for step in range(self.start, self.config.run.steps):
            began = time.perf_counter()
            self.seconds, self.notes = {}, []
            batch, screened, orders = None, None, None
            groups: tuple[Group, ...] = ()
            played: dict[str, float] = {}
            if self.ranks.rank == 0:
                with self._clock("wait_s"):
                    batch, groups = self._take(step)
                    if self.config.run.record:
                        recording.record(self.folder, step, groups)
                with self._clock("prepare_s"):
                    orders, screened = self._orders(groups, step)
                    played = play_figures(groups)
                    self.rewards.append(played["reward"])
            order = self.ranks.scatter(orders)
            self._report(order.finished)
            assert order.shard is not None
            if step == self.start or order.last or (step + 1) % self.config.run.checkpoint_every == 0:
                with self._clock("sight_s"):
                    played |= self._look(screened, step)
            with self._clock("update_s"):
                panel = self.learner.train(order.shard, step, step)
            with self._clock("sync_s"):
                report = self._publish(step + 1)
            stopping = order.last or self.ranks.scatter(self._to_all(self._stop_requested))
            if stopping or (step + 1) % self.config.run.checkpoint_every == 0:
                with self._clock("checkpoint_s"):
                    self._checkpoint(step + 1)
            if batch is not None and screened is not None and report is not None:
                self._write(step + 1, batch, groups, screened, played | panel, report, time.perf_counter() - began)
            if stopping:
                break
        self.writer.wait()
        self._report(self.ranks.scatter(self._to_all(self._finished)))

    def close(self) -> None:
        self.writer.wait()
        if self.metrics_log is not None:
            self.metrics_log.close()

    def _take(self, step: int) -> tuple[Batch, tuple[Group, ...]]:
        limit = self.config.queue.take_s + SPARE_S
        batch: Batch = _ask(self.queue.take.remote(step), limit, "take a batch")
        return batch, fetch(batch)

    def _orders(self, groups: tuple[Group, ...], step: int) -> tuple[list[Order], Screened]:
        shards, screened = self.learner.plan(groups)
        last = step + 1 >= self.config.run.steps
        finished = self._finished()
        return [Order(shard, last, finished) for shard in shards], screened

    def _look(self, screened: Screened | None, version: int) -> dict[str, float]:
        """Check that pictures change the answer (training/learner/sight.py); figures for the log, on rank 0. Raises
        Blind where they do not and `run.refuse_blind` is set."""
        made = sight.probe(screened, self.learner, version) if screened is not None else None
        sizes = self.ranks.scatter(
            [(len(made.rows), made.width, list(made.shards)) if made else (0, 0, [])] * self.ranks.size
            if self.ranks.rank == 0
            else None
        )
        count, width, variants = sizes
        scores = {}
        for variant in variants:
            shard = self.ranks.scatter(made.shards[variant] if made is not None else None)
            scores[variant] = sight.score(self.learner, shard, count, width)
        if made is None:
            return {}
        turns = sight.compare(made.rows, scores, version)
        found = sight.faults(turns)
        if found and self.config.run.refuse_blind:
            raise sight.Blind(f"{found[0]} (run.refuse_blind=false goes on all the same)")
        self.notes = [f"warning: {line}" for line in found]
        return sight.figures(made.rows, scores, turns, self.learner.tokenizer)

    def _publish(self, version: int) -> SyncReport | None:
        """Send the weights as `version`; every rank gathers, rank 0 sends and then tells the queue."""
        if self.ranks.rank == 0 and self.config.engine.max_replicas > self.config.engine.replicas:
            self.publisher.join(_ask(self.queue.engines.remote(), SPARE_S, "name the engines that joined"))
        report = self.publisher.publish(version)
        if version <= self.start + 1:
            sync_check.check(self.learner, self.policies, self.codec, version, trained=version > self.start)
        if report is not None:
            _ask(self.queue.set_version.remote(version, report.stored), SPARE_S, "set the version")
        return report

    def _checkpoint(self, step: int) -> None:
        """Copy everything now, write it in the background."""
        shard = checkpoint.shard_of(self.learner.policy, self.learner.optimizer)
        weights = {}
        for name, value in named_weights(self.learner.policy, self.learner.dtype):
            if self.ranks.rank == 0:
                weights[name] = value.cpu().clone()
        queue, state = b"", {}
        if self.ranks.rank == 0:
            queue = _ask(self.queue.snapshot.remote(), SPARE_S, "take a snapshot")
            mean = sum(self.rewards) / len(self.rewards) if self.rewards else None
            state = {"reward": mean, "base": self.base, "version": step}
            self.rewards = []
        self.writer.start(step, shard, weights, queue, state)

    def _finished(self) -> str | None:
        """A checkpoint that is complete and not yet reported."""
        done = self.writer.written
        return str(done) if done is not None and done != self.reported else None

    def _report(self, finished: str | None) -> None:
        """Tell Ray Train of a checkpoint: a pointer to its folder, so nothing is copied."""
        if finished is None:
            return
        import ray.train

        self.reported = Path(finished)
        if self.ranks.rank != 0:
            ray.train.report({})
            return
        state = checkpoint.read_state(Path(finished)) if Path(finished).is_dir() else {}
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "pointer.json").write_text(json.dumps({"path": finished}))
            ray.train.report(state, checkpoint=ray.train.Checkpoint.from_directory(folder))

    def _stop_requested(self) -> bool:
        return (self.folder / "STOP").exists()

    def _to_all(self, ask: Callable[[], Any]) -> list[Any] | None:
        return [ask()] * self.ranks.size if self.ranks.rank == 0 else None

    def _write(
        self,
        step: int,
        batch: Batch,
        groups: tuple[Group, ...],
        screened: Screened,
        found: dict[str, Any],
        report: SyncReport,
        seconds: float,
    ) -> None:
        """One line in the journal, and a few groups with their pictures."""
        update_s = max(1e-9, self.seconds["update_s"])
        figures: dict[str, Any] = {"step": step, "version": step, **found, **batch.stats, **self.seconds}
        figures |= {
            "ended_ms": int(1000 * time.time()),  # since the epoch
            "step_s": seconds,
            "tokens_per_s": found["tokens"] / update_s,
            "trajectories_per_s": found["trajectories"] / seconds,
            "mfu": self._mfu(found["tokens"], update_s),
            "sync_pause_s": report.pause_s,
            "sync_bytes": report.bytes,
            "sync_running": report.running,
            "checkpoint_error": self.writer.error,
            "notes": [*self.notes, *batch.notes],
            **{f"dropped_{reason}": float(count) for reason, count in screened.dropped.items()},
        }
        assert self.metrics_log is not None
        self.metrics_log.write(figures)
        self.metrics_log.show(step, groups[: self.config.run.sampled_groups])
        advantages = {(row.group, row.member): row.advantage for row in screened.rows}
        known = {
            g.group: [advantages.get((g.group, place), 0.0) for place in range(len(g.trajectories))] for g in groups
        }
        trajectory_log.write_advantages(self.folder, step, known)

    def _mfu(self, tokens: float, seconds: float) -> float | None:
        """Model FLOP utilisation: 6 FLOP a parameter and token over the GPUs' peak; None on CPUs. Prompts that a group
        shares count for every member: it is the work of a batch, not of the shortcut."""
        if self.ranks.device.type != "cuda":
            return None
        name = torch.cuda.get_device_name(self.ranks.device)
        peak = next((value for key, value in PEAKS.items() if key in name), None)
        if peak is None:
            return None
        size = sum(p.numel() for p in self.learner.policy.hf.model.language_model.parameters())
        return 6 * size * tokens / (seconds * peak * self.ranks.size)

    @contextmanager
    def _clock(self, phase: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - began


def _ask(reference: Any, seconds: float, what: str) -> Any:
    """The queue's answer. Raises Outage("queue", ...) when it does not come; its own errors come as they are."""
    try:
        return ray.get(reference, timeout=seconds)
    except ray.exceptions.GetTimeoutError:
        raise Outage("queue", f"no answer within {seconds:g} s: {what}") from None
    except ray.exceptions.RayTaskError as error:
        raise error.as_instanceof_cause() from None
    except ray.exceptions.RayError as error:
        raise Outage("queue", f"the queue is gone ({type(error).__name__}): {what}") from error
