"""``search.json``, a search's record: what it is, how it is computed, how it ended and how long it took."""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from tune_fmnist.base.datasets import FASHION_MNIST, KNOWN, KNOWN_SHAPE, DataShape
from tune_fmnist.base.errors import InputError, invalid
from tune_fmnist.base.files import SCHEMA_VERSION, check_version, publish
from tune_fmnist.base.importing import is_own_name
from tune_fmnist.base.vocabulary import SEARCHERS, SchedulerName, SearchState
from tune_fmnist.models.config import BUILT_IN, Config, FamilyName, baseline, id_of
from tune_fmnist.store.migration import record_from_version_1
from tune_fmnist.store.paths import SearchPaths

_MOST: Final = 10**9
"""No search counts further."""

_LONGEST: Final = 10**12
"""No sum of seconds, over all slots of all runs, is longer."""

_LARGEST: Final = 10**300
"""What stands under keys that are not typed is less, so that it can be computed with; a space may go far."""

_Count = Annotated[int, Field(ge=1, le=_MOST)]
_Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
_Seconds = Annotated[float, Field(ge=0.0, le=_LONGEST)]
_Share = Annotated[float, Field(ge=0.0, le=_MOST)]
_Moment = Annotated[AwareDatetime, Field(strict=False)]

_HINT = "restore the file or search again"
_CHECKSUM = "checksum"
"""Key of a checksum of all the others; records of earlier releases have none."""


class _Part(BaseModel):
    # Keys that this release does not know are kept: a later one of the same schema version may have written them.
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, validate_assignment=True)


def _searcher(name: str) -> str:
    if name not in SEARCHERS and not is_own_name(name):
        raise ValueError("must be 'tpe', 'gp' or 'random', or MODULE:FUNCTION of your own")
    return name


Searcher = Annotated[str, AfterValidator(_searcher)]
"""The name of a searcher, which may be the user's own."""


class SearcherSettings(_Part):
    """The searcher's name, how many trials must have an epoch before its model draws, and its sampler's arguments."""

    name: Searcher
    n_startup_trials: Annotated[int, Field(ge=0, le=_MOST)] = 10


class SchedulerSettings(_Part):
    """The scheduler's name and arguments: ``fifo`` has none.

    Attributes:
        audit: share of the stopped trials that run on outside of the search.
    """

    name: SchedulerName
    grace: _Count | None = None
    reduction_factor: Annotated[int, Field(ge=2, le=_MOST)] | None = None
    audit: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0

    def rungs(self, max_epochs: int) -> list[int]:
        """Return the epochs after which trials of ``max_epochs`` wait or stop; the last epoch is none of them."""
        if self.grace is None or self.reduction_factor is None:
            return []
        epochs, epoch = [], self.grace
        while epoch < max_epochs:
            epochs.append(epoch)
            epoch *= self.reduction_factor
        return epochs


class RetrainPlan(_Part):
    """Whether the best are confirmed, retrained and tested.

    Attributes:
        wanted: whether.
        top_k: how many configurations are retrained.
        seeds: retrains of each.
        confirm: confirmations of each candidate before; 0, as in records of earlier releases, for none.
    """

    wanted: bool
    top_k: _Count
    seeds: _Count
    confirm: Annotated[int, Field(ge=0, le=_MOST)] = 0


class PlacementRecord(_Part):
    """What one trial occupies, how many ran at once and on how many nodes."""

    cpus: Annotated[float, Field(ge=0.0, le=_MOST)]
    gpus: Annotated[float, Field(ge=0.0, le=_MOST)]
    slots: Annotated[int, Field(ge=0, le=_MOST)]
    nodes: Annotated[int, Field(ge=0, le=_MOST)] = 1
    most: _Count | None = None


class RetrainRecord(_Part):
    """How the last retrains and confirmations were computed, and the time of all; provenance stands beside it."""

    top_k: _Count | None = None
    seeds: _Count | None = None
    confirm: Annotated[int, Field(ge=0, le=_MOST)] = 0
    confirmation_seconds: _Seconds = 0.0
    seconds: _Seconds = 0.0
    placement: PlacementRecord | None = None


