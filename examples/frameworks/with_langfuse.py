"""Langfuse (``pip install azure-shim langfuse``): with its integration imported, it observes our clients too.

With LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY set the observations go to Langfuse; else they are shown here.
"""

from __future__ import annotations

import os

import langfuse.openai  # noqa: F401  this is what turns it on
from langfuse import Langfuse
from offline import DEPLOYMENTS, azure
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import azure_shim


def main() -> None:
    # Where and who: from the environment. Without a key, whoever this machine is: `az login`, a managed identity, ...
    with azure_shim.OpenAI(deployments=DEPLOYMENTS) as client:  # or langfuse.openai.OpenAI(), after azure_shim.patch()
        answer = client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "Say hello to Azure."}]
        )
        print("answered:", answer.choices[0].message.content)
        chunks = client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "Count to five."}], stream=True
        )
        texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
        print("streamed:", " ".join(f"[{text.strip()}]" for text in texts if text))


if __name__ == "__main__":
    shown = InMemorySpanExporter()
    if os.environ.get("LANGFUSE_SECRET_KEY"):
        observer = Langfuse()
    else:
        observer = Langfuse(public_key="pk-lf-none", secret_key="sk-lf-none", span_exporter=shown)
    with azure():
        main()
    observer.flush()
    for span in shown.get_finished_spans():
        print("observed:", span.name, (span.attributes or {}).get("langfuse.observation.output"))
