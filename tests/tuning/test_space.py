from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.strategies import inside, spaces
from tune_fmnist.base.datasets import KNOWN_SHAPE
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.vocabulary import MODELS, ModelName
from tune_fmnist.models.config import Ann, Cnn, Config, baseline, config_id
from tune_fmnist.models.size import parameters
from tune_fmnist.tuning.space import CategoricalParameter, FloatParameter, Parameter, Space, Value
from tune_fmnist.tuning.space_files import default_space, from_values, read_space, to_json

FILES = sorted(default_space("ann").parent.glob("*.toml"))
TEXTS = [file.read_text(encoding="utf-8") for file in FILES]

CONDITIONAL = """
model = "ann"
[parameters]
optimizer = { type = "categorical", choices = ["adam", "sgd"] }
momentum = { type = "float", low = 0.5, high = 0.99, when = { optimizer = "sgd" } }
"""


def parse(text: str) -> Space:
    return from_values(tomllib.loads(text))


def expect_one_line(error: InputError) -> None:
    assert len(str(error).splitlines()) == 1
    assert error.hint
    assert str(error).endswith("; " + " ".join(error.hint.split()))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_file_that_comes_along_is_a_space(file: Path) -> None:
    space = read_space(file)
    assert file.stem.split("-")[0] == space.model
    assert from_values(json.loads(json.dumps(to_json(space)))) == space
    assert all(space.values(space.sample(lambda name, parameter, start=start: start[name])) for start in space.start)  # type: ignore[misc]


@pytest.mark.parametrize("model", MODELS)
def test_baseline_lies_in_the_default_space(model: ModelName) -> None:
    space = read_space(default_space(model))
    values = space.values(baseline(model))
    assert values is not None
    assert values.keys() == space.parameters.keys()
    assert space.sample(lambda name, parameter: values[name]) == baseline(model)


