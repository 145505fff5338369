"""What Hypothesis draws: valid configurations, and valid search spaces as the values of a TOML file."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tune_fmnist.base.vocabulary import MODELS
from tune_fmnist.models.config import BUILT_IN, Config, to_config
from tune_fmnist.tuning.space import CategoricalParameter, FloatParameter, Parameter, Value

INTEGERS = {
    "ann": {
        "batch_size": (1, 4096),
        "shift": (0, 4),
        "image_shift": (0, 4),
        "hidden1": (1, 4096),
        "hidden2": (0, 4096),
        "hidden3": (0, 4096),
        "hidden4": (0, 4096),
    },
    "cnn": {
        "batch_size": (1, 4096),
        "shift": (0, 4),
        "image_shift": (0, 4),
        "conv1_channels": (1, 512),
        "conv2_channels": (1, 512),
        "conv3_channels": (0, 512),
        "conv4_channels": (0, 512),
        "convolutions": (1, 3),
        "dense_units": (1, 4096),
    },
}
FLOATS: dict[str, tuple[float, float]] = {
    "learning_rate": (1e-9, 10.0),
    "weight_decay": (0.0, 1.0),
    "dropout": (0.0, 0.999),
    "label_smoothing": (0.0, 0.999),
    "average": (0.0, 1000.0),
    "erasing": (0.0, 1.0),
}
DEPENDENT = {"momentum", "nesterov", "warm_up", "alternating_flip"}
"""Settings that exist beside one value of another."""
CHOICES: dict[str, list[Value]] = {
    "schedule": ["constant", "cosine", "one_cycle"],
    "flip": [False, True],
    "spare_biases": [False, True],
    "mirror": [False, True],
    "optimizer": ["adam", "sgd"],
}
OF_FAMILY: dict[str, dict[str, list[Value]]] = {
    "ann": {"skip": [False, True]},
    "cnn": {
        "conv2_pool": [False, True],
        "residual": [False, True],
        "kernel_size": [3, 5],
        "head": ["dense", "average", "max"],
    },
}


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Any configuration of either family."""
    model = draw(st.sampled_from(MODELS))
    values: dict[str, Any] = {name: draw(st.integers(*bounds)) for name, bounds in INTEGERS[model].items()}
    values |= {name: draw(st.floats(*bounds)) for name, bounds in FLOATS.items()}
    values |= {name: draw(st.sampled_from(choices)) for name, choices in (CHOICES | OF_FAMILY[model]).items()}
    values["batch_norm"] = values["batch_size"] > 1 and draw(st.booleans())
    if values["optimizer"] == "sgd":
        values["momentum"] = draw(st.floats(0.0, 1.0, exclude_max=True))
        values["nesterov"] = draw(st.booleans())
    if values["schedule"] == "one_cycle":
        values["warm_up"] = draw(st.floats(0.0, 1.0, exclude_max=True))
    if values["flip"]:
        values["alternating_flip"] = draw(st.booleans())
    assert values.keys() | DEPENDENT | {"model"} == BUILT_IN[model].model_fields.keys()
    return to_config({"model": model, **values})


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, Any]:
    """Any search space: what is searched, over what, beside what, and what is fixed."""
    model = draw(st.sampled_from(MODELS))
    integers = INTEGERS[model]
    known_choices = CHOICES | OF_FAMILY[model]
    known = [*integers, *FLOATS, *known_choices]
    parameters: dict[str, dict[str, Any]] = {}
    for name in draw(st.lists(st.sampled_from(known), min_size=1, unique=True)):
        parameters[name] = draw(
            _range("int", st.integers(*integers[name]))
            if name in integers
            else _range("float", st.floats(*FLOATS[name]))
            if name in FLOATS
            else st.lists(st.sampled_from(known_choices[name]), min_size=1, unique=True).map(_categorical)
        )
    fixed = {name: CHOICES[name][-1] for name in CHOICES if name not in parameters and draw(st.booleans())}
    if "sgd" in parameters.get("optimizer", {}).get("choices", []):
        parameters["momentum"] = {"type": "float", "low": 0.5, "high": 0.99, "when": {"optimizer": "sgd"}}
    elif fixed.get("optimizer") == "sgd":
        parameters["momentum"] = {"type": "float", "low": 0.0, "high": 0.9, "step": 0.1}
    return {"model": model, "parameters": parameters, "fixed": fixed}


@st.composite
def _range(draw: st.DrawFn, kind: str, bound: st.SearchStrategy[Any]) -> dict[str, Any]:
    low, high = sorted([draw(bound), draw(bound)])
    values = {"type": kind, "low": low, "high": high}
    if draw(st.booleans()):
        values["step"] = draw(st.integers(1, 64)) if kind == "int" else draw(st.floats(1e-3, 1.0))
    elif low > 0:
        values["log"] = draw(st.booleans())
    return values


def _categorical(choices: list[Value]) -> dict[str, Any]:
    return {"type": "categorical", "choices": choices}


def inside(parameter: Parameter) -> st.SearchStrategy[Any]:
    """A value that a sampler may choose for a parameter."""
    if isinstance(parameter, CategoricalParameter):
        return st.sampled_from(parameter.choices)
    if parameter.step is None:
        return st.floats(parameter.low, parameter.high)
    low, step = parameter.low, parameter.step
    last = int((parameter.high - low) / step)
    values = st.integers(0, last).map(lambda count: low + count * step)
    return values.filter(lambda value: value <= parameter.high) if isinstance(parameter, FloatParameter) else values
