"""Says where a proxy's CPU time goes: perf's samples of its core in cells of bench/peers, its system calls and allocations.

Each cell has turns of `eyesplice-load ab`: in three of them, a while apart, perf samples the proxy's core once the proxy
works, in two more it counts the proxy's system calls and what it asks the C library's allocator for. Writes
DATE-profile.md.
"""

import collections
import contextlib
import datetime
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]

DEFAULT = [
    ("splice", "eyesplice", "bulk, 1 connection, down"),
    ("splice", "eyesplice", "bulk, 1 connection, up"),
    ("splice", "eyesplice", "bulk, 16 connections, both"),
    ("tls-both", "eyesplice", "bulk, 1 connection, down"),
    ("tls-both", "eyesplice", "bulk, 1 connection, up"),
    ("tls-both", "bare record loop", "bulk, 1 connection, up"),
    ("splice", "eyesplice", "64 B round trips, 16 streams"),
    ("tls-one", "eyesplice, originate", "64 B round trips, 16 streams"),
    ("tls-one", "bare record loop", "64 B round trips, 16 streams"),
    ("splice", "eyesplice", "connections"),
    ("tls-both", "eyesplice", "full handshakes"),
]

# Sampling turns of each cell, all cells in turn: a machine's speed changes with time.
ROUNDS = 3
HERTZ = 4000
# What perf does begins in the warm-up or soon after it, and is over before the turn is.
SAMPLES_S, SAMPLES_TURN_S = 3, 4
# Most of the turn: counting costs time, and the rate of operations is the whole turn's.
CALLS_S, CALLS_TURN_S = 2, 2.5
# What gives memory in the C library, where Rust's allocator and C's programs both get theirs.
ALLOCATORS = ("malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc")
# CPU time that a proxy cannot have used before the load began, so that it works now.
WORKING_S = 0.3
# What is waited for at most until then.
START_S = 30

# Symbols and purposes below this share are left out, and symbols after the first MOST.
LEAST, MOST = 0.01, 15
LONGEST = 90

# A core of which others had more than this is not the proxy's alone.
NOISY = 0.1

# What a function is there for. The innermost one of a sample's call chain that is here decides, so that
# the copy in a send is a copy, and the peer's receive path that runs inside of it is that.
PURPOSES = [
    ("cryptography", r"(ring_core_[0-9_]+)?_*(aes_|aesni_|vaes_|ossl_(aes|vaes|gcm)|gcm_|ghash|sha(1|256|512)_|x25519|fe4?_|ge_|p256|p384|ecp_nistz|bn_(mul|sqr|from)|fiat_|chacha|poly1305)"),
    ("copies between user and kernel", r"(raw_)?_?copy_(to|from)_(iter|user)|rep_movs|copy_user|copy_page_(to|from)_iter"),
    ("copies inside the kernel", r"__pi_mem|memcpy_orig|memset_orig|clear_page"),
    ("copies in user space", r"__mem(move|cpy|set)|memmove|memcpy"),
    ("wake-ups of other threads", r"try_to_wake_up|__wake_up|sock_def_readable|sock_def_write_space|unix_write_space"),
    ("epoll", r"ep_|epoll_|do_epoll|__x64_sys_epoll"),
    ("io_uring: polls and their task work", r"io_|__io_|tctx_task_work|task_work_run|__x64_sys_io_uring"),
    ("acknowledgements", r"tcp_ack|__tcp_ack|tcp_clean_rtx|tcp_cleanup_rbuf|tcp_send_ack|__tcp_send_ack|tcp_event_data"),
    ("TCP, received (both ends of loopback)", r"tcp_v[46]_rcv|tcp_v[46]_do_rcv|tcp_rcv|ip6?_(rcv|local|protocol)|net_rx|__netif|process_backlog"),
    ("TCP, sent", r"tcp_write_xmit|__tcp_transmit|__tcp_push|tcp_push|ip6?_(queue|output|finish)|__ip_|__dev_queue|dev_hard|loopback_xmit"),
    ("references to pages, memory of packets", r"skb_|__alloc_skb|alloc_skb|kfree_skb|__kfree|kmem_cache|kmalloc|__kmalloc|kfree|alloc_pages|__alloc_(frozen_)?pages"
     r"|free_unref|__folio|folio_|get_page|put_page|release_pages|sk_page_frag|page_frag"),
    ("connections: set up and torn down", r"__x64_sys_(connect|accept|close|socket|bind|shutdown)|__sys_(connect|accept|socket)|__fput|task_work"
     r"|inet_(csk_)?(accept|release|stream_connect|create)|tcp_v4_connect|sock_close"),
    ("splice and pipes", r"splice_|do_splice|__do_splice|pipe_|__splice|iter_to_pipe|skb_splice"),
    ("sockets: send", r"sock_sendmsg|__sys_send|tcp_sendmsg|unix_stream_sendmsg|__x64_sys_(send|write)"),
    ("sockets: receive", r"sock_recvmsg|__sys_recv|tcp_recvmsg|unix_stream_read|unix_stream_recv|__x64_sys_(recv|read)"),
    ("futexes and the scheduler", r"futex|__schedule|schedule|pick_next|finish_task_switch"),
    ("interrupts", r"asm_sysvec|asm_common_interrupt|sysvec_|irq_|handle_softirqs|__do_softirq"),
    ("system calls, else", r"entry_SYSCALL|do_syscall_64|syscall_|x64_sys_call|__x64_sys|exit_to_user|srso_|__x86_"),
]
PURPOSES = [(name, re.compile(rf"(?:{pattern})")) for name, pattern in PURPOSES]


