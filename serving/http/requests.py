"""What clients send: typed bodies, and the way from a request to one of them.

Guarantees: a body is checked in full before anything works on it; the first fault is named in one line with the setting
it is about; an unknown setting is a fault. Where a body is one thing (a picture, a program) it may be sent as it is,
with the settings in the query, or as a file of a form.
"""

from typing import Annotated, Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from actors.text import one_line
from serving.http.errors import BadRequest

Domain = Annotated[str, Field(description="a shipped domain, or the name of the run's own; default: the run's")]
Picture = Annotated[str, Field(description="PNG, JPEG, WebP, AVIF, GIF, BMP or TIFF as base64 or data URL")]
PICTURES = {"image": "image", "target": "image", "render": "image"}  # settings that are pictures
Body = TypeVar("Body", bound=BaseModel)
TAG = "~"  # marks the branches of a union, which pydantic counts among a fault's place
FORM_FIELDS = 16  # of one form


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, json_schema_extra={"additionalProperties": False})


class ImageToCode(Strict):
    image: Picture
    turns: int = Field(1, ge=1, le=64, description="1 answers at once; more refine with render and feedback")
    stream: bool | None = Field(None, description="server-sent events; also by `Accept: text/event-stream`")


class Render(Strict):
    source: str = Field(min_length=1, description="a source of the domain: a Matplotlib program, a page")
    domain: Domain | None = None


class Judge(Strict):
    target: Picture
    render: Picture
    domain: Domain | None = None


class Reload(Strict):
    model: str = Field("latest", min_length=1, description="a checkpoint's folder on the server, or `latest`")


def checked(kind: type[Body], raw: bytes) -> Body:
    """A JSON body as `kind`. Raises BadRequest that names the first fault."""
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise fault(error) from None


def fault(error: ValidationError) -> BadRequest:
    """The first fault of a body in one line."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = [str(part) for part in first["loc"] if not str(part).startswith(TAG)]
    if not where:
        message = "the body must be a JSON object" if first["type"] == "model_type" else "the body is not JSON"
        return BadRequest("not_json", message)
    name = one_line(".".join(where))[:100]
    if first["type"] == "extra_forbidden":
        return BadRequest("unknown_setting", f"`{name}` is not supported", param=name)
    missing = first["type"] in ("missing", "string_too_short", "too_short")
    about = one_line(PICTURES.get(where[0], where[0]))[:50]
    message = f"`{name}`: {first['msg'][0].lower()}{first['msg'][1:200]}"
    return BadRequest(f"{'no' if missing else 'bad'}_{about}", message, param=name)


async def body(request: Request, kind: type[Body], alone: str | None = None) -> tuple[Body, bytes | None]:
    """The request's body as `kind`; with `alone` also as that one thing, whose bytes come second."""
    raw = await request.body()
    media = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if alone is None or media == "application/json" or media.endswith("+json"):
        return checked(kind, raw), None
    if media == "multipart/form-data":
        return await _form(request, kind, alone)
    if not raw:
        raise BadRequest(f"no_{alone}", f"send {alone} as the body, or JSON with `{alone}`", param=alone)
    settings: dict[str, Any] = {k: v for k, v in request.query_params.items() if k in kind.model_fields and k != alone}
    try:
        return kind.model_validate({alone: "-", **settings}), raw
    except ValidationError as error:
        raise fault(error) from None


async def _form(request: Request, kind: type[Body], alone: str) -> tuple[Body, bytes | None]:
    """A form: `alone` as a file or a field, the settings as fields (`curl -F image=@chart.png -F turns=2`)."""
    try:
        async with request.form(max_files=1, max_fields=FORM_FIELDS, max_part_size=2**30) as form:
            settings: dict[str, Any] = {k: v for k, v in form.items() if isinstance(v, str)}
            files = [(k, await v.read()) for k, v in form.items() if isinstance(v, UploadFile)]
    except HTTPException as error:
        raise BadRequest("bad_form", f"the form cannot be read: {one_line(str(error.detail))}") from None
    name, raw = files[0] if files else (alone, None)
    name = one_line(name)
    if name != alone:
        raise BadRequest(
            "unknown_setting", f"`{name[:100]}` is not supported: send the file as `{alone}`", param=name[:100]
        )
    if raw is not None:
        settings[alone] = "-"
    try:
        return kind.model_validate(settings), raw
    except ValidationError as error:
        raise fault(error) from None
