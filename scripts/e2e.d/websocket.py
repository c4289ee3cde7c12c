"""A small client of the legacy WebSocket protocols, through the API server.

kubectl has never spoken them, but dashboards do: they are the way on which a GET with an upgrade
to WebSocket reaches the kubelet and the container runtime as it is.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import ssl
import struct
from urllib.parse import quote, urlsplit

from wait import Failed, expect, same

# RFC 6455 section 1.3.
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# How long one answer may take, in seconds.
ANSWER_S = 60

# Channels of an exec: docs/wire.md, "WebSocket channels".
STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)


class Socket:
    """One connection that was upgraded to WebSocket; messages are (channel, bytes)."""

    def __init__(self, reader, writer, text):
        self.reader = reader
        self.writer = writer
        # base64.channel.k8s.io carries text: the channel as a digit, the rest in base64.
        self.text = text

    @classmethod
    async def connect(cls, cluster, path, protocol):
        """Asks the API server for an upgrade; fails with its answer if there is none."""
        url = urlsplit(cluster.env["APISERVER_URL"])
        reader, writer = await asyncio.open_connection(url.hostname, url.port, ssl=context(cluster))
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            (
                f"GET {path} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
                f"Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
            ).encode()
        )
        head = (await within(reader.readuntil(b"\r\n\r\n"))).decode()
        status, *fields = head.split("\r\n")
        if " 101 " not in status + " ":
            body = await within(reader.read(4096))
            writer.close()
            raise Failed(f"{path.split('?')[0]} as {protocol}: {status}: {body.decode(errors='replace')}")
        pairs = (field.partition(":") for field in fields)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        same(headers.get("sec-websocket-accept"), accept, "Sec-WebSocket-Accept")
        same(headers.get("sec-websocket-protocol"), protocol, "Sec-WebSocket-Protocol")
        return cls(reader, writer, protocol.startswith(("base64", "v4.base64")))

    async def send(self, channel, payload):
        """Sends one message."""
        if self.text:
            message = str(channel).encode() + base64.b64encode(payload)
        else:
            message = bytes([channel]) + payload
        self.writer.write(frame(1 if self.text else 2, message))
        await within(self.writer.drain())

    async def receive(self):
        """Returns the next message, or None at the end."""
        while True:
            opcode, message = await self._frame()
            if opcode == 8:
                return None
            if opcode == 9:
                self.writer.write(frame(10, message))
            elif opcode in (1, 2):
                if self.text:
                    return int(message[:1]), base64.b64decode(message[1:])
                return message[0], message[1:]

    async def _frame(self):
        try:
            first, second = await self.reader.readexactly(2)
            size = second & 127
            if size == 126:
                (size,) = struct.unpack(">H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack(">Q", await self.reader.readexactly(8))
            return first & 15, await self.reader.readexactly(size)
        except asyncio.IncompleteReadError as error:
            raise Failed("the connection was cut, without a close frame") from error

    async def close(self):
        """Ends the connection."""
        self.writer.write(frame(8, struct.pack(">H", 1000)))
        self.writer.close()
        # The other end may be faster, or not say goodbye to TLS.
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(self.writer.wait_closed(), 5)


async def within(work, seconds=ANSWER_S):
    """Awaits with a bound."""
    try:
        return await asyncio.wait_for(work, seconds)
    except asyncio.TimeoutError:
        raise Failed(f"no answer within {seconds} s") from None
    except asyncio.IncompleteReadError as error:
        raise Failed(f"the connection ended after {error.partial[:200]!r}") from None
    except OSError as error:
        raise Failed(f"the connection broke: {error}") from None


def context(cluster):
    """TLS to the API server, as administrator."""
    made = ssl.create_default_context(cafile=cluster.path("ca.crt"))
    made.load_cert_chain(cluster.path("admin.crt"), cluster.path("admin.key"))
    return made


def frame(opcode, payload):
    """One frame of a client, masked as they must be."""
    size = len(payload)
    if size < 126:
        head = bytes([0x80 | opcode, 0x80 | size])
    elif size < 1 << 16:
        head = bytes([0x80 | opcode, 0x80 | 126]) + struct.pack(">H", size)
    else:
        head = bytes([0x80 | opcode, 0x80 | 127]) + struct.pack(">Q", size)
    mask = os.urandom(4)
    pad = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")
    return head + mask + masked.to_bytes(size, "big")


def pod_path(pod, verb, *options, command=()):
    """The path of a pod's subresource."""
    query = [*options, *(f"command={quote(word, safe='')}" for word in command)]
    return f"/api/v1/namespaces/default/pods/{pod}/{verb}?{'&'.join(query)}"


