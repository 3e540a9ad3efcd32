"""A library that builds its own ``openai.OpenAI`` and takes an ``http_client``: with ours it runs on Azure OpenAI.

As it stands this runs offline, against a FakeAzure on loopback. With AZURE_OPENAI_ENDPOINT (and AZURE_OPENAI_API_KEY,
unless this machine has an identity) set it runs against that resource; AZURE_OPENAI_DEPLOYMENT names the deployment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai

import azure_shim
from azure_shim.testing import FakeAzure

DEPLOYMENTS = {"gpt-4o": os.environ.get("AZURE_OPENAI_DEPLOYMENT", "prod-4o")}


def main() -> None:
    with azure_shim.http_client(deployments=DEPLOYMENTS) as http_client:  # where and who: from the environment
        print("called  ", Translator(api_key="unused", http_client=http_client).translate("Good morning"))
    asyncio.run(streamed())


async def streamed() -> None:
    async with azure_shim.async_http_client(deployments=DEPLOYMENTS) as http_client:
        translator = AsyncTranslator(api_key="unused", http_client=http_client)
        print("streamed", " ".join([f"[{piece.strip()}]" async for piece in translator.pieces("Good night")]))


# What follows stands for the library, which knows nothing of Azure.


class Translator:
    def __init__(self, api_key: str, http_client: Any = None) -> None:
        self._client = openai.OpenAI(api_key=api_key, http_client=http_client)

    def translate(self, text: str) -> str | None:
        answer = self._client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": text}])
        return answer.choices[0].message.content


class AsyncTranslator:
    def __init__(self, api_key: str, http_client: Any = None) -> None:
        self._client = openai.AsyncOpenAI(api_key=api_key, http_client=http_client)

    async def pieces(self, text: str) -> AsyncIterator[str]:
        chunks = await self._client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": text}], stream=True
        )
        async for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content


@contextlib.contextmanager
def azure() -> Iterator[None]:
    """The real service if its endpoint is set, else a FakeAzure; at its end, what came to that."""
    if os.environ.get("AZURE_OPENAI_ENDPOINT"):
        yield
        return
    with FakeAzure({"eastus": {"prod-4o": "gpt-4o"}}) as fake:
        os.environ["AZURE_OPENAI_ENDPOINT"] = fake["eastus"].endpoint
        os.environ["AZURE_OPENAI_API_KEY"] = fake["eastus"].api_key
        yield
        for request in fake.requests:
            print(f"to Azure: {request.method} {request.path}, deployment {request.deployment}")


if __name__ == "__main__":
    with azure():
        main()
