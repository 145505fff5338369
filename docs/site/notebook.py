"""A notebook as a page: executed now, its text and code as they are, and what the code printed and drew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbclient
import nbformat


def executed(path: Path) -> str:
    """Return the page of a notebook that runs in its own folder.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    parts = [part for cell in notebook.cells for part in _cell(cell)]
    return "\n\n".join(parts) + "\n"


def _cell(cell: Any) -> list[str]:
    if cell.cell_type == "markdown":
        return [cell.source]
    return [f"```python\n{cell.source}\n```", *(_output(output) for output in cell.outputs)]


def _output(output: Any) -> str:
    """Return what a cell put out, in the richest form that it has."""
    if output.output_type == "stream":
        return f"```text\n{output.text.rstrip()}\n```"
    data = output.data
    if "image/png" in data:
        return f'<img alt="{data["text/plain"]}" src="data:image/png;base64,{data["image/png"].strip()}">'
    if "text/html" in data:
        table = data["text/html"].replace(' border="1" class="dataframe"', "")
        # An empty line would end the block.
        return "\n".join(line for line in table.splitlines() if line.strip())
    return f"```text\n{data['text/plain']}\n```"
