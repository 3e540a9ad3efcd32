"""The example of the framework that is installed here: it runs as it stands, offline, and prints what it promises."""

from __future__ import annotations

import os
import re

import pytest

from tests.acceptance.frameworks.catalogue import FRAMEWORKS
from tests.acceptance.frameworks.example_runs import EXAMPLES, run_example

WANTED = FRAMEWORKS[os.environ["AZURE_SHIM_FRAMEWORK"]]

ANSWERED = r"answered: Hello from eastus/prod-4o: Say hello to Azure\."
STREAMED = r"streamed: \[Hello\] ?\[from\] ?\[eastus/prod-4o:\] ?\[Count\] ?\[to\] ?\[five\.\]"
TOOL = r"tool: .*sunny in eastus/prod-4o"
SHAPED = r"shaped: .*'eastus/prod-4o', '?inhabitants'?(=|: )1[)}]"
CHAT, RESPONSES = (
    rf"to Azure: POST /openai/v1/{path}, deployment prod-4o" for path in ("chat/completions", "responses")
)

# Each a line of what the example prints.
PROMISED = {
    "with_agent_framework.py": (TOOL, STREAMED, SHAPED, CHAT),
    "with_agno.py": (TOOL, STREAMED, SHAPED, CHAT),
    "with_autogen.py": (TOOL, STREAMED, CHAT),
    "with_crewai.py": (SHAPED, r"crew: +Hello from eastus/prod-4o: Current Task: Say hello to Azure\. .*", CHAT),
    "with_dspy.py": (ANSWERED, SHAPED, CHAT),
    "with_haystack.py": (
        r"streamed: \[Hello\]\[from\]\[eastus/prod-4o:\]\[Say\]\[hello\]\[to\]\[Azure\.\]",
        r"pipeline: Hello from eastus/prod-4o: Say hello to Azure\.",
        TOOL,
        CHAT,
    ),
    "with_instructor.py": (SHAPED, r"streamed: City\(name='eastus/prod-4o', inhabitants=None\)", CHAT),
    "with_langchain.py": (STREAMED, TOOL, SHAPED, CHAT),
    "with_langfuse.py": (
        ANSWERED,
        STREAMED,
        r"observed: .*Hello from eastus/prod-4o: Say hello to Azure\..*",
        r"observed: .*Hello from eastus/prod-4o: Count to five\..*",
        CHAT,
    ),
    "with_litellm.py": (ANSWERED, SHAPED, STREAMED, CHAT),
    "with_llama_index.py": (ANSWERED, STREAMED, TOOL, SHAPED, CHAT),
    "with_openai_agents.py": (TOOL, STREAMED, RESPONSES),
    "with_pydantic_ai.py": (TOOL, STREAMED, SHAPED, CHAT),
    "with_semantic_kernel.py": (TOOL, STREAMED, CHAT),
    "with_smolagents.py": (STREAMED, TOOL, CHAT),
}


def test_every_example_is_some_framework_s_and_promises_something() -> None:
    files = {path.name for path in EXAMPLES.glob("with_*.py")}
    assert files == set(PROMISED) == {one.example for one in FRAMEWORKS.values() if one.example}


def test_the_example_runs_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    assert WANTED.example is not None
    for name in WANTED.environment:
        monkeypatch.delenv(name)  # it has to see to that itself
    printed = run_example(WANTED.example)
    for line in PROMISED[WANTED.example]:
        assert re.search(rf"^{line}$", printed, re.MULTILINE), f"nothing is like {line!r} in\n{printed}"
    came = re.findall(r"^to Azure: .*", printed, re.MULTILINE)
    assert all(line.endswith(", deployment prod-4o") for line in came)
