"""Two regions behind one client: a region dies while it streams, and what the caller notices of it.

As it stands this runs offline, against a FakeAzure with two resources on loopback. With AZURE_OPENAI_ENDPOINT and
AZURE_OPENAI_ENDPOINT_2 set (and AZURE_OPENAI_API_KEY and AZURE_OPENAI_API_KEY_2, unless this machine has an identity)
it runs against those two, which nobody kills; AZURE_OPENAI_DEPLOYMENT names the deployment to call.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

import azure_shim
from azure_shim.testing import FakeAzure, FakeResponse

MODEL = os.environ.get("AZURE_OPENAI_DEPLOYMENT", "gpt-4o")


def client_of(targets: list[dict[str, Any]]) -> azure_shim.OpenAI:
    config = {"strategy": {"mode": "fallback"}, "targets": targets}
    return azure_shim.OpenAI(config=config, max_retries=0)  # so that all you see here is the failover's own doing


@contextlib.contextmanager
def two_regions() -> Iterator[tuple[azure_shim.OpenAI, FakeAzure | None]]:
    """A client of two real resources if they are set, else of two that can be killed."""
    own = [
        {
            "azure_endpoint": os.environ.get(f"AZURE_OPENAI_ENDPOINT{n}"),
            "api_key": os.environ.get(f"AZURE_OPENAI_API_KEY{n}"),
        }
        for n in ("", "_2")
    ]
    if all(target["azure_endpoint"] for target in own):
        with client_of(own) as client:
            yield client, None
        return
    with FakeAzure({"eastus": [MODEL], "westus": [MODEL]}) as azure:
        fake = [{"name": region.name, "azure_endpoint": region.endpoint, "api_key": region.api_key} for region in azure]
        with client_of(fake) as client:
            yield client, azure


def ask(client: azure_shim.OpenAI) -> Any:
    return client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Count to five."}], stream=True
    )


def words(chunks: Any) -> Iterator[str]:
    # Azure's first chunk has no choices.
    return filter(None, (chunk.choices[0].delta.content for chunk in chunks if chunk.choices))


def show(client: azure_shim.OpenAI, chunks: Any) -> None:
    """An answer, who was asked for it, and how the regions are now."""
    print(f"   {''.join(words(chunks))}")
    print("   asked:", ", then ".join(f"{a.target} ({a.reason})" for a in azure_shim.attempts(chunks)))
    print("   health:", ", ".join(f"{t.target} is {t.state}" for t in client.health()))


class Told(logging.Handler):
    """The package's own warnings."""

    def emit(self, record: logging.LogRecord) -> None:
        event: Any = getattr(record, "azure_shim", None)
        print(f"   warning: {event.target} gets no calls for a while: {event.reason}")


def kill_and_see(client: azure_shim.OpenAI, azure: FakeAzure) -> None:
    east, west = azure["eastus"], azure["westus"]

    print("2. eastus dies in the middle of an answer, which is not begun anew elsewhere: the error is the caller's")
    east.chunk_delay_s = 0.1  # so that it can die in the middle
    print("   ", end="")
    try:
        for number, word in enumerate(words(ask(client)), 1):
            print(word, end="", flush=True)
            if number == 3:
                east.stop()
    except Exception as error:  # noqa: BLE001  openai.APIConnectionError; openai 1 lets the HTTP library's own error out
        print(f" ... {type(error).__name__}")

    print("3. The next call goes to westus at once: eastus is not trusted for a few seconds.")
    show(client, ask(client))

    print(
        "4. westus answers 200, but what it streams is an error. No word has been seen, so that eastus can take over."
    )
    east.start()
    east.chunk_delay_s = 0.0
    broken = b'data: {"error": {"code": "server_error", "message": "The server had an error."}}\n\n'
    west.answer_next(lambda _: FakeResponse.events(iter([b'data: {"choices": []}\n\n', broken])))
    show(client, ask(client))

    print("5. eastus is gone between two calls.")
    east.stop()
    show(client, ask(client))


def main() -> None:
    logging.getLogger("azure_shim.targets").addHandler(Told())
    with two_regions() as (client, azure):
        print("1. All is well: the first region serves.")
        show(client, ask(client))
        if azure is not None:
            kill_and_see(client, azure)


if __name__ == "__main__":
    main()
