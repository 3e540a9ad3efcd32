"""Skills and their versions."""

from __future__ import annotations

from typing import Any

from azure_shim.testing import errors
from azure_shim.testing.answers import kept
from azure_shim.testing.answers.files import content_of
from azure_shim.testing.answers.kinds import KINDS
from azure_shim.testing.bodies import Content
from azure_shim.testing.call import Call
from azure_shim.testing.response import FakeResponse

__all__ = ["ANSWERERS"]

_SKILL = "/skills/{skill_id}"
_VERSION = "/skills/{skill_id}/versions/{version}"


def _content(call: Call) -> Content:
    files = call.form.files("files", "files[]") if call.form is not None else []
    if not files:
        raise errors.missing_parameter("files")
    return files[0].content


def create(call: Call) -> FakeResponse:
    content = _content(call)
    fields = {"name": "skill", "description": "", "default_version": "1", "latest_version": "1"}
    skill = call.store.put("/skills", kept.made(KINDS["/skills"], fields))
    _keep_version(call, skill, content)
    return FakeResponse.json(skill)


def _keep_version(call: Call, skill: dict[str, Any], content: Content) -> dict[str, Any]:
    collection = f"/skills/{skill['id']}/versions"
    number = str(len(call.store.items(collection)) + 1)
    skill["latest_version"] = number
    fields = {"name": skill["name"], "description": "", "skill_id": skill["id"], "version": number}
    version = call.store.put(collection, kept.made(KINDS["/skills/{skill_id}/versions"], fields), number)
    call.store.put_content(f"{skill['id']}/{number}", content)
    return version


def create_version(call: Call) -> FakeResponse:
    skill = kept.item_of(call, _SKILL)
    return FakeResponse.json(_keep_version(call, skill, _content(call)))


def delete_version(call: Call) -> FakeResponse:
    version = kept.item_of(call, _VERSION)
    call.store.remove(f"/skills/{call.ids[0]}/versions", call.ids[1])
    answer = {"id": version["id"], "object": "skill.version.deleted", "deleted": True, "version": call.ids[1]}
    return FakeResponse.json(answer)


def read(call: Call) -> FakeResponse:
    skill = kept.item_of(call, _SKILL)
    return content_of(call, f"{skill['id']}/{skill['default_version']}")


def read_version(call: Call) -> FakeResponse:
    kept.item_of(call, _VERSION)
    return content_of(call, "/".join(call.ids))


ANSWERERS = {
    "POST /skills": create,
    f"GET {_SKILL}/content": read,
    f"POST {_SKILL}/versions": create_version,
    f"DELETE {_VERSION}": delete_version,
    f"GET {_VERSION}/content": read_version,
}
