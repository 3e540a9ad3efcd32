"""Pydantic AI (``pip install azure-shim 'pydantic-ai-slim[openai]'``): its OpenAI provider takes a ready client."""

from __future__ import annotations

import asyncio

from offline import DEPLOYMENTS, azure
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

import azure_shim


class City(BaseModel):
    name: str
    inhabitants: int


async def main() -> None:
    # Where and who: from the environment. Without a key, whoever this machine is: `az login`, a managed identity, ...
    async with azure_shim.AsyncOpenAI(deployments=DEPLOYMENTS) as client:
        model = OpenAIChatModel("gpt-4o", provider=OpenAIProvider(openai_client=client))

        agent = Agent(model)

        @agent.tool_plain
        def weather(city: str) -> str:
            """The weather in a city."""
            return f"sunny in {city}"

        result = await agent.run("What is the weather in Oslo? Please use the tool.")
        print("tool:    ", result.output)

        print("streamed: ", end="")
        async with Agent(model).run_stream("Count to five.") as stream:
            async for text in stream.stream_text(delta=True, debounce_by=None):
                print(f"[{text.strip()}]", end="")
        print()

        print("shaped:  ", repr((await Agent(model, output_type=City).run("The largest city of Norway?")).output))


if __name__ == "__main__":
    with azure():
        asyncio.run(main())
