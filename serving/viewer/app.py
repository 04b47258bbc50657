"""The run viewer: every group of every run under a folder, with pictures, words, rewards and the run's curves.

Guarantees: shows files and changes none; needs no cluster; a page of groups costs one look at the index and as many
reads as it has groups, however long the run; a name from outside reaches nothing but a run's folder under the root and
that folder's pictures. What a run's files say is sent as JSON and shown as text: the pages hold no inline script, and
their Content-Security-Policy lets none run.
"""

import asyncio
import json
import math
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from serving.http.static import PAGES, Guarded, static
from serving.viewer.run_folder import SORTS, Query, RunFolder, ordinary, rows
from serving.viewer.step_time import explain

PAGE_SIZE, MOST = 20, 100  # groups in one answer
FRESH_S = 0.5  # a run's files are looked at no more often
LATEST = "latest"  # the one link that is followed
OPEN = 8  # runs whose index is kept
MARKS = ("config.yaml", "metrics.jsonl", "trajectories")  # one of these makes a folder a run


class Runs:
    """The runs under `root`; with `only`, that one alone."""

    def __init__(self, root: Path, only: str = "") -> None:
        self._root, self._only = root.resolve(), only
        self._open: OrderedDict[Path, RunFolder] = OrderedDict()
        self._named: dict[str, tuple[float, Path]] = {}  # name -> when it was last looked at, and its folder
        self._explained: dict[Path, tuple[int, dict[str, Any]]] = {}

    def names(self) -> list[str]:
        """Newest first."""
        if not self._root.is_dir():
            return []
        found = [p for p in self._root.iterdir() if not p.is_symlink() and any((p / m).exists() for m in MARKS)]
        found.sort(key=lambda p: -p.stat().st_mtime)
        return [p.name for p in found if not self._only or p.name == self._only]

    async def folder(self, request: Request) -> RunFolder:
        """The run that the path names, read up to now. Raises HTTPException 404."""
        name = request.path_params["run"]
        known = self._named.get(name)
        if known is not None and known[1] in self._open and time.monotonic() - known[0] < FRESH_S:
            return self._open[known[1]]
        names = self.names()
        path = (self._root / name).resolve() if name == LATEST or name in names else self._root
        if path.parent != self._root or path.name not in names:
            raise HTTPException(404, "no such run")
        run = self._open.setdefault(path, RunFolder(path))
        self._open.move_to_end(path)
        if len(self._open) > OPEN:
            self._open.popitem(last=False)
        await asyncio.to_thread(run.refresh)
        self._named[name] = time.monotonic(), path
        return run

    async def list_page(self, request: Request) -> Response:
        if self._only:
            return RedirectResponse(f"{request.url.path}{self._only}/")
        return FileResponse(PAGES / "runs.html")

    async def list_runs(self, request: Request) -> Response:
        return answer({"runs": [{"name": n, **_glance(self._root / n)} for n in self.names()]})

    async def run_page(self, request: Request) -> Response:
        await self.folder(request)
        return FileResponse(PAGES / "run.html")

    async def step_page(self, request: Request) -> Response:
        await self.folder(request)
        return FileResponse(PAGES / "step.html")

    async def groups(self, request: Request) -> Response:
        """`offset`, `limit` and the fields of Query, as a query string: a page of groups in full."""
        run = await self.folder(request)
        offset, limit = _number(request, "offset", int, 0), _number(request, "limit", int, PAGE_SIZE)
        asked = request.query_params
        query = Query(
            _number(request, "step_from", int),
            _number(request, "step_to", int),
            _number(request, "reward_from", float),
            _number(request, "reward_to", float),
            asked.get("failure", ""),
            asked.get("state", ""),
            asked.get("sort", "newest"),
        )
        if offset < 0 or not 1 <= limit <= MOST or query.sort not in SORTS:
            raise HTTPException(400, f"offset from 0, limit 1 to {MOST}, sort one of {', '.join(SORTS)}")

        def page() -> dict[str, Any]:
            rows = run.find(query)
            found = [run.read(row) for row in rows[offset : offset + limit]]
            return {"revision": run.revision, "total": len(rows), "groups": found, **run.facets()}

        return answer(await asyncio.to_thread(page))

    async def state(self, request: Request) -> Response:
        """What a page asks every other second: whether there is anything new, and what runs where."""
        run = await self.folder(request)
        return answer({"revision": run.revision, "steps": len(run.metrics()), "nodes": run.nodes()})

    async def curves(self, request: Request) -> Response:
        """Every figure of the run that is a number, as columns over its steps."""
        rows = (await self.folder(request)).metrics()
        names = [k for k in dict.fromkeys(key for row in rows for key in row) if k not in ("step", "ended_ms")]
        columns = {k: [v if _is_number(v := row.get(k)) else None for row in rows] for k in names}
        shown = {k: v for k, v in columns.items() if any(x is not None for x in v)}
        return answer({"step": [row.get("step") for row in rows], "figures": shown})

    async def step_time(self, request: Request) -> Response:
        run = await self.folder(request)
        known = self._explained.get(run.path)
        if known is None or known[0] != run.revision:
            known = self._explained[run.path] = run.revision, await asyncio.to_thread(explain, run)
        return answer(known[1])

    async def picture(self, request: Request) -> Response:
        run = await self.folder(request)
        path = await asyncio.to_thread(run.picture, request.path_params["name"])
        if path is None:
            raise HTTPException(404, "no such picture")
        return FileResponse(path, media_type="image/png", headers={"cache-control": "max-age=31536000, immutable"})


