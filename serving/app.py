"""The Serve application that people and scripts touch: inference, renderer and judge behind one HTTP door.

    python -m serving.app CONFIG [key=value ...]                       (make serve: the newest checkpoint)
    serve run serving.app:build config=configs/tiny_chart.yaml model=DIR

Guarantees: binds to loopback unless told otherwise; every error is JSON `{"error": {"kind", "message"}}` with a status
that fits (400 unusable, 401 no token, 413 too large, 503 overloaded or an outage, with Retry-After); input is checked
before a model, a browser or a program sees it.
"""

import argparse
import base64
import binascii
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from ray import serve
from ray.serve.exceptions import BackPressureError
from starlette.middleware.base import RequestResponseEndpoint

from actors.contracts import Outage
from actors.images import normalise
from configs.load import ConfigError, load
from configs.runs import latest
from configs.schema import Config
from serving.events import frame

EVENTS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
api = FastAPI(title="rrvf", description="Image to code, rendering and judging", docs_url="/docs")


class BadRequest(ValueError):
    """What the client can change; `status` is the HTTP status."""

    def __init__(self, kind: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status


def problem(status: int, kind: str, message: str) -> JSONResponse:
    headers = {"Retry-After": "2"} if status == 503 else {}
    return JSONResponse({"error": {"kind": kind, "message": message}}, status, headers)


async def followed(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    """The events of a stream whose first is known; a lost engine ends it as an event, too."""
    yield first
    try:
        async for text in rest:
            yield text
    except Exception as error:
        yield frame("error", {"kind": "outage", "message": f"the engine was lost ({type(error).__name__})"})


@serve.deployment(name="Api", max_ongoing_requests=256, health_check_period_s=5)
@serve.ingress(api)
class Api:
    """The HTTP door. Handles answer; this class checks, decodes and words errors."""

    def __init__(self, config: Config, inference: Any, renderer: Any, judge: Any) -> None:
        from serving.judge import JudgeClient
        from serving.render import RenderClient

        self._config = config
        self._inference = inference
        self._renderer = RenderClient(renderer, config)
        self._judge = JudgeClient(judge, config)
        limit = config.http.max_body_mb * 2**20
        token = config.http.token

        @api.middleware("http")
        async def guard(request: Request, proceed: RequestResponseEndpoint) -> Response:
            if token and request.headers.get("authorization") != f"Bearer {token}" and request.url.path != "/health":
                return problem(401, "unauthorized", "send `Authorization: Bearer TOKEN` (http.token)")
            length = request.headers.get("content-length", "")
            if length.isdigit() and int(length) > limit:
                return problem(413, "too_large", f"a body may have {config.http.max_body_mb} MB (http.max_body_mb)")
            try:
                return await proceed(request)
            except BadRequest as error:
                return problem(error.status, error.kind, str(error))
            except BackPressureError:
                return problem(503, "overloaded", "too many requests are waiting; try again soon")
            except Outage as error:
                return problem(503, "outage", str(error))

    @api.get("/health")
    async def health(self) -> dict[str, Any]:
        """Model, version and load of the engine, counts of renderer and judge, layers of the jail; 503 while one of
        them is not ready."""
        about = await self._inference.about.remote() if self._inference is not None else {}
        renderer = await self._renderer.about(self._config.data.domain)  # type: ignore[arg-type]
        return {"status": "ok", "time": time.time(), **about, "renderer": renderer, "judge": await self._judge.about()}

    @api.post("/v1/image-to-code")
    async def image_to_code(self, request: Request) -> Response:
        """`{"image": base64 or data URL, "turns": 1, "stream": false}` or the image itself as body (turns as query).

        With `stream`, or where the client accepts `text/event-stream`: server-sent events (see serving.events).
        """
        body = await self._body(request, binary="image")
        image = self._image(body, "image")
        turns = body.get("turns", request.query_params.get("turns", 1))
        most = self._config.rollout.max_turns
        if not str(turns).isdigit() or not 1 <= int(turns) <= most:
            raise BadRequest("bad_turns", f"turns must be 1 to {most}")
        stream = body.get("stream", "text/event-stream" in request.headers.get("accept", ""))
        if not isinstance(stream, bool):
            raise BadRequest("bad_stream", "stream must be true or false")
        if not stream:
            return JSONResponse(await self._inference.image_to_code.remote(image, int(turns)))
        frames = self._inference.options(stream=True).stream.remote(image, int(turns))
        first = await anext(frames)  # what is refused is refused before the answer begins
        return StreamingResponse(followed(first, frames), media_type="text/event-stream", headers=EVENTS)

    @api.post("/render")
    async def render(self, request: Request) -> dict[str, Any]:
        """`{"source": text, "domain": "chart" | "web"}` or the source itself as body (domain as query)."""
        body = await self._body(request, binary="source")
        source = body.get("source")
        domain = body.get("domain", request.query_params.get("domain", self._config.data.domain))
        if not isinstance(source, str) or not source.strip():
            raise BadRequest("no_source", "send the program or page as `source`")
        if domain not in ("chart", "web"):
            raise BadRequest("bad_domain", "domain must be chart or web")
        if len(source.encode()) > self._config.render.sandbox.max_source_bytes:
            raise BadRequest(
                "too_large", f"a source may have {self._config.render.sandbox.max_source_bytes} bytes", 413
            )
        found = asdict(await self._renderer.render(source, domain))
        found["png"] = base64.b64encode(found["png"]).decode() if found["png"] is not None else None
        return found

    @api.post("/judge")
    async def judge(self, request: Request) -> dict[str, Any]:
        """`{"target": base64, "render": base64, "domain": "chart"}`: likeness and differences of two images."""
        body = await self._body(request)
        domain = body.get("domain", self._config.data.domain)
        if domain not in ("chart", "web"):
            raise BadRequest("bad_domain", "domain must be chart or web")
        target, render = self._image(body, "target"), self._image(body, "render")
        return asdict(await self._judge.compare(target, render, domain))

    async def _body(self, request: Request, binary: str = "") -> dict[str, Any]:
        """The JSON object of a request, or its raw body under the name `binary`."""
        raw = b""
        async for chunk in request.stream():  # a body without a length is counted as it comes
            raw += chunk
            if len(raw) > self._config.http.max_body_mb * 2**20:
                limit = self._config.http.max_body_mb
                raise BadRequest("too_large", f"a body may have {limit} MB (http.max_body_mb)", 413)
        kind = request.headers.get("content-type", "").split(";")[0]
        if binary and kind != "application/json":
            return {binary: raw if binary == "image" else raw.decode("utf-8", "replace")}
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            raise BadRequest("not_json", "the body is not JSON") from None
        if not isinstance(body, dict):
            raise BadRequest("not_json", "the body must be a JSON object")
        return body

    def _image(self, body: dict[str, Any], key: str) -> bytes:
        value = body.get(key)
        if isinstance(value, str):
            try:
                value = base64.b64decode(value.split(",", 1)[-1], validate=True)
            except (binascii.Error, ValueError):
                raise BadRequest("bad_image", f"`{key}` is not base64") from None
        if not isinstance(value, bytes) or not value:
            raise BadRequest("no_image", f"send an image as `{key}` (base64)")
        try:
            return normalise(value, self._config.data.max_pixels)
        except ValueError as error:
            raise BadRequest("bad_image", f"`{key}`: {error}") from None


def build(args: dict[str, str]) -> Any:
    """Builder for `serve run` and `serve deploy`. Arguments: config=FILE, model=DIR or hub name, KEY=VALUE."""
    rest = dict(args)
    config = load(rest.pop("config", None), [f"{k}={v}" for k, v in rest.items() if k != "model"])
    return application(config, rest.get("model") or newest_model(config))


def application(config: Config, model: str) -> Any:
    """Inference, renderer and judge, bound together."""
    from serving.inference import Inference
    from serving.judge import deployment as judge_deployment
    from serving.render import deployment as render_deployment

    renderer, judge = render_deployment(config), judge_deployment(config)
    engine = config.engine
    actor = {"num_cpus": engine.cpus, "num_gpus": engine.gpus}
    inference = Inference.options(ray_actor_options=actor).bind(model, config, renderer, judge)  # type: ignore[attr-defined]
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
        except OSError as error:
            raise ConfigError(f"{host}:{port}: {error.strerror}; choose another with http.port=PORT") from None


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m serving.app", description="Serve the newest checkpoint over HTTP.")
    parser.add_argument("config", help="a YAML file of configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings; also model=DIR or hub name")
    args = parser.parse_args(argv)
    import ray

    try:
        named = [o.split("=", 1)[1] for o in args.overrides if o.startswith("model=")]
        config = load(args.config, [o for o in args.overrides if not o.startswith("model=")])
        model = named[0] if named else newest_model(config)
        free_port(config.http.host, config.http.port)
        if address := config.cluster.address or os.environ.get("RAY_ADDRESS", ""):
            ray.init(address=address, log_to_driver=False)
        else:  # "local": never the leftover of another cluster on this machine
            ray.init(
                address="local",
                num_cpus=config.cluster.logical_cpus,
                include_dashboard=False,
                log_to_driver=False,
            )
        serve.start(http_options={"host": config.http.host, "port": config.http.port})
        print(f"starting {model}", flush=True)
        serve.run(application(config, model), name="rrvf", blocking=False)
        print(f"ready: http://{config.http.host}:{config.http.port}  (Ctrl-C stops)", flush=True)
        while True:
            time.sleep(1)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopping")
        return 0
    finally:
        if ray.is_initialized():
            serve.shutdown()
            ray.shutdown()


if __name__ == "__main__":
    sys.exit(main())
