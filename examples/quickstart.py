"""The main job: plain OpenAI calls that run on Azure OpenAI.

As it stands this runs offline, against a FakeAzure on loopback. With AZURE_OPENAI_ENDPOINT (and AZURE_OPENAI_API_KEY or
AZURE_OPENAI_AD_TOKEN) set it runs against that resource; AZURE_OPENAI_DEPLOYMENT names the deployment to call.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import azure_shim
from azure_shim.testing import FakeAzure

MODEL = os.environ.get("AZURE_OPENAI_DEPLOYMENT", "gpt-4o")


@contextlib.contextmanager
def azure() -> Iterator[azure_shim.OpenAI]:
    """A client of the real service if its endpoint is set, else of a FakeAzure that lives as long as this."""
    if os.environ.get("AZURE_OPENAI_ENDPOINT"):
        with azure_shim.OpenAI() as client:
            yield client
        return
    with FakeAzure({"eastus": {"prod-4o": "gpt-4o", "text-embedding-3-small": "text-embedding-3-small"}}) as fake:
        east = fake["eastus"]
        east.chunk_delay_s = 0.05  # so that one sees it stream
        with azure_shim.OpenAI(  # was: openai.OpenAI(
            azure_endpoint=east.endpoint,
            api_key=east.api_key,
            api_version="2024-10-21",
            deployments={"gpt-4o": "prod-4o"},
        ) as client:
            yield client


def main() -> None:
    with azure() as client:
        print(f"client.base_url is {client.base_url}\n")

        raw = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=[{"role": "user", "content": "Say hello to Azure."}]
        )
        print(f"sent      POST {raw.http_request.url}")
        print(f"came back {raw.status_code}: {raw.parse().choices[0].message.content}\n")

        print("streamed  ", end="", flush=True)
        chunks = 0
        for chunk in client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Count to five, one word at a time."}], stream=True
        ):
            chunks += 1
            # Azure's first chunk has no choices; it carries the filter's verdict on the prompt.
            text = chunk.choices[0].delta.content if chunk.choices else None
            print(f"[{text}]" if text else "", end="", flush=True)
        print(f"  ({chunks} chunks)\n")

        if not os.environ.get("AZURE_OPENAI_ENDPOINT"):
            embedding = client.embeddings.create(model="text-embedding-3-small", input="Azure")
            print(f"embedded  'Azure' as {len(embedding.data[0].embedding)} numbers by {embedding.model}")


if __name__ == "__main__":
    main()
