"""What the tests of answers ask of the SDK's typed models."""

from __future__ import annotations

import inspect
from typing import Any

import openai
import pytest
from pydantic import BaseModel

__all__ = ["needs", "whole"]


def whole(answer: Any) -> Any:
    """``answer``, whose members are all of the types that the SDK declares, and none is missing."""
    assert isinstance(answer, BaseModel), answer
    if not inspect.isabstract(type(answer)) and "Page" not in type(answer).__name__:
        type(answer).model_validate(answer.to_dict(mode="python", warnings=False))
    else:
        for item in answer.data:
            whole(item)
    return answer


def needs(client: Any, path: str) -> Any:
    """The SDK's resource at ``path``; older releases do not have them all."""
    for name in path.split("."):
        if not hasattr(client, name):
            pytest.skip(f"openai {openai.__version__} has no {path}")
        client = getattr(client, name)
    return client
