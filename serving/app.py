"""The Serve application that people and scripts touch: inference, renderer and judge behind one HTTP door.

    python -m serving.app CONFIG [key=value ...]                       (make serve: the newest checkpoint)
    serve run serving.app:build config=configs/tiny_chart.yaml model=DIR
    serve run serving.app:services config=configs/tiny_chart.yaml      (renderers and judge alone)

Guarantees: binds to loopback unless a setting says otherwise; who may come in is decided first (serving.http.guard),
then input is checked in full (serving.http.requests), and only then a model, a browser or a program sees it; every
error has one form (serving.http.errors).
"""

import argparse
import asyncio
import base64
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, StreamingResponse
from ray import serve

from actors import local_ray
from actors.contracts import Outage
from configs import domains
from configs.command import heed_signals, run
from configs.load import ConfigError, load
from configs.runs import latest
from configs.schema import Config
from serving import openapi
from serving.http import requests
from serving.http.errors import BadRequest, described, install
from serving.http.front import CALLBACK
from serving.http.guard import Guard
from serving.http.metrics import MEDIA, Figures
from serving.http.static import docs, static, studio
from serving.http.uploads import picture
from serving.inference.chat import Chat
from serving.inference.events import frame
from serving.inference.reload import Weights
from serving.openapi import gives, takes
from serving.render.source import charset_of, domain_of_type, text_of
from serving.viewer.app import viewer

EVENTS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
STREAM = "text/event-stream"
QUIET = (401, 503)  # errors of a route that takes no body
HEALTH_S = 20.0  # of a question that needs no model
GRACE_S = 30.0  # beyond the deadline that a replica keeps itself
T = TypeVar("T")

api = FastAPI(
    title="rrvf", version="1", description="Image to code, rendering and judging", docs_url=None, redoc_url=None
)
install(api)
openapi.describe(api)


async def within(limit_s: float, call: Awaitable[T]) -> T:
    """What a replica answers within `limit_s`. Its own deadlines come first and say more; this one is for a replica
    that is not there, or stands still."""
    try:
        async with asyncio.timeout(limit_s):
            return await call
    except TimeoutError:
        raise Outage("engine", f"no answer within {limit_s:g} s") from None


async def streamed(limit_s: float, frames: AsyncIterator[str]) -> Response:
    """Server-sent events as they come, each within the limit. What raises before the first is an answer of its own;
    later, an event."""
    first = await within(limit_s, anext(frames))

    async def all_of_them() -> AsyncIterator[str]:
        text: str | None = first
        try:
            while text is not None:
                yield text
                text = await within(limit_s, anext(frames, None))
        except Exception as error:
            yield frame("error", described(error))

    return StreamingResponse(all_of_them(), media_type=STREAM, headers=EVENTS)


