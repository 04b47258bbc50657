"""`POST /v1/chat/completions` as OpenAI words it: what is taken of it, checked before the engine sees it.

Guarantees: a setting that would change the answer and is not supported is refused, not ignored; every picture is
decoded, checked and written anew, and comes with the request: the server fetches nothing; a text cannot smuggle in
control tokens of the model.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from actors.dialogue import VISION
from serving.http.errors import BadRequest
from serving.http.requests import Strict
from serving.http.uploads import picture
from serving.inference.events import encoded

Stop = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class TextPart(Strict):
    type: Literal["text"]
    text: str


class ImageUrl(Strict):
    url: str = Field(description="a data URL: data:image/png;base64,...; nothing is fetched")
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Strict):
    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(Strict):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]
    name: str | None = None


class StreamOptions(Strict):
    include_usage: bool = False


class Chat(Strict):
    messages: list[Message] = Field(min_length=1, max_length=256)
    model: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_completion_tokens: int | None = Field(None, ge=1, le=2**31)
    max_tokens: int | None = Field(None, ge=1, le=2**31, description="the older name of max_completion_tokens")
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    n: Annotated[int, Field(ge=1, le=1)] | None = Field(None, description="one answer a request")
    user: str | None = Field(None, description="ignored")


async def prepared(chat: Chat, control: Sequence[str], max_pixels: int, most_images: int) -> dict[str, Any]:
    """`chat` as the engine takes it: pictures as PNG data URLs, `control` tokens in texts broken up. Raises BadRequest.

    `most_images`: what one prompt may hold. Roles that templates do not know are told as those they do.
    """
    if chat.top_logprobs is not None and not chat.logprobs:
        raise BadRequest("bad_top_logprobs", "`top_logprobs` needs `logprobs`: true", param="top_logprobs")
    if chat.stream_options is not None and not chat.stream:
        raise BadRequest("bad_stream_options", "`stream_options` needs `stream`: true", param="stream_options")
    pictures = 0
    messages: list[dict[str, Any]] = []
    for number, message in enumerate(chat.messages):
        role = "system" if message.role == "developer" else message.role
        if isinstance(message.content, str):
            messages.append({"role": role, "content": harmless(message.content, control)})
            continue
        parts: list[dict[str, Any]] = []
        for place, part in enumerate(message.content):
            name = f"messages.{number}.content.{place}"
            if isinstance(part, TextPart):
                parts.append({"type": "text", "text": harmless(part.text, control)})
                continue
            pictures += 1
            if role != "user":
                raise BadRequest("bad_messages", f"`{name}`: only a user's message has images", param=name)
            if pictures > most_images:
                raise BadRequest("too_many_images", f"a conversation may have {most_images} images", param=name)
            if not part.image_url.url.startswith("data:"):
                said = "send the image itself as a data URL; this server fetches nothing"
                raise BadRequest("bad_image", f"`{name}`: {said}", param=name)
            png = await picture(part.image_url.url, name, max_pixels)
            parts.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded(png)}"}})
        messages.append({"role": role, "content": parts})
    settings = chat.model_dump(exclude_none=True, exclude={"messages", "user", "n"})
    return {**settings, "messages": messages}


def harmless(text: str, control: Sequence[str]) -> str:
    """`text` in which nothing is read as a control token: an image placeholder without an image corrupts a prompt."""
    for token in {*control, *VISION}:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
