"""Reads the gateway's audit log while it grows."""

import json
import threading

from wait import until


class Audit:
    """The lines of one audit log, read as they come; several threads may ask."""

    def __init__(self, path):
        self.path = path
        self._lines = []
        self._rest = b""
        self._read = 0
        self._lock = threading.Lock()

    def mark(self):
        """Returns a place in the log: what is written from now on comes after it."""
        with self._lock:
            self._refresh()
            return len(self._lines)

    def since(self, mark, **wanted):
        """Returns the lines after `mark` whose fields have the wanted values."""
        with self._lock:
            self._refresh()
            lines = self._lines[mark:]
        return [line for line in lines if all(line.get(key) == value for key, value in wanted.items())]

    def await_lines(self, mark, count, seconds, what, **wanted):
        """Waits until there are `count` such lines, and returns them."""

        def enough():
            lines = self.since(mark, **wanted)
            return lines if len(lines) >= count else None

        def told():
            return f"{count} audit lines for {what}; seen: {self.since(mark, **wanted)}"

        return until(enough, seconds, told)

    def open_streams(self):
        """Returns the start lines that have no end line."""
        ended = {_key(line) for line in self.since(0, kind="end")}
        return [line for line in self.since(0, kind="start") if _key(line) not in ended]

    def _refresh(self):
        try:
            with open(self.path, "rb") as log:
                log.seek(self._read)
                new = log.read()
        except FileNotFoundError:
            return
        self._read += len(new)
        *whole, self._rest = (self._rest + new).split(b"\n")
        self._lines.extend(json.loads(line) for line in whole)


def _key(line):
    return line["stream"], line["exchange"]
