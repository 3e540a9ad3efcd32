"""What is put into the module ``openai``, and what the undoing puts back."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from typing import Any

import openai
import pytest

from azure_shim.patching.legacy import error as errors
from azure_shim.patching.legacy import install
from azure_shim.testing.resource import Resource
from tests.patching.legacy.conftest import MESSAGES

TODAY = (
    "OpenAI",
    "AsyncOpenAI",
    "AzureOpenAI",
    "RateLimitError",
    "APIError",
    "OpenAIError",
    "Timeout",
    "chat",
    "audio",
)


def state() -> tuple[dict[str, Any], dict[str, Any]]:
    return dict(vars(openai)), {name: m for name, m in sys.modules.items() if name.partition(".")[0] == "openai"}


def is_same(before: tuple[dict[str, Any], dict[str, Any]]) -> bool:
    return all(
        old.keys() == new.keys() and all(old[name] is new[name] for name in old)
        for old, new in zip(before, state(), strict=True)
    )


def test_undoing_puts_back_the_very_same_objects(module: Any) -> None:
    before = state()
    undo = install(module, dict)
    assert not is_same(before)
    undo()
    assert is_same(before)
    undo()
    assert is_same(before)


def test_the_last_of_several_puts_back(module: Any, settings: dict[str, Any]) -> None:
    before = state()
    undo_first = install(module, lambda: {"azure_endpoint": "https://first.example", "api_key": "key"})
    undo_second = install(module, lambda: settings)
    assert module.ChatCompletion.create(model="gpt-4o", messages=MESSAGES).choices
    undo_third = install(module, lambda: None)
    assert module.ChatCompletion.create(model="gpt-4o", messages=MESSAGES).choices
    undo_first()
    undo_third()
    assert module.ChatCompletion.create(model="gpt-4o", messages=MESSAGES).choices
    undo_second()
    assert is_same(before)


def test_what_somebody_else_has_put_there_stays(module: Any) -> None:
    undo = install(module, dict)
    module.ChatCompletion = theirs = type("Traced", (module.ChatCompletion,), {})
    module.api_base = "https://their.example"
    sys.modules["openai.util"] = util = type(sys)("openai.util")
    undo()
    assert (module.ChatCompletion, module.api_base) == (theirs, "https://their.example")
    assert sys.modules.pop("openai.util") is util
    assert type(module.Embedding).__name__ == "APIRemovedInV1Proxy"


def test_a_setting_that_was_made_before_stays(module: Any) -> None:
    module.api_base, module.api_key = "https://before.example", "before"
    undo = install(module, dict)
    assert (module.api_base, module.api_key, module.api_type) == ("https://before.example", "before", "open_ai")
    undo()
    assert (module.api_base, module.api_key, module.api_type) == ("https://before.example", "before", None)


def test_today_s_names_are_today_s(module: Any) -> None:
    before = {name: vars(module)[name] for name in TODAY}
    undo = install(module, dict)
    assert all(vars(module)[name] is value for name, value in before.items())
    assert module.Edit is not None
    with pytest.raises(openai.OpenAIError, match="no longer supported"):
        module.Edit.create()
    undo()


def test_the_modules_of_0_28_can_be_imported(legacy: Any) -> None:
    from openai import Embedding, InvalidRequestError, error
    from openai.api_resources import ChatCompletion
    from openai.api_resources.chat_completion import ChatCompletion as SameChatCompletion
    from openai.error import RateLimitError, ServiceUnavailableError
    from openai.openai_object import OpenAIObject
    from openai.util import ApiType, convert_to_dict, convert_to_openai_object

    assert importlib.import_module("openai.error") is error is legacy.error
    assert RateLimitError is errors.RateLimitError
    assert InvalidRequestError is errors.InvalidRequestError
    assert issubclass(ServiceUnavailableError, error.OpenAIError)
    assert ChatCompletion is SameChatCompletion is legacy.ChatCompletion
    assert Embedding is legacy.Embedding
    assert type(convert_to_openai_object({"a": {}})["a"]) is OpenAIObject
    assert type(convert_to_dict(convert_to_openai_object({"a": {}}))["a"]) is dict
    assert convert_to_openai_object({}).typed_api_type is ApiType.OPEN_AI
    legacy.api_type = "azure"
    assert convert_to_openai_object({}).typed_api_type is ApiType.from_str("Azure") is ApiType.AZURE


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_base", "https://api.openai.com/v1"),
        ("api_type", "open_ai"),
        ("api_key_path", None),
        ("proxy", None),
        ("app_info", None),
        ("debug", False),
        ("log", None),
        ("verify_ssl_certs", True),
        ("enable_telemetry", False),
        ("ca_bundle_path", None),
        ("requestssession", None),
    ],
)
def test_the_settings_of_0_28_are_there(name: str, value: Any, legacy: Any) -> None:
    assert getattr(legacy, name) == value


def test_the_session_of_aiohttp_can_be_set(legacy: Any) -> None:
    token = legacy.aiosession.set(object())
    legacy.aiosession.reset(token)
    assert legacy.aiosession.get() is None


def test_today_s_clients_work_beside_it(legacy: Any, east: Resource) -> None:
    import azure_shim

    client = azure_shim.OpenAI(azure_endpoint=east.endpoint, api_key=east.api_key)
    with client:
        assert client.chat.completions.create(model="prod", messages=MESSAGES).choices
        east.fail_next("429_token_rate")
        with pytest.raises(legacy.RateLimitError):
            client.with_options(max_retries=0).chat.completions.create(model="prod", messages=MESSAGES)


def test_it_can_be_installed_in_a_process_that_has_used_nothing_else() -> None:
    """And a program can import ``openai.error`` first thing after that."""
    program = (
        "import openai; from azure_shim.patching.legacy import install; undo = install(openai, dict); "
        "import openai.error; from openai.error import Timeout; undo(); "
        "import sys; assert 'openai.error' not in sys.modules; assert not hasattr(openai, 'error')"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, env=dict(os.environ))