@serve.deployment(name="Api", max_ongoing_requests=1024, health_check_period_s=5)
@serve.ingress(api)
class Api:
    """The HTTP door. Handles answer; this class checks, decodes and words. One replica: it counts what is in work."""

    def __init__(self, config: Config, inference: Any, renderer: Any, judge: Any) -> None:
        from serving.judge.service import JudgeClient
        from serving.render.service import RenderClient

        self._config = config
        self._inference = inference
        self._renderer = RenderClient(renderer, config)
        self._judge = JudgeClient(judge, config)
        self._weights = Weights(inference, config) if inference is not None else None
        self._figures = Figures()
        api.add_middleware(Guard, config=config.http, figures=self._figures)
        if config.http.origins:  # their browsers ask first, and read answers that name their page alone
            api.add_middleware(
                CORSMiddleware,
                allow_origins=config.http.origins.split(","),
                allow_methods=("GET", "POST"),
                allow_headers=("*",),
                expose_headers=("Retry-After",),
            )
        api.add_route("/", studio(domains.find(config.data.domain).name), include_in_schema=False)
        api.add_route("/docs", docs, include_in_schema=False)
        api.mount("/pages", static())
        api.mount("/runs", viewer(Path(config.run.dir)))

    async def check_health(self) -> None:
        if self._weights is not None:
            self._weights.look()

    @api.get("/health", responses=gives(errors=(503,)))
    async def health(self) -> dict[str, Any]:
        """Model, version and load of the engine, counts of renderer and judge, layers of the jail; 503 while one of
        them is not ready."""
        about = await within(HEALTH_S, self._inference.about.remote()) if self._inference is not None else {}
        renderer = await self._renderer.about(self._config.data.domain)
        return {"status": "ok", "time": time.time(), **about, "renderer": renderer, "judge": await self._judge.about()}

    @api.get("/metrics", response_class=Response, responses=gives(None, "text/plain", errors=QUIET))
    async def metrics(self) -> Response:
        """Requests, seconds, in flight and refused by route, for Prometheus."""
        return Response(self._figures.page(), media_type=MEDIA)

    @api.post(
        "/v1/image-to-code",
        response_class=JSONResponse,
        responses=gives(openapi.Answer, STREAM),
        openapi_extra=takes(requests.ImageToCode, ("image/png", "image/jpeg"), ("turns", "stream")),
    )
    async def image_to_code(self, request: Request) -> Response:
        """A program for an image. With `stream`, or for clients that accept text/event-stream, as server-sent events:
        text, code, render and verdict of every turn, then done (see serving.inference.events)."""
        self._needs_inference()
        asked, raw = await requests.body(request, requests.ImageToCode, "image")
        most = self._config.rollout.max_turns
        if asked.turns > most:
            raise BadRequest("bad_turns", f"`turns`: 1 to {most} (rollout.max_turns)", param="turns")
        image = await picture(asked.image if raw is None else raw, "image", self._config.data.max_pixels)
        limit = self._config.rollout.trajectory_s + GRACE_S
        if asked.stream is None:
            asked.stream = STREAM in request.headers.get("accept", "")
        if asked.stream:
            return await streamed(limit, self._inference.options(stream=True).stream.remote(image, asked.turns))
        return JSONResponse(await within(limit, self._inference.image_to_code.remote(image, asked.turns)))

    @api.post(
        "/v1/chat/completions",
        response_class=JSONResponse,
        responses={**gives(None, STREAM), 404: {"model": openapi.Error, "description": "no such model"}},
        openapi_extra=takes(Chat),
    )
    async def chat(self, request: Request) -> Response:
        """OpenAI's chat completions, with images as data URLs."""
        self._needs_inference()
        asked, _ = await requests.body(request, Chat)
        limit = 2 * self._config.engine.turn_s + GRACE_S
        if asked.stream:
            return await streamed(limit, self._inference.options(stream=True).chat_stream.remote(asked))
        return JSONResponse(await within(limit, self._inference.chat.remote(asked)))

    @api.get("/v1/models", responses=gives(errors=QUIET))
    async def models(self) -> dict[str, Any]:
        """The one model that is served, as OpenAI lists it; `root`: its checkpoint."""
        if self._inference is None:
            return {"object": "list", "data": []}
        loaded = await within(HEALTH_S, self._inference.loaded.remote())
        card = {"id": self._config.run.name, "object": "model", "created": 0, "owned_by": "rrvf"}
        return {"object": "list", "data": [{**card, "root": loaded["model"], "version": loaded["version"]}]}

    @api.post("/v1/reload", responses=gives(openapi.Reloaded), openapi_extra=takes(requests.Reload))
    async def reload(self, request: Request) -> dict[str, Any]:
        """Go on with a newer checkpoint's weights, in all replicas, while requests run."""
        self._needs_inference()
        asked, _ = await requests.body(request, requests.Reload)
        assert self._weights is not None
        return await self._weights.to(asked.model)

    @api.post(
        "/render",
        responses=gives(openapi.Rendered),
        openapi_extra=takes(requests.Render, ("text/plain", "text/html", "text/x-python"), ("domain",)),
    )
    async def render(self, request: Request) -> dict[str, Any]:
        """The picture of a program or page (base64 PNG), or how it failed."""
        asked, raw = await requests.body(request, requests.Render, "source")
        media = request.headers.get("content-type", "")
        domain = self._domain(asked.domain or domain_of_type(media))
        try:
            source = asked.source if raw is None else text_of(raw, domain, charset_of(media))
        except (UnicodeDecodeError, SyntaxError):
            raise BadRequest("bad_source", "the body is not UTF-8", param="source") from None
        most = self._config.render.sandbox.max_source_bytes
        if len(source.encode()) > most:
            raise BadRequest("too_large", f"`source` may have {most} bytes", 413, "source")
        found = asdict(await self._renderer.render(source, domain))
        found["png"] = base64.b64encode(found["png"]).decode() if found["png"] is not None else None
        return found

    @api.post("/judge", responses=gives(openapi.Judged), openapi_extra=takes(requests.Judge))
    async def judge(self, request: Request) -> dict[str, Any]:
        """Similarity and differences of two pictures."""
        asked, _ = await requests.body(request, requests.Judge)
        domain = self._domain(asked.domain)  # before the pictures are read: it costs nothing
        target = await picture(asked.target, "target", self._config.data.max_pixels)
        render = await picture(asked.render, "render", self._config.data.max_pixels)
        try:
            return asdict(await self._judge.compare(target, render, domain))
        except ValueError as error:
            raise BadRequest("bad_image", " ".join(str(error).split())[:200]) from None

    def _domain(self, asked: requests.Domain | None) -> requests.Domain:
        """The domain that a client names. A client names no file: it would run as the server's own code."""
        own = self._config.data.domain
        if asked is None or asked == domains.find(own).name:
            return own
        if asked not in domains.shipped():
            known = ", ".join(dict.fromkeys((*domains.shipped(), domains.find(own).name)))
            raise BadRequest("bad_domain", f"`domain`: must be one of {known}", param="domain")
        return asked

    def _needs_inference(self) -> None:
        if self._inference is None:
            raise BadRequest("not_served", "this server has renderers and a judge, and no model", 404)


