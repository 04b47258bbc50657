"""RenderWorker: programs and pages in, pictures or clear failures out, behind one Serve deployment.

Guarantees: one typed result for every request; equal requests share one render, finished ones are remembered within
`render.cache_mb`; a failure of ours is an Outage by `render.deadline_s`, never a failed program.
"""

import asyncio
import hashlib
import json
import logging
import random
import re
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from actors.contracts import Domain, FailureKind, Outage, RenderResult
from actors.gauges import export
from actors.text import one_line
from configs import domains
from configs.domains import DEFAULT
from configs.domains.domain import Refused
from configs.places import selector
from configs.schema import Config, Render, Sandbox, Workers
from serving.render.charts import ChartRenderer
from serving.render.source import domain_of, names, text_of
from serving.render.web import WebRenderer

RETRIES = 3
OWN_LINE = re.compile(r" \(line \d+: .*\)$|^Refused: ", re.S)
MAX_WORDS = 300  # of a domain's refusal
VERSION = f"1 {version('matplotlib')} {version('playwright')}"  # what a cached picture depends on beside its source
log = logging.getLogger("ray.serve")


class Renders:
    """Cache and sharing around the renderers; `deployment` puts this class on Serve."""

    def __init__(self, config: Render) -> None:
        """Raises sandbox.MissingLayer where this machine lacks a layer that the settings do not excuse."""
        self._config = config
        self._charts = [ChartRenderer(config) for _ in range(config.concurrency)]
        self._web = WebRenderer(config)
        self._free: asyncio.Queue[ChartRenderer] = asyncio.Queue()
        for renderer in self._charts:
            self._free.put_nowait(renderer)
        self._cache: OrderedDict[bytes, RenderResult] = OrderedDict()
        self._cached_bytes = 0
        self._web_slots = asyncio.Semaphore(config.web.concurrency)
        self._under_way: dict[bytes, asyncio.Task[RenderResult]] = {}
        self._awaited: Counter[bytes] = Counter()  # callers, by key
        self._counts = dict.fromkeys(("asked", "hits", "joined", "failed", "timeout", "crashed", "outages"), 0)
        self._broken = ""  # the last outage, until a render succeeds again
        log.info("rendering inside %s", ", ".join(self._charts[0].layers))

    async def render(self, source: str, domain: Domain = DEFAULT) -> RenderResult:
        """Draw a source of a domain. Raises Outage, web.BrowserMissing, Unusable for a domain there is not."""
        key = hashlib.sha256(f"{VERSION}\0{domains.version(domain)}\0{source}".encode("utf-8", "replace")).digest()
        self._counts["asked"] += 1
        if (known := self._cache.get(key)) is not None:
            self._cache.move_to_end(key)
            self._counts["hits"] += 1
            return known
        if (task := self._under_way.get(key)) is not None:
            self._counts["joined"] += 1
        else:
            # a task of its own: whoever asked first may go away, the others still wait for the picture
            task = self._under_way[key] = asyncio.ensure_future(self._draw(key, source, domain))
            task.add_done_callback(lambda done: self._finish(key, done))
        self._awaited[key] += 1
        try:
            return await asyncio.shield(task)
        finally:
            self._awaited[key] -= 1
            if not self._awaited[key]:
                del self._awaited[key]

    def _finish(self, key: bytes, task: "asyncio.Task[RenderResult]") -> None:
        if self._under_way.get(key) is task:
            del self._under_way[key]
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            if isinstance(error, Outage):
                self._counts["outages"] += 1
                self._broken = error.message
            return
        self._broken = ""
        result = task.result()
        self._counts["failed"] += not result.ok
        if result.kind in ("timeout", "crashed"):
            self._counts[result.kind] += 1  # not remembered: those may be the machine's fault
        else:
            self._remember(key, result)

    async def _draw(self, key: bytes, source: str, domain: Domain) -> RenderResult:
        spec = domains.find(domain)
        if spec.written is not None:
            try:
                source = await self._written(spec, source)
            except ValueError as error:
                kind: FailureKind = "forbidden" if isinstance(error, Refused) else "syntax"
                return RenderResult(False, 0.0, kind=kind, message=one_line(str(error))[:MAX_WORDS])
        if spec.drawn == "browser":
            async with self._web_slots:
                self._check_awaited(key)
                return await self._web.render(source)
        renderer = await self._free.get()
        try:
            self._check_awaited(key)
            found = await renderer.render(source)
            if spec.written is not None:  # whoever wrote the source did not write the program that draws it
                found = replace(found, message=OWN_LINE.sub("", found.message))
            return found
        finally:
            self._free.put_nowait(renderer)

    async def _written(self, spec: domains.Domain, source: str) -> str:
        """The program or page that draws a source. Raises ValueError for one that is not drawn, Outage where the
        domain's own code fails or hangs: that is no fault of whoever wrote the source."""
        assert spec.written is not None
        most, limit = self._config.sandbox.max_source_bytes, self._config.sandbox.wall_s
        if len(source.encode("utf-8", "replace")) > most:
            raise ValueError(f"the source has more than {most} bytes")
        try:
            async with asyncio.timeout(limit):
                made = await asyncio.to_thread(spec.written, source)
        except ValueError:
            raise
        except TimeoutError:
            raise Outage("render", f"`written` of the domain {spec.name} took longer than {limit:g} s") from None
        except Exception as error:
            words = f"{type(error).__name__}: {one_line(str(error))[:MAX_WORDS]}"
            raise Outage("render", f"`written` of the domain {spec.name} raised {words}") from error
        if not isinstance(made, str):
            raise Outage("render", f"`written` of the domain {spec.name} gave {type(made).__name__}, no text")
        return made

    def _check_awaited(self, key: bytes) -> None:
        """Whoever asked may have gone while the request stood in line; others wait behind it."""
        if not self._awaited[key]:
            del self._under_way[key]
            raise asyncio.CancelledError

    def _remember(self, key: bytes, result: RenderResult) -> None:
        self._cache[key] = result
        self._cached_bytes += _size(result)
        while self._cached_bytes > self._config.cache_mb * 2**20:
            _, oldest = self._cache.popitem(last=False)
            self._cached_bytes -= _size(oldest)

    async def check_health(self) -> None:
        """Asked by Serve, which replaces the replica when this raises: after an outage, until a render succeeds."""
        export("render", self.stats())
        if self._broken:
            raise Outage("render", self._broken)

    async def about(self) -> dict[str, Any]:
        """`stats` of this replica, for a health page: the active layers of the jail among them."""
        return self.stats()

    def stats(self) -> dict[str, Any]:
        """Counts since the start, the layers of the jail, the server processes and browsers started, and the browser's
        version, by which pages of two machines may differ."""
        started = {"servers": sum(renderer.starts for renderer in self._charts), "browsers": self._web.launches}
        cached = {"cached": len(self._cache), "cached_mb": self._cached_bytes / 2**20}
        jail = {"layers": list(self._charts[0].layers), "browser": self._web.version}
        return {**self._counts, **cached, **started, **jail}

    async def close(self) -> None:
        """End every server and browser."""
        for charts in self._charts:
            await charts.close()
        await self._web.close()


