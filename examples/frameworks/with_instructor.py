"""Instructor (``pip install azure-shim instructor``): it goes around a ready client, as around OpenAI's own."""

from __future__ import annotations

import asyncio

import instructor
from offline import DEPLOYMENTS, azure
from pydantic import BaseModel

import azure_shim


class City(BaseModel):
    name: str
    inhabitants: int


def main() -> None:
    # Where and who: from the environment. Without a key, whoever this machine is: `az login`, a managed identity, ...
    with azure_shim.OpenAI(deployments=DEPLOYMENTS) as client:
        city = instructor.from_openai(client, model="gpt-4o").create(
            response_model=City, messages=[{"role": "user", "content": "The largest city of Norway?"}]
        )
        print("shaped:  ", repr(city))


async def streamed() -> None:
    async with azure_shim.AsyncOpenAI(deployments=DEPLOYMENTS) as client:
        pieces = instructor.from_openai(client, model="gpt-4o").create_partial(
            response_model=City, messages=[{"role": "user", "content": "The second largest?"}]
        )
        async for piece in pieces:
            print("streamed:", repr(piece))


if __name__ == "__main__":
    with azure():
        main()
        asyncio.run(streamed())