@pytest.mark.parametrize("model", MODELS)
def test_default_space_is_there(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_space(model).is_file()
    assert default_space(model).is_absolute()
    assert default_space(model).name == f"{model}.toml"


@given(spaces())
@settings(max_examples=50)
def test_survives_json_unchanged(values: dict[str, Any]) -> None:
    space = from_values(values)
    dumped = json.loads(json.dumps(to_json(space), allow_nan=False))
    again = from_values(dumped)
    assert again == space
    assert list(again.parameters) == list(space.parameters) == list(values["parameters"])
    assert to_json(again) == dumped


@given(spaces(), st.data())
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_sample_is_a_configuration_inside_the_space(values: dict[str, Any], data: st.DataObject) -> None:
    space = from_values(values)
    asked: dict[str, Value] = {}

    def choose(name: str, parameter: Parameter) -> Value:
        assert name not in asked
        assert parameter is space.parameters[name]
        asked[name] = data.draw(inside(parameter), label=name)
        return asked[name]

    config = space.sample(choose)
    written = config.model_dump()
    assert {key: written[key] for key in (*asked, *space.fixed)} == {**asked, **space.fixed}
    assert ("momentum" in asked) == ("momentum" in space.parameters and config.optimizer == "sgd")
    assert asked.keys() | {"momentum"} == space.parameters.keys() | {"momentum"}
    untouched = written.keys() - asked.keys() - space.fixed.keys()
    assert {key: written[key] for key in untouched} == {
        key: baseline(space.model).model_dump()[key] for key in untouched
    }
    assert space.values(config) == asked


def test_parameter_is_asked_for_only_where_it_exists() -> None:
    space = parse(CONDITIONAL)
    assert space.conditional()
    assert not read_space(default_space("ann")).conditional()
    asked: list[str] = []

    def choose(optimizer: str) -> Config:
        asked.clear()
        answers: dict[str, Value] = {"optimizer": optimizer, "momentum": 0.9}
        return space.sample(lambda name, parameter: asked.append(name) or answers[name])  # type: ignore[func-returns-value]

    assert choose("adam") == Ann()
    assert asked == ["optimizer"]
    assert choose("sgd") == Ann(optimizer="sgd", momentum=0.9)
    assert asked == ["optimizer", "momentum"]
    assert space.values(Ann()) == {"optimizer": "adam"}
    assert space.values(Ann(optimizer="sgd", momentum=0.9)) == {"optimizer": "sgd", "momentum": 0.9}


@pytest.mark.parametrize(
    ("parameter", "within", "without"),
    [
        ('hidden1 = { type = "int", low = 64, high = 128 }', [64, 65, 128], [63, 129]),
        ('hidden1 = { type = "int", low = 64, high = 128, step = 32 }', [64, 96, 128], [65, 127]),
        ('hidden1 = { type = "categorical", choices = [64, 128] }', [64, 128], [65]),
        ('dropout = { type = "float", low = 0, high = 0.5 }', [0.0, 0.25, 0.5], [0.51]),
        ('dropout = { type = "float", low = 0.1, high = 0.7, step = 0.1 }', [0.1, 0.3, 0.1 + 0.1 + 0.1, 0.7], [0.15]),
        ('dropout = { type = "categorical", choices = [0, 0.5] }', [0.0, 0.5], [0.25]),
        ('flip = { type = "categorical", choices = [true] }', [True], [False]),
    ],
)
def test_values_tell_inside_from_outside(parameter: str, within: list[Any], without: list[Any]) -> None:
    space = parse(f'model = "ann"\n[parameters]\n{parameter}\n[fixed]\nhidden2 = 99')
    name = parameter.split()[0]
    for value in within:
        assert space.values(Ann(hidden2=99, **{name: value})) == {name: value}
    for value in without:
        assert space.values(Ann(hidden2=99, **{name: value})) is None
    assert space.values(Ann(**{name: within[0]})) is None, "the fixed value differs"
    assert space.values(Ann(hidden2=99, schedule="cosine", **{name: within[0]})) is None, "the default differs"
    assert space.values(Cnn()) is None, "another family"


def test_start_may_be_partial() -> None:
    text = CONDITIONAL + "[[start]]\nmomentum = 0.9\n[[start]]\noptimizer = 'sgd'\nmomentum = 0.6\n"
    assert parse(text).start == [{"momentum": 0.9}, {"optimizer": "sgd", "momentum": 0.6}]


def test_a_step_too_small_to_count_is_no_error() -> None:
    assert FloatParameter(type="float", low=0.1, high=1.0, step=math.ulp(0.0)).contains(0.5)


HIDDEN = 'hidden1 = { type = "int", low = 64, high = 128 }'
OPTIMIZER = 'optimizer = { type = "categorical", choices = ["adam", "sgd"] }'
MISTAKES = {
    "low above high": (
        'hidden1 = { type = "int", low = 5, high = 3 }',
        "parameters.hidden1",
        "invalid; low 5 is above high 3",
    ),
    "low 0, log": ('hidden1 = { type = "int", low = 0, high = 3, log = true }', "parameters.hidden1", "low 0 must be"),
    "low 0.0, log": (
        'weight_decay = { type = "float", low = 0.0, high = 1.0, log = true }',
        "parameters.weight_decay",
        "low 0.0 must be above 0 on a log scale",
    ),
    "log with step": (
        'learning_rate = { type = "float", low = 0.1, high = 1.0, log = true, step = 0.1 }',
        "parameters.learning_rate",
        "step 0.1 does not go with a log scale",
    ),
    "int log with step": (
        'hidden1 = { type = "int", low = 8, high = 64, log = true, step = 8 }',
        "parameters.hidden1",
        "step 8 does not go with a log scale",
    ),
    "step 0": ('hidden1 = { type = "int", low = 8, high = 64, step = 0 }', "parameters.hidden1", "step 0 must be"),
    "fraction": (
        'hidden1 = { type = "int", low = 1.5, high = 3 }',
        "parameters.hidden1.low",
        "invalid value 1.5; must be a valid integer",
    ),
    "text": (
        'hidden1 = { type = "int", low = "1", high = 3 }',
        "parameters.hidden1.low",
        "invalid value '1'; must be a valid integer",
    ),
    "infinite": (
        'learning_rate = { type = "float", low = 0.1, high = inf }',
        "parameters.learning_rate.high",
        "invalid value inf; must be a finite number",
    ),
    "no high": ('hidden1 = { type = "int", low = 1 }', "parameters.hidden1.high", "missing; add it"),
    "unknown parameter": (
        'hiden1 = { type = "int", low = 1, high = 3 }',
        "parameters.hiden1",
        "ann has no parameter 'hiden1'; use one of alternating_flip, ",
    ),
    "the other family's": ('conv1_channels = { type = "int", low = 1, high = 3 }', "parameters.conv1_channels", "ann"),
    "the model": ('model = { type = "categorical", choices = ["ann"] }', "parameters.model", "'model'"),
    "unknown type": (
        'hidden1 = { type = "integer", low = 1, high = 3 }',
        "parameters.hidden1",
        "invalid type 'integer'; must be one of 'int', ",
    ),
    "no type": ("hidden1 = { low = 1, high = 3 }", "parameters.hidden1", "missing 'type'; add it"),
    "no table": ("hidden1 = 64", "parameters.hidden1", "invalid value 64; must be a valid dictionary"),
    "unknown key": (
        'hidden1 = { type = "int", low = 1, high = 3, base = 2 }',
        "parameters.hidden1.base",
        "unknown; use one of high, log, low, setting, step, type, when",
    ),
    "named like a type": (
        'int = { type = "int", low = "x", high = 3 }',
        "parameters.int.low",
        "invalid value 'x'; must be a valid integer",
    ),
    "no choices": (
        'hidden1 = { type = "categorical", choices = [] }',
        "parameters.hidden1.choices",
        "must have at least 1 item",
    ),
    "equal choices": (
        'hidden1 = { type = "categorical", choices = [8, 8] }',
        "parameters.hidden1",
        "invalid; choices [8, 8]",
    ),
    "0 and 0.0": ('dropout = { type = "categorical", choices = [0, 0.0] }', "parameters.dropout", "choices [0, 0.0]"),
    "a list as a choice": (
        'hidden1 = { type = "categorical", choices = [8, [9]] }',
        "parameters.hidden1.choices.1",
        "invalid value a list; use true, false, a finite number or a string",
    ),
    "a date as a choice": (
        'hidden1 = { type = "categorical", choices = [2020-01-01] }',
        "parameters.hidden1.choices.0",
        "invalid value datetime.date(2020, 1, 1); use true, false, a finite number or a string",
    ),
    "nan as a choice": (
        'dropout = { type = "categorical", choices = [nan] }',
        "parameters.dropout.choices.0",
        "invalid value nan; use true, false, a finite number or a string",
    ),
    "choice of another type": (
        'hidden1 = { type = "categorical", choices = [64, "128"] }',
        "parameters.hidden1",
        "invalid value '128'; must be a valid integer",
    ),
    "dropout of all": (
        'dropout = { type = "float", low = 0.0, high = 1.0 }',
        "parameters.dropout",
        "invalid value 1.0; must be less than 1",
    ),
    "learning rate 0": (
        'learning_rate = { type = "float", low = 0.0, high = 0.1 }',
        "parameters.learning_rate",
        "invalid value 0.0; must be greater than 0",
    ),
    "too wide": (
        'hidden1 = { type = "int", low = 1, high = 9999 }',
        "parameters.hidden1",
        "invalid value 9999; must be at most 4096",
    ),
    "momentum without sgd": (
        f'{OPTIMIZER}\nmomentum = {{ type = "float", low = 0.5, high = 0.9 }}',
        "parameters.momentum",
        "invalid value 0.5; use 0, or optimizer 'sgd' instead of 'adam'",
    ),
    "searched and fixed": (f"{HIDDEN}\n[fixed]\nhidden1 = 64", "fixed.hidden1", "'hidden1' is both searched and fixed"),
    "unknown fixed": (
        f"{HIDDEN}\n[fixed]\nhiden2 = 64",
        "fixed.hiden2",
        "ann has no parameter 'hiden2'; use one of alternating_flip, ",
    ),
    "fixed out of range": (
        f"{HIDDEN}\n[fixed]\ndropout = 2.0",
        "fixed.dropout",
        "invalid value 2.0; must be less than 1",
    ),
    "fixed of another type": (
        f'{HIDDEN}\n[fixed]\nhidden2 = "64"',
        "fixed.hidden2",
        "invalid value '64'; must be a valid integer",
    ),
    "fixed to a list": (f"{HIDDEN}\n[fixed]\nhidden2 = [64]", "fixed.hidden2", "invalid value a list; use true, "),
    "fixed momentum without sgd": (
        f"{OPTIMIZER}\n[fixed]\nmomentum = 0.9",
        "fixed.momentum",
        "invalid value 0.9; use 0, or ",
    ),
    "when names a later one": (
        f'momentum = {{ type = "float", low = 0.5, high = 0.9, when = {{ optimizer = "sgd" }} }}\n{OPTIMIZER}',
        "parameters.momentum.when.optimizer",
        "'optimizer' has no value before 'momentum'; name a parameter above it",
    ),
    "when names itself": (
        'hidden1 = { type = "int", low = 1, high = 3, when = { hidden1 = 2 } }',
        "parameters.hidden1.when.hidden1",
        "'hidden1' has no value before 'hidden1'; name a parameter above it",
    ),
    "when names an unknown one": (
        'momentum = { type = "float", low = 0.5, high = 0.9, when = { optimiser = "sgd" } }',
        "parameters.momentum.when.optimiser",
        "'optimiser'",
    ),
    "when never holds: not searched": (
        'momentum = { type = "float", low = 0.5, high = 0.9, when = { optimizer = "sgd" } }',
        "parameters.momentum.when.optimizer",
        "'optimizer' is never 'sgd'",
    ),
    "when never holds: no choice": (
        'optimizer = { type = "categorical", choices = ["sgd"] }\n'
        'hidden1 = { type = "int", low = 1, high = 3, when = { optimizer = "adam" } }',
        "parameters.hidden1.when.optimizer",
        "'optimizer' is never 'adam'",
    ),
    "when never holds: out of range": (
        f'{HIDDEN}\nhidden2 = {{ type = "int", low = 1, high = 3, when = {{ hidden1 = 200 }} }}',
        "parameters.hidden2.when.hidden1",
        "'hidden1' is never 200",
    ),
    "when is no table": (
        'hidden1 = { type = "int", low = 1, high = 3, when = "sgd" }',
        "parameters.hidden1.when",
        "invalid value 'sgd'; must be a valid dictionary",
    ),
    "start outside": (f"{HIDDEN}\n[[start]]\n[[start]]\nhidden1 = 129", "start.1.hidden1", "129 is not in the space"),
    "start of what is not searched": (f"{HIDDEN}\n[[start]]\nhidden2 = 64", "start.0.hidden2", "64 is not in"),
    "start of another type": (
        'hidden1 = { type = "categorical", choices = [64] }\n[[start]]\nhidden1 = 64.0',
        "start.0.hidden1",
        "invalid value 64.0; must be a valid integer",
    ),
    "start against its condition": (
        CONDITIONAL.partition("[parameters]")[2] + '[[start]]\noptimizer = "adam"\nmomentum = 0.9',
        "start.0.momentum",
        "invalid value 0.9; use 0, or optimizer 'sgd' instead of 'adam'",
    ),
    "nothing to search": ("", "parameters", "must have at least 1 item"),
}


@pytest.mark.parametrize(("parameters", "key", "shown"), MISTAKES.values(), ids=MISTAKES)
def test_mistake_is_one_line(parameters: str, key: str, shown: str, tmp_path: Path) -> None:
    file = tmp_path / "space.toml"
    file.write_text(f'model = "ann"\n[parameters]\n{parameters}\n')
    with pytest.raises(InputError) as caught:
        read_space(file)
    assert str(caught.value).startswith(f"{file}: {key}: ")
    assert shown in str(caught.value)
    expect_one_line(caught.value)


@pytest.mark.parametrize(
    ("content", "where", "shown"),
    [
        (f"[parameters]\n{HIDDEN}", "model: ", "missing; add it"),
        (
            f'model = "rnn"\n[parameters]\n{HIDDEN}',
            "model: ",
            "invalid value 'rnn'; must be 'ann' or 'cnn'",
        ),
        (f"model = 3\n[parameters]\n{HIDDEN}", "model: ", "invalid value 3; must be a valid string"),
        ('model = "ann"', "parameters: ", "missing; add it"),
        (f'model = "ann"\nparameter = 3\n[parameters]\n{HIDDEN}', "parameter: ", "unknown; did you mean parameters?"),
        (f'model = "ann"\nstart = 3\n[parameters]\n{HIDDEN}', "start: ", "invalid value 3; must be a valid list"),
        ("", "model: ", "missing; add it"),
        ("model = ", "", "is not TOML (Invalid value"),
        (f'model = "ann"\nmodel = "cnn"\n[parameters]\n{HIDDEN}', "", "is not TOML (Cannot overwrite a value"),
        ("model: ann", "", "is not TOML"),
        (f"model = {'[' * 5_000}", "", "is not TOML (maximum recursion depth"),
        (f"model = {'1' * 5_000}", "", "is not TOML (Exceeds the limit"),
        (b'model = "\xe4nn"', "--space: ", "can't decode byte 0xe4"),
        (b"\x00\x01PAR1", "", "is not TOML"),
    ],
    ids=str,
)
def test_file_that_is_no_space_is_one_line(content: str | bytes, where: str, shown: str, tmp_path: Path) -> None:
    file = tmp_path / "space.toml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        read_space(file)
    assert str(caught.value).startswith(f"{file}: {where}")
    assert shown in str(caught.value)
    expect_one_line(caught.value)


def test_what_is_no_file_is_one_line(tmp_path: Path) -> None:
    for path, shown in ((tmp_path, "Is a directory"), (tmp_path / "none.toml", "No such file")):
        with pytest.raises(InputError, match=shown) as caught:
            read_space(path)
        assert str(caught.value).startswith(f"{path}: --space: ")
        expect_one_line(caught.value)


def accepts_or_refuses(read: Callable[[], Space]) -> None:
    """What is read is a space that can be sampled, or an ``InputError``."""
    try:
        space = read()
    except InputError as error:
        expect_one_line(error)
        return
    for last in (False, True):
        config = space.sample(lambda name, parameter, last=last: _ends(parameter)[-last])  # type: ignore[misc]
        assert config_id(config)
        assert space.values(config) is not None
    assert from_values(json.loads(json.dumps(to_json(space)))) == space


def _ends(parameter: Parameter) -> list[Value]:
    if isinstance(parameter, CategoricalParameter):
        return list(parameter.choices)
    return [parameter.low, parameter.high if parameter.contains(parameter.high) else parameter.low]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("space") / "space.toml"


@given(st.text() | st.text().map(lambda text: f'{TEXTS[0]}\n[fixed]\nflip = """{text}"""'))
@settings(max_examples=60)
def test_any_text_is_a_space_or_an_error(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    accepts_or_refuses(lambda: read_space(file))


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-1, 300),
    st.floats(),
    st.floats(0, 1),
    st.text(max_size=3),
    st.sampled_from(["ann", "cnn", "int", "float", "categorical", "sgd", "adam", "cosine", 10**400]),
)
WORDS = st.sampled_from(
    ("model", "parameters", "fixed", "start", "type", "low", "high", "step", "choices", "when", "hidden1", "momentum")
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(WORDS | st.text(max_size=3), TREES, max_size=5))
@settings(max_examples=100)
def test_any_values_are_a_space_or_an_error(values: dict[str, Any]) -> None:
    accepts_or_refuses(lambda: from_values(values))
    base = {"model": "ann", "parameters": {"hidden1": {"type": "int", "low": 1, "high": 2}}}
    accepts_or_refuses(lambda: from_values(base | values))


