"""What these examples run against: a FakeAzure on loopback, unless AZURE_OPENAI_ENDPOINT is set.

For the real service set AZURE_OPENAI_API_KEY as well, unless this machine has an identity (`az login` counts), and
AZURE_OPENAI_DEPLOYMENT, which names the deployment of gpt-4o or its like.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from azure_shim.testing import FakeAzure

__all__ = ["DEPLOYMENTS", "azure"]

# The frameworks ask for gpt-4o, whatever its deployment is called.
DEPLOYMENTS = {"gpt-4o": os.environ.get("AZURE_OPENAI_DEPLOYMENT", "prod-4o")}


@contextlib.contextmanager
def azure() -> Iterator[None]:
    """Sets where Azure is and who calls it, as you would have it in your environment; at its end, what came there."""
    if os.environ.get("AZURE_OPENAI_ENDPOINT"):
        yield
        return
    with FakeAzure({"eastus": {DEPLOYMENTS["gpt-4o"]: "gpt-4o"}}) as fake:
        os.environ["AZURE_OPENAI_ENDPOINT"] = fake["eastus"].endpoint
        os.environ["AZURE_OPENAI_API_KEY"] = fake["eastus"].api_key
        yield
        for request in fake.requests:
            print(f"to Azure: {request.method} {request.path}, deployment {request.deployment}")
