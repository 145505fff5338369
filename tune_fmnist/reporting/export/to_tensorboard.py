"""Runs as TensorBoard's event files, with what its HParams page shows.

A run's file follows from its tables, byte for byte, and grows at its end as they do.  So what is there already is the
beginning of what shall be there, also where a writer was killed in the middle of a record, and the rest is appended:
nothing can be there twice, and a TensorBoard that is reading on never has to begin again.
"""

from __future__ import annotations

import io
import shlex
from pathlib import Path
from typing import Any, Final

from tune_fmnist.base.errors import InputError
from tune_fmnist.reporting.export.runs import Run, Runs, description_of
from tune_fmnist.reporting.export.target import library
from tune_fmnist.store.paths import checked_name

_FILE: Final = "events.out.tfevents.0000000000.tune_fmnist"
"""TensorBoard looks for ``tfevents`` in names, and reads a folder's files in order of their names."""


class TensorBoard:
    """A folder of event files: ``INTO/NAME-SEARCH_ID/RUN/``.

    Args:
        into: the folder.
        name: of the search.

    Raises:
        InputError: TensorBoard is not installed.
    """

    def __init__(self, into: Path, name: str) -> None:
        self._into, self._name = into, name
        self._events = _Events()
        self.view = f"tensorboard --logdir {shlex.quote(str(into))}"

    def export(self, runs: Runs) -> int:
        """Write what the event files lack."""
        folder = self._into / checked_name(f"{self._name}-{runs.record.search_id}", key="search_id")
        try:
            changed = [
                _bring_up(folder / checked_name(run.name, key=run.key) / _FILE, self._events.of(run))
                for run in runs.runs
            ]
        except OSError as error:
            raise InputError(
                f"cannot be written ({error.strerror})", file=folder, key="--into", hint="name another folder"
            ) from None
        return sum(changed)


def _bring_up(file: Path, content: bytes) -> bool:
    """Let a file have this content; return whether it had another one."""
    there = file.read_bytes() if file.exists() else b""
    if there == content:
        return False
    if not content.startswith(there):
        # Of another release; not renamed from elsewhere, as TensorBoard would read what a killed writer leaves there.
        file.unlink()
        there = b""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as opened:
        opened.write(content[len(there) :])
    return True


class _Events:
    """Makes the content of event files with TensorBoard's own messages."""

    def __init__(self) -> None:
        self._event = library("tensorboard", "tensorboard.compat.proto.event_pb2").Event
        self._summary = library("tensorboard", "tensorboard.compat.proto.summary_pb2")
        self._scalar = library("tensorboard", "tensorboard.plugins.scalar.summary_v2").scalar_pb
        self._text = library("tensorboard", "tensorboard.plugins.text.summary_v2").text_pb
        self._hparams = library("tensorboard", "tensorboard.plugins.hparams.plugin_data_pb2")
        self._api = library("tensorboard", "tensorboard.plugins.hparams.api_pb2")
        self._names = library("tensorboard", "tensorboard.plugins.hparams.metadata")
        self._writer = library("tensorboard", "tensorboard.summary.writer.record_writer").RecordWriter

    def of(self, run: Run) -> bytes:
        """Return the content of a run's event file; that of one in progress is the beginning of its later one."""
        content = io.BytesIO()
        writer, began = self._writer(content), run.began.timestamp()

        def add(at: float, step: int, **what: Any) -> None:
            event = self._event(wall_time=at, step=step, **what)
            writer.write(event.SerializeToString(deterministic=True))

        add(began, 0, file_version="brain.Event:2")
        add(began, 0, summary=self._started(run))
        for epoch in run.epochs:
            for name, value in epoch.metrics.items():
                summary = self._scalar(name, value, description_of(run.kind, name))
                add(epoch.at.timestamp(), epoch.number, summary=summary)
        if run.ended is not None:
            ended, last = run.ended.timestamp(), len(run.epochs)
            for name, value in run.results.items():
                add(ended, last, summary=self._scalar(name, value, description_of(run.kind, name)))
            for name, cell in run.ended_with.items():
                add(ended, last, summary=self._text(name, str(cell)))
            add(ended, last, summary=self._ended(run, ended))
        return content.getvalue()

    def _started(self, run: Run) -> Any:
        """Return what tells HParams of a run's hyperparameters."""
        info = self._hparams.SessionStartInfo(start_time_secs=run.began.timestamp())
        known = {"kind": run.kind, **run.begun_with, **run.config}
        for name, value in sorted(known.items()):
            if isinstance(value, bool):
                info.hparams[name].bool_value = value
            elif isinstance(value, int | float):
                info.hparams[name].number_value = value
            else:
                info.hparams[name].string_value = value
        return self._told(self._names.SESSION_START_INFO_TAG, session_start_info=info)

    def _ended(self, run: Run, at: float) -> Any:
        status = self._api.STATUS_SUCCESS if run.succeeded else self._api.STATUS_FAILURE
        info = self._hparams.SessionEndInfo(status=status, end_time_secs=at)
        return self._told(self._names.SESSION_END_INFO_TAG, session_end_info=info)

    def _told(self, tag: str, **what: Any) -> Any:
        """Return a summary for HParams.

        TensorBoard's own ``session_start_pb`` leaves the order of the hyperparameters in the bytes to chance.
        """
        told = self._hparams.HParamsPluginData(version=self._names.PLUGIN_DATA_VERSION, **what)
        summary, plugin = self._summary.Summary(), self._names.PLUGIN_NAME
        data = self._summary.SummaryMetadata.PluginData(
            plugin_name=plugin, content=told.SerializeToString(deterministic=True)
        )
        metadata = self._summary.SummaryMetadata(plugin_data=data)
        summary.value.add(tag=tag, metadata=metadata, tensor=self._names.NULL_TENSOR)
        return summary
