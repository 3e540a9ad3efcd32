"""What there is around realtime besides the WebSocket: secrets, sessions, calls."""

from __future__ import annotations

from typing import Any

from azure_shim.testing import errors
from azure_shim.testing.answers.shared import now
from azure_shim.testing.call import Call
from azure_shim.testing.response import FakeResponse
from azure_shim.testing.store import new_id

__all__ = ["ANSWERERS"]

_CALLS = "/realtime/calls"
_TTL_S = 600


def _secret() -> dict[str, Any]:
    return {"value": new_id("ek_"), "expires_at": now() + _TTL_S}


def create_secret(call: Call) -> FakeResponse:
    given = call.fields.get("session") or {"type": "realtime"}
    session = {
        **given,
        "id": new_id("sess_"),
        "object": "realtime.session",
        "expires_at": 0,
        "client_secret": _secret(),
    }
    return FakeResponse.json({**_secret(), "session": session})


def create_session(call: Call) -> FakeResponse:
    session = {"id": new_id("sess_"), "object": "realtime.session", **call.fields, "client_secret": _secret()}
    return FakeResponse.json(session)


def create_call(call: Call) -> FakeResponse:
    """An SDP answer; the call's id is in ``Location``, as OpenAI's "Realtime calls" page says."""
    item = call.store.put(_CALLS, {"id": new_id("rtc_")})
    headers = {"content-type": "application/sdp", "location": f"/openai/v1{_CALLS}/{item['id']}"}
    return FakeResponse(201, headers, b"v=0\r\ns=FakeAzure\r\nt=0 0\r\n")


def act(call: Call) -> FakeResponse:
    if call.store.get(_CALLS, call.ids[0]) is None:
        raise errors.no_such("call", call.ids[0])
    return FakeResponse(200)


ANSWERERS = {
    "POST /realtime/client_secrets": create_secret,
    "POST /realtime/sessions": create_session,
    "POST /realtime/transcription_sessions": create_session,
    f"POST {_CALLS}": create_call,
    **{f"POST {_CALLS}/{{call_id}}/{verb}": act for verb in ("accept", "hangup", "refer", "reject")},
}
