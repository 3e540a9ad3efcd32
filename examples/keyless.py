"""No key anywhere: the identity of the machine signs, and nobody notices when its token is refreshed or revoked.

As it stands this runs offline: a TokenService plays Microsoft Entra and a FakeAzure the resource, and azure-identity
between them is the real one. With AZURE_OPENAI_ENDPOINT set it runs against that resource, with whatever identity this
machine has (`az login` will do); AZURE_OPENAI_DEPLOYMENT names the deployment to call.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator

import azure_shim
from azure_shim.testing import FakeAzure, TokenService

MODEL = os.environ.get("AZURE_OPENAI_DEPLOYMENT", "gpt-4o")


@contextlib.contextmanager
def somewhere_to_run() -> Iterator[TokenService | None]:
    """The variables of a machine that has an identity: its own, or made up ones with the services behind them."""
    if os.environ.get("AZURE_OPENAI_ENDPOINT"):
        yield None
        return
    with TokenService() as service, FakeAzure({"eastus": [MODEL]}, token_service=service) as azure:
        os.environ.update(service.environment("client_secret"))
        os.environ["AZURE_OPENAI_ENDPOINT"] = azure["eastus"].endpoint
        yield service


async def ten_at_once() -> None:
    async with azure_shim.AsyncOpenAI() as client:
        asking = [client.responses.create(model=MODEL, input=f"What is {n} + {n}?") for n in range(10)]
        answers = await asyncio.gather(*asking)
    print(f"{len(answers)} async answers at once, the last: {answers[-1].output_text}")


def main() -> None:
    with somewhere_to_run() as service, azure_shim.OpenAI() as client:
        client.warm_up()
        print(f"ready: {client.base_url}")
        answer = client.responses.create(model=MODEL, input="Say hello without a key.")
        print(f"answered: {answer.output_text}")
        asyncio.run(ten_at_once())
        if service is None:
            return
        print(f"tokens asked for so far: {len(service.requests)}, for the scope {service.requests[0].scope}")
        service.revoke(service.tokens[-1])
        print("the token is revoked, and the next call ...", end=" ")
        client.responses.create(model=MODEL, input="Still there?")
        print(f"went on with a fresh one; asked for so far: {len(service.requests)}")


if __name__ == "__main__":
    main()
