"""crewai (``pip install azure-shim crewai``): its LLM builds its own clients; they are patched."""

from __future__ import annotations

import os

# Else it reports to its makers, and asks after a run whether to show its traces.
os.environ.update(CREWAI_DISABLE_TELEMETRY="true", CREWAI_TRACING_ENABLED="false", OTEL_SDK_DISABLED="true")

from crewai import LLM, Agent, Crew, Task
from offline import DEPLOYMENTS, azure
from pydantic import BaseModel

import azure_shim


class City(BaseModel):
    name: str
    inhabitants: int


def main() -> None:
    # Where and who: from the environment. Without a key, whoever this machine is: `az login`, a managed identity, ...
    azure_shim.patch(deployments=DEPLOYMENTS)

    llm = LLM("openai/gpt-4o")
    print("shaped:  ", repr(llm.call("The largest city of Norway?", response_model=City)))

    agent = Agent(role="guide", goal="to be polite", backstory="none", llm=llm)
    task = Task(description="Say hello to Azure.", expected_output="a greeting", agent=agent)
    print("crew:    ", " ".join(Crew(agents=[agent], tasks=[task]).kickoff().raw.split()))


if __name__ == "__main__":
    with azure():
        main()