def _size(result: RenderResult) -> int:
    return len(result.png or b"") + len(result.message) + 200


def deployment(config: Config, domain: Domain | None = None) -> Any:
    """The bound Serve deployment of one domain (None: the run's), scaled by that domain's settings.

    It renders what it is asked, whatever the domain; with one deployment for each, each scales by its own load.
    """
    from ray import serve

    render = config.render
    domain = domain or config.data.domain  # type: ignore[assignment]
    drawn = domains.find(domain).drawn  # type: ignore[arg-type]
    workers: Render | Workers = render.web if drawn == "browser" else render
    options: dict[str, Any] = {
        "name": "PageWorker" if drawn == "browser" else "RenderWorker",
        # Requests wait inside the replica: Serve's router backs off up to a second when a replica is full, and the
        # renderer then stands idle in front of a queue.
        "max_ongoing_requests": render.max_queued,
        "max_queued_requests": render.max_queued,
        "health_check_period_s": 5,
        "ray_actor_options": {"num_cpus": workers.cpus, "label_selector": selector(config.cluster.place.renderers)},
    }
    if workers.max_replicas > workers.replicas:
        options["autoscaling_config"] = {
            "min_replicas": workers.replicas,
            "max_replicas": workers.max_replicas,
            "target_ongoing_requests": 2 * workers.concurrency,
        }
    else:
        options["num_replicas"] = workers.replicas
    return serve.deployment(Renders).options(**options).bind(render)  # type: ignore[attr-defined]


