"""A program written for openai 0.28 runs on today's openai and on Azure OpenAI: one line more, or none.

Without any line: ``python -m azure_shim run --legacy program.py``

As it stands this runs offline, against a FakeAzure on loopback. With AZURE_OPENAI_ENDPOINT (and AZURE_OPENAI_API_KEY,
unless this machine has an identity) set it runs against that resource; AZURE_OPENAI_DEPLOYMENT and
AZURE_OPENAI_EMBEDDING_DEPLOYMENT name the deployments.
"""

# Type checkers know today's openai alone.
# mypy: disable-error-code="attr-defined"
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import openai

import azure_shim
from azure_shim.testing import FakeAzure, Resource

CHAT = os.environ.get("AZURE_OPENAI_DEPLOYMENT", "prod-4o")
EMBEDDING = os.environ.get("AZURE_OPENAI_EMBEDDING_DEPLOYMENT", "prod-embedding")


def main() -> None:
    with azure() as east:
        azure_shim.patch(legacy=True)  # where and who: from the environment, unless the program says it itself
        legacy_program(east)


def legacy_program(east: Resource | None) -> None:
    """As it was written in 2023."""
    answer = openai.ChatCompletion.create(engine=CHAT, messages=[{"role": "user", "content": "Hello"}], temperature=0)
    print("answered ", answer["choices"][0]["message"]["content"], f"({answer.usage.total_tokens} tokens)")

    print("streamed ", end="")
    for chunk in openai.ChatCompletion.create(
        engine=CHAT, messages=[{"role": "user", "content": "Count to five."}], stream=True
    ):
        text = chunk["choices"][0]["delta"].get("content")
        print(f"[{text.strip()}]" if text else "", end="")
    print()

    vectors = openai.Embedding.create(engine=EMBEDDING, input=["one text", "another"])["data"]
    print("embedded ", [len(vector["embedding"]) for vector in vectors])

    if east is not None:
        east.fail_next("429_token_rate", retry_after=7)
    try:
        openai.ChatCompletion.create(deployment_id=CHAT, messages=[{"role": "user", "content": "Hello again"}])
    except openai.error.RateLimitError as error:
        print("refused  ", f"{type(error).__name__}, wait for {error.headers['retry-after']} s")


@contextlib.contextmanager
def azure() -> Iterator[Resource | None]:
    """The real service if its endpoint is set, else a FakeAzure, and its one resource."""
    if os.environ.get("AZURE_OPENAI_ENDPOINT"):
        yield None
        return
    with FakeAzure({"eastus": {"prod-4o": "gpt-4o", "prod-embedding": "text-embedding-3-small"}}) as fake:
        os.environ["AZURE_OPENAI_ENDPOINT"] = fake["eastus"].endpoint
        os.environ["AZURE_OPENAI_API_KEY"] = fake["eastus"].api_key
        yield fake["eastus"]


if __name__ == "__main__":
    main()
