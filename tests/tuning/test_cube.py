"""A parameter's range as coordinates: every value has one, and each share of the scale is as likely as it is long."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tune_fmnist.reporting.importances import coordinates
from tune_fmnist.tuning.cube import from_cube, to_cube, value_of
from tune_fmnist.tuning.space import CategoricalParameter, FloatParameter, IntParameter, Parameter
from tune_fmnist.tuning.space_files import from_values

PARAMETERS: list[Parameter] = [
    IntParameter(type="int", low=64, high=512, log=True),
    IntParameter(type="int", low=16, high=64, step=8),
    IntParameter(type="int", low=3, high=3),
    FloatParameter(type="float", low=1e-4, high=1e-2, log=True),
    FloatParameter(type="float", low=0.0, high=0.5),
    FloatParameter(type="float", low=0.1, high=0.7, step=0.1),
    FloatParameter(type="float", low=0.2, high=0.2),
    CategoricalParameter(type="categorical", choices=[0, False, "sgd", 1.5]),
]


@pytest.mark.parametrize("parameter", PARAMETERS)
@given(at=st.floats(0.0, 1.0))
def test_a_coordinate_gives_a_value_and_the_value_gives_its_share(parameter: Parameter, at: float) -> None:
    value = from_cube(parameter, at)
    assert parameter.contains(value)
    again = from_cube(parameter, to_cube(parameter, value))
    assert again == (pytest.approx(value) if isinstance(value, float) else value)
    assert isinstance(again, bool) == isinstance(value, bool)


def test_equal_distances_are_equal_steps() -> None:
    rate = PARAMETERS[3]
    assert [from_cube(rate, at) for at in (0.0, 0.5, 1.0)] == pytest.approx([1e-4, 1e-3, 1e-2])
    steps = Counter(from_cube(PARAMETERS[1], at) for at in (np.arange(700) + 0.5) / 700)
    assert steps == dict.fromkeys(range(16, 65, 8), 100)


def test_of_several_ranges_of_a_setting_a_configuration_has_a_value_in_one() -> None:
    rate = {"setting": "learning_rate", "type": "float", "log": True}
    parameters = {
        "optimizer": {"type": "categorical", "choices": ["adam", "sgd"]},
        "adam_rate": {**rate, "low": 1e-4, "high": 1e-2, "when": {"optimizer": "adam"}},
        "sgd_rate": {**rate, "low": 1e-2, "high": 1.0, "when": {"optimizer": "sgd"}},
    }
    space = from_values({"model": "ann", "parameters": parameters})
    settings = {"model": "ann", "optimizer": "sgd", "learning_rate": 0.1}
    assert [value_of(space, name, settings) for name in parameters] == ["sgd", None, 0.1]
    assert coordinates(space, settings) == [0.75, -1.0, pytest.approx(0.5)], "a trial counts, whichever range it is of"