class RenderClient:
    """The Renderer contract over Serve handles: overload and lost replicas are tried again, then it is an Outage."""

    def __init__(self, handle: Any, config: Config) -> None:
        """`handle`: of one deployment for every domain, or a mapping from domain to handle."""
        self._handle = handle
        self._deadline = config.render.deadline_s

    async def render(self, source: str, domain: Domain) -> RenderResult:
        """One render within `render.deadline_s`, queueing and retries included. Raises Outage."""
        last = "it is still under way"
        try:
            async with asyncio.timeout(self._deadline):
                for failures in range(RETRIES):
                    if failures:
                        await asyncio.sleep(0.2 * 2**failures * random.uniform(0.5, 1.5))
                    try:
                        return await self._ask(source, domain)
                    except Exception as error:
                        last = _words(error)
        except TimeoutError:
            raise Outage("render", f"no answer in {self._deadline:g} s ({last})") from None
        raise Outage("render", f"{RETRIES} tries failed: {last}")

    async def about(self, domain: Domain) -> dict[str, Any]:
        """Counts and sandbox layers of one replica of a domain. Raises Outage by `render.deadline_s`."""
        try:
            async with asyncio.timeout(self._deadline):
                return await self._of(domain).about.remote()
        except Exception as error:
            raise Outage("render", _words(error)) from error

    def _of(self, domain: Domain) -> Any:
        return self._handle[domain] if isinstance(self._handle, Mapping) else self._handle

    async def _ask(self, source: str, domain: Domain) -> RenderResult:
        """One answer; a full queue is waited for, as long as the caller's deadline allows."""
        from ray.serve.exceptions import BackPressureError

        while True:
            try:
                return await self._of(domain).render.remote(source, domain)
            except BackPressureError:
                await asyncio.sleep(random.uniform(0.2, 0.6))


def _words(error: BaseException) -> str:
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, Outage):
        return cause.message
    return f"{type(cause).__name__}: {cause}".splitlines()[0][:300]


async def render_files(paths: list[Path], domain: Domain | None, out: Path, allow_missing: list[str]) -> bool:
    """Render files into the folder `out` and print one JSON line for each; whether every file could be read. `domain`
    None: by each file's ending, else the default. Raises Outage, OSError, Unusable,
    sandbox.MissingLayer, web_browser.BrowserMissing."""
    out.mkdir(parents=True, exist_ok=True)
    renders, all_read = Renders(Render(sandbox=Sandbox(allow_missing=allow_missing))), True
    try:
        for path, name in zip(paths, names(paths), strict=True):
            own = domain or domain_of(path) or domains.DEFAULT
            try:
                result = await renders.render(text_of(path.read_bytes(), own), own)
            except (OSError, UnicodeDecodeError, SyntaxError) as error:
                all_read = False
                line = {"path": str(path), "ok": False, "kind": "unreadable", "message": str(error)}
                print(json.dumps(line | {"seconds": 0.0, "png": None}), flush=True)
                continue
            png = None
            if result.png is not None:
                png = out / name
                png.write_bytes(result.png)
            line = {"path": str(path), "ok": result.ok, "kind": result.kind, "message": result.message}
            line |= {"seconds": round(result.seconds, 4), "png": str(png) if png else None}
            print(json.dumps(line), flush=True)
    finally:
        await renders.close()
    return all_read