def mutate(data: st.DataObject, values: Any) -> Any:
    """Replace, remove, rename or add somewhere in a tree."""
    if not isinstance(values, dict | list) or not values or data.draw(st.integers(0, 4)) == 0:
        return data.draw(TREES)
    place = data.draw(st.sampled_from(list(values) if isinstance(values, dict) else range(len(values))))
    changed = values.copy()
    action = data.draw(st.sampled_from(["into", "into", "into", "remove", "rename"]))
    if action == "into":
        changed[place] = mutate(data, values[place])
    else:
        taken = changed.pop(place)
        if action == "rename" and isinstance(changed, dict):
            changed[data.draw(WORDS)] = taken
    return changed


@given(spaces(), st.data())
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_changed_space_is_a_space_or_an_error(values: dict[str, Any], data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 2))):
        values = mutate(data, values)
        assume(isinstance(values, dict))
    accepts_or_refuses(lambda: from_values(values))


TOKENS = st.sampled_from(
    ("", "0", "-1", "1e-3", "1.0", "nan", "true", '"x"', '"sgd"', "{", "}", "[", "]", ",", "=")
) | (st.sampled_from(('when = { optimizer = "sgd" }', "step = 0.1", "log = true", "low", "hidden1", "[[start]]", "\n")))


@given(st.sampled_from(TEXTS), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 8), TOKENS), min_size=1, max_size=3))
@settings(max_examples=100)
def test_changed_file_is_a_space_or_an_error(file: Path, text: str, edits: list[tuple[float, int, str]]) -> None:
    for at, length, token in edits:
        place = int(at * len(text))
        text = text[:place] + token + text[place + length :]
    file.write_text(text, encoding="utf-8")
    accepts_or_refuses(lambda: read_space(file))


