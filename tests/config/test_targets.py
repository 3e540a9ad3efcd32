"""The typed targets and groups write the gateway's format, and show no secret."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from azure_shim.config.keys import ROOT_KEYS
from azure_shim.config.settings import ARGUMENTS
from azure_shim.config.tree import read_plan
from azure_shim.errors import ConfigurationError
from azure_shim.plan import Plan
from azure_shim.targets import AzureTarget, Conditional, Fallback, LoadBalance, OpenAITarget

MARK = "marker-secret-0123456789"
EAST = AzureTarget(resource_name="eastus", api_key=MARK)
WEST = AzureTarget(resource_name="westus", api_key={"env": "WEST_KEY"}, weight=2)


def plan(config: Any) -> Plan:
    return read_plan(config, is_async=False, environ={"WEST_KEY": MARK, "OPENAI_API_KEY": MARK})[0]


@pytest.mark.parametrize(
    ("node", "config"),
    [
        (AzureTarget(resource_name="r"), {"provider": "azure-openai", "resource_name": "r"}),
        (OpenAITarget(organization="o"), {"provider": "openai", "organization": "o"}),
        (
            LoadBalance([OpenAITarget()], by="load", tags=["eu"]),
            {"tags": ["eu"], "strategy": {"mode": "loadbalance", "by": "load"}, "targets": [{"provider": "openai"}]},
        ),
        (
            LoadBalance([OpenAITarget(weight=5), {"provider": "openai"}], weights=[1, 0]),
            {
                "strategy": {"mode": "loadbalance"},
                "targets": [{"provider": "openai", "weight": 1}, {"provider": "openai", "weight": 0}],
            },
        ),
        (
            Fallback([OpenAITarget()], on_status_codes=[429], wait_s=2, replay="never", seed=0),
            {
                "replay": "never",
                "seed": 0,
                "strategy": {"mode": "fallback", "on_status_codes": [429], "wait_s": 2},
                "targets": [{"provider": "openai"}],
            },
        ),
        (
            Conditional([OpenAITarget(name="a")], conditions=[({"params.x": 1}, "a")], default="a"),
            {
                "strategy": {
                    "mode": "conditional",
                    "conditions": [{"query": {"params.x": 1}, "then": "a"}],
                    "default": "a",
                },
                "targets": [{"provider": "openai", "name": "a"}],
            },
        ),
    ],
)
def test_a_node_writes_its_mapping(node: Any, config: dict[str, Any]) -> None:
    assert node.as_config() == config


def test_typed_nodes_nest_and_mix_with_mappings() -> None:
    typed = Fallback(
        [
            LoadBalance([EAST, {"resource_name": "north", "api_key": MARK}, WEST], api_version="2024-10-21"),
            OpenAITarget(),
        ],
        attempts=6,
    )
    found = plan(typed)
    assert [target.name for target in found.targets] == ["eastus", "north", "westus", "openai"]
    assert found == plan(typed.as_config())
    assert found.rules.attempts == 6
    assert found.root.branches[0].node.branches[2].weight == 2.0  # type: ignore[union-attr]
    # A mapping may have typed nodes in it as well.
    assert plan({"strategy": {"mode": "single"}, "targets": [EAST]}).targets[0].name == "eastus"


def test_a_target_alone_is_a_plan() -> None:
    assert plan(EAST).root == plan(EAST).targets[0]


def test_each_target_s_weight_may_be_written_on_its_group() -> None:
    root = plan(LoadBalance([EAST, WEST], weights=(3, 1))).root
    assert [branch.weight for branch in root.branches] == [3.0, 1.0]  # type: ignore[union-attr]


def test_as_many_weights_as_targets() -> None:
    with pytest.raises(ValueError, match="2 targets, but 1 weights"):
        LoadBalance([EAST, WEST], weights=[1]).as_config()


def test_a_rule_is_for_the_outermost_group() -> None:
    with pytest.raises(ConfigurationError, match=r"^config\.targets\[0\]\.seed: is a rule for all targets"):
        plan(Fallback([LoadBalance([EAST], seed=1)]))


@pytest.mark.parametrize("kind", [AzureTarget, OpenAITarget, LoadBalance, Fallback, Conditional])
def test_an_unknown_keyword_is_a_type_error(kind: Any) -> None:
    with pytest.raises(TypeError, match="weigth"):
        kind(weigth=1)


def test_an_azure_target_has_every_argument_of_the_constructor() -> None:
    names = {field.name for field in dataclasses.fields(AzureTarget)}
    assert names >= set(ARGUMENTS)
    for kind in (LoadBalance, Fallback, Conditional):
        assert {field.name for field in dataclasses.fields(kind)} >= names | set(ROOT_KEYS) | {"organization"}


def test_a_node_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        EAST.api_key = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("node", "shown"),
    [
        (EAST, "AzureTarget(resource_name='eastus')"),
        (AzureTarget(resource_name=MARK * 2, api_key=MARK), "AzureTarget(resource_name=a str of 48 characters)"),
        (
            LoadBalance([EAST, {"api_key": MARK}], by="load", api_key=MARK, weights=[1]),
            "LoadBalance([AzureTarget(resource_name='eastus'), {...}], by='load')",
        ),
        (
            Fallback(
                [OpenAITarget(api_key=MARK, name="o", weight=0, proxy=f"http://u:{MARK}@p")],
                default_headers={"api-key": MARK},
            ),
            "Fallback([OpenAITarget(name='o', weight=0)])",
        ),
        (AzureTarget(azure_endpoint=f"https://u:{MARK}@h", override_params={"user": MARK}), "AzureTarget()"),
    ],
)
def test_a_repr_shows_no_secret(node: Any, shown: str) -> None:
    assert repr(node) == shown
    assert MARK not in str(node)
