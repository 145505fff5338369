"""A trained model's files: what is saved predicts the same, and what cannot be read rightly is one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import nn

from tune_fmnist import models
from tune_fmnist.base.datasets import KNOWN_SHAPE
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.files import MODEL_FORMAT
from tune_fmnist.models.config import Ann, Cnn, Config
from tune_fmnist.models.networks import build
from tune_fmnist.models.saved import FORMAT_KEY, read, save, saved_config

SMALL = Ann(hidden1=33, hidden2=7, dropout=0.0)
CONFIGS = [Ann(), SMALL, Cnn(), Cnn(conv1_channels=3, conv2_channels=5, conv3_channels=7)]


def arrays(model: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Return a model's weights as a worker sends them."""
    return {name: tensor.cpu().numpy() for name, tensor in model.state_dict().items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a saved model."""
    save(arrays(build(SMALL, KNOWN_SHAPE)), SMALL, KNOWN_SHAPE, tmp_path / "best")
    return tmp_path / "best"


@pytest.mark.parametrize("config", CONFIGS)
def test_a_saved_model_predicts_the_same(config: Config, tmp_path: Path) -> None:
    images = torch.rand(6, 1, 28, 28) * 2 - 1
    # As training leaves it: the arrays of convolutions are not in the order of their indices.
    model = build(config, KNOWN_SHAPE).to(memory_format=torch.channels_last).eval()
    save(arrays(model), config, KNOWN_SHAPE, tmp_path)
    for again in (models.load(tmp_path), models.load(str(tmp_path))):
        assert not again.training
        assert type(again) is type(model)
        torch.testing.assert_close(again(images), model(images))
        assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())


def test_a_folder_holds_the_two_files_and_is_read_without_torch(folder: Path) -> None:
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]
    config, _, weights = read(folder)
    assert config == saved_config(folder) == SMALL
    assert {name: array.shape for name, array in weights.items()} == {
        name: tuple(tensor.shape) for name, tensor in build(SMALL, KNOWN_SHAPE).state_dict().items()
    }
    assert {array.dtype.name for array in weights.values()} == {"float32"}


def stamped(version: str | None) -> Callable[[Path], None]:
    """Write the weights again, of another format version; None leaves it out, as the first release did."""

    def change(folder: Path) -> None:
        file = folder / "model.safetensors"
        save_file(load_file(file), file, None if version is None else {FORMAT_KEY: version})

    return change


def without_its_end(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (stamped(None), "format_version: unsupported version 1; this release reads version 2: "),
        (stamped("1"), "format_version: unsupported version 1; "),
        (stamped(str(MODEL_FORMAT + 1)), f"format_version: unsupported version {MODEL_FORMAT + 1}; "),
        (stamped("two"), "format_version: unsupported version 'two'; "),
        (stamped(""), "format_version: unsupported version ''; "),
        (lambda folder: (folder / "model.safetensors").unlink(), "file not found; train it again"),
        (without_its_end, "cannot be read ("),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "cannot be read ("),
    ],
)
def test_weights_that_cannot_be_read_rightly_are_one_line(
    damage: Callable[[Path], None], says: str, folder: Path
) -> None:
    damage(folder)
    with pytest.raises(InputError) as caught:
        models.load(folder)
    assert str(caught.value).startswith(f"{folder / 'model.safetensors'}: {says}")
    assert len(str(caught.value).splitlines()) == 1
    assert saved_config(folder) is None, "it counts as none, and is trained again"


def test_weights_of_another_configuration_are_one_line(folder: Path, tmp_path: Path) -> None:
    # As after a kill between the two publications: the new weights, and the configuration of the model before.
    other = SMALL.model_copy(update={"dropout": 0.5})
    save(arrays(build(SMALL, KNOWN_SHAPE)), other, KNOWN_SHAPE, tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").replace(folder / "model.safetensors")
    for reader in (models.load, read):
        with pytest.raises(InputError) as caught:
            reader(folder)
        says = "is not the configuration of model.safetensors; train it again with `tune-fmnist retrain`"
        assert str(caught.value) == f"{folder / 'config.json'}: {says}"
    assert saved_config(folder) is None, "it counts as none, and is trained again"


def test_weights_without_a_checksum_that_do_not_fit_are_one_line(folder: Path) -> None:
    stamped(str(MODEL_FORMAT))(folder)
    (folder / "config.json").write_text(Ann().model_dump_json())
    with pytest.raises(InputError, match=r"config\.json: is not the configuration of model\.safetensors"):
        models.load(folder)


@pytest.mark.parametrize("place", [-1, -1_000, -40_000])
def test_a_changed_weight_is_one_line(place: int, folder: Path) -> None:
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.safetensors: crc: content does not match its checksum; train it"):
        models.load(folder)
    assert saved_config(folder) is None


def test_the_present_format_is_read(folder: Path) -> None:
    stamped(str(MODEL_FORMAT))(folder)
    assert saved_config(folder) == SMALL
    models.load(folder)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "cannot be read ("),
        ("[]", "holds a list, not an object; "),
        ("{}", "model: unknown model None; "),
        (json.dumps(SMALL.model_dump() | {"hidden1": -3}), "hidden1: invalid value -3; must be at least 1"),
        (json.dumps(SMALL.model_dump() | {"hiden1": 3}), "hiden1: unknown; did you mean hidden1?"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_line(content: str, says: str, folder: Path) -> None:
    (folder / "config.json").write_text(content)
    for reader in (models.load, saved_config):
        with pytest.raises(InputError) as caught:
            reader(folder)
        assert str(caught.value).startswith(f"{folder / 'config.json'}: {says}")
        assert len(str(caught.value).splitlines()) == 1


def test_an_empty_folder_has_no_model(tmp_path: Path) -> None:
    assert saved_config(tmp_path) is None
    with pytest.raises(InputError, match=r"config\.json: cannot be read"):
        models.load(tmp_path)


def test_a_model_is_replaced_whole(folder: Path) -> None:
    save(arrays(build(Cnn(), KNOWN_SHAPE)), Cnn(), KNOWN_SHAPE, folder)
    assert saved_config(folder) == Cnn()
    models.load(folder)
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]
