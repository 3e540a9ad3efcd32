"""smolagents (``pip install azure-shim 'smolagents[openai]'``): its model passes an HTTP client on."""

from __future__ import annotations

from offline import DEPLOYMENTS, azure
from smolagents import ChatMessage, MessageRole, OpenAIModel, tool

import azure_shim


@tool
def weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: where
    """
    return f"sunny in {city}"


def main() -> None:
    # Where and who: from the environment. Without a key, whoever this machine is: `az login`, a managed identity, ...
    with azure_shim.http_client(deployments=DEPLOYMENTS) as http_client:
        model = OpenAIModel("gpt-4o", api_key="unused", client_kwargs={"http_client": http_client})

        pieces = model.generate_stream(asked("Count to five."))
        print("streamed:", " ".join(f"[{piece.content.strip()}]" for piece in pieces if piece.content))

        answer = model.generate(asked("What is the weather in Oslo?"), tools_to_call_from=[weather])
        for call in model.parse_tool_calls(answer).tool_calls or []:
            print("tool:    ", weather(**call.function.arguments))


def asked(question: str) -> list[ChatMessage]:
    return [ChatMessage(role=MessageRole.USER, content=[{"type": "text", "text": question}])]


if __name__ == "__main__":
    with azure():
        main()
