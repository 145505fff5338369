"""What a search is to do: the command's options, checked, and the design that its record keeps for ``--resume``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.vocabulary import ModelName, SchedulerName, SearcherName
from tune_fmnist.store.paths import default_space
from tune_fmnist.tuning.space import Space, from_values, read_space, to_json

DEFAULT_SIZE: Final[dict[str, tuple[int, int]]] = {"ann": (40, 27), "cnn": (12, 5)}
"""Trials and epochs of a search of about ten minutes on two cores, the retrains included."""

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600}


def _seconds(value: Any) -> Any:
    """Return ``90``, ``"90"``, ``"90s"``, ``"10m"`` or ``"1.5h"`` as seconds."""
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", value.strip())):
        return float(match[1]) * _UNITS[match[2]]
    return value


Seconds = Annotated[Annotated[float, Field(gt=0)] | None, BeforeValidator(_seconds)]


class Plan(BaseModel):
    """The options of ``search``, checked; the names are those of the command line, None is what was not given."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: ModelName | None = None
    space: Path | None = None
    trials: int | None = Field(default=None, ge=1)
    max_epochs: int | None = Field(default=None, ge=1, le=1000)
    time_budget: Seconds = None
    searcher: SearcherName | None = None
    scheduler: SchedulerName | None = None
    seed: int | None = Field(default=None, ge=0, le=2**32 - 1)
    name: str | None = None
    results_dir: Path = Path("results")
    data_root: Path | None = None
    cpus_per_trial: float | None = Field(default=None, gt=0)
    gpus_per_trial: float | None = Field(default=None, ge=0)
    max_concurrent: int | None = Field(default=None, ge=1)
    trial_timeout: Seconds = None
    address: str | None = None
    storage: str | None = None
    top_k: int | None = Field(default=None, ge=1)
    retrain_seeds: int | None = Field(default=None, ge=1, le=1000)
    retrain: bool | None = None
    limit_train: int | None = Field(default=None, ge=1)
    resume: bool = False

    @classmethod
    def of(cls, **options: Any) -> Plan:
        """Check options; raise ``InputError`` naming the first bad one and its value."""
        try:
            return cls(**options)
        except ValidationError as error:
            first = error.errors()[0]
            option = "--" + str(first["loc"][0]).replace("_", "-")
            raise InputError(f"{first['input']!r} is refused", key=option, mend=first["msg"].lower()) from None


RECORDED: Final = (
    *("name", "search_id", "state", "model", "seed", "trials", "max_epochs", "limit_train", "searcher", "scheduler"),
    *("retrain_plan", "space", "images", "train_size", "split_hash", "started_at", "resumed_at", "search_seconds"),
)
"""What ``search.json`` must hold for the search to be taken up."""


class Design(BaseModel):
    """What makes a search that search, and how its best are retrained."""

    model_config = ConfigDict(frozen=True)

    model: ModelName
    space: Space
    trials: int
    max_epochs: int
    searcher: SearcherName
    scheduler: SchedulerName
    seed: int
    limit_train: int | None
    retrain: bool
    top_k: int
    retrain_seeds: int

    @classmethod
    def new(cls, plan: Plan) -> Design:
        """Return the design of a new search: the plan, and defaults where it is silent.

        Raises:
            InputError: there is no model, or the space is not one of the model's.
        """
        if plan.model is None:
            raise InputError("is missing", key="--model", mend="use ann or cnn")
        trials, max_epochs = DEFAULT_SIZE[plan.model]
        return cls(
            model=plan.model,
            space=_space(plan, plan.model),
            trials=plan.trials or trials,
            max_epochs=plan.max_epochs or max_epochs,
            searcher=plan.searcher or "tpe",
            scheduler=plan.scheduler or "asha",
            seed=plan.seed or 0,
            limit_train=plan.limit_train,
            retrain=plan.retrain is not False,
            top_k=plan.top_k or 3,
            retrain_seeds=plan.retrain_seeds or 3,
        )

    @classmethod
    def recorded(cls, info: dict[str, Any], plan: Plan, file: Path) -> Design:
        """Return the design of a search that is taken up: more trials and other retrains are welcome.

        Args:
            info: what ``search.json`` holds.
            plan: what is asked for now.
            file: where ``search.json`` is.

        Raises:
            InputError: the plan contradicts the record, or the recorded space is none.
        """
        wanted = info["retrain_plan"]
        design = cls(
            model=info["model"],
            space=from_values(info["space"], file=str(file)),
            trials=max(info["trials"], plan.trials or 0),
            max_epochs=info["max_epochs"],
            searcher=info["searcher"]["name"],
            scheduler=info["scheduler"]["name"],
            seed=info["seed"],
            limit_train=info["limit_train"],
            retrain=wanted["wanted"] if plan.retrain is None else plan.retrain,
            top_k=plan.top_k or wanted["top_k"],
            retrain_seeds=plan.retrain_seeds or wanted["seeds"],
        )
        for name in ("model", "trials", "max_epochs", "searcher", "scheduler", "seed", "limit_train"):
            given, known = getattr(plan, name), getattr(design, name)
            if given is not None and given != known:
                raise InputError(
                    f"{given!r} is not the search's" + ("" if known is None else f" {known!r}"),
                    file=file,
                    key=f"--{name.replace('_', '-')}",
                    mend="leave it out, or begin a new search",
                )
        if plan.space is not None and _space(plan, design.model) != design.space:
            raise InputError(
                "is not the search's space", file=plan.space, key="--space", mend="leave it out, or begin a new search"
            )
        return design

    def record(self) -> dict[str, Any]:
        """Return what ``recorded`` reads, for ``search.json``."""
        from tune_fmnist.tuning.scheduler import ARGUMENTS
        from tune_fmnist.tuning.searcher import SAMPLER_ARGUMENTS

        return {
            "model": self.model,
            "seed": self.seed,
            "trials": self.trials,
            "max_epochs": self.max_epochs,
            "limit_train": self.limit_train,
            "searcher": {"name": self.searcher, **SAMPLER_ARGUMENTS[self.searcher]},
            "scheduler": {"name": self.scheduler, **ARGUMENTS[self.scheduler]},
            "retrain_plan": {"wanted": self.retrain, "top_k": self.top_k, "seeds": self.retrain_seeds},
            "space": to_json(self.space),
        }


def _space(plan: Plan, model: ModelName) -> Space:
    file = plan.space or default_space(model)
    space = read_space(file)
    if space.model != model:
        raise InputError(
            f"{space.model!r} is not {model!r}", file=file, key="model", mend="give the --model of the space"
        )
    return space
