"""The running parts of one run: Serve deployments, policy actors, queue, rollout actors; started and stopped together.

Guarantees: what `start` began, `stop` ends, also when `start` fails half-way; nothing is left running after the `with`
block. Every start has a deadline and a name. Actors that die are started again by Ray, and `check` gives them what they
need to go on.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ray
from ray import serve

from actors.contracts import Outage
from actors.dialogue import Codec
from actors.engine.policy import NOT_YET, PolicyActor, PolicyClient
from actors.replay.queue import ReplayQueue
from actors.rollout.actor import RolloutActor
from actors.rollout.episode import Environment
from configs.load import ConfigError
from configs.schema import Config
from serving.judge.service import JudgeClient
from serving.judge.service import deployment as judge_deployment
from serving.render.service import RenderClient
from serving.render.service import deployment as render_deployment
from training.run.ray_env import WORKER_ENV
from training.run.trajectory_log import Recorder

START_S = 300.0
CHECK_S = 5.0


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


def connect(config: Config, cpus: float, gpus: float) -> None:
    """Join the cluster of `cluster.address` or RAY_ADDRESS, else start one here. Raises ConfigError when it has fewer
    than `cpus` logical CPUs or `gpus` GPUs."""
    for name in ("ray", "ray.serve", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    options: dict[str, Any] = {
        "runtime_env": {"env_vars": WORKER_ENV},
        "log_to_driver": False,
        "logging_level": "ERROR",
    }
    if address := joined(config):
        ray.init(address=address, **options)
    else:
        ray.init(address="local", num_cpus=config.cluster.logical_cpus, include_dashboard=False, **options)
    have = ray.cluster_resources()
    for name, need, key in (
        ("CPU", cpus, "cluster.logical_cpus"),
        ("GPU", gpus, "engine.gpus, learner.gpus, judge.gpus"),
    ):
        if have.get(name, 0) < need:
            raise ConfigError(f"the cluster has {have.get(name, 0):g} {name}, this config needs {need:g} (see {key})")


class Cluster:
    """`with Cluster(...) as cluster:` everything of a run but the learner, up and answering."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        model: str,
        base: str,
        images: Sequence[str],
        snapshot: bytes | None,
        version: int = 0,
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
        self.policies: list[Any] = []
        self.rollouts: list[Any] = []
        self.queue: Any = None
        self._offered: list[str] = []  # Serve applications of this run

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
        gpus = engine.gpus / 2 if colocated(config) else engine.gpus
        policy = PolicyActor.options(
            num_cpus=engine.cpus,
            num_gpus=gpus,
            max_concurrency=4 * engine.max_num_seqs,
            max_restarts=-1,
            max_task_retries=-1,
        )
        self.policies = [policy.remote(self.model, config, self.base, self._version) for _ in range(engine.replicas)]
        serve.start(proxy_location="Disabled")
        self.renderer = RenderClient(self._offer("render", render_deployment(config)), config)
        self.judge = JudgeClient(self._offer("judge", judge_deployment(config)), config)
        self.queue = ReplayQueue.options(num_cpus=0, max_concurrency=1000, max_restarts=-1, max_task_retries=-1).remote(
            config, self._images, self._snapshot, str(self.folder / "queue.jsonl")
        )
        self._wait([p.ready.remote() for p in self.policies], "policy engines", engine.ready_s)
        self.rollouts = [self._rollout(i) for i in range(config.rollout.actors)]

    def _offer(self, part: str, application: Any) -> Any:
        """Deploy one part under a name of this run's own; a cluster may host several runs."""
        name = f"rrvf-{self.config.run.name}-{os.getpid()}-{part}"
        self._offered.append(name)
        try:
            return serve.run(application, name=name, route_prefix=None)
        except RuntimeError as error:  # Serve's own words for it name no reason
            app = serve.status().applications.get(name)
            said = [found.message for found in app.deployments.values()] if app is not None else []
            lines = [line for message in said for line in message.splitlines() if line.strip()]
            raise Outage("start", f"{part}: {(lines or [str(error)])[-1].strip()}") from error

    def _rollout(self, number: int) -> Any:
        client = PolicyClient(self.policies, self.config.engine.turn_s)
        return RolloutActor.options(num_cpus=0).remote(
            f"rollout-{number}",
            self.config,
            self.base,
            self.queue,
            client,
            self.renderer,
            self.judge,
            Recorder(self.folder, f"rollout-{number}", self.config.run.trajectories_mb / self.config.rollout.actors),
        )

    def start_rollouts(self) -> None:
        self._wait([r.start.remote() for r in self.rollouts], "rollout actors", START_S)

    def check(self) -> list[str]:
        """Replace rollout actors that died (their groups are issued again), give restarted engines the run's weights,
        and say so in one line each; raise what ended a living rollout actor's work."""
        said = []
        for number, actor in enumerate(self.rollouts):
            try:
                said += ray.get(actor.check.remote(), timeout=CHECK_S)[:3]
            except ray.exceptions.GetTimeoutError:
                said.append(f"rollout actor {number} has not answered for {CHECK_S:g} s")
            except ray.exceptions.RayTaskError as error:
                raise error.as_instanceof_cause() from None
            except ray.exceptions.RayActorError:
                self.rollouts[number] = self._rollout(number)
                self._wait([self.rollouts[number].start.remote()], f"rollout actor {number}", START_S)
                said.append(f"rollout actor {number} died; a new one plays on")
        for number, policy in enumerate(self.policies):
            try:
                stats = ray.get(policy.stats.remote(), timeout=CHECK_S)
            except (ray.exceptions.GetTimeoutError, ray.exceptions.RayActorError):
                said.append(f"policy actor {number} does not answer; Ray starts it again if it died")
                continue
            if stats["version"] == NOT_YET:
                try:
                    version, stored = ray.get(self.queue.weights.remote(), timeout=CHECK_S)
                except ray.exceptions.GetTimeoutError:
                    said.append(
                        f"the queue has not answered for {CHECK_S:g} s; policy actor {number} waits for weights"
                    )
                    continue
                if stored is not None:
                    update = policy.update.remote(stored.reference, stored.crc32, version)
                    self._wait([update], "weights of a new engine", START_S)
                    said.append(f"policy actor {number} died; a new engine has weights {version}")
        return said

    def env(self, temperature: float | None = None) -> Environment:
        """The same engine, renderer and judge for a caller in this process (evaluation)."""
        policy = PolicyClient(self.policies, self.config.engine.turn_s, temperature)
        return Environment(policy, self.renderer, self.judge, Codec.load(self.base, self.config.prompts))

    def stop_rollouts(self) -> None:
        """No new groups; turns under way are given up."""
        ray.get(self.queue.stop.remote(), timeout=60)
        ray.get([r.stop.remote() for r in self.rollouts], timeout=60)

    def _wait(self, refs: list[Any], what: str, limit: float) -> None:
        try:
            ray.get(refs, timeout=limit)
        except ray.exceptions.GetTimeoutError:
            raise Outage("start", f"{what} did not start within {limit:g} s") from None
        except ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except ray.exceptions.RayActorError as error:
            raise Outage("start", f"{what}: {str(error).strip().splitlines()[-1].strip()}") from error

    def _stop(self) -> None:
        for actor in (*self.rollouts, *self.policies, *([self.queue] if self.queue is not None else [])):
            ray.kill(actor)
        if ray.is_initialized() and joined(self.config):  # else the whole cluster ends with this process
            for name in self._offered:
                serve.delete(name)
