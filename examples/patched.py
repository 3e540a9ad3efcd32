"""A program whose libraries build their own clients, out of reach: one line, before or after they are imported.

The same without any line, for a program that you cannot or will not change::

    python -m azure_shim run program.py

As it stands this runs offline, against a FakeAzure on loopback. With AZURE_OPENAI_ENDPOINT (and AZURE_OPENAI_API_KEY,
unless this machine has an identity) set it runs against that resource; AZURE_OPENAI_DEPLOYMENT names the deployment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator

import openai
from openai import AsyncOpenAI, OpenAI

import azure_shim
from azure_shim.testing import FakeAzure

DEPLOYMENTS = {"gpt-4o": os.environ.get("AZURE_OPENAI_DEPLOYMENT", "prod-4o")}


def main() -> None:
    print("1. Patched: whoever builds a client from now on, in the whole process.")
    azure_shim.patch(deployments=DEPLOYMENTS)  # where and who: from the environment
    print(f"   {ask('Who are you?')}")
    print(f"   {asyncio.run(ask_async('And who are you?'))}")
    print(f"   {ask_the_module('And you?')}")
    azure_shim.unpatch()

    print("2. Patched in this context only: other threads and tasks are as they were.")
    with azure_shim.patched(deployments=DEPLOYMENTS):
        print(f"   {ask('Who are you now?')}")
    print(f"   afterwards a client goes to {OpenAI(api_key='sk-of-openai').base_url.host}")


# What follows stands for the libraries. They know nothing of Azure, and have long taken the names that they need.


def ask(question: str) -> str | None:
    with OpenAI() as client:
        answer = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": question}])
    return answer.choices[0].message.content


async def ask_async(question: str) -> str:
    async with AsyncOpenAI() as client:
        chunks = await client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": question}], stream=True
        )
        # Azure's first chunk has no choices, which code written for OpenAI does not expect: it is left out here.
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])


def ask_the_module(question: str) -> str | None:
    answer = openai.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": question}])
    return answer.choices[0].message.content


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
        print(f"{len(fake.requests)} requests came to Azure, to the deployments", {r.deployment for r in fake.requests})


if __name__ == "__main__":
    with azure():
        main()
