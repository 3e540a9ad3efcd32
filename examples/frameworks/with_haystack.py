"""Haystack (``pip install azure-shim haystack-ai``): its components build their own clients; they are patched."""

from __future__ import annotations

import os

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

from haystack import Pipeline
from haystack.components.builders import ChatPromptBuilder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage, StreamingChunk
from haystack.tools import create_tool_from_function
from offline import DEPLOYMENTS, azure

import azure_shim


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def main() -> None:
    # Where and who: from the environment. Without a key, whoever this machine is: `az login`, a managed identity, ...
    azure_shim.patch(deployments=DEPLOYMENTS)

    pipeline = Pipeline()
    pipeline.add_component("prompt", ChatPromptBuilder([ChatMessage.from_user("Say hello to {{ whom }}.")]))
    pipeline.add_component("llm", OpenAIChatGenerator(model="gpt-4o", streaming_callback=show))
    pipeline.connect("prompt.prompt", "llm.messages")
    print("streamed: ", end="")
    print("\npipeline:", pipeline.run({"prompt": {"whom": "Azure"}})["llm"]["replies"][0].text)

    tool = create_tool_from_function(weather)
    asked = OpenAIChatGenerator(model="gpt-4o", tools=[tool]).run(
        [ChatMessage.from_user("What is the weather in Oslo? Please use the tool.")]
    )
    for call in asked["replies"][0].tool_calls:
        print("tool:    ", tool.invoke(**call.arguments))


def show(chunk: StreamingChunk) -> None:
    if chunk.content:
        print(f"[{chunk.content.strip()}]", end="")


if __name__ == "__main__":
    with azure():
        main()
