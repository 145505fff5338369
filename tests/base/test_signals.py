from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from tune_fmnist.base import signals


def at_work(number: signal.Signals) -> None:
    """A library's code that loses whatever is raised in it."""
    with contextlib.suppress(BaseException):
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_waits_for_the_end_of_a_step(number: signal.Signals) -> None:
    before, steps = signal.getsignal(number), 0

    def work() -> None:
        nonlocal steps
        with signals.obeyed_between_steps():
            for _ in range(3):
                signals.check()
                at_work(number)
                steps += 1

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == 1
    assert signal.getsignal(number) is before
    # It has been obeyed.
    signals.check()


def test_a_signal_in_the_last_step_counts() -> None:
    with pytest.raises(KeyboardInterrupt), signals.obeyed_between_steps():
        at_work(signal.SIGINT)


def test_another_error_is_not_hidden_by_a_signal() -> None:
    def work() -> None:
        with signals.obeyed_between_steps():
            at_work(signal.SIGTERM)
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        work()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_the_process_at_once(number: signal.Signals) -> None:
    program = f"""
import os
from tune_fmnist.base import signals
with signals.obeyed_between_steps():
    os.kill(os.getpid(), {number.value})
    os.kill(os.getpid(), {number.value})
print("alive")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (-number, "")


def test_a_thread_leaves_the_handlers_alone() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with signals.obeyed_between_steps():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def ended(program: str) -> tuple[int, str, str]:
    """Return status, output and errors of a program."""
    head = "import os, signal\nfrom tune_fmnist.base import signals\n"
    done = subprocess.run([sys.executable, "-c", head + program], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_terminal_that_closes_sends_sighup_more_than_once() -> None:
    program = """
try:
    with signals.obeyed_between_steps():
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGHUP):
            os.kill(os.getpid(), number)
except KeyboardInterrupt:
    print("obeyed once")
"""
    assert ended(program) == (0, "obeyed once\n", "")


def test_what_is_ignored_stays_so() -> None:
    program = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signals.interrupt()
with signals.obeyed_between_steps():
    os.kill(os.getpid(), signal.SIGHUP)
os.kill(os.getpid(), signal.SIGHUP)
signals.end_the_process()
os.kill(os.getpid(), signal.SIGHUP)
print("alive")
"""
    assert ended(program) == (0, "alive\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_a_command_is_imported_or_leaves_ends_it_without_a_word(number: signal.Signals) -> None:
    assert ended(f"signals.end_the_process(); os.kill(os.getpid(), {number.value}); print('alive')") == (130, "", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_outside_of_a_block_interrupts(number: signal.Signals) -> None:
    program = f"""
signals.interrupt()
try:
    os.kill(os.getpid(), {number.value})
except KeyboardInterrupt:
    print("interrupted", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
print("alive")
"""
    assert ended(program) == (130, "interrupted\n", "")


def test_a_block_within_a_block_belongs_to_it() -> None:
    def work() -> None:
        with signals.obeyed_between_steps():
            with contextlib.suppress(KeyboardInterrupt), signals.obeyed_between_steps():
                at_work(signal.SIGTERM)
            signals.check()

    with pytest.raises(KeyboardInterrupt):
        work()


def test_only_a_command_takes_over_the_signals() -> None:
    show = "import tune_fmnist, signal; print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_ctrl_c_at_a_terminal_is_acknowledged_before_it_is_obeyed(number: signal.Signals, said: bool) -> None:
    program = f"""
import os
from tune_fmnist.base import signals
try:
    with signals.obeyed_between_steps():
        os.kill(os.getpid(), {int(number)})
        os.write(2, b"the step ends\\n")
except KeyboardInterrupt:
    pass
"""
    ours, theirs = os.openpty()
    subprocess.run([sys.executable, "-c", program], stderr=theirs, check=True)
    os.close(theirs)
    seen = os.read(ours, 1 << 12).decode()
    os.close(ours)
    assert ("Ctrl-C again ends at once" in seen.split("the step ends")[0]) == said
