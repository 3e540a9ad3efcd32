"""litellm (``pip install azure-shim litellm``): its functions take a ready client.

``litellm.responses()`` does not: it has an HTTP stack of its own, which a patch does not reach either.
"""

from __future__ import annotations

import asyncio
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it fetches its price list when it is imported

import litellm
from offline import DEPLOYMENTS, azure
from pydantic import BaseModel

import azure_shim


class City(BaseModel):
    name: str
    inhabitants: int


def main() -> None:
    # Where and who: from the environment. Without a key, whoever this machine is: `az login`, a managed identity, ...
    with azure_shim.OpenAI(deployments=DEPLOYMENTS) as client:
        answer = litellm.completion("openai/gpt-4o", asked("Say hello to Azure."), client=client)
        print("answered:", answer.choices[0].message.content)
        answer = litellm.completion(
            "openai/gpt-4o", asked("The largest city of Norway?"), client=client, response_format=City
        )
        print("shaped:  ", repr(City.model_validate_json(answer.choices[0].message.content)))


async def streamed() -> None:
    async with azure_shim.AsyncOpenAI(deployments=DEPLOYMENTS, drop_empty_choice_chunks=True) as client:
        chunks = await litellm.acompletion("openai/gpt-4o", asked("Count to five."), client=client, stream=True)
        texts = [chunk.choices[0].delta.content async for chunk in chunks]
        print("streamed:", " ".join(f"[{text.strip()}]" for text in texts if text))


def asked(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


if __name__ == "__main__":
    with azure():
        main()
        asyncio.run(streamed())
