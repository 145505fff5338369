"""The family that is made from a network's signature: what it takes, what it refuses, and how it travels."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import cloudpickle
import pytest
from pydantic import Field
from torch import nn

from tune_fmnist.base.datasets import KNOWN_SHAPE
from tune_fmnist.base.errors import InputError
from tune_fmnist.models.config import Config, baseline, config_id, family, to_config
from tune_fmnist.models.networks import build
from tune_fmnist.models.own import OwnConfig, named, of_network, signature
from tune_fmnist.tuning import own_space
from tune_fmnist.tuning.space import IntParameter
from tune_fmnist.tuning.space_files import from_values


class Net(nn.Module):
    def __init__(
        self,
        width: Annotated[int, Field(ge=8, le=512)] = 64,
        rate: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5,
        steep: bool = False,
        pool: Literal["max", "mean"] = "max",
        depth: Annotated[int, Field(gt=0, lt=4)] = 1,
        input_shape: tuple[int, int, int] = (1, 1, 1),
        classes: int = 2,
    ) -> None:
        super().__init__()
        self.shape, self.given = input_shape, (width, rate, steep, pool, depth)
        self.layer = nn.Linear(1, classes)


NAME = f"{__name__}:Net"


def test_the_defaults_are_the_baseline_and_what_the_images_are_is_filled_in() -> None:
    of_network(Net)
    first = baseline(NAME)
    assert first.model_dump() == {
        **baseline("ann").model_dump(include=Config.model_fields.keys() - {"model"}),
        "model": NAME, "width": 64, "rate": 0.5, "steep": False, "pool": "max", "depth": 1,
    }  # fmt: skip
    built: Any = build(first, KNOWN_SHAPE)
    assert (built.shape, built.layer.out_features, built.given) == ((1, 28, 28), 10, (64, 0.5, False, "max", 1))


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"width": 4}, "width: invalid value 4; must be at least 8"),
        ({"width": 16.0}, "width: invalid value 16.0; must be a valid integer"),
        ({"pool": "min"}, "pool: invalid value 'min'; must be 'max' or 'mean'"),
        ({"widht": 16}, "widht: unknown; did you mean width?"),
        ({"learning_rate": 0.0}, "learning_rate: invalid value 0.0; must be greater than 0"),
    ],
)
def test_its_values_are_as_strict_as_those_of_the_built_in_families(values: dict[str, Any], line: str) -> None:
    of_network(Net)
    with pytest.raises(InputError) as caught:
        to_config({"model": NAME, **values})
    assert str(caught.value) == line


def test_a_configuration_reaches_another_process_and_has_the_same_name_there(tmp_path: Path) -> None:
    of_network(Net)
    config = to_config({"model": NAME, "width": 9})
    file = tmp_path / "config"
    file.write_bytes(cloudpickle.dumps(config))
    program = (
        "import sys, cloudpickle; from tune_fmnist.models.config import config_id\n"
        "config = cloudpickle.loads(open(sys.argv[1], 'rb').read()); print(config_id(config), config.width)"
    )
    command = [sys.executable, "-c", program, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.split() == [config_id(config), "9"]


def test_a_network_of_a_script_travels_whole() -> None:
    made: Any = type("Scripted", (nn.Module,), {"__module__": "__main__", "__init__": _scripted})
    config = of_network(made)()  # type: ignore[call-arg]
    assert isinstance(cloudpickle.loads(cloudpickle.dumps(config)), OwnConfig)


def _scripted(self: Any, units: int = 3) -> None:
    nn.Module.__init__(self)


def test_what_has_bounds_or_choices_is_searched_with_the_usual_training() -> None:
    space = own_space.space_of(of_network(Net))
    assert list(space.parameters) == ["width", "steep", "pool", "depth", "learning_rate", "schedule"]
    assert space.parameters["width"] == IntParameter(type="int", low=8, high=512, log=True)
    assert space.parameters["depth"] == IntParameter(type="int", low=1, high=3)
    # `rate` has no highest value, for below 1 there is none.
    assert "rate" not in space.parameters


class FromZero(nn.Module):
    def __init__(
        self, dropout: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0, blocks: Annotated[int, Field(ge=0, le=2)] = 0
    ) -> None:
        super().__init__()


@pytest.mark.parametrize("network", [Net, FromZero])
def test_the_space_that_is_printed_is_the_file_that_is_read(network: type[nn.Module]) -> None:
    space = own_space.space_of(of_network(network))
    assert from_values(tomllib.loads(own_space.to_toml(space))) == space


def test_the_signature_says_types_bounds_and_defaults() -> None:
    assert signature(of_network(Net))["width"] == {"default": 64, "maximum": 512, "minimum": 8, "type": "integer"}
    assert signature(family("ann")) == {}


def _class(source: str) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        text = "from typing import Annotated, Literal\nfrom pydantic import Field\nfrom torch import nn\n" + source
        (folder / "wrong.py").write_text(text)
        return "wrong:Net"

    return write


def _init(parameters: str) -> str:
    return f"class Net(nn.Module):\n    def __init__(self, {parameters}): super().__init__()\n"


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (_init("width=3"), "Net: 'width' has no type; write width: int"),
        (_init("width: int"), "Net: 'width' has no default; give it one"),
        (_init("width: list = []"), "Net: 'width' is a list; use int, float, bool, str or a Literal"),
        (_init("width: int | None = 3"), "Net: 'width' is a int | None; use int"),
        (_init("width: Literal[1, 'a'] = 1"), "Net: 'width' is a Literal"),
        (_init("width: 'Missing' = 1"), "Net: its types cannot be resolved (name 'Missing' is not defined)"),
        (_init("width: Annotated[int, Field(ge=8)] = 3"), "Net: the default of width: invalid value 3; must be"),
        (_init("width: int = 'a'"), "Net: the default of width: invalid value 'a'; must be a valid integer"),
        (_init("learning_rate: float = 1.0"), "Net: 'learning_rate' is a training setting; give the parameter"),
        (_init("model: str = 'a'"), "Net: 'model' is a training setting"),
        (_init("hidden1: float = 1.0"), "Net: 'hidden1' is float, and int in tables of ann; give it another name"),
        (_init("*layers: int"), "Net: 'layers' cannot be given by name; use named parameters"),
        (_init("**settings: int"), "Net: 'settings' cannot be given by name"),
        (_init("_width: int = 1"), "Net: '_width' cannot be the name of a parameter"),
        (_init("copy: int = 1"), "Net: 'copy' cannot be the name of a parameter"),
        ("class Net: pass\n", "'Net' is not a class of torch.nn.Module; name the class"),
        ("def Net(width: int = 3): return nn.Linear(1, 1)\n", "'Net' is not a class of torch.nn.Module"),
        ("Net = nn.Linear(1, 1)\n", "is not a class of torch.nn.Module"),
        ("class Other(nn.Module): pass\n", "wrong has no 'Net'; name one that wrong has"),
        ("1 / 0\n", "--model: wrong raised ZeroDivisionError when it was imported: division by zero"),
        ("import missing_library\n", "--model: no module named 'missing_library'; run the command where"),
        ("def Net(\n", "--model: wrong raised SyntaxError when it was imported"),
    ],
)
def test_what_cannot_be_searched_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "wrong", raising=False)
    with pytest.raises(InputError) as caught:
        named(_class(source)(tmp_path))
    assert line in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    monkeypatch.delitem(sys.modules, "wrong", raising=False)


@pytest.mark.parametrize("name", ["rnn", "no_module:", ":Net", "a b:Net", "../x:Net"])
def test_a_name_that_is_none_is_one_line(name: str) -> None:
    with pytest.raises(InputError, match=r"unknown model .*; (use one of ann, cnn, or|name it as well)"):
        named(name)


def test_no_file_makes_this_program_import_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(InputError, match="unknown model 'planted:Net'; name it as well: --model planted:Net"):
        to_config({"model": "planted:Net"})
