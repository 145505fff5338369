"""A search's results in Python: its tables as data frames, its record and its best model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_fmnist.base.datasets import title_of
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.vocabulary import STATUSES
from tune_fmnist.models import load
from tune_fmnist.store import tables
from tune_fmnist.store.confirmation_table import read_confirmations
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.ranking import ranked
from tune_fmnist.store.record import SearchRecord

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from torch import nn


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as plain Python values."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


@dataclass(frozen=True, repr=False)
class Results:
    """What a search left in its folder; each table is read when it is first asked for."""

    paths: SearchPaths

    @cached_property
    def record(self) -> SearchRecord:
        """``search.json``: the command, versions, hardware, seeds, split hash, space and timings."""
        return SearchRecord.read(self.paths)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per trial."""
        return self._frame(self.paths.trials, tables.TRIALS)

    @cached_property
    def ranked(self) -> pd.DataFrame:
        """The trials that have a score and neither diverged nor failed, in the order of ``store.ranking.ranked``."""
        order = [
            row["number"] for row in ranked(rows_of(self.trials[["status", "epochs", "score", "number", "audited_at"]]))
        ]
        return self.trials.set_index("number", drop=False).loc[order].reset_index(drop=True)

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """One row per epoch of a trial."""
        return self._frame(self.paths.epochs, tables.EPOCHS)

    @cached_property
    def confirmations(self) -> pd.DataFrame:
        """One row per confirmation; none where nothing was confirmed."""
        frame: pd.DataFrame = read_confirmations(self.paths).to_pandas()
        return frame

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in order."""
        return tuple(self.record.classes)

    @property
    def dataset_title(self) -> str:
        """The dataset as a text names it."""
        return title_of(self.record.dataset)

    @property
    def retrained(self) -> bool:
        """Whether some configuration has been retrained and tested."""
        return self.paths.retrains.exists()

    @cached_property
    def retrains(self) -> pd.DataFrame:
        """One row per configuration and seed it was retrained with."""
        return self._of_retrains(self.paths.retrains, tables.RETRAINS)

    @cached_property
    def retrain_epochs(self) -> pd.DataFrame:
        """One row per epoch of a retrain."""
        return self._of_retrains(self.paths.retrain_epochs, tables.RETRAIN_EPOCHS)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """One row per test image and retrain."""
        return self._of_retrains(self.paths.predictions, tables.PREDICTIONS)

    @cached_property
    def tested_predictions(self) -> pd.DataFrame:
        """The predictions of those retrains that have their row, which comes last: others may be on their way."""
        return self.predictions.merge(self.retrains[["config_id", "seed"]])

    @cached_property
    def test_reads(self) -> pd.DataFrame:
        """One row per read of the test set."""
        return self._of_retrains(self.paths.test_reads, tables.TEST_READS)

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """One row per retrained configuration: test accuracy with its interval, and the difference to the baseline."""
        # SciPy takes a second to import.
        from tune_fmnist.reporting.statistics import summarise

        baselines = self.retrains.loc[self.retrains["is_baseline"], "config_id"]
        return summarise(self.tested_predictions, baselines.iloc[0] if len(baselines) else None)

    def best_model(self) -> nn.Module:
        """Return the retrained model of the configuration that ranks first, in evaluation mode.

        Raises:
            InputError: nothing has been retrained, or the model's files cannot be used.
        """
        if not self.retrained:
            raise self._not_retrained(self.paths.best)
        return load(self.paths.best)

    def __repr__(self) -> str:
        try:
            return f"<Results {self._answer()}>"
        except InputError as error:
            # A debugger shows what it can: a search that is damaged, or that has not begun, has no answer.
            return f"<Results {self.paths.folder}: {error}>"

    def _repr_html_(self) -> str:
        link = self.paths.page
        page = f' See <a href="{escape(str(link))}">the page</a>.' if link.exists() else ""
        return f"<p>{escape(self._answer())}.{page}</p>{self._table().to_html(index=False)}"

    def _answer(self) -> str:
        """Return what was found, in one line."""
        record, counts = self.record, self.trials["status"].value_counts()
        states = ", ".join(f"{counts[status]} {status}" for status in STATUSES if status in counts)
        line = f"{record.name}: {record.model} on {record.dataset}, {len(self.trials)} trials ({states})"
        if len(self.ranked):
            best = self.ranked.iloc[0]
            line += f", best score {best['score']:.4f} (trial {best['number']})"
        if self.retrained:
            test = self.comparison.merge(self.retrains.loc[self.retrains["rank"] == 1, ["config_id"]].drop_duplicates())
            line += f", test accuracy {test['mean'].iloc[0]:.4f}" if len(test) else ""
        return line

    def _table(self) -> pd.DataFrame:
        """Return the best trials, with what varies among all trials."""
        names = [name for name in self.trials.columns if name.startswith("config_") and name != "config_id"]
        varying = [name for name in names if self.trials[name].nunique(dropna=False) > 1]
        top = self.ranked.head(10)[["number", "score", "epochs", "status", *varying]]
        return top.rename(columns=lambda name: name.removeprefix("config_"))

    def _of_retrains(self, path: Path, schema: pa.Schema) -> pd.DataFrame:
        if not (path.exists() or self.retrained):
            raise self._not_retrained(path)
        return self._frame(path, schema)

    def _not_retrained(self, path: Path) -> InputError:
        hint = f"call tune_fmnist.retrain({str(self.paths.folder)!r}), or run `tune-fmnist retrain`"
        return InputError("nothing has been retrained", file=path, hint=hint)

    @staticmethod
    def _frame(path: Path, schema: pa.Schema) -> pd.DataFrame:
        frame: pd.DataFrame = tables.read(path, schema).to_pandas()
        return frame


def open_search(folder: Path | str) -> Results:
    """Return the results that a search left in ``folder``, while it runs or afterwards.

    Raises:
        InputError: the folder holds no search.
    """
    results = Results(SearchPaths(Path(folder)))
    # What is no search is told here, and not when a table is asked for.
    _ = results.record
    return results
