"""llama-index (``pip install azure-shim llama-index-llms-openai``): its model takes ready clients.

(Its embedding takes HTTP clients: ``OpenAIEmbedding(http_client=azure_shim.http_client(...), ...)``.)
"""

from __future__ import annotations

import asyncio

from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAI
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
            model = OpenAI("gpt-4o", openai_client=client, async_openai_client=async_client)

            print("answered:", model.complete("Say hello to Azure.").text)
            pieces = await model.astream_complete("Count to five.")
            print("streamed:", " ".join([f"[{p.delta.strip()}]" async for p in pieces if p.delta]))

            tool = FunctionTool.from_defaults(weather)
            print("tool:    ", model.predict_and_call([tool], "What is the weather in Oslo? Please use the tool."))

            question = PromptTemplate("The largest city of {country}?")
            print("shaped:  ", repr(model.structured_predict(City, question, country="Norway")))


if __name__ == "__main__":
    with azure():
        asyncio.run(main())
