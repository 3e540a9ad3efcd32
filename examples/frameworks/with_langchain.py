"""LangChain (``pip install azure-shim langchain-openai``): `ChatOpenAI` takes HTTP clients."""

from __future__ import annotations

import os

os.environ.setdefault("LANGSMITH_TRACING", "false")

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from offline import DEPLOYMENTS, azure
from pydantic import BaseModel, SecretStr

import azure_shim


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def main() -> None:
    # Where and who: from the environment. Without a key, whoever this machine is: `az login`, a managed identity, ...
    with azure_shim.http_client(deployments=DEPLOYMENTS) as http_client:
        model = ChatOpenAI(
            model="gpt-4o",
            api_key=SecretStr("unused"),
            http_client=http_client,
            http_async_client=azure_shim.async_http_client(deployments=DEPLOYMENTS),  # for ainvoke and astream
        )
        print("streamed:", " ".join(f"[{c.text.strip()}]" for c in model.stream("Count to five.") if c.text))

        asked = model.bind_tools([weather]).invoke("What is the weather in Oslo? Please use the tool.")
        for call in asked.tool_calls:
            print("tool:    ", weather.invoke(call["args"]))

        print("shaped:  ", repr(model.with_structured_output(City).invoke("The largest city of Norway?")))


if __name__ == "__main__":
    with azure():
        main()