PER_OPTIMIZER = """
model = "ann"
max_parameters = 300_000
[parameters]
optimizer = { type = "categorical", choices = ["adam", "sgd"] }
adam_rate = { setting = "learning_rate", type = "float", low = 1e-4, high = 1e-2, when = { optimizer = "adam" } }
sgd_rate = { setting = "learning_rate", type = "float", low = 1e-2, high = 1.0, when = { optimizer = "sgd" } }
dropout = { type = "float", low = 0.0, high = 0.5 }
"""


def test_a_setting_has_a_range_for_each_value_of_another() -> None:
    space = parse(PER_OPTIMIZER)
    answers: dict[str, Value] = {"optimizer": "sgd", "adam_rate": 1e-3, "sgd_rate": 0.5, "dropout": 0.1}
    by_sgd = space.sample(lambda name, parameter: answers[name])
    by_adam = space.sample(lambda name, parameter: (answers | {"optimizer": "adam"})[name])
    assert (by_sgd.optimizer, by_sgd.learning_rate) == ("sgd", 0.5)
    assert (by_adam.optimizer, by_adam.learning_rate) == ("adam", 1e-3)
    values = space.values(by_sgd)
    assert values == {"optimizer": "sgd", "sgd_rate": 0.5, "dropout": 0.1}
    assert space.config(values) == by_sgd
    assert space.values(by_sgd.model_copy(update={"learning_rate": 1e-3})) is None, "a rate of Adam's"
    assert space.values(baseline("ann")) == {"optimizer": "adam", "adam_rate": 1e-3, "dropout": 0.3}
    assert from_values(json.loads(json.dumps(to_json(space)))) == space


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            ('when = { optimizer = "sgd" }', 'when = { optimizer = "adam" }'),
            "parameters.sgd_rate: 'adam_rate' and 'sgd_rate' are both of 'learning_rate'; "
            "let their `when` name different values of one parameter",
        ),
        (
            ('sgd_rate = { setting = "learning_rate"', 'sgd_rate = { setting = "rate"'),
            "parameters.sgd_rate.setting: ann has no parameter 'rate'; use one of alternating_flip, ",
        ),
        (("high = 1e-2", "high = -1.0"), "parameters.adam_rate: invalid; low 0.0001 is above high -1.0"),
        (
            ("[parameters]", "[fixed]\nlearning_rate = 0.1\n[parameters]"),
            "fixed.learning_rate: 'learning_rate' is both ",
        ),
        (("max_parameters = 300_000", "max_parameters = 0"), "max_parameters: invalid value 0; must be at least 1"),
        (
            (
                "dropout = ",
                'batch_size = { type = "int", low = 1, high = 9 }\n'
                'batch_norm = { type = "categorical", choices = [true] }\ndropout = ',
            ),
            "parameters.batch_norm: invalid value True; use false, or batch_size 2 or more",
        ),
    ],
)
def test_a_mistake_with_settings_is_one_line(change: tuple[str, str], line: str) -> None:
    text = PER_OPTIMIZER.replace(*change)
    assert text != PER_OPTIMIZER
    with pytest.raises(InputError) as caught:
        parse(text)
    assert str(caught.value).startswith(line)
    assert len(str(caught.value).splitlines()) == 1


def test_spaces_without_these_are_recorded_as_before() -> None:
    for model in MODELS:
        record = json.loads((Path(__file__).parents[2] / "results" / model / "search.json").read_text())
        assert to_json(from_values(record["space"])) == record["space"]


@pytest.mark.parametrize("model", MODELS)
def test_the_wide_spaces_have_all_settings(model: ModelName) -> None:
    space = read_space(default_space(model).with_name(f"{model}-wide.toml"))
    searched = {space.setting(name) for name in space.parameters}
    # Batches moved as a whole are what earlier searches had.
    assert searched == baseline(model).model_dump().keys() - {"model", "shift"}
    assert space.max_parameters is not None
    wide = {"ann": Ann(hidden1=1024, hidden2=512, hidden3=256), "cnn": Cnn()}[model]
    assert parameters(wide, KNOWN_SHAPE) <= space.max_parameters
