"""The span of a call says which host has served it.

What instruments the SDK opens a span before the call, when nobody knows who will serve it, and names the host of the
client's ``base_url``: the first target's (opentelemetry-instrumentation-openai-v2 does, and of openai 3, whose URLs it
does not know, it names none).
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

__all__ = ["note_server"]

_ADDRESS, _PORT, _HTTPS = "server.address", "server.port", 443


def note_server(url: Any) -> None:
    """Let the current span, if it is one of a generative model's client, have the host and port of ``url``.

    Does nothing where OpenTelemetry is not in use. The names are those of its semantic conventions for such spans.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is not None:
        # Others' spans are of many kinds, and the module may be half imported: no call is lost for that.
        with contextlib.suppress(Exception):
            _note(trace, url)


def _note(trace: Any, url: Any) -> None:
    span = trace.get_current_span()
    known = getattr(span, "attributes", None)
    if not known or not span.is_recording() or not any(name.startswith("gen_ai.") for name in known):
        return
    port = url.port or (_HTTPS if url.scheme == "https" else 80)
    if known.get(_ADDRESS) != url.host:
        span.set_attribute(_ADDRESS, url.host)
    if known.get(_PORT, _HTTPS) != port:
        span.set_attribute(_PORT, port)
