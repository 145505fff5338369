"""A search's results in Python: its tables as data frames, its record and its best model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_fmnist.store import tables
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import read_info

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from tune_fmnist.models.networks import AnnModel, CnnModel


@dataclass(frozen=True)
class Results:
    """What a search left in its folder; each table is read when it is first asked for."""

    paths: SearchPaths

    @cached_property
    def info(self) -> dict[str, Any]:
        """``search.json``: the command, versions, hardware, seeds, split hash, space and timings."""
        return read_info(self.paths)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row a trial."""
        return self._frame(self.paths.trials, tables.TRIALS)

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """One row a trial's epoch."""
        return self._frame(self.paths.epochs, tables.EPOCHS)

    @cached_property
    def retrains(self) -> pd.DataFrame:
        """One row a configuration retrained with one seed."""
        return self._frame(self.paths.retrains, tables.RETRAINS)

    @cached_property
    def retrain_epochs(self) -> pd.DataFrame:
        """One row a retrain's epoch."""
        return self._frame(self.paths.retrain_epochs, tables.RETRAIN_EPOCHS)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """One row a test image under one retrain."""
        return self._frame(self.paths.predictions, tables.PREDICTIONS)

    @cached_property
    def tested_predictions(self) -> pd.DataFrame:
        """The predictions of those retrains that have their row, which comes last: others may be on their way."""
        return self.predictions.merge(self.retrains[["config_id", "seed"]])

    @cached_property
    def test_reads(self) -> pd.DataFrame:
        """One row a read of the test set."""
        return self._frame(self.paths.test_reads, tables.TEST_READS)

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """One row a retrained configuration: test accuracy with its interval, and the difference to the report's."""
        from tune_fmnist.reporting.statistics import summarise

        baselines = self.retrains.loc[self.retrains["is_baseline"], "config_id"]
        return summarise(self.tested_predictions, baselines.iloc[0] if len(baselines) else None)

    def best_model(self) -> AnnModel | CnnModel:
        """Return the retrained model of the configuration that was best in validation, in evaluation mode."""
        from tune_fmnist.models.networks import load

        return load(self.paths.best)

    @staticmethod
    def _frame(path: Path, schema: pa.Schema) -> pd.DataFrame:
        frame: pd.DataFrame = tables.read(path, schema).to_pandas()
        return frame
