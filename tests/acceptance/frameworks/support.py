"""What the frameworks' test modules share: the deployments, what was sent to them, and proof that streams stream."""

from __future__ import annotations

import threading

from azure_shim.testing import FakeAzure, Recorded, Resource

__all__ = ["CHAT", "DEPLOYMENTS", "LONG", "Gate", "answer_to", "served"]

# From the names that callers use to those of the deployments: where one is not mapped, Azure finds no deployment.
DEPLOYMENTS = {
    "gpt-4o": "chat-prod",
    "gpt-4o-mini": "chat-small",
    "gpt-4.1": "chat-41",
    "gpt-4.1-mini": "chat-41-small",
    "gpt-5": "chat-5",
    "gpt-5-mini": "chat-5-small",
    "o3-mini": "reasoning",
    "text-embedding-3-small": "embed-prod",
    "text-embedding-3-large": "embed-large",
    "text-embedding-ada-002": "embed-old",
}

# What the fake service fills into structured answers and the arguments of tools: who served.
CHAT = "eastus/chat-prod"


def answer_to(text: str, served: str = CHAT) -> str:
    """What the fake service answers."""
    return f"Hello from {served}: {text}"


# A question whose answer is long enough for `Gate`.
LONG = "please repeat after me one two three four five six seven eight nine ten eleven twelve"


class Gate:
    """Holds every streamed answer in its middle until the test has seen its beginning.

    The service sends the frames up to the first words, and the others after `open`. If whoever reads the stream waits
    for its end, the gate never opens, and the test fails.
    """

    # Two or four frames come before the words; what is behind the gate is most of them.
    _FRAMES = 8

    def __init__(self, limit_s: float = 10) -> None:
        self.is_late = False
        self._limit_s = limit_s
        self._passed = 0
        self._opened = threading.Event()

    @property
    def was_reached(self) -> bool:
        """Whether a stream was long enough to be held."""
        return self._passed > self._FRAMES

    def open(self) -> None:
        """The beginning has arrived."""
        self._opened.set()

    def wait(self, _seconds: float) -> None:
        """What the service calls between two frames."""
        self._passed += 1
        if self.was_reached and not self.is_late and not self._opened.wait(self._limit_s):
            self.is_late = True


def served(azure: FakeAzure) -> list[tuple[str, str | None]]:
    """(operation, deployment) of what came, such as ``("chat/completions", "chat-prod")``; each with the right key."""
    return [(_operation_of(request, azure["eastus"]), request.deployment) for request in azure.requests]


def _operation_of(request: Recorded, at: Resource) -> str:
    assert request.headers["api-key"] == at.api_key
    assert "authorization" not in request.headers
    path = request.path
    for start in ("/openai/v1/", f"/openai/deployments/{request.deployment}/", "/openai/"):
        if path.startswith(start):
            return path[len(start) :]
    raise AssertionError(f"{path} is no path of Azure OpenAI")
