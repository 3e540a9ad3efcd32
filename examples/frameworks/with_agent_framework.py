"""Microsoft's Agent Framework (``pip install azure-shim agent-framework-openai``): its clients take a ready client.

So does its `OpenAIChatClient`, which is that of the Responses API.
"""

from __future__ import annotations

import asyncio

from agent_framework import Agent
from agent_framework_openai import OpenAIChatCompletionClient
from offline import DEPLOYMENTS, azure
from pydantic import BaseModel

import azure_shim


class City(BaseModel):
    name: str
    inhabitants: int


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


async def main() -> None:
    # Where and who: from the environment. Without a key, whoever this machine is: `az login`, a managed identity, ...
    async with azure_shim.AsyncOpenAI(deployments=DEPLOYMENTS) as client:
        agent = Agent(OpenAIChatCompletionClient(model="gpt-4o", async_client=client), "Be brief.", tools=[weather])
        print("tool:    ", (await agent.run("What is the weather in Oslo? Please use the tool.")).text)
        pieces = agent.run("Count to five.", stream=True)
        print("streamed:", " ".join([f"[{piece.text.strip()}]" async for piece in pieces if piece.text]))
        shaped = await agent.run("The largest city of Norway?", options={"response_format": City})
        print("shaped:  ", repr(shaped.value))


if __name__ == "__main__":
    with azure():
        asyncio.run(main())
