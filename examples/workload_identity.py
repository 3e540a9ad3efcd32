"""A pod with a workload identity: Kubernetes' own token is exchanged for one that Azure OpenAI takes.

As it stands this runs offline: a TokenService plays Microsoft Entra and the pod's webhook, a FakeAzure the resource.
In a pod with the label ``azure.workload.identity/use: "true"`` and AZURE_OPENAI_ENDPOINT set it runs for real;
AZURE_OPENAI_DEPLOYMENT names the deployment to call.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import azure_shim
from azure_shim.testing import FakeAzure, TokenService

MODEL = os.environ.get("AZURE_OPENAI_DEPLOYMENT", "gpt-4o")


@contextlib.contextmanager
def pod() -> Iterator[TokenService | None]:
    """What the webhook of AKS puts into a pod, and behind it the services, unless this is a pod."""
    if os.environ.get("AZURE_OPENAI_ENDPOINT"):
        yield None
        return
    with TokenService() as service, FakeAzure({"eastus": [MODEL]}, token_service=service) as azure:
        os.environ.update(service.environment("workload"))
        os.environ["AZURE_OPENAI_ENDPOINT"] = azure["eastus"].endpoint
        yield service


def main() -> None:
    with pod() as service:
        for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST"):
            print(f"{name}={os.environ.get(name)}")
        with azure_shim.OpenAI(azure_auth_mode="workload") as client:
            chunks = client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "Say hello from a pod."}], stream=True
            )
            print("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices))
            if service is None:
                return
            # Kubernetes writes a new token into the file every hour; azure-identity reads it when it needs it.
            service.rotate_federated_token()
            azure_shim.reset_tokens()
            client.models.list()
            print(f"exchanged: {[(asked.grant, asked.status) for asked in service.requests]}")


if __name__ == "__main__":
    main()
