"""The frameworks that the contract tests run with: what each needs to be installed, and which module tests it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["EXAMPLE_TESTS", "FIXED", "FRAMEWORKS", "Framework"]


@dataclass(frozen=True)
class Framework:
    """One framework in an environment of its own.

    Attributes:
        name: what it is called on the command line, and its folder below ``.frameworks``.
        requirements: for pip, the framework's own first; no openai among them, so that the framework's pin decides.
        module: the file of its tests.
        environment: variables of its tests' process: what keeps it from calling home.
        example: its file in ``examples/frameworks``, if it has one.
    """

    name: str
    requirements: tuple[str, ...]
    module: str
    environment: Mapping[str, str] = field(default_factory=dict)
    example: str | None = None

    @property
    def distribution(self) -> str:
        """Whose version the table shows."""
        return re.split(r"[\[<>=!~ ]", self.requirements[0], maxsplit=1)[0]


_QUIET_LITELLM = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}

_ALL = (
    Framework(
        "langchain-openai",
        ("langchain-openai",),
        "test_langchain_openai.py",
        {"LANGSMITH_TRACING": "false"},
        example="with_langchain.py",
    ),
    Framework(
        "llama-index",
        ("llama-index-llms-openai", "llama-index-embeddings-openai"),
        "test_llama_index.py",
        example="with_llama_index.py",
    ),
    Framework("openai-agents", ("openai-agents",), "test_openai_agents.py", example="with_openai_agents.py"),
    Framework("pydantic-ai", ("pydantic-ai-slim[openai]",), "test_pydantic_ai.py", example="with_pydantic_ai.py"),
    Framework("instructor", ("instructor",), "test_instructor.py", example="with_instructor.py"),
    Framework("semantic-kernel", ("semantic-kernel",), "test_semantic_kernel.py", example="with_semantic_kernel.py"),
    Framework(
        "haystack-ai",
        ("haystack-ai",),
        "test_haystack.py",
        {"HAYSTACK_TELEMETRY_ENABLED": "False"},
        example="with_haystack.py",
    ),
    Framework(
        "autogen-ext", ("autogen-ext[openai]", "autogen-agentchat"), "test_autogen.py", example="with_autogen.py"
    ),
    Framework(
        "agent-framework-openai",
        ("agent-framework-openai",),
        "test_agent_framework.py",
        example="with_agent_framework.py",
    ),
    Framework(
        "smolagents",
        ("smolagents[openai]",),
        "test_smolagents.py",
        {"HF_HUB_OFFLINE": "1"},
        example="with_smolagents.py",
    ),
    # Its embeddings need numpy, which it does not ask for.
    Framework("dspy", ("dspy", "numpy"), "test_dspy.py", _QUIET_LITELLM, example="with_dspy.py"),
    Framework("litellm", ("litellm",), "test_litellm.py", _QUIET_LITELLM, example="with_litellm.py"),
    Framework(
        "crewai",
        ("crewai",),
        "test_crewai.py",
        {"CREWAI_DISABLE_TELEMETRY": "true", "CREWAI_TRACING_ENABLED": "false", "OTEL_SDK_DISABLED": "true"},
        example="with_crewai.py",
    ),
    Framework("agno", ("agno",), "test_agno.py", {"AGNO_TELEMETRY": "false"}, example="with_agno.py"),
    Framework("mem0ai", ("mem0ai",), "test_mem0.py", {"MEM0_TELEMETRY": "False"}),
    Framework("guidance", ("guidance",), "test_guidance.py"),
    # Without a word about instructor, pip goes back to one of the time of openai 1; and it imports what
    # langchain-community has no more.
    Framework(
        "ragas",
        ("ragas", "instructor>=1.10", "langchain-community<0.4.2"),
        "test_ragas.py",
        {"RAGAS_DO_NOT_TRACK": "true"},
    ),
    Framework(
        "deepeval",
        ("deepeval",),
        "test_deepeval.py",
        {"DEEPEVAL_TELEMETRY_OPT_OUT": "YES", "DEEPEVAL_UPDATE_WARNING_OPT_IN": "NO", "ERROR_REPORTING": "NO"},
    ),
    Framework("outlines", ("outlines",), "test_outlines.py"),
    # marvin is written for the pydantic-ai of its time and does not say so itself.
    Framework("marvin", ("marvin", "pydantic-ai<1.76"), "test_marvin.py"),
    Framework("mirascope", ("mirascope[openai]",), "test_mirascope.py"),
    Framework("magentic", ("magentic",), "test_magentic.py"),
    Framework("langfuse", ("langfuse",), "test_langfuse.py", example="with_langfuse.py"),
    Framework(
        "opentelemetry-instrumentation-openai-v2",
        # It imports what later ones of opentelemetry-util-genai have no more.
        ("opentelemetry-instrumentation-openai-v2", "opentelemetry-util-genai<=1.0b0", "opentelemetry-sdk"),
        "test_otel_openai_v2.py",
    ),
    Framework(
        "openinference-instrumentation-openai",
        ("openinference-instrumentation-openai", "opentelemetry-sdk"),
        "test_openinference.py",
    ),
    Framework("logfire", ("logfire",), "test_logfire.py", {"LOGFIRE_SEND_TO_LOGFIRE": "false"}),
    Framework(
        "opentelemetry-instrumentation-httpx",
        ("opentelemetry-instrumentation-httpx", "opentelemetry-sdk"),
        "test_otel_httpx.py",
    ),
    Framework("gunicorn", ("gunicorn",), "test_gunicorn.py"),
)

FRAMEWORKS: Mapping[str, Framework] = {framework.name: framework for framework in _ALL}

# The module that runs the example of whichever framework is there; pytest collects it only where it is named.
EXAMPLE_TESTS = "check_examples.py"

# What runs at every change.
FIXED = ("openai-agents", "haystack-ai", "mirascope")
