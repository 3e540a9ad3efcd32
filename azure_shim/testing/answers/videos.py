"""Videos (Sora 2): done as soon as one looks at them."""

from __future__ import annotations

from typing import Any

from azure_shim.testing import errors
from azure_shim.testing.answers import kept
from azure_shim.testing.answers.kinds import KINDS
from azure_shim.testing.answers.shared import now
from azure_shim.testing.call import Call
from azure_shim.testing.response import FakeResponse

__all__ = ["ANSWERERS", "MP4"]

_VIDEO = "/videos/{video_id}"
_DAY_S = 24 * 3600  # how long Azure keeps a video
MP4 = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"
"""The film that every video is: its header."""


def _keep(call: Call, fields: dict[str, Any]) -> dict[str, Any]:
    given = ("prompt", "seconds", "size", "remixed_from_video_id")
    video: dict[str, Any] = {
        "model": call.model or "sora-2",
        "status": "queued",
        "progress": 0,
        "completed_at": None,
        "expires_at": now() + _DAY_S,
        "error": None,
        "remixed_from_video_id": None,
        "seconds": "4",
        "size": "720x1280",
        **{name: fields[name] for name in given if name in fields},
    }
    return call.store.put("/videos", kept.made(KINDS["/videos"], video))


def create(call: Call) -> FakeResponse:
    if "prompt" not in call.fields:
        raise errors.missing_parameter("prompt")
    return FakeResponse.json(_keep(call, call.fields))


def retrieve(call: Call) -> FakeResponse:
    video = kept.item_of(call, _VIDEO)
    if video["status"] == "queued":
        video.update(status="completed", progress=100, completed_at=now())
    return FakeResponse.json(video)


def remix(call: Call) -> FakeResponse:
    video = kept.item_of(call, _VIDEO)
    return FakeResponse.json(_keep(call, {**video, **call.fields, "remixed_from_video_id": video["id"]}))


def read(call: Call) -> FakeResponse:
    kept.item_of(call, _VIDEO)
    return FakeResponse(200, {"content-type": "video/mp4"}, MP4)


ANSWERERS = {
    "POST /videos": create,
    f"GET {_VIDEO}": retrieve,
    f"POST {_VIDEO}/remix": remix,
    f"GET {_VIDEO}/content": read,
}
