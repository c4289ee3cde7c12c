"""Waits for conditions with a bound, and ends every wait when the run is interrupted."""

import threading
import time

# How often a condition is looked at, in seconds.
TICK = 0.05

# How many times as long as on a quiet machine all may take: several clusters share two processors
# with builds.
PATIENCE = 3

# Set once, when the run is interrupted: every wait ends from then on.
STOPPED = threading.Event()


class Failed(Exception):
    """A check did not hold; the text says what was expected and what was seen."""


class Interrupted(Exception):
    """The run was interrupted."""


def until(condition, seconds, what):
    """Returns the first true value of `condition()`; fails when there is none within `seconds`.

    That is on a quiet machine: see `PATIENCE`.
    `what` is what is waited for, or a function that tells what was seen instead.
    """
    seconds *= PATIENCE
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if STOPPED.is_set():
            raise Interrupted
        if time.monotonic() >= deadline:
            raise Failed(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(TICK)


def expect(holds, what):
    """Fails with `what` unless `holds`."""
    if not holds:
        raise Failed(what)


def same(seen, wanted, what):
    """Fails unless both are the same."""
    if seen != wanted:
        raise Failed(f"{what}: {short(seen)}, not {short(wanted)}")


def short(value, most=400):
    """Returns a value as text that fits into a message."""
    text = value if isinstance(value, str) else repr(value)
    text = text.strip()
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"
