"""Many live streams at once: a stalled reader beside them, and reloads under them."""

import asyncio
import hashlib
import os
import time

import websocket
from lane import SECRET, pod_name
from wait import Failed, expect, same

PROTOCOL = "v4.channel.k8s.io"

# Streams that are opened at the same time; each starts a process in a container.
OPENING = 8

# What a stalled reader leaves unread, and how far the gateway's memory may grow meanwhile: one
# stream may hold two buffers of 132 KiB in each direction, and the pools keep 32 per worker.
STALLED_BYTES = 64 << 20
STALLED_RSS = 16 << 20

# How long a round trip may take beside a stalled reader, in seconds, on two processors that run all
# of a cluster and its clients besides.
ROUND_TRIP_S = 10

# Round trips of every stream, before and while one reader is stalled.
ROUND_TRIPS = 20

# How long a stream rests between two round trips beside other work, in seconds: the processors are for
# that work, too.
BEAT_S = 0.5


class Echo:
    """A live `exec -i cat`, or a forwarded connection to the echo port."""

    def __init__(self, connection, channel, skip):
        self.connection = connection
        # What comes back comes on this channel, after so many other bytes.
        self._channel = channel
        self._skip = skip
        self._count = 0

    @classmethod
    async def exec(cls, cluster, pod):
        """Opens an exec."""
        command = ["sh", "-c", f": {SECRET}; exec cat"]
        path = websocket.pod_path(pod, "exec", "container=c", "stdin=true", "stdout=true", command=command)
        return cls(await websocket.Socket.connect(cluster, path, PROTOCOL), websocket.STDOUT, 0)

    @classmethod
    async def forward(cls, cluster, pod):
        """Opens a port-forward; its first two bytes are the port."""
        path = websocket.pod_path(pod, "portforward", "ports=7000")
        return cls(await websocket.Socket.connect(cluster, path, PROTOCOL), 0, 2)

    async def round_trip(self):
        """Sends something that was not sent before, and returns the seconds until it came back."""
        self._count += 1
        sent = f"{id(self)} {self._count}\n".encode()
        began = time.monotonic()
        await self.connection.send(0, sent)
        seen = bytearray()
        while len(seen) < len(sent):
            message = await websocket.within(self.connection.receive())
            expect(message, "the stream ended")
            channel, payload = message
            if channel == self._channel:
                skipped = min(self._skip, len(payload))
                self._skip -= skipped
                seen.extend(payload[skipped:])
        same(bytes(seen), sent, "what came back")
        return time.monotonic() - began

    async def close(self):
        """Ends it."""
        await self.connection.close()


class Crowd:
    """Live streams through one gateway."""

    def __init__(self, cluster, report):
        self.cluster = cluster
        self.report = report
        self.streams = []

    async def open(self, execs, forwards, pods):
        """Opens so many streams, spread over the pods."""
        turns = asyncio.Semaphore(OPENING)

        async def one(make, number):
            async with turns:
                return await make(self.cluster, pods[number % len(pods)])

        wanted = [one(Echo.exec, number) for number in range(execs)]
        wanted += [one(Echo.forward, number) for number in range(forwards)]
        opened = await asyncio.gather(*wanted, return_exceptions=True)
        self.streams = [each for each in opened if isinstance(each, Echo)]
        failures = [each for each in opened if not isinstance(each, Echo)]
        if failures:
            raise Failed(f"{len(failures)} of {len(wanted)} streams did not open: {failures[0]}")

    async def all_live(self, times=1, streams=None):
        """Makes every stream do round trips; returns how long each took, in seconds, sorted."""

        async def several(stream):
            return [await stream.round_trip() for _ in range(times)]

        streams = self.streams if streams is None else streams
        done = await asyncio.gather(*(several(stream) for stream in streams), return_exceptions=True)
        broken = [each for each in done if not isinstance(each, list)]
        if broken:
            raise Failed(f"{len(broken)} of {len(done)} streams broke: {broken[0]!r}")
        return sorted(seconds for each in done for seconds in each)

    async def beside(self, body, reopened=None):
        """Runs what blocks, while every stream does one round trip after the other; returns how many.

        Where streams may break for a known reason, `reopened` checks that it was that, opens others,
        and returns true.
        """
        work = asyncio.create_task(asyncio.to_thread(body))
        beats = 0
        while not work.done():
            try:
                await self.all_live()
                beats += 1
            except Failed:
                if not (reopened and await reopened()):
                    raise
            await asyncio.wait({work}, timeout=BEAT_S)
        await work
        await self.all_live()
        return beats

    async def close(self):
        """Ends all of them."""
        await asyncio.gather(*(stream.close() for stream in self.streams), return_exceptions=True)
        self.streams = []


def percentiles(seconds):
    """Tells the median and the 99th of a hundred."""
    middle = seconds[len(seconds) // 2] * 1000
    late = seconds[min(len(seconds) - 1, len(seconds) * 99 // 100)] * 1000
    return f"p50 {middle:.1f} ms, p99 {late:.1f} ms"


async def stalled_reader(crowd):
    """One reader stalls on 64 MiB; a hundred other streams keep their round trips."""
    cluster = crowd.cluster
    big = os.urandom(1 << 20) * (STALLED_BYTES >> 20)
    (cluster.state / "data" / "stalled").write_bytes(big)
    others = crowd.streams[:100]
    before = await crowd.all_live(ROUND_TRIPS, others)
    rss = cluster.gateway.rss()
    path = websocket.pod_path("bb", "exec", "container=c", "stdout=true", command=["cat", "/data/stalled"])
    stalled = await websocket.Socket.connect(cluster, path, PROTOCOL)
    # Its reader takes a little and then no more; the gateway's counter tells when nothing moves.
    first = await websocket.within(stalled.receive())
    while not first[1]:
        first = await websocket.within(stalled.receive())
    await quiet(cluster.gateway)
    during = await crowd.all_live(ROUND_TRIPS, others)
    expect(during[-1] <= ROUND_TRIP_S, f"a round trip took {during[-1]:.1f} s")
    newcomer = await Echo.exec(cluster, "bb")
    await newcomer.round_trip()
    await newcomer.close()
    grown = cluster.gateway.rss() - rss
    expect(grown <= STALLED_RSS, f"the gateway grew by {grown >> 20} MiB, more than {STALLED_RSS >> 20}")
    # Then it reads on, and all of it comes.
    digest, size = hashlib.sha256(first[1]), len(first[1])
    while message := await websocket.within(stalled.receive()):
        if message[0] == websocket.STDOUT:
            digest.update(message[1])
            size += len(message[1])
    await stalled.close()
    same(size, STALLED_BYTES, "bytes that the stalled reader got in the end")
    same(digest.hexdigest(), hashlib.sha256(big).hexdigest(), "their checksum")
    crowd.report.say(
        f"{cluster.name}: round trips of {len(others)} streams: {percentiles(before)}; beside a stalled "
        f"reader: {percentiles(during)}; the gateway grew by {grown / (1 << 20):.1f} MiB"
    )


async def quiet(gateway):
    """Waits until the gateway moves no more bytes."""
    last = -1.0
    for _ in range(600):
        now = gateway.total("payload_bytes_total", direction="down")
        if now == last:
            return
        last = now
        await asyncio.sleep(0.2)
    raise Failed("the gateway never came to rest, so the reader is not stalled")


def pods_of(versions):
    """Returns the pods of these kubectls."""
    return [pod_name(version) for version in versions]
