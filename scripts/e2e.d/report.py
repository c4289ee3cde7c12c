"""Counts checks, prints each as it ends, and prints the closing line."""

import threading
import time
import traceback

from wait import Failed, Interrupted, short


class Report:
    """What passed, failed and was skipped; several threads may add to it."""

    def __init__(self, verbose):
        self.verbose = verbose
        self.passed = 0
        self.failed = []
        self.skipped = []
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def say(self, text):
        """Prints one line with the seconds since the run began."""
        with self._lock:
            print(f"[{time.monotonic() - self._began:4.0f}s] {text}", flush=True)

    def check(self, name, body):
        """Runs one check; returns what it returns, or None when it failed."""
        began = time.monotonic()
        try:
            value = body()
        except Interrupted:
            raise
        except Failed as failure:
            self._fail(name, str(failure))
            return None
        except Exception as error:  # A fault of a check is a failed check, not the end of the run.
            where = "".join(traceback.format_tb(error.__traceback__)[-3:])
            self._fail(name, f"{error!r}\n{where}")
            return None
        with self._lock:
            self.passed += 1
        if self.verbose:
            self.say(f"ok   {name} ({time.monotonic() - began:.1f} s)")
        return True if value is None else value

    def skip(self, name, why):
        """Records a check that cannot run here."""
        with self._lock:
            self.skipped.append(name)
            print(f"SKIPPED: {name}: {why}", flush=True)

    def _fail(self, name, why):
        with self._lock:
            self.failed.append(name)
        self.say(f"FAIL {name}: {short(why, 4000)}")

    def close(self):
        """Prints the closing line; returns whether nothing failed."""
        for name in self.failed:
            print(f"failed: {name}")
        line = f"{self.passed} passed, {len(self.failed)} failed"
        if self.skipped:
            line += f", {len(self.skipped)} skipped"
        print(line, flush=True)
        return not self.failed
