"""Legacy completions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from azure_shim.testing.answers.shared import (
    content_filter_results,
    count_tokens,
    greeting,
    now,
    pieces,
    prompt_filter_results,
    versioned,
)
from azure_shim.testing.call import Call
from azure_shim.testing.response import FakeResponse
from azure_shim.testing.sse import DONE, frame
from azure_shim.testing.store import new_id

__all__ = ["ANSWERERS"]


def create(call: Call) -> FakeResponse:
    prompts = _prompts(call.fields.get("prompt"))
    texts = [greeting(call, prompt) for prompt in prompts for _ in range(int(call.fields.get("n") or 1))]
    if call.wants_stream:
        return FakeResponse.events(_frames(call, texts))
    asked, said = sum(map(count_tokens, prompts)), sum(map(count_tokens, texts))
    choices = [
        {**_choice(index, text, "stop"), "content_filter_results": content_filter_results()}
        for index, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
    answer = {**_base(call), "choices": choices, "usage": usage, "prompt_filter_results": prompt_filter_results()}
    return FakeResponse.json(answer)


def _prompts(prompt: Any) -> list[str]:
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], str):
        return prompt
    return [prompt if isinstance(prompt, str) else ""]


def _base(call: Call) -> dict[str, Any]:
    model = versioned(call.model or "")
    return {"id": new_id("cmpl-"), "object": "text_completion", "created": now(), "model": model}


def _choice(index: int, text: str, finish_reason: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "finish_reason": finish_reason, "logprobs": None}


def _frames(call: Call, texts: list[str]) -> Iterator[bytes]:
    base = _base(call)
    prompt = {"id": "", "object": "", "created": 0, "model": "", "choices": []}
    yield frame({**prompt, "prompt_filter_results": prompt_filter_results()})
    for index, text in enumerate(texts):
        for piece in pieces(text, call.resource.chunks):
            yield frame({**base, "choices": [_choice(index, piece, None)]})
        yield frame({**base, "choices": [_choice(index, "", "stop")]})
    yield DONE


ANSWERERS = {"POST /completions": create}
