"""AutoGen (``pip install azure-shim autogen-agentchat autogen-ext[openai]``): its model takes an HTTP client."""

from __future__ import annotations

import asyncio
import warnings

from autogen_agentchat.agents import AssistantAgent
from autogen_core.models import UserMessage
from autogen_ext.models.openai import OpenAIChatCompletionClient
from offline import DEPLOYMENTS, azure

import azure_shim


async def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


async def main() -> None:
    # AutoGen thinks that "gpt-4o" is the version that OpenAI serves; a deployment has a version of its own.
    warnings.filterwarnings("ignore", message="Resolved model mismatch")

    # Where and who: from the environment. Without a key, whoever this machine is: `az login`, a managed identity, ...
    async with azure_shim.async_http_client(deployments=DEPLOYMENTS) as http_client:
        model = OpenAIChatCompletionClient(model="gpt-4o", api_key="unused", http_client=http_client)

        agent = AssistantAgent("guide", model, tools=[weather], reflect_on_tool_use=True)
        result = await agent.run(task="What is the weather in Oslo? Please use the tool.")
        print("tool:    ", result.messages[-1].to_text())

        pieces = model.create_stream([UserMessage(content="Count to five.", source="user")])
        print("streamed:", " ".join([f"[{piece.strip()}]" async for piece in pieces if isinstance(piece, str)]))


if __name__ == "__main__":
    with azure():
        asyncio.run(main())