def cpu_seconds(pids):
    """CPU time that processes have used so far; ended ones count as nothing."""
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def below(pid):
    """All descendants of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *below(child)]
    return found


def working_proxy(load, said):
    """Waits until the proxy that the harness started works, and returns its processes."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if load.poll() is not None:
            fail(load, said)
        pids = below(load.pid)
        if cpu_seconds(pids) >= WORKING_S:
            return pids
        time.sleep(0.01)
    sys.exit(f"the proxy used less than {WORKING_S} CPU seconds in {START_S} s: nothing to sample")


def turn(tool, core, cell, scratch, seconds, during):
    """Runs one turn of a cell, and `during` it what is given the proxy's processes.

    Returns the harness's report, these processes, and what `during` returned.
    """
    scenario, proxy, name = cell
    command = [tool, "ab", "--scenario", f"bench/peers/{scenario}.yaml", "--among", proxy, "--only", name]
    command += ["--rounds", "1", "--duration", f"{round(seconds * 1000)}ms", "--proxy-cores", str(core), "--output", scratch]
    said = Path(scratch) / "said"
    with said.open("w") as log:
        load = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        pids = working_proxy(load, said)
        found = during(pids)
        if load.wait() != 0:
            fail(load, said)
    finally:
        load.kill()
        load.wait()
    (result,) = Path(scratch).glob("*.json")
    report = json.loads(result.read_text())
    result.unlink()
    return report, pids, found


def fail(load, said):
    """Ends with what the harness said."""
    sys.exit(f"eyesplice-load ended with {load.returncode}:\n{said.read_text()}")


def sample(core, scratch):
    """Samples a core, without a copy of each program that ran in perf's own cache."""
    record = ["perf", "record", "-q", "-N", "-e", "cpu-clock", "-F", str(HERTZ), "-g", "-C", str(core), "-o", f"{scratch}/perf.data"]
    run([*record, "--", "sleep", str(SAMPLES_S)])


def script(scratch):
    """What was sampled, in perf's words."""
    return run(["perf", "script", "--no-inline", "-i", f"{scratch}/perf.data", "-F", "pid,ip,sym,dso"]).stdout


def count(pids, events):
    """What perf says of events of processes, which it counts for a while."""
    names = ",".join(map(str, pids))
    return run(["perf", "stat", "-x", ";", "-e", events, "-p", names, "--", "sleep", str(CALLS_S)]).stderr


@contextlib.contextmanager
def probes():
    """Probes in the C library's allocator, as events of perf, which are there inside of the `with` only."""
    group = f"eyesplice_{os.getpid()}"
    named = [word for function in ALLOCATORS for word in ("-a", f"{group}:{function}={function}")]
    run(["perf", "probe", "-q", "-x", library(Path("/proc/self/maps").read_text()), *named])
    try:
        yield f"{group}:*"
    finally:
        run(["perf", "probe", "-q", "-d", f"{group}:*"])


