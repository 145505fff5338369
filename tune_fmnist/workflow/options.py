"""The options of a search, as given and checked, and the settings that follow from them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from tune_fmnist.base.errors import InputError, invalid
from tune_fmnist.base.vocabulary import SEARCHERS, SchedulerName
from tune_fmnist.models.config import BUILT_IN, Config, FamilyName, family
from tune_fmnist.models.own import named, signature
from tune_fmnist.store.paths import RESULTS_DIR
from tune_fmnist.store.record import RetrainPlan, SchedulerSettings, Searcher, SearcherSettings, SearchRecord, Settings
from tune_fmnist.tuning import methods
from tune_fmnist.tuning.own_space import space_of
from tune_fmnist.tuning.space import Space
from tune_fmnist.tuning.space_checks import check_steps
from tune_fmnist.tuning.space_files import default_space, from_values, read_space, to_json

DEFAULT_SIZE: Final[dict[str, tuple[int, int]]] = {"ann": (40, 27), "cnn": (12, 5)}
"""Trials and epochs of a search of about ten minutes on two cores, confirmations and retrains included."""

OWN_SIZE: Final = (20, 9)
"""Trials and epochs of a search of a network of the user's own, of which nobody knows how long an epoch takes."""

CONFIRM: Final = 2
"""Confirmations of each candidate if the option is not given: with one, nobody knows how much a seed matters."""

TOP_K: Final = 1
"""Configurations to retrain if the option is not given: each read of the test set is one more look at it."""

RETRAIN_SEEDS: Final = 5
"""Seeds of each retrain if the option is not given: more tell smaller differences to the baseline from chance."""

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600}


def _seconds(value: Any) -> Any:
    """Return ``90``, ``"90"``, ``"90s"``, ``"10m"`` or ``"1.5h"`` as seconds."""
    if not isinstance(value, str):
        return value
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", value.strip()):
        return float(match[1]) * _UNITS[match[2]]
    raise ValueError("write it as 90s, 10m or 2h")


_LONGEST_SECONDS: Final = 30 * 24 * 3600
"""Thirty days: the timers behind the limits do not take every number."""

Seconds = Annotated[Annotated[float, Field(gt=0, le=_LONGEST_SECONDS)] | None, BeforeValidator(_seconds)]

_SMALLEST_SHARE: Final = 0.01
"""A hundred trials on one CPU or GPU wait for each other; more are a slip of the finger."""


def _gpus(value: float) -> float:
    if 0 < value < _SMALLEST_SHARE:
        raise ValueError(f"use 0, or at least {_SMALLEST_SHARE}")
    return value


