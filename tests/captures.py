"""What a terminal and a pipe show of searches, without what differs from run to run: ``python -m tests.captures``."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path
from typing import Final

from tests.fake_search import add_confirmations, add_retrains, make_search
from tests.outputs import from_terminal
from tune_fmnist.reporting.results import open_search

FIXTURES: Final = Path(__file__).parent / "fixtures" / "terminal"

_SMALL: Final = ("--max-epochs", "2", "--limit-train", "2000", "--max-concurrent", "1", "--scheduler", "fifo")
_SEARCH: Final = ("search", "--model", "ann", *_SMALL)

_DIFFERS: Final = (
    (r"(?m)^\d\d:\d\d:\d\d ", "HH:MM:SS "),
    (r"(?m)^Fashion-MNIST: .*", "Fashion-MNIST: FOLDER (ORIGIN)"),
    (r"(images) \(.*\)", r"\1 (ORIGIN)"),
    (r"\d+\.\d\d %", "NN.NN %"),
    (r"in \d+ s|in \d+:\d\d min", "in TIME"),
    (r"about [\d:]+ (s|min|h) left|soon over", "about TIME left"),
    (r"best score (.*?) \(trial \d+", r"best score \1 (trial N"),
    (r"confirmed trial \d+", "confirmed trial N"),
    (r"retrained (baseline|rank \d)( \(rank \d\))?", "retrained NAME"),
    (r"seed \d{2,}", "seed N"),
)
"""What differs between two runs, as patterns, and what stands for it in a capture."""


def normalised(text: str) -> str:
    """Return a text with words for times, places and accuracies, without the summary, which has captures of its own."""
    text = _plain(text)
    for pattern, word in _DIFFERS:
        text = re.sub(pattern, word, text)
    return re.sub(r"(?s)(?<=writing the page\n).*", "", text)


def _plain(text: str) -> str:
    """Return a text without colours, and without the spaces that fill up a table's last column."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r| +(?=\r?$)", "", text, flags=re.MULTILINE)


def _environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    return kept | {"CUDA_VISIBLE_DEVICES": ""} | variables


def _command(*arguments: str) -> list[str]:
    name, *rest = arguments
    return [sys.executable, "-m", f"tune_fmnist.{name}", *rest]


def _shown(folder: Path, *arguments: str, size: tuple[int, int], term: str, until: str | None = None) -> str:
    """Return what a terminal of so many columns and rows gets from a command; Ctrl-C comes when ``until`` is there."""
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    process = subprocess.Popen(
        _command(*arguments), cwd=folder, env=_environment(TERM=term), stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    said = b""
    for piece in from_terminal(ours):
        said += piece
        if until and until.encode() in said:
            process.send_signal(signal.SIGINT)
            until = None
    process.wait()
    return said.decode()


def piped(folder: Path) -> dict[str, str]:
    """Run a search, and return what it says on its way into a pipe."""
    options = ("--trials", "3", "--confirm", "1", "--top-k", "3", "--retrain-seeds", "1", "--name", "night")
    done = subprocess.run(
        _command(*_SEARCH, *options), cwd=folder, env=_environment(), capture_output=True, text=True, check=True
    )
    return {"pipe": normalised(done.stderr)}


def dumb(folder: Path) -> dict[str, str]:
    """Run a search that Ctrl-C interrupts, and resume it, under ``TERM=dumb``."""
    begun = (*_SEARCH, "--trials", "20", "--no-retrain", "--name", "night")
    again = ("search", "--resume", "--name", "night", "--max-concurrent", "1")
    said = {
        "interrupted": normalised(_shown(folder, *begun, size=(80, 24), term="dumb", until="trial 0 ")),
        "resumed": normalised(_shown(folder, *again, size=(80, 24), term="dumb")),
    }
    # How many trials end before Ctrl-C is heard differs as well.
    few = (
        (r"HH:MM:SS trial (?!0 |19 ).*\n", ""),
        (r"(hold|trials,) \d+ (trial|epoch)s?", r"\1 N \2s"),
        (r"and \d+ epochs|after \d+ before", "N"),
    )
    for pattern, word in few:
        said = {name: re.sub(pattern, word, text) for name, text in said.items()}
    return said


def summaries(folder: Path) -> dict[str, str]:
    """Return the captures of what ``show`` says of a made-up search, on two terminals and in a pipe."""
    results = make_search(folder / "results" / "night", trials=12)
    add_confirmations(results, [0.89, 0.885], baseline=0.875)
    add_retrains(results, [0.9, 0.895], baseline=0.87)
    open_search(folder / "results" / "night")
    sizes = {"summary-80x24": (80, 24), "summary-120x40": (120, 40)}
    captures = {name: _shown(folder, "show", "night", size=size, term="xterm") for name, size in sizes.items()}
    plain = subprocess.run(
        _command("show", "night"), cwd=folder, env=_environment(), capture_output=True, text=True, check=True
    )
    captures["summary-pipe"] = plain.stdout
    return {name: _plain(said) for name, said in captures.items()}


def main() -> None:
    """Write all captures anew."""
    FIXTURES.mkdir(parents=True, exist_ok=True)
    temporary = tempfile.TemporaryDirectory
    with temporary() as made_up, temporary() as real, temporary() as other:
        for name, said in (summaries(Path(made_up)) | piped(Path(real)) | dumb(Path(other))).items():
            (FIXTURES / f"{name}.txt").write_text(said)


if __name__ == "__main__":
    main()
