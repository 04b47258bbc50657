"""The visual judge: one contract, guards and a cache in front of every backend, behind one Serve deployment.

Guarantees: a verdict is a backend's answer or a guard's (blank render 0, identical pixels 1), never an invention; what
fails in the infrastructure is an `Outage` by its deadline; an unreadable render is a verdict of 0, an unreadable target
a ValueError of one line; the same pair is judged once at a time and remembered by (target, render, domain, backend and
prompt version).
"""

import asyncio
import hashlib
import random
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from actors.contracts import Domain, Outage, Verdict
from actors.gauges import export
from actors.images import read_image
from configs import domains
from configs.domains import DEFAULT
from configs.places import selector
from configs.relations import BACKENDS, parts_of
from configs.schema import Config
from configs.schema import Judge as Settings
from serving.judge.blend import Blend, attributes
from serving.judge.own import Own
from serving.judge.perceptual import BACKEND as PERCEPTUAL
from serving.judge.perceptual import compare, settled
from serving.judge.perceptual.features import MAX_PIXELS

if TYPE_CHECKING:
    from ray.serve import Application

T = TypeVar("T")
RECENT = 2048  # latencies kept for the percentiles
Key = tuple[bytes | str, ...]  # digests of target and renders, versions of domain and backend


class Backend(Protocol):
    version: str  # part of the cache key: changes whenever the same pair could be judged differently

    async def judge(self, target: bytes, render: bytes, domain: Domain) -> Verdict:
        """Similarity of two readable, different, non-blank pictures. Raises Outage, ValueError."""
        ...

    async def close(self) -> None: ...

    def stats(self) -> dict[str, float]: ...


@runtime_checkable
class Prefers(Protocol):
    """A backend that can compare two renders with each other; of the others the more similar render is preferred."""

    async def prefer(self, target: bytes, first: bytes, second: bytes, domain: Domain) -> float:
        """`actors.contracts.Judge.prefer` of two readable, different, non-blank pictures."""
        ...


class Perceptual:
    """The CPU backend, in a thread so that the replica goes on answering; `measure` compares."""

    def __init__(self, measure: Callable[[bytes, bytes, Domain], Verdict] = compare, name: str = PERCEPTUAL) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="perceptual")
        self._measure = measure
        self.version = name

    async def judge(self, target: bytes, render: bytes, domain: Domain) -> Verdict:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._timed, target, render, domain)

    def _timed(self, target: bytes, render: bytes, domain: Domain) -> Verdict:
        started = time.perf_counter()
        return replace(self._measure(target, render, domain), seconds=time.perf_counter() - started)

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def stats(self) -> dict[str, float]:
        return {}


