"""dspy (``pip install azure-shim dspy``): an LM of its litellm engine takes a ready client.

dspy's own engine, the default, has an HTTP stack of its own, which a patch does not reach either.
"""

from __future__ import annotations

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else litellm fetches its price list when it is imported

import dspy
from offline import DEPLOYMENTS, azure

import azure_shim


class Largest(dspy.Signature):
    """The largest city of a country."""

    country: str = dspy.InputField()
    name: str = dspy.OutputField()
    inhabitants: int = dspy.OutputField()


def main() -> None:
    # Where and who: from the environment. Without a key, whoever this machine is: `az login`, a managed identity, ...
    with azure_shim.OpenAI(deployments=DEPLOYMENTS) as client:
        lm = dspy.LM("openai/gpt-4o", engine="litellm", client=client, cache=False)
        print("answered:", lm("Say hello to Azure.")[0])
        with dspy.context(lm=lm, adapter=dspy.JSONAdapter()):
            print("shaped:  ", dspy.Predict(Largest)(country="Norway").toDict())


if __name__ == "__main__":
    with azure():
        main()
