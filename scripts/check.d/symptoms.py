"""Checks docs/troubleshooting.md, and the messages of docs/tunnel.md, against the code.

A table whose first column is `Message` has messages of the program in it. `<...>` and `..` stand
for what differs; every other part of a message must stand in one string of the code. Reasons,
causes and sides in a table are words of the code. `<!-- test: NAME -->` names a test that produces
the entry, and must be there; in docs/troubleshooting.md every message has one.

    python3 -B scripts/check.d/symptoms.py
"""

import re
import sys
from pathlib import Path

import rust

ROOT = Path(__file__).resolve().parents[2]

DOCUMENT = "docs/troubleshooting.md"
OTHERS = ("docs/tunnel.md",)

# Words of an end of a stream, and causes of a refused certificate.
WORDS = ("dataplane/src/seam/outcome.rs", "control/identity/src/verify/failure.rs")

CODE = re.compile(r"`([^`]+)`")
TEST = re.compile(r"<!-- test: (\w+) -->")
GAP = re.compile(r"<[^>]*>|\.\.")
WORD = re.compile(r'=> \{?\s*"([a-z_]+)"')
STRING = re.compile(r'b?r?(#*)"(.*)"\1', re.DOTALL)
FUNCTION = re.compile(r"^\s*(?:async )?fn (\w+)|^\s+def (\w+)", re.MULTILINE)

# Shorter parts between two gaps say nothing.
SHORTEST = 6


def strings(text):
    """The strings of Rust code outside of tests' modules, as the program has them."""
    for found in rust.LITERAL.finditer(text):
        string = STRING.fullmatch(found.group())
        if string:
            joined = re.sub(r"\\\n\s*", "", string[2])
            yield joined.replace('\\"', '"').replace("{{", "{").replace("}}", "}")


def parts(message):
    """What a message says that does not differ from time to time."""
    found = (part.strip(" ;") for part in GAP.split(message))
    return [part for part in found if len(part) >= SHORTEST]


def tables(text):
    """Yields the rows of every table: its header's cells, and the row's."""
    header = None
    for line in text.splitlines():
        if not line.startswith("|"):
            header = None
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if header is None:
            header = cells
        elif not set(line) <= set("|-: "):
            yield header, cells


def problems(name, text, code, tests, words):
    """Everything that is wrong with one document."""
    found, whole = [], "\n".join(code)
    for header, cells in tables(text):
        produced = TEST.findall(cells[-1])
        found += [f"{name}: no test is called {test}" for test in produced if test not in tests]
        if header[0] == "Message":
            for message in CODE.findall(cells[0]):
                missing = [part for part in parts(message) if part not in whole]
                found += [f"{name}: no string of the code has {part!r}" for part in missing]
            if name == DOCUMENT and not produced:
                found.append(f"{name}: no test produces {cells[0]}")
        for column, cell in zip(header, cells):
            if column in ("Reason", "Cause", "Side") and name == DOCUMENT:
                strange = [word for word in CODE.findall(cell) if word not in words]
                found += [f"{name}: there is no {column.lower()} {word}" for word in strange]
    return found


def read():
    """The strings, tests and words of the code."""
    code, tests, words = [], set(), set()
    tops = ("control", "dataplane", "tests")
    sources = [path for top in tops for path in (ROOT / top).rglob("*.rs")]
    sources += (ROOT / "scripts/e2e.d").glob("*.py")
    for path in sources:
        text = path.read_text()
        relative = path.relative_to(ROOT)
        tests.update(name for pair in FUNCTION.findall(text) for name in pair if name)
        if path.suffix == ".rs" and relative.parts[0] != "tests" and "tests" not in relative.parts:
            code += strings(text.split("#[cfg(test)]\nmod tests {")[0])
        if str(relative) in WORDS:
            words.update(WORD.findall(text))
    return code, tests, words


def main():
    """Prints what is wrong; returns the exit status."""
    known = read()
    found = []
    for name in (DOCUMENT, *OTHERS):
        found += problems(name, (ROOT / name).read_text(), *known)
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
