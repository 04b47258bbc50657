"""`POST /v1/chat/completions` as OpenAI words it: what is taken of it, checked before the engine sees it.

Guarantees: a setting that would change the answer and is not supported is refused by name, one without effect is taken;
a message that came from here may be sent back as it is; every picture is decoded, checked and written anew, and comes
with the request: the server fetches nothing; a text cannot smuggle in control tokens of the model.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag

from actors.families.tokens import harmless
from serving.http.errors import BadRequest
from serving.http.lenient import Lenient
from serving.http.requests import TAG
from serving.http.uploads import picture
from serving.inference.events import encoded
from serving.inference.reasoning import restored

CHOICES = 8  # answers to one request
LOW_DETAIL = 512 * 512  # pixels of a picture with `detail`: low, as OpenAI has it
Stop = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class TextPart(Lenient):
    type: Literal["text"]
    text: str


class ImageUrl(Lenient):
    url: str = Field(description="a data URL: data:image/png;base64,...; nothing is fetched")
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Lenient):
    type: Literal["image_url"]
    image_url: ImageUrl


def _kind_of_part(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"{TAG}{kind}" if kind in ("text", "image_url") else None


def _kind_of_content(value: Any) -> str | None:
    return f"{TAG}text" if isinstance(value, str) else f"{TAG}parts" if isinstance(value, list) else None


Part = Annotated[
    Annotated[TextPart, Tag(f"{TAG}text")] | Annotated[ImagePart, Tag(f"{TAG}image_url")],
    Discriminator(_kind_of_part, "part", "a part is an object whose `type` is text or image_url"),
]
Content = Annotated[
    Annotated[str, Tag(f"{TAG}text")] | Annotated[list[Part], Tag(f"{TAG}parts")],
    Discriminator(_kind_of_content, "content", "content is a text or a list of parts"),
]


class Message(Lenient):
    role: Literal["system", "developer", "user", "assistant"]
    content: Content | None = Field(None, description="null for an assistant's empty message alone")
    name: str | None = None
    reasoning_content: str | None = Field(None, description="of an assistant's message: goes before its content")


class StreamOptions(Lenient):
    include_usage: bool = False


class Chat(Lenient):
    without_effect: ClassVar[dict[str, tuple[Any, ...] | None]] = {
        "response_format": ({"type": "text"},),
        "tool_choice": ("none", "auto"),  # there are no tools
        "function_call": ("none", "auto"),
        "parallel_tool_calls": (True,),
        "modalities": (["text"],),
        "service_tier": ("auto", "default"),
        "reasoning_effort": ("none",),
        "metadata": None,  # nothing is stored
        "safety_identifier": None,
        "prompt_cache_key": None,
        "prompt_cache_retention": None,
    }
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
    n: int | None = Field(None, ge=1, le=CHOICES)
    user: str | None = Field(None, description="ignored")


async def prepared(chat: Chat, control: tuple[str, ...], max_pixels: int, most_images: int) -> dict[str, Any]:
    """`chat` as the engine takes it: pictures as PNG data URLs, `control` tokens in texts broken up. Raises BadRequest.

    `most_images`: what one prompt may hold. A developer's message becomes a system message, which templates know.
    """
    if chat.top_logprobs and not chat.logprobs:
        raise BadRequest("bad_top_logprobs", "`top_logprobs` needs `logprobs`: true", param="top_logprobs")
    if chat.stream_options is not None and chat.stream_options.include_usage and not chat.stream:
        raise BadRequest("bad_stream_options", "`stream_options` needs `stream`: true", param="stream_options")
    pictures = 0
    messages: list[dict[str, Any]] = []
    for number, message in enumerate(chat.messages):
        role = "system" if message.role == "developer" else message.role
        if message.content is None and role != "assistant":
            name = f"messages.{number}.content"
            raise BadRequest("no_messages", f"`{name}`: a {message.role}'s message has a content", param=name)
        if isinstance(message.content, str | None):
            text = message.content or ""
            if message.reasoning_content and role == "assistant":
                text = restored(message.reasoning_content, text)
            messages.append({"role": role, "content": harmless(text, control)})
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
                why = "send the image itself as a data URL; this server fetches nothing"
                raise BadRequest("bad_image", f"`{name}`: {why}", param=name)
            most = min(max_pixels, LOW_DETAIL) if part.image_url.detail == "low" else max_pixels
            png = await picture(part.image_url.url, name, most)
            parts.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded(png)}"}})
        messages.append({"role": role, "content": parts})
    settings = chat.model_dump(exclude_none=True, exclude={"messages", "user"})
    if not chat.stream:
        settings.pop("stream_options", None)
    if not chat.logprobs:
        settings.pop("top_logprobs", None)
    return {**settings, "messages": messages}
