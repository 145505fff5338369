"""A trial's checkpoints as files on a disk that damages them."""

from __future__ import annotations

import json
import math
import pickle
import resource
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.disk import full_disk
from tests.records import make_result
from tests.reliability import Note
from tune_fmnist.base.files import MODEL_FORMAT
from tune_fmnist.models.saved import FORMAT_KEY, checksum
from tune_fmnist.store.checkpoints import Checkpoints
from tune_fmnist.store.jobs import EpochResult


def tensors(epoch: int) -> dict[str, Tensor]:
    values = torch.tensor([epoch, 1 / 3, -0.0, math.inf, math.nan, 1e-45])
    return {"weights": values, "mean": values * 2, "steps": torch.tensor(float(epoch))}


def history(epochs: int) -> list[EpochResult]:
    return [make_result(epoch, epoch / 7, node="nöde") for epoch in range(1, epochs + 1)]


def bits(state: Mapping[str, Tensor | NDArray[Any]]) -> dict[str, list[int]]:
    """Return tensors as numbers that are equal only if all bits are."""
    arrays = {name: value.numpy() if isinstance(value, Tensor) else value for name, value in state.items()}
    assert {array.dtype.name for array in arrays.values()} == {"float32"}
    return {name: array.flatten().view(np.int32).tolist() for name, array in arrays.items()}


def save(checkpoints: Checkpoints, epochs: int) -> None:
    checkpoints.save(tensors(epochs), history(epochs))


def newest(checkpoints: Checkpoints) -> int | None:
    """Return the epoch of the newest checkpoint, which is that epoch's to the bit."""
    found = checkpoints.newest()
    if found is None:
        return None
    epoch = len(found.history)
    assert found.history == history(epoch)
    assert bits(found.arrays()) == bits(tensors(epoch))
    return epoch


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path, 7)


@pytest.fixture
def files(tmp_path: Path, checkpoints: Checkpoints) -> tuple[Path, Path]:
    """The checkpoints of epochs 1 and 2."""
    for epoch in (1, 2):
        save(checkpoints, epoch)
    first, second = sorted((tmp_path / "00007").iterdir())
    return first, second


def test_trial_that_has_not_begun_has_none(checkpoints: Checkpoints) -> None:
    assert checkpoints.newest() is None
    checkpoints.remove()


def test_newest_and_the_one_before_are_kept(checkpoints: Checkpoints, tmp_path: Path) -> None:
    for epoch in (1, 2, 3, 4):
        save(checkpoints, epoch)
        assert newest(checkpoints) == epoch
    kept = sorted((tmp_path / "00007").iterdir())
    assert [file.name for file in kept] == ["epoch-00003.safetensors", "epoch-00004.safetensors"]
    kept[1].unlink()
    assert newest(checkpoints) == 3


def test_tensors_of_any_shape_and_layout_come_back(checkpoints: Checkpoints) -> None:
    saved = {"scalar": torch.tensor(3.0), "turned": torch.rand(3, 4).t(), "strided": torch.rand(10)[::3]}
    checkpoints.save(saved, history(1))
    found = checkpoints.newest()
    assert found is not None
    assert {name: array.shape for name, array in found.arrays().items()} == {
        name: tuple(tensor.shape) for name, tensor in saved.items()
    }
    assert bits(found.arrays()) == bits(saved)


def test_lost_loss_is_in_the_history(checkpoints: Checkpoints) -> None:
    result = make_result(1, train_loss=math.nan, val_loss=-math.inf, reported_at=1e9 / 3, unsaved="no room")
    checkpoints.save(tensors(1), [result])
    found = checkpoints.newest()
    assert found is not None
    (back,) = found.history
    assert math.isnan(back.train_loss)
    assert back.model_copy(update={"train_loss": 0.0}) == result.model_copy(update={"train_loss": 0.0})
    assert back.diverged