def library(maps):
    """The C library's path in a process's table of mappings."""
    for line in maps.splitlines():
        path = line.split(maxsplit=5)[-1]
        if path.endswith("/libc.so.6"):
            return path
    sys.exit("no C library in the table of mappings: nothing to count allocations in")


def run(command):
    """Runs a tool of perf; ends with what it said if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(command)} ended with {done.returncode}: {done.stderr}")
    return done


def rates(text):
    """Events in a second by their names, out of `perf stat -x ;`."""
    found = collections.Counter()
    for line in text.splitlines():
        fields = line.split(";")
        if len(fields) > 2 and fields[0].isdigit() and ":" in fields[2]:
            found[fields[2].split(":", 1)[1].removeprefix("sys_enter_")] += int(fields[0]) / CALLS_S
    return found


def each(events, done):
    """Events of a piece of work, the most frequent first; those that hardly occur are left out."""
    named = [f"{name} {rate / done.rate:.2f}" for name, rate in events.most_common() if rate / done.rate >= 0.005]
    return ", ".join(named) or "none"


def samples(text):
    """Yields process, whether the kernel ran, and the call chain of each sample of `perf script`, innermost first."""
    for block in text.split("\n\n"):
        lines = [line.strip() for line in block.splitlines() if line.strip()]
        if len(lines) < 2:
            continue
        frames = []
        for line in lines[1:]:
            symbol, _, place = line.partition(" ")[2].rpartition(" (")
            frames.append(symbol if symbol != "[unknown]" else f"(no symbol) {place.rstrip(')').rsplit('/', 1)[-1]}")
        kernel = "[kernel" in lines[1] or "[guest.kernel" in lines[1]
        yield int(lines[0].split("/")[0]), kernel, frames


def short(symbol):
    """A Rust symbol without its hash, and no longer than a line of a table."""
    symbol = re.sub(r"::h[0-9a-f]{16}$", "", symbol)
    return symbol if len(symbol) <= LONGEST else symbol[: LONGEST - 3] + "..."


def purpose(frames):
    """What a sample's time was for."""
    for frame in frames:
        for name, pattern in PURPOSES:
            if pattern.match(frame):
                return name
    return "the proxy and its libraries, else"


class Figure(NamedTuple):
    """What the harness measured in a turn."""

    cost: float
    """CPU time of a unit: seconds of a GiB, or microseconds of an operation."""
    unit: str
    rate: float
    """Operations or MiB in a second."""
    per: str

    def text(self):
        """Cost and rate in words."""
        if self.per == "MiB":
            return f"{self.cost:.3f} {self.unit}, {self.rate / 1024:.2f} GiB/s"
        return f"{self.cost:.1f} {self.unit}, {self.rate:.0f} operations/s"

    def part(self, share):
        """What a share of the CPU time costs."""
        return f"{self.cost * share:.4f}" if self.per == "MiB" else f"{self.cost * share:.2f}"


def figure(report):
    """What the harness measured in the turn."""
    (cell,) = report["cells"]
    (entry,) = cell["proxies"]
    (done,) = entry["rounds"]
    if entry["failures"]:
        sys.exit(f"{cell['name']}: {entry['failures'][0]}")
    if cell["figure"] == "cpu_per_gib":
        return Figure(done["cpu_per_gib"], "CPU s/GiB", done["gib_per_second"] * 1024, "MiB")
    return Figure(done["cpu_us_per_operation"], "CPU µs/operation", done["operations_per_second"], "operation")


