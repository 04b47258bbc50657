"""In which form an OpenAI-compatible endpoint takes a question: learned from what it refuses, once for each endpoint.

Guarantees: the form starts with everything an endpoint may know (structured output, temperature, seed, max_tokens) and
only what it refuses is left out, one part a refusal, so that the search ends; a refusal that names no part of the form
(a wrong key, an unknown model) is none of the form's.
"""

import base64
import copy
import json
from dataclasses import dataclass, replace
from typing import Any, Literal

from serving.judge.mllm_question import MAX_TOKENS, Question

BOUNDS = ("maxLength", "maxItems", "minLength", "minItems")
Structure = Literal["schema", "plain schema", "object", "words"]
LOOSER: dict[Structure, Structure] = {"schema": "plain schema", "plain schema": "object", "object": "words"}


@dataclass(frozen=True)
class Form:
    """`structure` is how JSON is asked for; `tokens` the name of the limit ("" sends none)."""

    structure: Structure = "schema"
    tokens: str = "max_tokens"
    temperature: bool = True
    seed: bool = True
    limit: int = MAX_TOKENS

    def after(self, refusal: str) -> "Form | None":
        """The form to try after an HTTP 400 or 422 with this text; None where the text speaks of nothing in it."""
        text = refusal.lower()
        if "max_tokens" in text and self.tokens == "max_tokens":
            return replace(self, tokens="max_completion_tokens")
        if "max_completion_tokens" in text and self.tokens == "max_completion_tokens":
            return replace(self, tokens="")
        if "temperature" in text and self.temperature:
            return replace(self, temperature=False)
        if "seed" in text and self.seed:
            return replace(self, seed=False)
        if any(word.lower() in text for word in (*BOUNDS, "additionalproperties")) and self.structure == "schema":
            return replace(self, structure="plain schema")
        named = ("response_format", "json_schema", "json_object", "schema", "structured", "grammar", "guided")
        if any(word in text for word in named) and self.structure in LOOSER:
            return replace(self, structure=LOOSER["plain schema" if "json_schema" in text else self.structure])
        return None

    def longer(self) -> "Form":
        """With room for twice as long an answer, up to eight times the usual."""
        return replace(self, limit=min(2 * self.limit, 8 * MAX_TOKENS))


def body(model: str, question: Question, form: Form) -> dict[str, Any]:
    """The JSON body of a chat completion."""
    closing = question.closing
    if form.structure in ("object", "words"):
        closing += f" The answer is one JSON object of this schema and nothing else: {json.dumps(question.schema)}"
    content = [part for heading, png in question.shown for part in (_words(heading), _picture(png))]
    content.append(_words(closing))
    made: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "system", "content": question.system}, {"role": "user", "content": content}],
    }
    if form.temperature:
        made["temperature"] = question.temperature
    if form.seed:
        made["seed"] = question.seed
    if form.tokens:
        made[form.tokens] = form.limit
    if form.structure in ("schema", "plain schema"):
        schema = question.schema if form.structure == "schema" else unbounded(question.schema)
        made["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "verdict", "strict": True, "schema": schema},
        }
    elif form.structure == "object":
        made["response_format"] = {"type": "json_object"}
    return made


def unbounded(schema: Any) -> Any:
    """A schema without bounds of lengths."""
    if isinstance(schema, dict):
        return {key: unbounded(value) for key, value in schema.items() if key not in BOUNDS}
    if isinstance(schema, list):
        return [unbounded(value) for value in schema]
    return copy.copy(schema)


def _words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _picture(png: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(png).decode()}"}}