class VisualJudge:
    """Guards, cache and counters around one backend. `engine` is the handle of our own vision-language deployment."""

    def __init__(self, config: Settings, engine: Any = None) -> None:
        self._config = config
        self._backend = build_backend(config, engine)
        self._cache: OrderedDict[Key, Any] = OrderedDict()
        self._under_way: dict[Key, asyncio.Task[Any]] = {}
        self._counts = dict.fromkeys(("asked", "hits", "joined", "guarded", "outages", "refused"), 0)
        self._seconds: deque[float] = deque(maxlen=RECENT)
        self._waiting = 0

    async def compare(self, target: bytes, render: bytes, domain: Domain = DEFAULT) -> Verdict:
        """Similarity of two pictures (PNG or JPEG bytes). Raises Outage; ValueError for what is no image."""
        key = _digest(target), _digest(render), domains.version(domain), self._backend.version
        return await self._once(key, lambda: self._judge(target, render, domain))

    async def prefer(self, target: bytes, first: bytes, second: bytes, domain: Domain = DEFAULT) -> float:
        """As `actors.contracts.Judge.prefer`. A pair is asked about once, in an order that its bytes decide, so that a
        bias of position favours nobody. Raises Outage; ValueError for what is no image."""
        if not isinstance(self._backend, Prefers):
            one, other = await asyncio.gather(self.compare(target, first, domain), self.compare(target, second, domain))
            return _closer(one.score, other.score)
        a, b = sorted((first, second), key=_digest)
        key = _digest(target), _digest(a), _digest(b), domains.version(domain), self._backend.version
        share = await self._once(key, lambda: self._prefer(target, a, b, domain))
        return share if a == first else 1 - share

    async def _once(self, key: Key, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `work` comes to: remembered, or of the one task that is at it."""
        self._counts["asked"] += 1
        if (known := self._cache.get(key)) is not None:
            self._cache.move_to_end(key)
            self._counts["hits"] += 1
            return known
        if (task := self._under_way.get(key)) is not None:
            self._counts["joined"] += 1
        else:  # a task of its own: a caller that gives up takes nobody's verdict away
            task = self._under_way[key] = asyncio.create_task(work())
            task.add_done_callback(lambda done: self._settle(key, done))
        return await asyncio.shield(task)

    def _settle(self, key: Key, done: asyncio.Task[Any]) -> None:
        del self._under_way[key]
        if done.cancelled() or done.exception() is not None:
            return
        self._cache[key] = done.result()
        if len(self._cache) > self._config.cache_entries:
            self._cache.popitem(last=False)

    async def _prefer(self, target: bytes, first: bytes, second: bytes, domain: Domain) -> float:
        started = time.perf_counter()
        self._waiting += 1
        try:
            scores = [_known(target, render, domain) for render in (first, second)]
            if any(score is not None for score in scores):
                self._counts["guarded"] += 1
                return _closer(*(0.5 if score is None else score for score in scores))
            assert isinstance(self._backend, Prefers)
            return await self._backend.prefer(target, first, second, domain)
        except Outage:
            self._counts["outages"] += 1
            raise
        finally:
            self._waiting -= 1
            self._seconds.append(time.perf_counter() - started)

    async def _judge(self, target: bytes, render: bytes, domain: Domain) -> Verdict:
        started = time.perf_counter()
        self._waiting += 1
        try:
            if (verdict := settled(target, render, domain)) is not None:
                self._counts["guarded"] += 1
                return verdict
            return await self._backend.judge(target, render, domain)
        except Outage:
            self._counts["outages"] += 1
            raise
        except ValueError as error:
            self._counts["refused"] += 1
            if _readable(render, domain) or not _readable(target, domain):
                raise
            return Verdict(0.0, f"The render cannot be read: {error}.", self._backend.version)
        finally:
            self._waiting -= 1
            self._seconds.append(time.perf_counter() - started)

    async def check_health(self) -> None:
        """Asked by Serve every few seconds; the figures go to Ray's metrics with it."""
        export("judge", self.stats())

    async def about(self) -> dict[str, float]:
        """`stats` of this replica, for a health page."""
        return self.stats()

    def stats(self) -> dict[str, float]:
        """Counters since the start, requests under way, latency percentiles in seconds of uncached verdicts, and what
        the backend counts."""
        ordered = sorted(self._seconds) or [0.0]
        percentiles = {f"p{p}_s": ordered[min(len(ordered) - 1, len(ordered) * p // 100)] for p in (50, 95, 99)}
        asked = max(1, self._counts["asked"])
        rate = {"under_way": self._waiting, "hit_rate": self._counts["hits"] / asked}
        return {**self._counts, **rate, **percentiles, **self._backend.stats()}

    async def close(self) -> None:
        """Let go of threads and connections."""
        await self._backend.close()


def _readable(picture: bytes, domain: Domain) -> bool:
    try:
        return settled(picture, picture, domain) is not None
    except ValueError:
        return False


def _known(target: bytes, render: bytes, domain: Domain) -> float | None:
    """The similarity that needs no judge: of the target itself, a blank render, and 0 of one that cannot be read; else
    None. Raises ValueError for an unreadable target."""
    try:
        verdict = settled(target, render, domain)
    except ValueError:
        if not _readable(target, domain):
            raise
        return 0.0
    return None if verdict is None else verdict.score


def _closer(first: float, second: float) -> float:
    """1, 0 or 0.5 by which of two similarities is larger."""
    return 0.5 + 0.5 * ((first > second) - (first < second))


def _digest(image: bytes) -> bytes:
    return hashlib.blake2b(image, digest_size=16).digest()


def build_backend(config: Settings, engine: Any = None) -> Backend:
    """The backend that the settings name. Raises ValueError for an unknown one."""
    if config.backend != "blend":
        return _one(config, config.backend, engine)
    return Blend([(weight, _one(config, name, engine)) for name, weight in parts_of(config.blend)])


def _one(config: Settings, name: str, engine: Any) -> Backend:
    if name == PERCEPTUAL:
        return Perceptual()
    if name == "attributes":
        return Perceptual(attributes, name)
    if name == "mllm":
        from serving.judge.mllm import build_mllm

        return build_mllm(config, engine)
    if name == "embedding":
        from serving.judge.embedding import Embedding

        return Embedding(config.embedder)
    if ".py:" in name:
        return Own(config, name)
    raise ValueError(f"judge.backend is {name!r}; there are {', '.join(BACKENDS)}, and FILE.py:NAME")


def deployment(config: Config) -> "Application":
    """The bound judge of a run; with its own vision-language engine where `judge.url` is empty and the backend mllm."""
    from ray import serve

    judge, place = config.judge, selector(config.cluster.place.judge)
    engine = None
    if judge.asks_model and not judge.url:
        from serving.judge.mllm_engine import engine_deployment

        engine = engine_deployment(judge, place)
    most = judge.max_replicas if engine is None else 1  # one front, hence one cache; what scales is the engine
    least = min(judge.replicas, most)
    options: dict[str, Any] = {
        "name": "VisualJudge",
        "ray_actor_options": {"num_cpus": judge.cpus, "label_selector": place},
        "max_ongoing_requests": judge.concurrency,
        "max_queued_requests": judge.max_queued,
        "health_check_period_s": 5,
    }
    if most > least:
        options["autoscaling_config"] = {
            "min_replicas": least,
            "max_replicas": most,
            "target_ongoing_requests": max(1, judge.concurrency // 2),
        }
    else:
        options["num_replicas"] = least
    return serve.deployment(VisualJudge).options(**options).bind(judge, engine)  # type: ignore[attr-defined]


class JudgeClient:
    """actors.contracts.Judge over a Serve handle: a full queue is waited for, a lost replica asked again."""

    def __init__(self, handle: Any, config: Config) -> None:
        self._handle = handle
        self._deadline_s = config.judge.deadline_s
        self._retries = config.judge.retries

    async def compare(self, target: bytes, render: bytes, domain: Domain) -> Verdict:
        """Similarity of two pictures. Raises Outage by the deadline; ValueError for what is no image."""
        return await self._answered(lambda: self._handle.compare.remote(target, render, domain))

    async def prefer(self, target: bytes, first: bytes, second: bytes, domain: Domain) -> float:
        """Which of two renders is closer. Raises Outage by the deadline; ValueError for what is no image."""
        return await self._answered(lambda: self._handle.prefer.remote(target, first, second, domain))

    async def _answered(self, request: Callable[[], Awaitable[T]]) -> T:
        last = "it is still under way"
        try:
            async with asyncio.timeout(self._deadline_s):
                for attempt in range(self._retries + 1):
                    if attempt:
                        await asyncio.sleep(min(5.0, 0.1 * 2**attempt) * random.uniform(0.5, 1.5))
                    try:
                        return await self._ask(request)
                    except Exception as error:
                        cause = getattr(error, "cause", None) or error  # Ray wraps what the replica raised
                        if isinstance(cause, (ValueError, Outage)):  # the backend has tried again where that helps
                            raise cause from None
                        last = f"{type(cause).__name__}: {cause}".splitlines()[0][:300]
        except TimeoutError:
            limit = f"{self._deadline_s:g} s (judge.deadline_s)"
            raise Outage("judge", f"no verdict within {limit}; last: {last}") from None
        raise Outage("judge", f"no verdict after {self._retries + 1} attempts; last: {last}")

    async def about(self) -> dict[str, float]:
        """Counts and latencies of one replica. Raises Outage by `judge.deadline_s`."""
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._handle.about.remote()
        except Exception as error:
            raise Outage("judge", f"{type(error).__name__} while asking for its state") from error

    async def _ask(self, request: Callable[[], Awaitable[T]]) -> T:
        from ray.serve.exceptions import BackPressureError

        while True:
            try:
                return await request()
            except BackPressureError:
                await asyncio.sleep(random.uniform(0.2, 0.6))


async def judge_files(config: Settings, target: Path, render: Path, domain: Domain) -> Verdict:
    """The verdict on two picture files. Raises Outage; OSError and ValueError for what is no readable picture."""
    pictures = read_image(target, MAX_PIXELS), read_image(render, MAX_PIXELS)
    judge = VisualJudge(config)
    try:
        return await judge.compare(*pictures, domain)
    finally:
        await judge.close()
