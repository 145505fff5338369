"""A picture of a terminal, from the text that it showed (`tmux capture-pane -p -e -S -`)."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Final

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

# Rich would have its fonts fetched: what is on the reader's machine does.
_FORMAT: Final = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
_FORMAT_OF_ANY_MONOSPACE: Final = _FORMAT.replace("Fira Code, monospace", "monospace")


def drawn(log: Path) -> str:
    """Return the SVG of a terminal that shows a log, in which colours are ANSI sequences."""
    # An empty line at the end: the picture of the last one is cut off below its letters.
    lines = [Text.from_ansi(line) for line in [*log.read_text().rstrip().splitlines(), ""]]
    console = Console(record=True, width=max(line.cell_len for line in lines), file=io.StringIO())
    for line in lines:
        console.print(line, no_wrap=True, crop=False)
    return console.export_svg(
        title="tune_fmnist", theme=MONOKAI, code_format=_FORMAT_OF_ANY_MONOSPACE, unique_id="terminal"
    )
