"""The dials that an API server gives up: which streams to a kubelet may end before a byte comes down.

For `logs` and `nodes/proxy` an API server keeps connections to the kubelet in a pool. A request that finds
none idle dials; if another request ends before the new handshake does, the first one takes that connection
over, and the dial, which Go before 1.23 binds to the context of the request that began it, is cancelled
with that request (golang/go#59017, #66442): after its ClientHello, or before. A kubelet may have answered by
then; nobody reads that any more.
"""

import contextlib
import threading
import time
from dataclasses import dataclass
from datetime import datetime

# How long after kubectl's end the gateway may see that of the dial, on two processors that others keep
# busy, in seconds.
LATE_S = 0.5

# No ClientHello of an API server is longer, in bytes; before an answer it sends nothing else.
CLIENT_HELLO = 512

# How such a stream ends: an API server that sent its ClientHello goes without reading the answer, and closes
# the TLS around it without an alert; if it sent nothing, both close, the kubelet last.
ENDS_WITH_HELLO = {("completed", "downstream"), ("truncated", "downstream")}
ENDS_WITH_NOTHING = {("completed", "upstream")}


@dataclass
class Request:
    """One kubectl whose request went through the pool: whose, and from when to when it ran."""

    pod: str
    began: float
    ended: float

    def held(self, dial):
        """Returns whether a dial may have been this one's: it ended with it, at the latest."""
        return self.began <= dial.began and dial.ended <= self.ended + LATE_S

    def met(self, dial):
        """Returns whether it may have left its connection to somebody while the dial lived."""
        return self.began <= dial.ended and dial.began <= self.ended + LATE_S


@dataclass
class Dial:
    """A spliced stream without an answer."""

    line: dict
    began: float
    ended: float

    @classmethod
    def of(cls, line):
        """Takes it from the audit log, whose durations are cut to whole milliseconds."""
        ended = datetime.fromisoformat(line["time"].replace("Z", "+00:00")).timestamp()
        return cls(line, ended - (line["durationMs"] + 1) / 1000, ended)

    def given_up(self):
        """Returns whether it ended as a handshake that the API server gave up."""
        line = self.line
        ends = ENDS_WITH_HELLO if line["bytesUp"] else ENDS_WITH_NOTHING
        carried = line["bytesUp"] <= CLIENT_HELLO and line["bytesDown"] == 0
        return line["status"] == 200 and carried and (line["reason"], line["side"]) in ends


class Pool:
    """All requests of one cluster that went through its API server's pool; several threads may add to it."""

    def __init__(self):
        self._requests = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def request(self, pod):
        """Counts one kubectl of this pod's lane that runs inside; none of a lane runs beside another."""
        began = time.time()
        try:
            yield
        finally:
            with self._lock:
                self._requests.append(Request(pod, began, time.time()))

    def requests(self):
        """Returns how many there were."""
        return len(self._requests)

    def unexplained(self, lines):
        """Returns those of the unanswered streams that are no given-up dials.

        A dial belongs to a request, each of which dials once at most, while one of another lane ran.
        """
        left = sorted(self._requests, key=lambda request: request.ended)
        unexplained = []
        # In this order the first that fits is the right one: what fits a dial in time fits later ones.
        for dial in sorted(map(Dial.of, lines), key=lambda dial: dial.began):
            own = next((request for request in left if self._explains(request, dial)), None)
            if own:
                left.remove(own)
            else:
                unexplained.append(dial.line)
        return unexplained

    def _explains(self, own, dial):
        others = (other for other in self._requests if other.pod != own.pod)
        return dial.given_up() and own.held(dial) and any(other.met(dial) for other in others)
