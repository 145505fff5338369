from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.strategies import configs
from tune_fmnist.base.errors import InputError
from tune_fmnist.models.config import Ann, Cnn, Config, baseline, config_id, id_of, later_settings, to_config

TRAINING = {
    "learning_rate": 1e-3,
    "batch_size": 64,
    "optimizer": "adam",
    "momentum": 0.0,
    "weight_decay": 0.0,
    "schedule": "constant",
    "flip": False,
    "shift": 0,
    "warm_up": 0.0,
    "label_smoothing": 0.0,
    "average": 0.0,
    "alternating_flip": False,
    "image_shift": 0,
    "erasing": 0.0,
    "nesterov": False,
    "spare_biases": False,
    "mirror": False,
}
BESIDE: dict[str, dict[str, Any]] = {
    "momentum": {"optimizer": "sgd"},
    "nesterov": {"optimizer": "sgd"},
    "warm_up": {"schedule": "one_cycle"},
    "alternating_flip": {"flip": True},
}
"""Values of other settings that a setting needs."""


def test_defaults_are_the_baselines() -> None:
    ann: dict[str, Any] = {"model": "ann", "hidden1": 256, "hidden2": 128, "dropout": 0.3}
    cnn: dict[str, Any] = {
        "model": "cnn",
        "conv1_channels": 32,
        "conv2_channels": 64,
        "conv3_channels": 0,
        "dense_units": 128,
    }
    ann |= {"hidden3": 0, "hidden4": 0, "batch_norm": False, "skip": False}
    cnn |= {"conv4_channels": 0, "conv2_pool": True, "convolutions": 1, "residual": False, "kernel_size": 3}
    cnn |= {"batch_norm": False, "head": "dense"}
    assert baseline("ann").model_dump() == ann | TRAINING
    assert baseline("cnn").model_dump() == cnn | TRAINING | {"dropout": 0.5}


def test_names_are_the_same_on_every_machine() -> None:
    assert config_id(Ann()) == "57436f5cf268"
    assert config_id(Cnn()) == "00edd0f2563a"
    assert config_id(Ann(hidden1=300, dropout=0.1, flip=True)) == "e8605a18053b"


@given(configs(), configs(), st.randoms(use_true_random=False))
@example(Ann(dropout=0.0), Ann(dropout=-0.0), None)
@example(Ann(learning_rate=1), Ann(learning_rate=1.0), None)
def test_equal_configurations_and_no_others_have_equal_names(first: Config, second: Config, order: Any) -> None:
    assert (first == second) == (config_id(first) == config_id(second))
    shuffled = list(first.model_dump().items())
    if order is not None:
        order.shuffle(shuffled)
    assert config_id(to_config(dict(shuffled))) == config_id(first)


@pytest.mark.parametrize("family", [Ann, Cnn])
def test_each_field_counts_in_the_name(family: type[Ann] | type[Cnn]) -> None:
    changes: dict[str, Any] = {key: 8 for key, value in family().model_dump().items() if type(value) is int}
    changes |= {"shift": 2, "image_shift": 2, "learning_rate": 2e-3, "weight_decay": 0.01, "dropout": 0.1}
    changes |= {"optimizer": "sgd", "momentum": 0.9, "schedule": "cosine", "warm_up": 0.3}
    changes |= {"label_smoothing": 0.1, "average": 0.5, "erasing": 0.25}
    changes |= dict.fromkeys(("flip", "alternating_flip", "nesterov", "spare_biases", "mirror", "batch_norm"), True)
    if family is Ann:
        changes |= {"skip": True}
    else:
        changes |= {"convolutions": 2, "kernel_size": 5, "residual": True, "head": "max", "conv2_pool": False}
    assert changes.keys() | {"model"} == family.model_fields.keys()
    names = {config_id(family(**{key: change} | BESIDE.get(key, {}))) for key, change in changes.items()}
    others = {config_id(family(**values)) for values in BESIDE.values()} | {config_id(family())}
    assert len(names | others) == len(changes) + 2, "the optimizer and the flip are among the changes"


@pytest.mark.parametrize("name", ["ann", "cnn", "somebodys:Own"])
def test_a_setting_that_the_first_releases_did_not_have_leaves_old_names_as_they_were(name: str) -> None:
    old = {"learning_rate": 0.01, "schedule": "cosine", "model": name, "hidden1": 8, "warm_up_of_mine": 0.0}
    assert id_of(old | later_settings(name)) == id_of(old)
    for key, default in later_settings(name).items():
        numbers = not isinstance(default, str | bool)
        other = default + 2 if numbers else {"dense": "max", False: True, True: False}[default]
        assert id_of(old | {key: other}) != id_of(old), key


@given(configs())
def test_survives_a_dict_and_json_unchanged(config: Config) -> None:
    dumped = config.model_dump()
    for values in (dumped, json.loads(json.dumps(dumped)), json.loads(config.model_dump_json())):
        again = to_config(values)
        assert again == config
        assert type(again) is type(config)
        assert again.model_dump() == dumped
        assert [type(value) for value in again.model_dump().values()] == [type(value) for value in dumped.values()]


