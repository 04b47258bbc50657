"""How every error looks on the wire.

Guarantees: one JSON form, which OpenAI's clients read as theirs: `{"error": {"kind", "message", "type", "param",
"code"}}` (`code` is the kind); a message is one line and holds no address, no path and no trace of ours; 429 and 503
say in Retry-After when to come back.
"""

import json
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, RayServeException
from starlette.exceptions import HTTPException

from actors.contracts import Outage

log = logging.getLogger("ray.serve")
TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class ErrorBody(BaseModel):
    kind: str
    message: str
    type: str
    param: str | None = None
    code: str


class Error(BaseModel):
    error: ErrorBody


class BadRequest(Exception):
    """What the client can change; `status` is the HTTP status, `param` the setting it is about."""

    def __init__(self, kind: str, message: str, status: int = 400, param: str | None = None, wait_s: int = 0) -> None:
        super().__init__(kind, message, status, param, wait_s)  # as it is: it also travels between processes
        self.kind = kind
        self.message = message
        self.status = status
        self.param = param
        self.wait_s = wait_s

    def __str__(self) -> str:
        return self.message


def problem(status: int, kind: str, message: str, param: str | None = None, wait_s: int = 0) -> JSONResponse:
    """The answer for one error. `wait_s`: seconds until another try has a chance."""
    kind_of = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    wait_s = wait_s or (2 if status == 503 else 0)
    body = {"kind": kind, "message": message, "type": kind_of, "param": param, "code": kind}
    return JSONResponse({"error": body}, status, {"Retry-After": str(wait_s)} if wait_s else {})


def cause_of(error: BaseException) -> BaseException:
    """What a replica raised, out of what Ray wraps it in; a lost replica is an Outage, a full one BackPressureError."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, BackPressureError | Outage | BadRequest):
        return cause
    if isinstance(cause, RayError | RayServeException | TimeoutError):
        return Outage("serve", f"a replica was lost ({type(cause).__name__})")
    return cause


def answer(error: BaseException) -> JSONResponse:
    """The answer for an exception of any kind."""
    cause = cause_of(error)
    if isinstance(cause, BadRequest):
        return problem(cause.status, cause.kind, cause.message, cause.param, cause.wait_s)
    if isinstance(cause, BackPressureError):
        return problem(503, "overloaded", "too many requests are waiting; try again soon")
    if isinstance(cause, Outage):
        return problem(503, "outage", " ".join(str(cause).split())[:500])
    return problem(500, "internal", "the server failed; its log says how")


def described(error: BaseException) -> dict[str, Any]:
    """The same as the data of an `error` event, for an answer that has begun."""
    log.error("an answer broke off", exc_info=error)
    body = json.loads(bytes(answer(error).body))["error"]
    return {"kind": body["kind"], "message": body["message"]}


def install(api: FastAPI) -> None:
    """Let `api` answer its exceptions in this form."""

    async def refused(request: Request, error: Exception) -> JSONResponse:
        return answer(error)

    async def unknown(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        kind = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
        found = problem(error.status_code, kind, f"{request.method} {request.url.path[:200]}: {error.detail}")
        found.headers.update(error.headers or {})
        return found

    for kind in (BadRequest, BackPressureError, Outage, RayError, RayServeException, TimeoutError, Exception):
        api.add_exception_handler(kind, refused)
    api.add_exception_handler(HTTPException, unknown)
