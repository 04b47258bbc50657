"""LiteLLM as one writes it: a picture, a stream, a second turn, an error. Arguments: URL MODEL PICTURE."""

import json
import sys

import litellm

url, model, picture = sys.argv[1:]
content = [{"type": "text", "text": "draw it"}, {"type": "image_url", "image_url": {"url": picture}}]
request = {
    "model": f"openai/{model}", "api_base": f"{url}/v1", "api_key": "-", "max_tokens": 12, "temperature": 0,
    "messages": [{"role": "user", "content": content}], "num_retries": 0, "timeout": 90,
}  # fmt: skip
whole = litellm.completion(**request)
text = whole.choices[0].message.content
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in litellm.completion(**request, stream=True))
turns = [*request["messages"], whole.choices[0].message.model_dump(), {"role": "user", "content": "again"}]
second = litellm.completion(**{**request, "messages": turns})
refused = ""
try:
    litellm.completion(**request, logit_bias={"5": 1})
except litellm.BadRequestError as error:
    refused = str(error)
found = {"whole": text, "streamed": streamed, "tokens": whole.usage.completion_tokens, "answers": len(second.choices)}
print(json.dumps(found | {"ending": whole.choices[0].finish_reason, "refused": refused}))