class Settings(_Part):
    """What makes a search that search, and how its best are retrained.

    Attributes:
        seed: of the searcher, and with a trial's number of the trial.
        split_seed: of the split and the subset; None where an earlier release wrote the record, which used ``seed``.
        limit_train: images of the subset, None for all.
        signature: of a network of the user's own: what it is built with, as JSON schema has it; empty for ann and cnn.
    """

    model: FamilyName
    seed: _Seed
    split_seed: _Seed | None = None
    trials: _Count
    max_epochs: _Count
    limit_train: _Count | None
    searcher: SearcherSettings
    scheduler: SchedulerSettings
    retrain_plan: RetrainPlan
    space: dict[str, Any]
    signature: dict[str, Any] = Field(default_factory=dict)

    @property
    def images_seed(self) -> int:
        """The seed of the split and of the subset."""
        return self.seed if self.split_seed is None else self.split_seed

    @property
    def is_own(self) -> bool:
        """Whether the network is the user's own, which this process need not know."""
        return self.model not in BUILT_IN

    @property
    def baseline(self) -> dict[str, Any]:
        """The values of the baseline's configuration, by name."""
        if not self.is_own:
            return baseline(self.model).model_dump()
        defaults = {name: about["default"] for name, about in self.signature.items()}
        return Config(model=self.model).model_dump() | defaults

    @property
    def baseline_id(self) -> str:
        """The name of the baseline's configuration."""
        return id_of(self.baseline)