def test_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Ann().hidden1 = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "key", "quoted"),
    [
        ({"hidden1": "64"}, "hidden1", "'64'"),
        ({"hidden1": True}, "hidden1", "True"),
        ({"hidden1": 1.0}, "hidden1", "1.0"),
        ({"hidden1": None}, "hidden1", "None"),
        ({"hidden1": [64]}, "hidden1", "a list"),
        ({"hidden1": 0}, "hidden1", "0"),
        ({"hidden1": 4097}, "hidden1", "4097"),
        ({"hidden2": -1}, "hidden2", "-1"),
        ({"batch_size": 0}, "batch_size", "0"),
        ({"batch_size": 4097}, "batch_size", "4097"),
        ({"learning_rate": 0.0}, "learning_rate", "0.0"),
        ({"learning_rate": "1e-3"}, "learning_rate", "'1e-3'"),
        ({"learning_rate": True}, "learning_rate", "True"),
        ({"learning_rate": float("nan")}, "learning_rate", "nan"),
        ({"learning_rate": float("inf")}, "learning_rate", "inf"),
        ({"learning_rate": 10**400}, "learning_rate", str(10**400)),
        ({"dropout": 1.0}, "dropout", "1.0"),
        ({"dropout": -0.1}, "dropout", "-0.1"),
        ({"dropout": float("nan")}, "dropout", "nan"),
        ({"weight_decay": -1e-9}, "weight_decay", "-1e-09"),
        ({"optimizer": "adamw"}, "optimizer", "'adamw'"),
        ({"optimizer": "a\nb"}, "optimizer", r"'a\nb'"),
        ({"schedule": "linear"}, "schedule", "'linear'"),
        ({"flip": 1}, "flip", "1"),
        ({"flip": "true"}, "flip", "'true'"),
        ({"shift": 5}, "shift", "5"),
        ({"shift": False}, "shift", "False"),
        ({"momentum": 0.9}, "momentum", "0.9"),
        ({"momentum": 0.9, "optimizer": "adam"}, "momentum", "0.9"),
        ({"momentum": 1.0, "optimizer": "sgd"}, "momentum", "1.0"),
        ({"nesterov": True}, "nesterov", "True"),
        ({"warm_up": 0.3, "schedule": "cosine"}, "warm_up", "0.3"),
        ({"warm_up": 1.0, "schedule": "one_cycle"}, "warm_up", "1.0"),
        ({"alternating_flip": True}, "alternating_flip", "True"),
        ({"label_smoothing": 1.0}, "label_smoothing", "1.0"),
        ({"erasing": 1.1}, "erasing", "1.1"),
        ({"average": -1.0}, "average", "-1.0"),
        ({"image_shift": 5}, "image_shift", "5"),
        ({"batch_norm": True, "batch_size": 1}, "batch_norm", "True"),
        ({"model": "cnn", "kernel_size": 4}, "kernel_size", "4"),
        ({"model": "cnn", "convolutions": 4}, "convolutions", "4"),
        ({"model": "cnn", "head": "mean"}, "head", "'mean'"),
        ({"model": "cnn", "conv1_channels": 0}, "conv1_channels", "0"),
        ({"model": "cnn", "conv3_channels": 513}, "conv3_channels", "513"),
        ({"model": "rnn"}, "model", "'rnn'"),
        ({"model": ["ann"]}, "model", "['ann']"),
        ({"model": None}, "model", "None"),
    ],
)
def test_gate_names_key_value_and_hint_in_one_line(values: dict[str, Any], key: str, quoted: str) -> None:
    with pytest.raises(InputError) as caught:
        to_config({"model": "ann", **values}, file="some.json")
    assert caught.value.key == key
    assert quoted in caught.value.what
    assert caught.value.hint
    message = str(caught.value)
    assert message.startswith(f"some.json: {key}: ")
    assert message.endswith(" ".join(caught.value.hint.split()))
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"hiden1": 64}, "some.json: hiden1: unknown; did you mean hidden1?"),
        ({"learning-rate": 0.1}, "some.json: learning-rate: unknown; did you mean learning_rate?"),
        (
            {"conv1_channels": 64},
            "some.json: conv1_channels: unknown; use one of alternating_flip, average, batch_norm, ",
        ),
        ({"model": "cnn", "hidden1": 64}, "some.json: hidden1: unknown; use one of alternating_flip, average, "),
    ],
)
def test_gate_names_the_nearest_key_to_an_unknown_one(values: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        to_config({"model": "ann", **values}, file="some.json")
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"hidden1": 0}, "hidden1: invalid value 0; must be at least 1"),
        ({"hidden1": 4097}, "hidden1: invalid value 4097; must be at most 4096"),
        ({"learning_rate": 0.0}, "learning_rate: invalid value 0.0; must be greater than 0"),
        ({"dropout": 1.0}, "dropout: invalid value 1.0; must be less than 1"),
        ({"optimizer": "adamw"}, "optimizer: invalid value 'adamw'; must be 'adam' or 'sgd'"),
        ({"momentum": 0.9}, "momentum: invalid value 0.9; use 0, or optimizer 'sgd' instead of 'adam'"),
        ({"nesterov": True}, "nesterov: invalid value True; use false, or optimizer 'sgd' instead of 'adam'"),
        ({"warm_up": 0.3}, "warm_up: invalid value 0.3; use 0, or schedule 'one_cycle' instead of 'constant'"),
        ({"alternating_flip": True}, "alternating_flip: invalid value True; use false, or flip true"),
    ],
)
def test_gate_says_what_a_value_must_be(values: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        to_config({"model": "ann", **values})
    assert str(caught.value) == line


def test_gate_needs_a_model() -> None:
    with pytest.raises(InputError, match="unknown model None; use one of ann, cnn"):
        to_config({"hidden1": 64})


def test_gate_takes_the_bounds() -> None:
    assert to_config({"model": "ann", "learning_rate": 1}).learning_rate == 1.0
    assert to_config({"model": "ann", "optimizer": "sgd", "momentum": 0.9}).momentum == 0.9
    for key, value in (("hidden1", 1), ("hidden1", 4096), ("dropout", 0), ("shift", 4), ("batch_size", 4096)):
        assert to_config({"model": "ann", key: value}).model_dump()[key] == value