def viewer(root: Path, only: str = "") -> Guarded:
    """The application, to be mounted at /runs beside `static()` at /pages."""
    runs = Runs(root, only)
    routes = [
        Route("/", runs.list_page),
        Route("/api", runs.list_runs),
        Route("/{run}/", runs.run_page),
        Route("/{run}/step", runs.step_page),
        Route("/{run}/api/groups", runs.groups),
        Route("/{run}/api/state", runs.state),
        Route("/{run}/api/curves", runs.curves),
        Route("/{run}/api/step", runs.step_time),
        Route("/{run}/pictures/{name}", runs.picture),
    ]
    return Guarded(Starlette(routes=routes, exception_handlers={HTTPException: _said}))


def alone(root: Path, only: str) -> Starlette:
    """The viewer of one run as an application of its own."""

    async def home(request: Request) -> Response:
        return RedirectResponse(f"/runs/{only}/")

    return Starlette(routes=[Route("/", home), Mount("/pages", static()), Mount("/runs", viewer(root, only))])


def answer(found: Any) -> Response:
    """JSON that a browser can read: no infinities."""
    try:
        text = json.dumps(found, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(found), allow_nan=False)
    return Response(text, media_type="application/json", headers={"cache-control": "no-store"})


def _said(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = {"error": {"kind": "not_found" if error.status_code == 404 else "bad_request", "message": error.detail}}
    return Response(json.dumps(body), error.status_code, media_type="application/json")


def _number(request: Request, name: str, kind: type, default: Any = None) -> Any:
    value = request.query_params.get(name, "")
    if not value:
        return default
    try:
        return kind(value)
    except ValueError:
        raise HTTPException(400, f"{name} must be a number") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None


def _glance(path: Path) -> dict[str, Any]:
    """Steps done and last reward, from the end of metrics.jsonl."""
    try:
        metrics = (path / "metrics.jsonl").resolve(strict=True)
        if not metrics.is_relative_to(path.resolve()):
            raise OSError("a link that leads out")
        with ordinary(metrics) as file:
            file.seek(max(0, metrics.stat().st_size - 8192))
            last = next(iter(rows([(0, file.read().splitlines()[-1])])))
        return {"step": last["step"], "reward": last["reward"], "changed": path.stat().st_mtime}
    except (OSError, RuntimeError, ValueError, IndexError, KeyError, TypeError, StopIteration):
        return {"step": 0, "reward": None, "changed": path.stat().st_mtime}