def table(heads, rows):
    """A table in Markdown, numbers to the right."""
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "--:|" * (len(heads) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


class Cell:
    """What was seen of one cell so far."""

    def __init__(self, names):
        self.names = names
        self.figures, self.symbols, self.purposes = [], collections.Counter(), collections.Counter()
        self.kernel = self.others = 0
        self.counts = ""
        self.machine = None

    def measure(self, tool, core, scratch):
        """One sampling turn more; the first time the counts, too."""
        report, pids, _ = turn(tool, core, self.names, scratch, SAMPLES_TURN_S, lambda _: sample(core, scratch))
        self.machine = report["machine"]
        self.figures.append(figure(report))
        for pid, in_kernel, frames in samples(script(scratch)):
            if pid in pids:
                self.kernel += in_kernel
                self.symbols[(short(frames[0]), in_kernel)] += 1
                self.purposes[purpose(frames)] += 1
            elif pid != 0:
                self.others += 1
        if not self.purposes:
            sys.exit(f"{self.names[2]}: perf took no sample of the proxy")
        if not self.counts:
            report, _, text = turn(tool, core, self.names, scratch, CALLS_TURN_S, lambda pids: count(pids, "syscalls:sys_enter_*"))
            done = figure(report)
            self.counts = f"System calls per {done.per}: {each(rates(text), done)}.\n"
            with probes() as events:
                report, _, text = turn(tool, core, self.names, scratch, CALLS_TURN_S, lambda pids: count(pids, events))
            done = figure(report)
            self.counts += f"\nAllocations per {done.per}: {each(rates(text), done)}.\n"

    def section(self):
        """Its part of the report."""
        scenario, proxy, name = self.names
        total = self.purposes.total()
        whole = HERTZ * SAMPLES_S * len(self.figures)
        middle = statistics.median_low(self.figures)
        costs = ", ".join(f"{one.cost:.3g}" for one in self.figures)
        noise = " (**too many: do not trust this cell**)" if self.others > NOISY * whole else ""

        def percent(part, of=total):
            return f"{100 * part / of:.1f} %"

        purposes = [
            (what, percent(part), middle.part(part / total))
            for what, part in self.purposes.most_common()
            if part >= LEAST * total
        ]
        top = [(key, part) for key, part in self.symbols.most_common(MOST) if part >= LEAST * total]
        top = [(f"`{symbol}`", "kernel" if where else "user", percent(part)) for (symbol, where), part in top]
        parts = [
            f"## {scenario}, {proxy}: {name}\n",
            f"{middle.text()} while sampled, the median of {costs}. The proxy had its core for {percent(total, whole)} of the "
            f"time, others for {percent(self.others, whole)}{noise}. Of its {total} samples {percent(self.kernel)} are in the "
            "kernel.\n",
            table(["for", "share", middle.unit], purposes),
            table(["symbol", "in", "share"], top),
            self.counts,
        ]
        return "\n".join(parts)


def head(machine, arguments):
    """The top of the file."""
    perf = run(["perf", "--version"]).stdout.split()[-1]
    command = shlex.join(["scripts/bench", "profile", *arguments])
    return "\n".join(
        [
            "# Where a proxy's CPU time goes\n",
            f"- revision: {machine['revision']}",
            f"- command: `{command}`",
            f"- machine: {machine['cores']} cores of {machine['cpu']}, {machine['memory_mib']} MiB, Linux {machine['kernel']}, "
            f"TCP congestion control {machine['congestion_control']}",
            f"- samples: perf {perf}, `perf record -e cpu-clock -F {HERTZ} -g` of the proxy's core for {ROUNDS} times {SAMPLES_S} s, "
            f"all cells in turn; system calls: `perf stat -e 'syscalls:sys_enter_*'` of the proxy for {CALLS_S} s of another turn; "
            f"allocations: so, too, with a probe in each of the C library's {', '.join(ALLOCATORS)}",
            "- work: every byte checked; figures include what perf costs, and do not compare with those of other results\n",
            "*For*: the innermost function of a sample's call chain that one of the tool's purposes names "
            "(`scripts/bench.d/profile.py`); each sample counts once, and its part of the median turn's CPU time. Symbols and purposes below 1 % are left out, "
            f"and symbols after the first {MOST}.\n\n",
        ]
    )


def main():
    """Profiles cells into a directory with an eyesplice-load: those that are named after these two, three words each, or the usual ones."""
    results, tool, *words = sys.argv[1:]
    cells = [Cell(tuple(words[at : at + 3])) for at in range(0, len(words), 3)] or [Cell(names) for names in DEFAULT]
    core = max(os.sched_getaffinity(0))
    for number in range(1, ROUNDS + 1):
        for cell in cells:
            print(f"{number}: {': '.join(cell.names)}", file=sys.stderr)
            with tempfile.TemporaryDirectory() as scratch:
                cell.measure(tool, core, scratch)
    path = Path(results) / f"{datetime.datetime.now(datetime.UTC).date()}-profile.md"
    path.write_text(head(cells[0].machine, words) + "\n".join(cell.section() for cell in cells))
    print(f"wrote {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
