"""One set of weights for all replicas of the inference: a newer checkpoint, without dropping a request.

Guarantees: every replica has the same weights after `to`, and a replica that starts later has them within one health
check; engines take them while requests run; a checkpoint that does not fit is refused before an engine sees it.
"""

import asyncio
import logging
from pathlib import Path
from typing import Any

from actors.contracts import Outage
from configs.runs import latest
from configs.schema import Config
from serving.http.errors import BadRequest, cause_of

log = logging.getLogger("ray.serve")


class Weights:
    """Lives in the one Api replica; `inference` is the handle of the engines."""

    def __init__(self, inference: Any, config: Config) -> None:
        self._inference = inference
        self._config = config
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._said = ""  # the last failure, to say each but once

    async def to(self, model: str) -> dict[str, Any]:
        """Load a checkpoint's folder, or the run's newest for `latest`. Raises BadRequest, Outage."""
        if model == "latest":
            run = Path(self._config.run.dir) / "latest"
            found = latest(run) if run.exists() else None
            if found is None:
                raise BadRequest("no_checkpoint", "the run has no checkpoint yet", param="model")
            model = str(found.resolve())
        async with self._lock:
            loaded = await self._all("loaded")
            version = max(state["version"] for state in loaded)
            if any(state["model"] != model for state in loaded):
                version += 1
            return await self._agree(model, version)

    async def _agree(self, model: str, version: int) -> dict[str, Any]:
        reports = await self._all("reload", model, version)
        pause_s = max(report["pause_s"] for report in reports)
        return {"model": model, "version": version, "replicas": len(reports), "pause_s": round(pause_s, 4)}

    def look(self) -> None:
        """Begin to see to it that late replicas have the weights of the others, and the newest ones where
        `inference.watch` asks for them; called with every health check."""
        several = self._config.inference.max_replicas > 1
        if (several or self._config.inference.watch) and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        try:
            if self._config.inference.watch:
                await self.to("latest")
                return
            async with self._lock:
                loaded = await self._all("loaded")
                newest = max(loaded, key=lambda state: state["version"])
                if any(state["version"] != newest["version"] for state in loaded):
                    await self._agree(newest["model"], newest["version"])
        except (BadRequest, Outage) as error:  # tried again at the next look
            if str(error) != self._said:
                log.warning("the engines keep their weights: %s", error)
            self._said = str(error)

    async def _all(self, method: str, *args: Any) -> list[dict[str, Any]]:
        """One answer of every replica, in `learner.sync_s` and some. Raises BadRequest, Outage."""
        try:
            call = self._inference.broadcast(method, *args)
            found = await call.results_async(timeout_s=self._config.learner.sync_s + 30)
        except Exception as error:
            raise cause_of(error) from None
        if not found:
            raise Outage("engine", "no replica is running")
        return found
