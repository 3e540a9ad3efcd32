"""agno (``pip install azure-shim agno httpx``): its models take ready clients, one for each colour."""

from __future__ import annotations

import asyncio

from agno.agent import Agent
from agno.models.openai import OpenAIChat
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
    with azure_shim.OpenAI(deployments=DEPLOYMENTS) as client:
        async with azure_shim.AsyncOpenAI(deployments=DEPLOYMENTS) as async_client:
            model = OpenAIChat("gpt-4o", client=client, async_client=async_client)

            agent = Agent(model=model, tools=[weather], telemetry=False)
            print("tool:    ", agent.run("What is the weather in Oslo? Please use the tool.").content)
            pieces = agent.arun("Count to five.", stream=True)
            print("streamed:", " ".join([f"[{piece.content.strip()}]" async for piece in pieces if piece.content]))

            shaped = Agent(model=model, output_schema=City, telemetry=False).run("The largest city of Norway?")
            print("shaped:  ", repr(shaped.content))


if __name__ == "__main__":
    with azure():
        asyncio.run(main())
