"""Provisioned throughput first, pay-as-you-go as overflow: two deployments of one model on one resource.

As it stands this runs offline, against a FakeAzure. With AZURE_OPENAI_ENDPOINT (and AZURE_OPENAI_API_KEY, unless this
machine has an identity) set it calls the deployments AZURE_OPENAI_DEPLOYMENT, the provisioned one, and
AZURE_OPENAI_DEPLOYMENT_2 of that resource.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from typing import Any

import azure_shim
from azure_shim.testing import FakeAzure, FakeResponse, Resource

PTU = os.environ.get("AZURE_OPENAI_DEPLOYMENT", "gpt-4o-ptu")
PAYGO = os.environ.get("AZURE_OPENAI_DEPLOYMENT_2", "gpt-4o-paygo")


def client_of(endpoint: str, api_key: str | None) -> azure_shim.OpenAI:
    config = {
        "azure_endpoint": endpoint,
        "api_key": api_key,
        # A call waits up to half a second for capacity that is paid for; what takes longer overflows at once.
        "strategy": {"mode": "fallback", "wait_s": 0.5},
        "targets": [{"name": "ptu", "deployment_id": PTU}, {"name": "paygo", "deployment_id": PAYGO}],
    }
    return azure_shim.OpenAI(config=config, max_retries=0)  # so that all you see here is the plan's own doing


@contextlib.contextmanager
def resource() -> Iterator[tuple[azure_shim.OpenAI, Resource | None]]:
    """A client of the real resource if it is set, else of one whose capacity can be used up at will."""
    if os.environ.get("AZURE_OPENAI_ENDPOINT"):
        with client_of(os.environ["AZURE_OPENAI_ENDPOINT"], os.environ.get("AZURE_OPENAI_API_KEY")) as client:
            yield client, None
        return
    with FakeAzure({"eastus": {PTU: "gpt-4o", PAYGO: "gpt-4o"}}) as azure:
        east = azure["eastus"]
        with client_of(east.endpoint, east.api_key) as client:
            yield client, east


def call(client: azure_shim.OpenAI, **options: Any) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=[{"role": "user", "content": "Hello"}], **options
    )
    used = raw.headers.get("azure-openai-deployment-utilization")
    asked = ", then ".join(f"{a.target} ({a.reason})" for a in azure_shim.attempts(raw))
    print(f"   asked: {asked}{f'; {used} of the capacity is in use' if used else ''}")


def at_capacity(percent: int) -> FakeResponse:
    """A provisioned deployment's answer: it says how much of the capacity is in use."""
    message = {"role": "assistant", "content": "Hello."}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": "gpt-4o", "choices": [choice]}
    return FakeResponse.json(answer, headers={"azure-openai-deployment-utilization": f"{percent}%"})


def use_up(client: azure_shim.OpenAI, east: Resource) -> None:
    print("2. It is full for a second, which is more than a call waits: overflow. The next call does not even ask.")
    east.fail_next("429_high_demand", headers={"retry-after-ms": "1000"})
    call(client)
    call(client)
    print(f"   cooling down: {[name for target in client.health() for name in target.deployments]}")

    print("3. The second is over.")
    time.sleep(1.2)
    call(client)

    print("4. It is full for a tenth of a second, which the call waits.")
    east.fail_next("429_high_demand", headers={"retry-after-ms": "100"})
    call(client)

    print("5. It serves, and says that it is full now: the next call overflows, though no 429 has come.")
    east.answer_next(lambda _: at_capacity(100))
    call(client)
    call(client)

    print("6. In ten seconds it is asked again; here a call that is pinned to it looks sooner, and finds room.")
    east.answer_next(lambda _: at_capacity(63))
    call(client, extra_headers={"x-azure-shim-target": "ptu"})
    call(client)


def main() -> None:
    logging.getLogger("azure_shim.targets").setLevel(logging.ERROR)  # that it is full is what one expects of it
    with resource() as (client, east):
        print("1. There is room in the provisioned deployment.")
        call(client)
        if east is not None:
            use_up(client, east)


if __name__ == "__main__":
    main()
