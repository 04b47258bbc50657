"""RenderWorker: programs and pages in, pictures or clear failures out, behind one Serve deployment.

Guarantees: one typed result for every request; equal requests share one render, finished ones are remembered within
`render.cache_mb`; a failure of ours is an Outage by `render.deadline_s`, never a failed program.

    python -m serving.render FILE... [--domain chart|web] [--out DIR]      one JSON line an input
"""

import argparse
import asyncio
import hashlib
import json
import random
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

from actors.contracts import Domain, Outage, RenderResult
from configs.schema import Config, Render
from serving.charts import ChartRenderer
from serving.web import WebRenderer

RETRIES = 3


class Renders:
    """Cache and sharing around the renderers; `deployment` puts this class on Serve."""

    def __init__(self, config: Render) -> None:
        self._config = config
        self._charts = [ChartRenderer(config) for _ in range(config.concurrency)]
        self._web = WebRenderer(config)
        self._free: asyncio.Queue[ChartRenderer] = asyncio.Queue()
        for renderer in self._charts:
            self._free.put_nowait(renderer)
        self._cache: OrderedDict[bytes, RenderResult] = OrderedDict()
        self._cached_bytes = 0
        self._under_way: dict[bytes, asyncio.Future[RenderResult]] = {}
        self._counts = dict.fromkeys(("asked", "hits", "joined", "failed"), 0)

    async def render(self, source: str, domain: Domain = "chart") -> RenderResult:
        """Run a program or lay out a page. Raises Outage."""
        key = hashlib.sha256(f"{domain}\0{source}".encode("utf-8", "replace")).digest()
        self._counts["asked"] += 1
        if (known := self._cache.get(key)) is not None:
            self._cache.move_to_end(key)
            self._counts["hits"] += 1
            return known
        if (shared := self._under_way.get(key)) is not None:
            self._counts["joined"] += 1
            return await asyncio.shield(shared)
        future: asyncio.Future[RenderResult] = asyncio.get_running_loop().create_future()
        self._under_way[key] = future
        try:
            result = await self._draw(source, domain)
            future.set_result(result)
        except BaseException as error:
            future.set_exception(error)
            future.exception()  # retrieved, also where nobody else waits
            raise
        finally:
            del self._under_way[key]
        self._counts["failed"] += not result.ok
        if result.kind not in ("timeout", "crashed"):  # those may be the machine's fault
            self._remember(key, result)
        return result

    async def _draw(self, source: str, domain: Domain) -> RenderResult:
        if domain == "web":
            return await self._web.render(source)
        renderer = await self._free.get()
        try:
            return await renderer.render(source)
        finally:
            self._free.put_nowait(renderer)

    def _remember(self, key: bytes, result: RenderResult) -> None:
        self._cache[key] = result
        self._cached_bytes += _size(result)
        while self._cached_bytes > self._config.cache_mb * 2**20:
            _, oldest = self._cache.popitem(last=False)
            self._cached_bytes -= _size(oldest)

    def stats(self) -> dict[str, float]:
        return {**self._counts, "cached": len(self._cache), "cached_mb": self._cached_bytes / 2**20}

    async def close(self) -> None:
        for renderer in (*self._charts, self._web):
            await renderer.close()


def _size(result: RenderResult) -> int:
    return len(result.png or b"") + len(result.message) + 200


def deployment(config: Config) -> Any:
    """The bound Serve deployment for a run's settings."""
    from ray import serve

    render = config.render
    scaling = {"min_replicas": render.replicas, "max_replicas": max(render.replicas, render.max_replicas)}
    options: dict[str, Any] = {
        "name": "RenderWorker",
        # Requests wait inside the replica: Serve's router backs off up to a second when a replica is full, and the
        # renderer then stands idle in front of a queue.
        "max_ongoing_requests": render.max_queued,
        "max_queued_requests": render.max_queued,
        "ray_actor_options": {"num_cpus": render.cpus},
    }
    if scaling["max_replicas"] > scaling["min_replicas"]:
        options["autoscaling_config"] = {**scaling, "target_ongoing_requests": 2 * render.concurrency}
    else:
        options["num_replicas"] = render.replicas
    return serve.deployment(Renders).options(**options).bind(render)  # type: ignore[attr-defined]


class RenderClient:
    """The Renderer contract over a Serve handle: overload and lost replicas are retried, then an Outage."""

    def __init__(self, handle: Any, config: Config) -> None:
        self._handle = handle
        self._deadline = config.render.deadline_s

    async def render(self, source: str, domain: Domain) -> RenderResult:
        error: BaseException | None = None
        for attempt in range(RETRIES):
            try:
                async with asyncio.timeout(self._deadline):
                    return await self._handle.render.remote(source, domain)
            except Exception as failure:
                cause = getattr(failure, "cause", failure)
                if isinstance(cause, Outage) and attempt == RETRIES - 1:
                    raise cause from None
                error = failure
                await asyncio.sleep(0.2 * 2**attempt * random.uniform(0.5, 1.5))
        raise Outage("render", f"no answer in {RETRIES} tries ({type(error).__name__})") from error


async def _files(paths: list[Path], domain: Domain, out: Path) -> None:
    renders = Renders(Render())
    try:
        for path in paths:
            try:
                source = path.read_text()
            except (OSError, UnicodeDecodeError) as error:
                print(json.dumps({"path": str(path), "ok": False, "kind": "unreadable", "message": str(error)}))
                continue
            result = await renders.render(source, domain)
            png = None
            if result.png is not None:
                out.mkdir(parents=True, exist_ok=True)
                png = out / f"{path.stem}.png"
                png.write_bytes(result.png)
            line = {"path": str(path), "ok": result.ok, "kind": result.kind, "message": result.message}
            line |= {"seconds": round(result.seconds, 4), "png": str(png) if png else None}
            print(json.dumps(line), flush=True)
    finally:
        await renders.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m serving.render", description="Render programs or pages to PNG.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--domain", choices=("chart", "web"), default="chart")
    parser.add_argument("--out", type=Path, default=Path("renders"), help="folder of the PNGs (default: renders)")
    args = parser.parse_args()
    asyncio.run(_files(args.files, args.domain, args.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
