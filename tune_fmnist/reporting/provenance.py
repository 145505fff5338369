"""How a search was computed, in plain words, from its record."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from tune_fmnist.reporting.wording import counted, duration, percent, plain

if TYPE_CHECKING:
    from tune_fmnist.store.record import PlacementRecord, SearchRecord

_SEARCHERS: Final = {
    "tpe": "Optuna's tree-structured Parzen estimator (TPE)",
    "gp": "Optuna's Gaussian process",
    "random": "chance: each trial is drawn at random",
}


def provenance(record: SearchRecord) -> list[tuple[str, str]]:
    """Return how a search was computed, in parts with a heading each; what is not known is left out."""
    parts = [
        ("When", _when(record)),
        ("Trials", _trials(record)),
        ("Who proposed them", _searcher(record)),
        ("Which go on", _scheduler(record)),
        ("Score", _score(record)),
        ("Images", _images(record)),
        ("Retrains and test", _retrains(record)),
        ("Time", _time(record)),
        ("Machine", _machine(record)),
        ("Software", _software(record)),
        ("Search", f"{record.name}, identified by {record.search_id} in every table."),
    ]
    return [(heading, text) for heading, text in parts if text]


def moment(when: datetime) -> str:
    """Return a moment as a person writes it: ``23 November 2026, 00:30 UTC``."""
    return f"{when.day} {when:%B %Y, %H:%M} UTC"


def _when(record: SearchRecord) -> str:
    text = f"Started {moment(record.started_at)}"
    if record.resumed_at:
        text += f", resumed {counted(len(record.resumed_at), 'time')}, last {moment(record.resumed_at[-1])}"
    if record.finished_at is not None and record.state != "running":
        text += f", {record.state} {moment(record.finished_at)}"
    return f"{text}."


def _trials(record: SearchRecord) -> str:
    text = f"{counted(record.trials, 'trial')} of at most {counted(record.max_epochs, 'epoch')}"
    if record.time_budget_seconds is not None:
        text += f", within a time budget of {duration(record.time_budget_seconds)}"
    return f"{text}. Seed {record.seed}."


def _searcher(record: SearchRecord) -> str:
    text = _SEARCHERS.get(record.searcher.name, f"a sampler of the user's own, {record.searcher.name}")
    if record.searcher.name in ("tpe", "gp"):
        text += f", which draws as soon as {counted(record.searcher.n_startup_trials, 'trial')} can be learned from; "
        text += "until then trials are drawn at random"
    text = text[0].upper() + text[1:]
    return f"{text}. Trial 0 is the baseline."


def _scheduler(record: SearchRecord) -> str:
    rungs = record.scheduler.rungs(record.max_epochs)
    if not rungs:
        return "None: every trial trains to the end."
    listed = " and ".join(filter(None, (", ".join(map(str, rungs[:-1])), str(rungs[-1]))))
    one = f"one trial in {record.scheduler.reduction_factor}"
    text = f"Successive halving: after epoch {listed} about {one} goes on"
    promotes = record.scheduler.name == "promotion"
    text += "; a trial waits until it is among the best there." if promotes else "; the others are stopped."
    if record.scheduler.audit:
        text += (
            f" {percent(record.scheduler.audit, 0)} of those stopped run on all the same, to see whether it was right."
        )
    return text


def _score(record: SearchRecord) -> str:
    if record.scored_epochs is None:
        return "The validation accuracy of a trial's best epoch."
    return f"The mean validation accuracy of a trial's last {record.scored_epochs} epochs."


def _images(record: SearchRecord) -> str:
    text = f"{record.images:,} of {record.dataset}, from {record.data}: {record.train_size:,} to train and "
    text += f"{record.validation_size:,} to validate, split with seed {record.images_seed} (hash {record.split_hash})."
    return text


def _retrains(record: SearchRecord) -> str:
    plan, done = record.retrain_plan, record.retrain
    if done is not None and done.top_k and done.seeds:
        top_k, seeds, confirm, was = done.top_k, done.seeds, done.confirm, ""
    elif plan.wanted:
        top_k, seeds, confirm, was = plan.top_k, plan.seeds, plan.confirm, "Planned: "
    else:
        return "None are planned."
    best = "the best configuration" if top_k == 1 else f"the best {top_k} configurations"
    text = f"{was}{best} and the baseline, each trained anew with {counted(seeds, 'seed')} on all images."
    if confirm:
        text += f" Before, candidates are trained again with {counted(confirm, 'further seed')}, by which they rank."
    return text[0].upper() + text[1:]


def _time(record: SearchRecord) -> str:
    parts = [f"{duration(record.wall_seconds)} in all", f"{duration(record.search_seconds)} for the trials"]
    if record.retrain is not None:
        if record.retrain.confirmation_seconds:
            parts.append(f"{duration(record.retrain.confirmation_seconds)} for the confirmations")
        parts.append(f"{duration(record.retrain.seconds)} for the retrains")
    text = ", ".join(parts)
    if record.utilisation is not None:
        text += f". {percent(record.utilisation, 0)} of the slots' time was training and validation"
        if record.utilisation_while_trials_wait is not None:
            text += f", {percent(record.utilisation_while_trials_wait, 0)} until the last trial began"
    return f"{text}."


def _machine(record: SearchRecord) -> str:
    known = record.hardware
    parts = [plain(known[key]) for key in ("processor", "system") if known.get(key)]
    if known.get("cores"):
        parts.append(f"{plain(known['cores'])} cores")
    if isinstance(memory := known.get("memory_bytes"), int | float):
        parts.append(f"{memory / 2**30:.1f} GiB of memory")
    if gpus := known.get("gpus"):
        parts.append(f"GPUs: {', '.join(map(plain, gpus)) if isinstance(gpus, list) else plain(gpus)}")
    if record.placement is not None:
        parts.append(_placed(record.placement))
    if record.gpu_sharing is not None and isinstance(shared := record.gpu_sharing.get("trials"), int):
        parts.append(f"{counted(shared, 'trial')} to a GPU, as was measured")
    return f"{'; '.join(parts)}." if parts else ""


def _placed(placement: PlacementRecord) -> str:
    text = f"{counted(placement.slots, 'trial')} at once on {counted(placement.nodes, 'machine')}, "
    text += f"each with {placement.cpus:g} cores" if placement.cpus != 1 else "each with 1 core"
    return text + (f" and {placement.gpus:g} of a GPU" if placement.gpus else "")


def _software(record: SearchRecord) -> str:
    versions = [f"{name} {version}" for name, version in record.versions.items()]
    text = ", ".join(versions)
    if record.git_commit:
        text += f"; commit {record.git_commit}" if text else f"Commit {record.git_commit}"
    return f"{text}." if text else ""
