"""The running parts of one run: Serve deployments, policy actors, queue, rollout actors; started and stopped together.

Guarantees: what `start` began, `stop` ends, also when `start` fails half-way; nothing is left running after the `with`
block. Every start has a deadline and a name. Actors that die are started again by Ray, and `check` gives them what they
need to go on.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ray
from ray import serve

from actors import local_ray
from actors.contracts import Outage
from actors.dialogue import Codec
from actors.engine.policy import NOT_YET, PolicyActor, PolicyClient
from actors.replay.queue import ReplayQueue
from actors.rollout.actor import RolloutActor
from actors.rollout.episode import Environment
from configs.command import heed_signals
from configs.places import selector
from configs.schema import Config
from serving.judge.service import JudgeClient
from serving.judge.service import deployment as judge_deployment
from serving.render.service import RenderClient
from serving.render.service import deployment as render_deployment
from training.run.nodes.leftovers import appoint, delete, remove_leftovers
from training.run.nodes.room import ENGINE, WORD_S, room_for_one
from training.run.ray_env import runtime_env
from training.run.trajectory_log import Recorder

START_S = 300.0
CHECK_S = 5.0
REPLACEMENTS = 6  # tries to start an actor anew while its node dies


def needed_cpus(config: Config) -> float:
    """Logical CPUs that all parts together ask of the scheduler (Ray Train's controller and Serve's ask for none)."""
    parts = config.engine.replicas * config.engine.cpus + config.learner.workers * config.learner.cpus
    workers = config.renderers
    return parts + workers.replicas * workers.cpus + config.judge.replicas * config.judge.cpus


def needed_gpus(config: Config) -> int:
    judge = config.judge.replicas * config.judge.gpus if config.judge.asks_model and not config.judge.url else 0
    engines = config.engine.replicas * config.engine.gpus
    return judge + engines + (0 if colocated(config) else config.learner.workers * config.learner.gpus)


def colocated(config: Config) -> bool:
    """One engine and one learner worker share a GPU."""
    return config.engine.gpus > 0 and config.engine.sync == "host"


def joined(config: Config) -> str:
    """Address of the running cluster that the run joins; empty where it starts its own."""
    return config.cluster.address or os.environ.get("RAY_ADDRESS", "")


def join(config: Config) -> None:
    """Join the cluster of `cluster.address` or RAY_ADDRESS, else start one here; what runs that are over left behind on
    it is removed. Raises Outage, ConnectionError."""
    for name in ("ray", "ray.serve", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    options: dict[str, Any] = {"runtime_env": runtime_env(own=not joined(config)), "logging_level": "ERROR"}
    if address := joined(config):
        ray.init(address=address, log_to_driver=False, **options)
        heed_signals()
        remove_leftovers()
    else:
        local_ray.start(config.cluster.logical_cpus, **options)


class Cluster:
    """`with Cluster(...) as cluster:` everything of a run but the learner, up and answering."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        model: str,
        base: str,
        images: Sequence[str],
        snapshot: Path | None,
        version: int = 0,
        say: Callable[[str], None] = print,
    ) -> None:
        """`folder`: the run's; `model`: the weights to begin with, and their `version`; `base`: where tokenizer and
        processor are read, also late in a run (a checkpoint it was resumed from may be pruned by then)."""
        self.config = config
        self.folder = folder
        self.model = model
        self.base = base
        self._images = list(images)
        self._snapshot = snapshot
        self._version = version
        self._say = say
        self.policies: list[Any] = []
        self._joining: tuple[Any, Any] | None = None  # an engine that starts while the run goes on, and when it is up
        self._grow_at = 0.0  # no engine is started before
        self._unweighted: list[Any] = []  # engines that joined and have no weights yet
        self.rollouts: list[Any] = []
        self.queue: Any = None
        self._offered: list[str] = []  # Serve applications of this run
        self._caretaker: Any = None  # deletes them where this process cannot

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self) -> None:
        config = self.config
        engine = config.engine
        self.policies = [self._engine(self._version) for _ in range(engine.replicas)]
        serve.start(proxy_location="Disabled")
        if joined(config):
            self._caretaker = appoint()
        self.renderer = RenderClient(self._offer("render", render_deployment(config)), config)
        self.judge = JudgeClient(self._offer("judge", judge_deployment(config)), config)
        self.queue = ReplayQueue.options(
            num_cpus=0,
            max_concurrency=1000,
            max_restarts=-1,
            max_task_retries=-1,
            label_selector=selector(config.cluster.place.queue),
        ).remote(config, self._images, self._snapshot, str(self.folder / "queue.jsonl"))
        self._wait([p.ready.remote() for p in self.policies], "policy engines", engine.ready_s)
        self.rollouts = [self._rollout(i) for i in range(config.rollout.actors)]

    def _engine(self, version: int) -> Any:
        config, place = self.config, self.config.cluster.place
        policy = PolicyActor.options(
            num_cpus=config.engine.cpus,
            num_gpus=config.engine.gpus / 2 if colocated(config) else config.engine.gpus,
            max_concurrency=4 * config.engine.max_num_seqs,
            max_restarts=-1,
            max_task_retries=-1,
            label_selector=selector(place.engines),
            scheduling_strategy="SPREAD" if place.spread else "DEFAULT",
        )
        return policy.remote(self.model, config, self.base, version)

    def _offer(self, part: str, application: Any) -> Any:
        """Deploy one part under a name of this run's own; a cluster may host several runs."""
        name = f"rrvf-{self.config.run.name}-{ray.get_runtime_context().get_job_id()}-{part}"
        self._offered.append(name)
        made: list[Any] = []
        failed: list[BaseException] = []

        def run() -> None:
            try:
                made.append(serve.run(application, name=name, route_prefix=None))
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=run, name=f"start-{part}", daemon=True)  # serve.run has no deadline of its own
        thread.start()
        limit, began, reported = self.config.engine.ready_s, time.monotonic(), time.monotonic()
        while thread.is_alive():
            thread.join(0.2)
            if time.monotonic() - began > limit:
                raise Outage("start", f"{part} did not start within {limit:g} s (engine.ready_s): {_state(name)}")
            if time.monotonic() - reported > WORD_S:
                self._say(": ".join(filter(None, (f"waiting for {part}", _state(name)))))
                reported = time.monotonic()
        if failed:  # Serve's own words for it name no reason
            raise Outage("start", f"{part}: {_state(name) or failed[0]}") from failed[0]
        return made[0]

    def _rollout(self, number: int) -> Any:
        weighted = [policy for policy in self.policies if policy not in self._unweighted]
        client = PolicyClient(weighted, self.config.engine.turn_s)
        place = selector(self.config.cluster.place.rollouts)
        return RolloutActor.options(num_cpus=0, label_selector=place).remote(
            f"rollout-{number}",
            self.config,
            self.base,
            self.queue,
            client,
            self.renderer,
            self.judge,
            Recorder(
                self.folder,
                f"rollout-{number}",
                self.config.run.trajectories_mb / self.config.rollout.actors,
                self.config.data.domain,
            ),
        )

    def start_rollouts(self) -> None:
        self._wait([r.start.remote() for r in self.rollouts], "rollout actors", START_S)

    def check(self) -> list[str]:
        """Replace rollout actors that died (their groups are issued again), give restarted engines the run's weights,
        and say so in one line each; raise what ended a living rollout actor's work."""
        lines = self._grow()
        for number, actor in enumerate(self.rollouts):
            try:
                lines += ray.get(actor.check.remote(), timeout=CHECK_S)[:3]
            except ray.exceptions.GetTimeoutError:
                lines.append(f"rollout actor {number} has not answered for {CHECK_S:g} s")
            except ray.exceptions.RayTaskError as error:
                raise error.as_instanceof_cause() from None
            except ray.exceptions.RayActorError:
                lines.append(self._replace(number))
        for number, policy in enumerate(self.policies):
            try:
                stats = ray.get(policy.stats.remote(), timeout=CHECK_S)
            except (ray.exceptions.GetTimeoutError, ray.exceptions.RayActorError):
                lines.append(f"policy actor {number} does not answer; Ray starts it again if it died")
                continue
            if stats["version"] == NOT_YET:
                try:
                    version, stored = ray.get(self.queue.weights.remote(), timeout=CHECK_S)
                except ray.exceptions.GetTimeoutError:
                    lines.append(
                        f"the queue has not answered for {CHECK_S:g} s; policy actor {number} waits for weights"
                    )
                    continue
                if stored is not None:
                    update = policy.update.remote(stored.reference, stored.crc32, version)
                    self._wait([update], "weights of a new engine", START_S)
                    if policy not in self._unweighted:
                        lines.append(f"policy actor {number} died; a new engine has weights {version}")
            elif policy in self._unweighted:
                self._unweighted.remove(policy)
                self._wait([r.join.remote(policy) for r in self.rollouts], "rollout actors", START_S)
                lines.append(f"policy engine {number} has joined with weights {stats['version']}")
        return lines

    def _grow(self) -> list[str]:
        """Start one more engine where there is room and `engine.max_replicas` allows it, and take it in when it is up;
        the learner and then the rollouts hear of it."""
        if len(self.policies) > self.config.engine.replicas:
            self.queue.set_engines.remote(self.policies[self.config.engine.replicas :])
        number = len(self.policies)
        if self._joining is None:
            if number >= self.config.engine.max_replicas or time.monotonic() < self._grow_at:
                return []
            if not room_for_one(self.config, ENGINE):
                return []
            actor = self._engine(NOT_YET)
            self._joining = actor, actor.ready.remote()
            return [f"there is room: policy engine {number} starts"]
        actor, up = self._joining
        if not ray.wait([up], timeout=0)[0]:
            return []
        self._joining = None
        try:
            ray.get(up)
        except ray.exceptions.RayError as error:
            ray.kill(actor)
            self._grow_at = time.monotonic() + self.config.engine.ready_s
            return [f"policy engine {number} could not start: {str(error).strip().splitlines()[-1].strip()}"]
        self.policies.append(actor)
        self._unweighted.append(actor)
        return []

    def _replace(self, number: int) -> str:
        """A new rollout actor in the place of one that died; tried again while a dying node still takes new actors."""
        for _ in range(REPLACEMENTS):
            self.rollouts[number] = self._rollout(number)
            try:
                ray.get(self.rollouts[number].start.remote(), timeout=START_S)
                return f"rollout actor {number} died; a new one plays on"
            except (ray.exceptions.RayActorError, ray.exceptions.TaskCancelledError):
                time.sleep(CHECK_S)  # until Ray has noticed that the node is gone
            except ray.exceptions.GetTimeoutError:
                break
        raise Outage("rollout", f"rollout actor {number} could not be replaced on any node")

    def env(self, temperature: float | None = None) -> Environment:
        """The same engine, renderer and judge for a caller in this process (evaluation)."""
        policy = PolicyClient(self.policies, self.config.engine.turn_s, temperature)
        return Environment(policy, self.renderer, self.judge, Codec.load(self.base, self.config.prompts))

    def stop_rollouts(self) -> None:
        """No new groups; turns under way are given up."""
        ray.get(self.queue.stop.remote(), timeout=60)
        ray.get([r.stop.remote() for r in self.rollouts], timeout=60)

    def _wait(self, refs: list[Any], what: str, limit: float) -> None:
        began, left = time.monotonic(), refs
        try:
            while left:
                done, left = ray.wait(left, num_returns=len(left), timeout=min(WORD_S, limit))
                ray.get(done)
                if left and time.monotonic() - began > limit:
                    raise Outage("start", f"{what} did not start within {limit:g} s")
                if left:
                    self._say(f"waiting for {len(left)} of {len(refs)} {what}")
        except ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except ray.exceptions.RayActorError as error:
            raise Outage("start", f"{what}: {str(error).strip().splitlines()[-1].strip()}") from error

    def _stop(self) -> None:
        joining = [self._joining[0]] if self._joining is not None else []
        for actor in (*self.rollouts, *self.policies, *joining, *([self.queue] if self.queue is not None else [])):
            ray.kill(actor)
        if ray.is_initialized() and joined(self.config):  # else the whole cluster ends with this process
            delete(self._offered)
            if self._caretaker is not None:
                ray.kill(self._caretaker)


def _state(application: str) -> str:
    """What Serve says last of an application's deployments, in one line."""
    app = serve.status().applications.get(application)
    found = [part.message for part in app.deployments.values()] if app is not None else []
    lines = [line.strip() for message in found for line in message.splitlines() if line.strip()]
    return lines[-1] if lines else ""
