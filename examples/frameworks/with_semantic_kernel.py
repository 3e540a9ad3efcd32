"""Semantic Kernel (``pip install azure-shim semantic-kernel``): its OpenAI services take a ready client."""

from __future__ import annotations

import asyncio

from offline import DEPLOYMENTS, azure
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
from semantic_kernel.functions import kernel_function

import azure_shim


class Skies:
    @kernel_function(description="The weather in a city.")
    def weather(self, city: str) -> str:
        return f"sunny in {city}"


async def main() -> None:
    # Where and who: from the environment. Without a key, whoever this machine is: `az login`, a managed identity, ...
    async with azure_shim.AsyncOpenAI(deployments=DEPLOYMENTS) as client:
        service = OpenAIChatCompletion(ai_model_id="gpt-4o", async_client=client)
        agent = ChatCompletionAgent(service=service, name="Guide", instructions="Be brief.", plugins=[Skies()])
        print("tool:    ", await agent.get_response("What is the weather in Oslo? Please use the tool."))
        pieces = agent.invoke_stream("Count to five.")
        print("streamed:", " ".join([f"[{str(piece).strip()}]" async for piece in pieces if str(piece)]))


if __name__ == "__main__":
    with azure():
        asyncio.run(main())
