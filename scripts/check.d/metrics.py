"""Checks that every metric which a dashboard, an alert rule or a document names is one that the
code shows.

docs/metrics.md is compared with the code by a test of control/process; this compares all others
with docs/metrics.md: names, and labels in selectors. Also that each alert is tested, for its fault
and for quiet times.

    python3 -B scripts/check.d/metrics.py
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

REFERENCE = "docs/metrics.md"
ALERTS = "control/dist/alerts.yaml"
TESTS = "scripts/eyes.d/alerts_test.yaml"
DASHBOARD = "control/dist/dashboard.json"

ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)
NAME = re.compile(r"(?<![\w.])(?:eyesplice|process)_[a-z0-9_]+(?P<more>\*|_?\.\.\.)?")
SELECTOR = re.compile(r"\b((?:eyesplice|process)_[a-z0-9_]+)\{([^}]*)\}")
LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=|,|$)")
ALERT = re.compile(r"^\s*- alert: (\w+)$", re.MULTILINE)

# What Prometheus itself adds, and what a histogram's samples have.
ADDED = {"job", "instance", "le"}
ENDS = ("", "_bucket", "_sum", "_count")


def reference(text):
    """Labels of each metric, by name, as the reference has them."""
    rows = ROW.findall(text)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, _, labels in rows}


def base(name, known):
    """The family that a sample's name belongs to; nothing if there is none."""
    for end in ENDS:
        if end and not name.endswith(end):
            continue
        family = name.removesuffix(end) if end else name
        if family in known:
            return family
    return None


def wrong_names(text, known):
    """Names that no process shows. One that ends in a star stands for all that begin so."""
    wrong = set()
    for found in NAME.finditer(text):
        name = found[0].rstrip(".*")
        if found["more"] or name.endswith("_"):
            if not any(each.startswith(name.rstrip("_")) for each in known):
                wrong.add(found[0])
        elif not base(name, known):
            wrong.add(name)
    return sorted(wrong)


def wrong_labels(text, known):
    """Selectors with a label that the metric does not have."""
    wrong = set()
    for name, selector in SELECTOR.findall(text):
        family = base(name, known)
        if not family:
            continue
        # Values may have any character.
        bare = re.sub(r'\\?"(?:[^"\\]|\\[^"])*\\?"', "", selector)
        for label in LABEL.findall(bare):
            if label not in known[family] | ADDED:
                wrong.add(f"{name}{{{label}}}")
    return sorted(wrong)


def untested(alerts, tests):
    """Alerts without a test of their fault or of quiet times."""
    missing = []
    for alert in ALERT.findall(alerts):
        part = re.search(rf"^- name: {alert}$.*?(?=^- name: |\Z)", tests, re.MULTILINE | re.DOTALL)
        fires = part and re.search(rf'labels: .*alertname="{alert}"', part[0])
        quiet = part and "exp_samples: []" in part[0]
        if not (fires and quiet):
            missing.append(alert)
    return missing


def expressions(board):
    """All expressions of a dashboard, in one text."""
    found = []

    def walk(value):
        if isinstance(value, dict):
            found.extend(value[key] for key in ("expr", "query") if isinstance(value.get(key), str))
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    walk(board)
    return "\n".join(found)


def problems(texts):
    """Everything that is wrong, a line for each."""
    known = reference(texts[REFERENCE])
    found = [] if known else [f"{REFERENCE} has no table"]
    for file, text in sorted(texts.items()):
        if file == DASHBOARD:
            text = expressions(json.loads(text))
        found += [f"{file}: no process shows {name}" for name in wrong_names(text, known)]
        found += [f"{file}: there is no such label: {label}" for label in wrong_labels(text, known)]
    missing = untested(texts[ALERTS], texts[TESTS])
    return found + [f"{TESTS}: no test of both states of {alert}" for alert in missing]


def read():
    """The files that name metrics."""
    files = [ROOT / name for name in (ALERTS, TESTS, DASHBOARD, "README.md", "SECURITY.md")]
    files += sorted((ROOT / "docs").glob("*.md"))
    return {str(file.relative_to(ROOT)): file.read_text() for file in files}


def main():
    """Prints what is wrong; returns the exit status."""
    found = problems(read())
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