Count = Annotated[int, Field(ge=1, le=10**9)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


class Options(BaseModel):
    """The options of ``search`` and ``retrain``, checked; the names are those of the command line.

    None is what was not given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: FamilyName | None = None
    dataset: str | None = None
    space: Path | dict[str, Any] | None = None
    trials: Count | None = None
    max_epochs: int | None = Field(default=None, ge=1, le=1000)
    time_budget: Seconds = None
    searcher: Searcher | None = None
    scheduler: SchedulerName | None = None
    grace: int | None = Field(default=None, ge=1, le=1000)
    reduction_factor: int | None = Field(default=None, ge=2, le=1000)
    audit: float | None = Field(default=None, ge=0, le=1)
    seed: Seed | None = None
    split_seed: Seed | None = None
    name: str | None = None
    results_dir: Path = RESULTS_DIR
    data_root: Path | None = None
    cpus_per_trial: float | None = Field(default=None, ge=_SMALLEST_SHARE)
    gpus_per_trial: Annotated[float, Field(ge=0), AfterValidator(_gpus)] | None = None
    max_concurrent: Count | None = None
    trial_timeout: Seconds = None
    address: str | None = None
    storage: str | None = None
    confirm: int | None = Field(default=None, ge=0, le=1000)
    top_k: Count | None = None
    retrain_seeds: int | None = Field(default=None, ge=1, le=1000)
    retrain: bool | None = None
    limit_train: int | None = Field(default=None, ge=1)
    resume: bool = False

    @classmethod
    def of(cls, **given: Any) -> Options:
        """Check options; raise ``InputError`` naming the first bad one and its value."""
        try:
            return cls(**given)
        except ValidationError as error:
            known = [option(name) for name in cls.model_fields]
            raise invalid(error, known=lambda path: known, name=lambda path: option(str(path[0]))) from None


def option(name: str) -> str:
    """Return how an option is written on the command line."""
    return f"--{name.replace('_', '-')}"


@contextmanager
def python_names() -> Iterator[None]:
    """Name parameters as Python does, instead of options, in an ``InputError`` of the block."""
    options = {option(name): name for name in Options.model_fields}

    def renamed(text: str) -> str:
        # Another program's options stay as they are.
        return re.sub(r"--[a-z-]+", lambda match: options.get(match[0], match[0]), text)

    try:
        yield
    except InputError as error:
        key = None if error.key is None else renamed(error.key)
        raise InputError(renamed(error.what), file=error.file, key=key, hint=renamed(error.hint)) from None


def resumed_name(options: Options) -> str:
    """Return the name of the search to resume, or raise ``InputError`` if there is none."""
    if options.name is None:
        raise InputError("missing", key="--name", hint="name the search that --resume goes on with")
    return options.name


def new_settings(options: Options) -> tuple[Settings, Space]:
    """Return the settings of a new search: the options, and defaults where they are silent.

    Raises:
        InputError: there is no model, or the space is not one of the model's.
    """
    if options.model is None:
        raise InputError("missing", key="--model", hint="use ann, cnn, or MODULE:CLASS of your own")
    config = named(options.model)
    trials, max_epochs = DEFAULT_SIZE.get(options.model, OWN_SIZE)
    space = _space(options, config)
    settings = Settings(
        model=options.model,
        seed=options.seed or 0,
        split_seed=options.split_seed or 0,
        trials=options.trials or trials,
        max_epochs=options.max_epochs or max_epochs,
        limit_train=options.limit_train,
        searcher=_searcher(options),
        scheduler=_scheduler(options),
        retrain_plan=RetrainPlan(
            wanted=options.retrain is not False,
            top_k=options.top_k or TOP_K,
            seeds=options.retrain_seeds or RETRAIN_SEEDS,
            confirm=CONFIRM if options.confirm is None else options.confirm,
        ),
        space=to_json(space),
        signature=signature(config),
    )
    return settings, space


def _searcher(options: Options) -> SearcherSettings:
    name = options.searcher or methods.SEARCHER
    if name not in SEARCHERS:
        _check_sampler(name)
        return SearcherSettings(name=name, n_startup_trials=0)
    return SearcherSettings(name=name, n_startup_trials=methods.N_STARTUP_TRIALS, **methods.SAMPLER_ARGUMENTS[name])


def _check_sampler(name: str) -> None:
    # Optuna takes a second to import, which a searcher of one's own needs anyway.
    from tune_fmnist.tuning.own_sampler import check

    check(name)


def _scheduler(options: Options) -> SchedulerSettings:
    name = options.scheduler or methods.SCHEDULER
    if name != "fifo":
        grace, factor = options.grace or methods.GRACE, options.reduction_factor or methods.REDUCTION_FACTOR
        return SchedulerSettings(name=name, grace=grace, reduction_factor=factor, audit=options.audit or 0.0)
    for key in ("grace", "reduction_factor", "audit"):
        if getattr(options, key) is not None:
            what = f"{getattr(options, key)} has no meaning where no trial is stopped"
            raise InputError(
                what, key=option(key), hint=f"leave it out, or use {option('scheduler')} {methods.SCHEDULER}"
            )
    return SchedulerSettings(name=name)


def resume_settings(options: Options, record: SearchRecord, file: Path) -> Space:
    """Check the options of a resumed search, put into its record what may change, and return its space.

    Only the number of trials, which may grow, and the retrains may change.

    Args:
        options: what is asked for now.
        record: of the search.
        file: where the record lies.

    Raises:
        InputError: the options contradict the record, or the recorded space cannot be used.
    """
    space = recorded_space(options, record, file)
    known: Mapping[str, Any] = {
        "max_epochs": record.max_epochs,
        "searcher": record.searcher.name,
        "scheduler": record.scheduler.name,
        "grace": record.scheduler.grace,
        "reduction_factor": record.scheduler.reduction_factor,
        "audit": record.scheduler.audit,
        "seed": record.seed,
        "split_seed": record.images_seed,
        "limit_train": record.limit_train,
    }
    if record.searcher.name not in SEARCHERS and options.searcher is None:
        what = f"missing: the searcher is {record.searcher.name}, and no file makes this program import anything"
        raise InputError(what, file=file, key="--searcher", hint=f"give --searcher {record.searcher.name} again")
    for name, value in known.items():
        given = getattr(options, name)
        if given is not None and given != value:
            raise _contradiction(f"{given!r} is not the search's {value!r}", name, file)
    if record.searcher.name not in SEARCHERS:
        _check_sampler(record.searcher.name)
    if options.trials is not None and options.trials < record.trials:
        raise _contradiction(f"{options.trials} trials are fewer than the search's {record.trials}", "trials", file)
    if options.space is not None and _space(options, family(record.model)) != space:
        raise _contradiction("is not the search's space", "space", file)
    record.trials = options.trials or record.trials
    plan = record.retrain_plan
    record.retrain_plan = RetrainPlan(
        wanted=plan.wanted if options.retrain is None else options.retrain,
        top_k=options.top_k or plan.top_k,
        seeds=options.retrain_seeds or plan.seeds,
        confirm=plan.confirm if options.confirm is None else options.confirm,
    )
    return space


def recorded_space(options: Options, record: SearchRecord, file: Path) -> Space:
    """Return the space of a recorded search, of whose network the options must name the code.

    Raises:
        InputError: they do not, or name another one, its signature is another one now, or the space cannot be used.
    """
    if record.is_own and options.model is None:
        what = f"missing: the search is one of {record.model}, and no file makes this program import anything"
        raise InputError(what, file=file, key="--model", hint=f"give --model {record.model} again")
    if options.model not in (None, record.model):
        raise _contradiction(f"{options.model!r} is not the search's {record.model!r}", "model", file)
    if record.is_own:
        _check_signature(signature(named(record.model)), record, file)
    return from_values(record.space, file=str(file))


def _check_signature(now: Mapping[str, Any], record: SearchRecord, file: Path) -> None:
    then = record.signature
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            changed = "is new" if name not in then else "is gone" if name not in now else "has changed"
            was, is_now = (json.dumps(of[name]) if name in of else "missing" for of in (then, now))
            what = f"the parameter {name!r} of {record.model} {changed} since: {was} then, {is_now} now"
            raise InputError(what, file=file, key="signature", hint="restore the signature, or begin a new search")


def _contradiction(what: str, name: str, file: Path) -> InputError:
    return InputError(what, file=file, key=option(name), hint="leave it out, or begin a new search")


def _space(options: Options, config: type[Config]) -> Space:
    model = config.model_fields["model"].default
    file = None
    if isinstance(options.space, dict):
        space = from_values({"model": model, **options.space}, file="space")
    elif options.space is None and model not in BUILT_IN:
        space = space_of(config)
    else:
        file = options.space or default_space(model)
        space = read_space(file)
    check_steps(space, None if file is None else str(file))
    if space.model != model:
        what = f"the space is one of {space.model!r}, not of {model!r}"
        raise InputError(what, file=file, key="model", hint="give the --model of the space")
    return space