def test_those_of_another_configuration_count_as_none(tmp_path: Path) -> None:
    one, other, anyone = (
        Checkpoints(tmp_path, 7, of="one"),
        Checkpoints(tmp_path, 7, of="other"),
        Checkpoints(tmp_path, 7),
    )
    for epoch in (1, 2, 3):
        save(one, epoch)
    assert newest(one) == newest(anyone) == 3
    assert newest(other) is None
    save(other, 1)
    assert newest(other) == newest(anyone) == 1
    assert newest(one) is None
    save(anyone, 2)
    assert newest(other) == 1


def test_what_stands_beside_the_tensors_may_be_changed_for_a_test(
    checkpoints: Checkpoints, files: tuple[Path, Path]
) -> None:
    with_metadata(files[1])
    assert newest(checkpoints) == 2, "what is written again without a change is read"


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def cut_in_the_header(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def cut_in_the_first_number(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def zeroed(file: Path) -> None:
    """As after a loss of power: the length is right, the content never arrived."""
    file.write_bytes(bytes(file.stat().st_size))


def longer(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


def flipped_in_the_history(file: Path) -> None:
    content = file.read_bytes()
    assert b"0.14285714285714285" in content
    file.write_bytes(content.replace(b"0.14285714285714285", b"0.14285714285714284"))


def flipped_in_the_tensors(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])


def another_programs(file: Path) -> None:
    save_file({"weights": torch.ones(6, dtype=torch.bfloat16)}, file)


def another_programs_with_metadata(file: Path) -> None:
    rows = [result.model_dump() for result in history(2)]
    save_file(tensors(2), file, {"format": "pt", "history": json.dumps(rows)})


def with_metadata(file: Path, **changes: str | None) -> None:
    """Change what stands beside the tensors; None removes it.  The checksum is not of these."""
    content = file.read_bytes()
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    kept = {name: value for name, value in (metadata | changes).items() if value is not None}
    save_file(load_file(file), file, kept)


def of_the_first_edition(file: Path) -> None:
    with_metadata(file, **{FORMAT_KEY: None})


def of_the_format_before(file: Path) -> None:
    with_metadata(file, **{FORMAT_KEY: str(MODEL_FORMAT - 1)})


def of_a_later_format(file: Path) -> None:
    with_metadata(file, **{FORMAT_KEY: str(MODEL_FORMAT + 1)})


def of_results_of_another_release(file: Path) -> None:
    rows = json.dumps([result.model_dump() | {"colour": "red"} for result in history(2)])
    with_metadata(file, history=rows, crc=checksum({name: one.numpy() for name, one in tensors(2).items()}, rows))


def text(file: Path) -> None:
    file.write_text("notes\n")


def a_link_to_nothing(file: Path) -> None:
    file.unlink()
    file.symlink_to("gone")


DAMAGES = [
    truncated,
    cut_in_the_header,
    cut_in_the_first_number,
    emptied,
    zeroed,
    longer,
    flipped_in_the_history,
    flipped_in_the_tensors,
    another_programs,
    another_programs_with_metadata,
    of_the_first_edition,
    of_the_format_before,
    of_a_later_format,
    of_results_of_another_release,
    text,
    a_link_to_nothing,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_one_is_passed_over(
    checkpoints: Checkpoints, files: tuple[Path, Path], damage: Callable[[Path], None]
) -> None:
    damage(files[1])
    assert newest(checkpoints) == 1
    save(checkpoints, 2)
    assert newest(checkpoints) == 2, "the epoch that is trained again replaces it"
    damage(files[0])
    assert newest(checkpoints) == 2
    damage(files[1])
    assert newest(checkpoints) is None


def test_a_bit_that_flipped_anywhere_is_noticed(checkpoints: Checkpoints, tmp_path: Path, count: Note) -> None:
    save(checkpoints, 1)
    (file,) = (tmp_path / "00007").iterdir()
    content, draw = file.read_bytes(), np.random.default_rng(0)
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(draw.integers(8))
        file.write_bytes(damaged)
        assert checkpoints.newest() is None, f"byte {place}: {content[place]:#x} became {damaged[place]:#x}"
    count("checkpoint with a changed bit, in each byte", len(content))


def test_new_ones_outlast_damaged_later_ones(checkpoints: Checkpoints, tmp_path: Path) -> None:
    for epoch in (8, 9):
        save(checkpoints, epoch)
    for file in (tmp_path / "00007").iterdir():
        truncated(file)
    assert newest(checkpoints) is None
    for epoch in (1, 2, 3):
        save(checkpoints, epoch)
        assert newest(checkpoints) == epoch
    assert len(list((tmp_path / "00007").iterdir())) == 2


def test_files_of_others_are_left_alone(checkpoints: Checkpoints, files: tuple[Path, Path]) -> None:
    others = [
        files[0].with_name(name)
        for name in ("notes.txt", ".epoch-00009.safetensors.12.partial", "epoch-9.safetensors~")
    ]
    for other in others:
        other.write_bytes(files[0].read_bytes())
    save(checkpoints, 3)
    assert newest(checkpoints) == 3
    assert all(other.exists() for other in others)


def test_each_trial_has_its_own(checkpoints: Checkpoints, tmp_path: Path) -> None:
    other = Checkpoints(tmp_path, 8)
    save(checkpoints, 2)
    assert newest(other) is None
    save(other, 5)
    assert (newest(checkpoints), newest(other)) == (2, 5)
    checkpoints.remove()
    checkpoints.remove()
    assert (newest(checkpoints), newest(other)) == (None, 5)
    assert [folder.name for folder in tmp_path.iterdir()] == ["00008"]


def test_save_replaces_a_file_whole(checkpoints: Checkpoints, files: tuple[Path, Path]) -> None:
    before = files[1].read_bytes()
    with files[1].open("rb") as reader:
        checkpoints.save(tensors(5), history(2))
        assert files[1].read_bytes() != before
        assert reader.read() == before, "who reads the old one reads it to its end"


def test_save_that_fails_changes_nothing(checkpoints: Checkpoints, files: tuple[Path, Path], count: Note) -> None:
    with full_disk(), pytest.raises(OSError, match="File too large"):
        checkpoints.save({"weights": torch.zeros(1_000)}, history(3))
    assert newest(checkpoints) == 2
    assert sorted(files[0].parent.iterdir()) == list(files)
    count("checkpoint's disk full", 1)


def test_save_that_finds_no_memory_says_so(checkpoints: Checkpoints, files: tuple[Path, Path], count: Note) -> None:
    large = {"weights": torch.zeros(2**24)}
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    # Room for the file once, not for the second copy that is made of it.
    resource.setrlimit(resource.RLIMIT_AS, (used + 5 * 2**24, before[1]))
    try:
        with pytest.raises(MemoryError, match="no memory left for a checkpoint of 64 MiB"):
            checkpoints.save(large, history(3))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert newest(checkpoints) == 2
    assert sorted(files[0].parent.iterdir()) == list(files)
    count("checkpoint finds no memory", 1)


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return (Path.touch, (self._marker,))


@pytest.mark.parametrize(
    ("write", "read"),
    [
        (pickle.dump, pickle.load),
        (torch.save, lambda file: torch.load(file, weights_only=False)),
    ],
)
def test_no_code_is_run(
    checkpoints: Checkpoints,
    files: tuple[Path, Path],
    tmp_path: Path,
    write: Callable[[Trap, BinaryIO], None],
    read: Callable[[BinaryIO], None],
) -> None:
    marker = tmp_path / "marker"
    with files[1].open("wb") as file:
        write(Trap(marker), file)
    assert newest(checkpoints) == 1
    assert not marker.exists()
    read(BytesIO(files[1].read_bytes()))
    assert marker.exists(), "the trap works"