class SearchRecord(Settings):
    """The content of ``search.json``; times are seconds, moments UTC.

    Attributes:
        dataset: the name of a known one, ``NAME/`` of a user's folder, or ``MODULE:FUNCTION``.
        data: in words, where the images were found; of a folder, the folder.
        input_shape: channels, height and width of an image.
        classes: their names, in the order of the labels.
        test_hash: SHA-256 of the test part of a user's images, as soon as it is known.
        images: training and validation images together.
        scored_epochs: the last epochs of a trial whose mean validation accuracy is its score; None where an earlier
            release wrote the scores, which are the best epoch's.
        startup_seconds: from the command to the first trial.
        search_seconds: of running trials, retrains not included.
        slot_seconds: the sum of all slots' time while trials ran; nodes may have come and gone.
        wall_seconds: of all runs of the search, retrains included.
        utilisation: training and evaluation over slots x search seconds.
        utilisation_while_trials_wait: the same until the last trial began; None for a search that was interrupted.
        gpu_sharing: how many trials share a GPU, the measurement that says so, and the GPUs' names.
        retrain: how the last retrains were computed.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    search_id: str
    state: SearchState
    command: str
    started_at: _Moment
    resumed_at: list[_Moment] = Field(default_factory=list)
    finished_at: _Moment | None = None
    dataset: str
    data: str
    input_shape: Annotated[list[_Count], Field(min_length=3, max_length=3)] = list(KNOWN_SHAPE.input_shape)
    classes: Annotated[list[str], Field(min_length=2)] = list(FASHION_MNIST.classes)
    test_hash: str | None = None
    images: _Count
    train_size: _Count
    validation_size: _Count
    split_hash: str
    scored_epochs: _Count | None = None
    storage: str | None = None
    time_budget_seconds: _Seconds | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    hardware: dict[str, Any] = Field(default_factory=dict)
    git_commit: str | None = None
    placement: PlacementRecord | None = None
    startup_seconds: _Seconds | None = None
    search_seconds: _Seconds = 0.0
    slot_seconds: _Seconds | None = None
    wall_seconds: _Seconds = 0.0
    utilisation: _Share | None = None
    utilisation_while_trials_wait: _Share | None = None
    gpu_sharing: dict[str, Any] | None = None
    retrain: RetrainRecord | None = None

    @property
    def shape(self) -> DataShape:
        """What its networks are built for."""
        channels, height, width = self.input_shape
        return DataShape((channels, height, width), len(self.classes))

    @property
    def has_own_images(self) -> bool:
        """Whether the images are the user's own."""
        return self.dataset not in KNOWN

    def to_resume(self, paths: SearchPaths) -> list[str]:
        """Return the options of ``search`` that go on with this one: no file makes a program import anything."""
        own = self.searcher.name not in SEARCHERS
        place = ["--resume", "--results-dir", str(paths.folder.parent), "--name", paths.folder.name]
        return [*place, *self.named_again, *(["--searcher", self.searcher.name] if own else [])]

    @property
    def named_again(self) -> list[str]:
        """Options that a command needs beside the search's folder: no file makes a program import anything."""
        place = self.data if self.dataset.endswith("/") else self.dataset
        return [
            *(["--model", self.model] if self.is_own else []),
            *(["--dataset", place] if self.has_own_images else []),
        ]

    @classmethod
    def read(cls, paths: SearchPaths) -> Self:
        """Read ``search.json``, also one of version 1.

        Raises:
            InputError: it is missing, is not JSON, is of a newer version, lacks a key or has an invalid value.
        """
        try:
            content = paths.search.read_bytes()
        except FileNotFoundError:
            raise InputError("file not found", file=paths.search, hint="name the folder of a search") from None
        except OSError as error:
            raise InputError(f"cannot be read ({error})", file=paths.search, hint=_HINT) from None
        return cls.parse(content, str(paths.search))

    @classmethod
    def parse(cls, content: bytes, file: str) -> Self:
        """Read the content of a ``search.json``; ``file`` is its name in an error.  Errors as of ``read``."""
        try:
            values = json.loads(content, parse_int=partial(_number, int), parse_float=partial(_number, float))
        except (ValueError, RecursionError) as error:
            raise InputError(f"cannot be read ({error!r})", file=file, hint=_HINT) from None
        if not isinstance(values, dict):
            raise InputError(f"holds a {type(values).__name__}, not an object", file=file, hint=_HINT)
        stated = values.pop(_CHECKSUM, None)
        if stated is not None and stated != _checksum(values):
            hint = f"restore the file, or remove the key {_CHECKSUM!r} if you changed it yourself"
            raise InputError("content does not match its checksum", file=file, key=_CHECKSUM, hint=hint)
        key = "schema_version"
        version = check_version(values.get(key), oldest=1, newest=SCHEMA_VERSION, file=file, key=key)
        if version == 1:
            values = record_from_version_1(values)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise invalid(error, file=file, hint=_HINT) from None

    def write(self, paths: SearchPaths) -> None:
        """Publish ``search.json``."""
        values = self.model_dump(mode="json")
        with publish(paths.search) as partial:
            text = json.dumps(values | {_CHECKSUM: _checksum(values)}, indent=2)
            partial.write_text(text + "\n", encoding="utf-8")

    def resume(self, last_report: datetime | None, *, searches: bool) -> None:
        """Note that the search goes on now.

        A run that was killed could not record how long it searched: until its last epoch, of which there is a row.

        Args:
            last_report: the time of the last row of the table of epochs, None without a row.
            searches: whether trials will run, and not retrains only.
        """
        if self.state == "running" and last_report is not None:
            began = [self.started_at, *self.resumed_at][-1]
            lost = max(0.0, round((last_report - began).total_seconds(), 1))
            self.search_seconds += lost
            if self.slot_seconds is not None and self.placement is not None:
                self.slot_seconds += lost * self.placement.slots
        self.resumed_at = [*self.resumed_at, now()]
        if searches:
            self.utilisation = self.utilisation_while_trials_wait = None

    def close(self, paths: SearchPaths, state: SearchState, seconds: float) -> None:
        """Record that a run of the search ended in ``state`` after ``seconds``."""
        self.state, self.finished_at = state, now()
        self.wall_seconds = round(self.wall_seconds + seconds, 1)
        self.write(paths)


def _checksum(values: dict[str, Any]) -> str:
    """Return a checksum of keys and values, whatever their order and the spaces between them."""
    return f"{zlib.crc32(json.dumps(values, sort_keys=True).encode()):08x}"


def _number(kind: type[int] | type[float], text: str) -> int | float:
    """Return a number of JSON, unless it is so large that nothing in a search is."""
    value = kind(text)
    if abs(value) > _LARGEST:
        raise ValueError(f"{text[:20]}... is too large" if len(text) > 20 else f"{text} is too large")
    return value


def now() -> datetime:
    """Return the time, UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
