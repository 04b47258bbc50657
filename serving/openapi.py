"""The description of the HTTP door (`/openapi.json`): request bodies, answers and errors with their types.

Guarantees: the types described are those that are checked (the same classes); every route names the errors it may
answer with.
"""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from serving.http.errors import Error
from serving.http.requests import ImageToCode, Judge, Reload, Render
from serving.inference.chat import Chat

BODIES: tuple[type[BaseModel], ...] = (ImageToCode, Render, Judge, Reload, Chat)
REFERENCE = "#/components/schemas/{model}"
WORDS = {
    400: "what was sent cannot be used",
    401: "no token, or a wrong one",
    403: "asked by a page of another site",
    408: "the body did not arrive in time",
    413: "too large",
    429: "too many requests of this client",
    503: "overloaded, or a part is down; see Retry-After",
}


class Finding(BaseModel):
    category: str
    severity: int
    where: str
    what: str


class Turn(BaseModel):
    kind: str
    text: str
    code: str | None
    picture: str | None
    failure: str | None
    score: float | None
    feedback: str | None
    differences: list[Finding]


class Answer(BaseModel):
    """Code of the last turn, its picture (base64 PNG), its similarity to the image (0..1), and every turn."""

    code: str | None
    picture: str | None
    similarity: float
    failure: str | None
    ending: str
    turns: list[Turn]


class Rendered(BaseModel):
    ok: bool
    seconds: float
    png: str | None
    size: list[int] | None
    kind: str | None
    message: str


class Judged(BaseModel):
    score: float
    feedback: str
    backend: str
    differences: list[Finding]
    sub_scores: dict[str, float]


class Reloaded(BaseModel):
    model: str
    version: int
    replicas: int
    pause_s: float


def takes(kind: type[BaseModel], alone: Sequence[str] = (), query: Sequence[str] = ()) -> dict[str, Any]:
    """openapi_extra of a route: a JSON body of `kind`, or with media types `alone` the thing itself, with some of its
    settings in the query, or a form with the thing as a file and the settings as fields."""
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": REFERENCE.format(model=kind.__name__)}}}
    for media in alone:
        content[media] = {"schema": {"type": "string", **({} if media.startswith("text/") else {"format": "binary"})}}
    if alone:
        file = next(name for name in kind.model_fields if name not in query)
        fields = kind.model_json_schema(ref_template=REFERENCE)["properties"]
        form = {file: {"type": "string", "format": "binary"}, **{n: fields[n] for n in query}}
        content["multipart/form-data"] = {"schema": {"type": "object", "properties": form, "required": [file]}}
    extra: dict[str, Any] = {"requestBody": {"required": True, "content": content}}
    settings = kind.model_json_schema(ref_template=REFERENCE)["properties"]
    if query:
        extra["parameters"] = [{"name": n, "in": "query", "required": False, "schema": settings[n]} for n in query]
    return extra


def gives(kind: type[BaseModel] | None = None, *media: str, errors: Sequence[int] = tuple(WORDS)) -> dict[Any, Any]:
    """`responses` of a route: its answer, as JSON or as other `media` too, and its errors."""
    good: dict[str, Any] = {"description": "done", **({"model": kind} if kind is not None else {})}
    if media:
        good["content"] = {m: {"schema": {"type": "string"}} for m in media}
    return {200: good, **{status: {"model": Error, "description": WORDS[status]} for status in errors}}


def describe(api: FastAPI) -> None:
    """Let `api` describe itself with the bodies above."""

    def description() -> dict[str, Any]:
        if api.openapi_schema is None:
            found = get_openapi(title=api.title, version=api.version, description=api.description, routes=api.routes)
            schemas = found.setdefault("components", {}).setdefault("schemas", {})
            for kind in BODIES:
                schema = kind.model_json_schema(ref_template=REFERENCE)
                schemas.update(schema.pop("$defs", {}))
                schemas[kind.__name__] = schema
            api.openapi_schema = found
        return api.openapi_schema

    api.openapi = description  # type: ignore[method-assign]
