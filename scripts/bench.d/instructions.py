"""Counts the instructions of single steps under callgrind, against bench/instructions.json.

Wall-clock time differs from run to run and from machine to machine; these counts do not, so that a
slower step is seen by a test. Steps and set-ups are in bench/benches/steps.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "bench" / "instructions.json"

# The function that runs a step's rounds. Two patterns for it: callgrind keeps one option for each.
COUNTED = ("instructions::counted_step", "*counted_step*")

# A step may differ by this part of its count: keys, nonces and hash seeds are new in each run.
TOLERANCE = 0.05
# Nothing that takes fewer instructions than this is worth a failure.
SMALLEST = 100

# One run takes a few seconds; this is a hang.
TIMEOUT_S = 300


def program():
    """Builds the steps and returns the program."""
    command = ["cargo", "bench", "--quiet", "--locked", "-p", "eyesplice-bench", "--bench", "instructions"]
    command += ["--no-run", "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    for line in built.stdout.splitlines():
        told = json.loads(line)
        if told.get("executable") and told["target"]["name"] == "instructions":
            return told["executable"]
    sys.exit("cargo built no bench named instructions")


def count(path):
    """Returns the instructions of one round of each step."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        options = [f"--callgrind-out-file={out}", f"--zero-before={COUNTED[0]}", f"--dump-after={COUNTED[1]}"]
        run = subprocess.run(
            ["valgrind", "--tool=callgrind", *options, path],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if run.returncode != 0:
            sys.exit(f"valgrind ended with {run.returncode}:\n{run.stdout}{run.stderr}")
        counts = {}
        for index, line in enumerate(run.stdout.splitlines(), 1):
            rounds, name = line.split(" ", 1)
            dump = Path(f"{out}.{index}")
            totals = re.search(r"^totals: (\d+)", dump.read_text(), re.M) if dump.exists() else None
            if not totals or int(totals[1]) == 0:
                sys.exit(f"callgrind counted nothing for {name}: is the bench's counted_step inlined?")
            counts[name] = round(int(totals[1]) / int(rounds))
        return counts


def compiler():
    """Returns the compiler's version: another one makes other code of the same steps."""
    told = subprocess.run(["rustc", "--version"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return told.stdout.strip()


def differences(kept, found):
    """Returns what is not as it was, a line each."""
    told = []
    for name in sorted(kept | found):
        if name not in found:
            told.append(f"{name}: no such step now")
        elif name not in kept:
            told.append(f"{name}: {found[name]}, not kept yet")
        else:
            room = max(kept[name] * TOLERANCE, SMALLEST)
            if abs(found[name] - kept[name]) > room:
                part = found[name] / kept[name] - 1
                told.append(f"{name}: {found[name]} instructions, {part:+.1%} of {kept[name]}")
    return told


def main():
    """Checks the counts, or keeps new ones."""
    parser = argparse.ArgumentParser(prog="scripts/bench instructions", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--bless", action="store_true", help="keep the counts of this run")
    options = parser.parse_args()
    found = count(program())
    if options.bless:
        KEPT.write_text(json.dumps({"compiler": compiler(), "steps": found}, indent=2, sort_keys=True) + "\n")
    kept = json.loads(KEPT.read_text())
    for name, instructions in sorted(found.items()):
        print(f"{instructions:>10}  {name}")
    told = differences(kept["steps"], found)
    for line in told:
        print(f"instructions: {line}", file=sys.stderr)
    if told and kept["compiler"] != compiler():
        print(f"SKIPPED: instruction counts are of {kept['compiler']}, and this is {compiler()}: bless them anew")
    elif told:
        sys.exit("a step became slower or faster: find out why, then `scripts/bench instructions --bless`")


if __name__ == "__main__":
    main()
