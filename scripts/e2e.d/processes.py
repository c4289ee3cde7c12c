"""Runs programs with a time limit, each in a session of its own, and ends those that are left."""

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from dataclasses import dataclass

from wait import PATIENCE, STOPPED, Failed, Interrupted, short

# All that run; whoever is left at the end of the run is killed.
_running = set()
_lock = threading.Lock()


@dataclass
class Result:
    """How a program ended and what it wrote."""

    code: int
    out: bytes
    err: str

    @property
    def text(self):
        """Standard output as text."""
        return self.out.decode(errors="replace")


class Process:
    """A running program; its standard error goes to a file that can be read at any time."""

    def __init__(self, arguments, env=None, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **more):
        self._err = tempfile.TemporaryFile()
        self.arguments = [str(argument) for argument in arguments]
        more.setdefault("stderr", self._err)
        more.setdefault("bufsize", 0)
        # In a session of its own, so that ctrl-C reaches us alone and we end it in order.
        self.popen = subprocess.Popen(
            self.arguments, env=env, stdin=stdin, stdout=stdout, start_new_session=True, **more
        )
        with _lock:
            _running.add(self)

    @property
    def pid(self):
        """The process id."""
        return self.popen.pid

    @property
    def stdin(self):
        """Its standard input, if that is a pipe."""
        return self.popen.stdin

    @property
    def stdout(self):
        """Its standard output, if that is a pipe."""
        return self.popen.stdout

    def running(self):
        """Returns whether it has not ended."""
        return self.popen.poll() is None

    def err(self):
        """Returns what it wrote to standard error so far."""
        size = os.fstat(self._err.fileno()).st_size
        return os.pread(self._err.fileno(), size, 0).decode(errors="replace")

    def send(self, number):
        """Sends it a signal, if it still runs."""
        if self.running():
            self.popen.send_signal(number)

    def wait(self, seconds):
        """Returns its exit status; kills it and fails when it does not end within `seconds`."""
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.end()
            raise Failed(f"{self.told()} did not end within {seconds} s: {short(self.err())}") from None

    def end(self, number=signal.SIGKILL, seconds=10):
        """Ends it and all it started, and returns its exit status."""
        if self.running():
            self._signal_session(number)
            try:
                self.popen.wait(seconds)
            except subprocess.TimeoutExpired:
                self._signal_session(signal.SIGKILL)
                self.popen.wait(seconds)
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        with _lock:
            _running.discard(self)
        return self.popen.returncode

    def _signal_session(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def told(self):
        """Returns its command line in short."""
        words = [os.path.basename(self.arguments[0]), *self.arguments[1:]]
        return short(" ".join(words), 160)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def run(arguments, seconds=60, stdin=None, env=None, check=True):
    """Runs a program to its end, which may take `seconds` on a quiet machine.

    `stdin` is bytes, an open file, or nothing. With `check` a status other than 0 fails.
    """
    if STOPPED.is_set():
        raise Interrupted
    seconds *= PATIENCE
    pipe = subprocess.PIPE if isinstance(stdin, bytes) else stdin or subprocess.DEVNULL
    with Process(arguments, env=env, stdin=pipe) as process:
        given = stdin if isinstance(stdin, bytes) else None
        try:
            out, _ = process.popen.communicate(given, timeout=seconds)
        except subprocess.TimeoutExpired:
            process.end()
            raise Failed(f"{process.told()} did not end within {seconds} s: {short(process.err())}") from None
        except (ValueError, OSError):
            # Its pipes were closed under it: see end_all().
            raise Interrupted from None
        result = Result(process.popen.returncode, out, process.err())
        if STOPPED.is_set():
            raise Interrupted
        if check and result.code != 0:
            told = short(result.err or result.text)
            raise Failed(f"{process.told()} ended with {result.code}: {told}")
        return result


def stream(arguments, seconds, stdin, env, take):
    """Runs a program as `run` does; `take` gets what it writes. Returns its exit status."""
    seconds *= PATIENCE
    with Process(arguments, env=env, stdin=stdin) as process:
        # Also ends a read that would wait for ever.
        timer = threading.Timer(seconds, process.end)
        timer.start()
        try:
            while chunk := process.stdout.read(1 << 20):
                take(chunk)
            code = process.popen.wait(seconds)
        except (ValueError, OSError, subprocess.TimeoutExpired):
            raise Failed(f"{process.told()} did not end within {seconds} s") from None
        finally:
            timer.cancel()
        if STOPPED.is_set():
            raise Interrupted
        if code != 0:
            raise Failed(f"{process.told()} ended with {code}: {short(process.err())}")
        return code


def end_all():
    """Ends every program that still runs."""
    with _lock:
        left = list(_running)
    for process in left:
        process.end()