async def collect(connection, most=None):
    """Returns what came on each channel until the end, or until standard output has `most` bytes."""
    seen = {}
    while message := await within(connection.receive()):
        channel, payload = message
        seen.setdefault(channel, bytearray()).extend(payload)
        if most is not None and len(seen.get(STDOUT, b"")) >= most:
            break
    return seen


async def exec_binary(cluster, pod, protocol, size, command):
    """Binary standard input and output, and the exit code on the error channel."""
    sent = os.urandom(1 << 16) * (size >> 16)
    path = pod_path(pod, "exec", "container=c", "stdin=true", "stdout=true", "stderr=true", command=command)
    connection = await Socket.connect(cluster, path, protocol)

    async def feed():
        for start in range(0, size, 1 << 16):
            await connection.send(STDIN, sent[start : start + (1 << 16)])

    feeding = asyncio.create_task(feed())
    seen = await collect(connection)
    await feeding
    await connection.close()
    expect(bytes(seen.get(STDOUT, b"")) == sent, f"{len(seen.get(STDOUT, b''))} bytes came back of {size}")
    same(bytes(seen.get(STDERR, b"")), b"err\n", "standard error")
    told = bytes(seen.get(ERROR, b""))
    if protocol.startswith("v4"):
        status = json.loads(told)
        same(status["details"]["causes"][0], {"reason": "ExitCode", "message": "3"}, "exit code")
    else:
        expect(b"exit code 3" in told or b"status 3" in told, f"error channel: {told}")


async def exec_terminal(cluster, pod, protocol, command):
    """A terminal whose size is told on the resize channel."""
    path = pod_path(pod, "exec", "container=c", "stdin=true", "stdout=true", "tty=true", command=command)
    connection = await Socket.connect(cluster, path, protocol)
    shown = bytearray()

    async def ask(rows, columns):
        await connection.send(RESIZE, json.dumps({"Width": columns, "Height": rows}).encode())
        wanted = f"{rows} {columns}".encode()
        for _ in range(100):
            await connection.send(STDIN, b"stty size\n")
            while wanted not in shown:
                try:
                    message = await asyncio.wait_for(connection.receive(), 0.5)
                except asyncio.TimeoutError:
                    break
                expect(message, f"the terminal ended: {bytes(shown)}")
                shown.extend(message[1])
            else:
                return
        raise Failed(f"no {wanted} on the terminal: {bytes(shown)}")

    await ask(31, 97)
    await ask(43, 121)
    await connection.send(STDIN, b"exit 5\n")
    seen = await collect(connection)
    await connection.close()
    status = json.loads(bytes(seen[ERROR]))
    same(status["details"]["causes"][0], {"reason": "ExitCode", "message": "5"}, "exit code")


async def attach(cluster, pod, protocol):
    """What is typed into a running container comes back."""
    path = pod_path(pod, "attach", "container=c", "stdin=true", "stdout=true")
    connection = await Socket.connect(cluster, path, protocol)
    typed = f"typed over {protocol}\n".encode()
    await connection.send(STDIN, typed)
    seen = bytearray()
    while typed not in seen:
        message = await within(connection.receive())
        expect(message, f"the stream ended before {typed} came back: {bytes(seen)}")
        if message[0] == STDOUT:
            seen.extend(message[1])
    await connection.close()


async def port_forward(cluster, pod, protocol, size):
    """One connection to the echo port: channel 0 is data, channel 1 errors, each begins with the port."""
    connection = await Socket.connect(cluster, pod_path(pod, "portforward", "ports=7000"), protocol)
    sent = os.urandom(1 << 15) * (size >> 15)

    async def feed():
        for start in range(0, size, 1 << 15):
            await connection.send(0, sent[start : start + (1 << 15)])

    feeding = asyncio.create_task(feed())
    seen = {0: bytearray(), 1: bytearray()}
    while len(seen[0]) < size + 2:
        message = await within(connection.receive())
        expect(message, f"the stream ended after {len(seen[0])} bytes: {bytes(seen[1])}")
        seen[message[0]].extend(message[1])
    await feeding
    await connection.close()
    port = struct.pack("<H", 7000)
    same(bytes(seen[1]), port, "error channel")
    expect(bytes(seen[0]) == port + sent, "other bytes came back than were sent")