def build(args: dict[str, str]) -> Any:
    """Builder for `serve run` and `serve deploy`. Arguments: config=FILE, model=DIR or hub name, KEY=VALUE."""
    rest = dict(args)
    config = load(rest.pop("config", None), [f"{k}={v}" for k, v in rest.items() if k != "model"])
    return application(config, rest.get("model") or newest_model(config))


def services(args: dict[str, str]) -> Any:
    """Builder of renderers and judge without a model. Arguments: config=FILE, KEY=VALUE."""
    rest = dict(args)
    config = load(rest.pop("config", None), [f"{k}={v}" for k, v in rest.items()])
    return application(config, None)


def application(config: Config, model: str | None) -> Any:
    """Inference (with a `model`), renderer and judge, bound together."""
    from serving.inference.service import deployment as inference_deployment
    from serving.judge.service import deployment as judge_deployment
    from serving.render.service import deployment as render_deployment

    renderer, judge = render_deployment(config), judge_deployment(config)
    inference = inference_deployment(config, model, renderer, judge) if model is not None else None
    return Api.bind(config, inference, renderer, judge)  # type: ignore[attr-defined]


def newest_model(config: Config) -> str:
    """The newest checkpoint of the newest run; ConfigError where there is none."""
    run = Path(config.run.dir) / "latest"
    checkpoint = latest(run) if run.exists() else None
    if checkpoint is None:
        raise ConfigError(f"no checkpoint under {run}; train one first (make train) or name one: model=DIR")
    return str(checkpoint.resolve())


def free_port(host: str, port: int) -> None:
    """Raises ConfigError where host:port cannot be bound."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"{host}:{port}: {getattr(error, 'strerror', None) or error}; choose another with http.port=PORT"
            ) from None


def host(file: str, overrides: Sequence[str]) -> None:
    """Serve until Ctrl-C or SIGTERM. `overrides` may name a `model=`. Raises ConfigError."""
    import ray

    named = [o.split("=", 1)[1] for o in overrides if o.startswith("model=")]
    config = load(file, [o for o in overrides if not o.startswith("model=")])
    model = named[0] if named else newest_model(config)
    free_port(config.http.host, config.http.port)
    os.environ.update(CALLBACK)  # of the processes that Ray starts from here
    try:
        if address := config.cluster.address or os.environ.get("RAY_ADDRESS", ""):
            ray.init(address=address, log_to_driver=False)
            heed_signals()
        else:  # "local": never the leftover of another cluster on this machine
            local_ray.start(config.cluster.logical_cpus)
        serve.start(http_options={"host": config.http.host, "port": config.http.port})
        print(f"starting {model}", flush=True)
        serve.run(application(config, model), name="rrvf", blocking=False)
        print(f"ready: http://{config.http.host}:{config.http.port}  (Ctrl-C stops)", flush=True)
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        print("stopping")
    finally:
        if ray.is_initialized():
            serve.shutdown()
            ray.shutdown()


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 stopped, 1 no Ray started here, 2 unusable input."""
    parser = argparse.ArgumentParser(prog="python -m serving.app", description="Serve the newest checkpoint over HTTP.")
    parser.add_argument("config", help="a YAML file of configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings; also model=DIR or hub name")
    args = parser.parse_args(argv)
    return run(lambda: host(args.config, args.overrides))


if __name__ == "__main__":
    sys.exit(main())
