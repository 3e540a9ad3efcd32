"""The OpenAI Agents SDK (``pip install azure-shim openai-agents``): its default client is ours."""

from __future__ import annotations

import asyncio

from agents import Agent, Runner, function_tool, set_default_openai_client, set_tracing_disabled
from offline import DEPLOYMENTS, azure
from openai.types.responses import ResponseTextDeltaEvent

import azure_shim


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


async def main() -> None:
    # Where and who: from the environment. Without a key, whoever this machine is: `az login`, a managed identity, ...
    async with azure_shim.AsyncOpenAI(deployments=DEPLOYMENTS) as client:
        set_default_openai_client(client, use_for_tracing=False)
        set_tracing_disabled(True)  # the traces would go to OpenAI, with a key of OpenAI's

        agent = Agent(name="Guide", instructions="Be brief.", model="gpt-4o", tools=[weather])
        result = await Runner.run(agent, "What is the weather in Oslo? Please use the tool.")
        print("tool:    ", result.final_output)

        print("streamed: ", end="")
        async for event in Runner.run_streamed(agent, "Count to five.").stream_events():
            if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent):
                print(f"[{event.data.delta.strip()}]", end="")
        print()


if __name__ == "__main__":
    with azure():
        asyncio.run(main())
