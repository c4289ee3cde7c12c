"""Holds what can be computed of the style: columns, names of files, words and links of documents.

`tidy.allowed` lists what breaks a rule today, as `RULE FILE NUMBER`. More than that fails. A file
that moves takes its line along: one of the same name that is gone speaks for it.

    columns  lines of code over 100 columns
    module   a module with files below it that is not NAME/mod.rs
    tests    tests in a file of their own that are not tests.rs, or below tests/
    crypto   rustls configurations of another provider than the process has
    fields   fields of log lines with a name that every line has
    words    words that documents do not use (CONTRIBUTING.md says what to write)
    links    links to files or headings, scripts that documents name, and headings of docs/wire.md
             that comments cite, which are not there

    python3 -B scripts/check.d/tidy.py [--print] [--bless]
"""

import argparse
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = Path(__file__).resolve().parent / "tidy.allowed"

COLUMNS = 100
CODE = {".rs", ".py", ".sh"}

# Not the field's English; a word in backticks is a name and may be anything.
WORDS = re.compile(
    r"\b(?:anew|told|held against|whoever|somebody|nobody|TLS ends|ends (?:the |its )?TLS)\b"
    r"|(?:^|[.:;]|\||-)\s+Who (?:is|has|can|cannot|connects|resumes|wants|shares|reads|asks)\b",
    re.IGNORECASE,
)

# Several providers are built in: what chooses none panics, and what chooses by itself differs.
PROVIDER = "dataplane/proto/src/tls/provider.rs"
OTHER = re.compile(
    r"\b(?:ring|aws_lc_rs)::default_provider\b|\b(?:Client|Server)Config::builder\(\)"
)

WIRE = "docs/wire.md"
CITED = re.compile(r"docs/wire\.md,? ((?:(?:, | and )?\"[^\"]+\")+)")
# What comments cited before the facts were here. Written in two parts, or this line would be found.
GONE = re.compile(r"\bwire" r"-facts\b|\bhazard [A-H]?\d")
# A field of a log line by the name of one that every line has: JSON would have it twice.
EVERY = "(?:level|message|target|timestamp)"
TWICE = re.compile(rf"(?<!= )[%?]{EVERY}\b|\b{EVERY} = [%?]")
LINK = re.compile(r"\]\(([^)\s]+)\)")
SCRIPT = re.compile(r"(?<![\w/.-])scripts/[\w.-]+(?:/[\w.-]+)*")
FENCE = re.compile(r"^\s*```")


class Found(Counter):
    """How often each rule is broken in each file, and one place for each."""

    def __init__(self):
        super().__init__()
        self.places = {}

    def add(self, rule, file, place):
        """Counts one."""
        self[rule, file] += 1
        self.places.setdefault((rule, file), []).append(place)


def is_code(file, text):
    """Says whether a file is code that we write: by its ending, or a script by its first line."""
    path = Path(file)
    return path.suffix in CODE or (not path.suffix and text.startswith("#!"))


def is_document(file):
    """Says whether a file's words are read by users."""
    path = Path(file)
    if file.startswith(("bench/results/", "target/")):
        return False
    return path.suffix == ".md" or file.startswith("control/dist/")


def columns(file, text, found):
    """Lines of code that are too long."""
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > COLUMNS:
            found.add("columns", file, f"line {number} has {len(line)} columns")


def crypto(file, text, found):
    """Configurations of another provider than the process has."""
    if file.endswith(".rs") and file != PROVIDER:
        for number, line in enumerate(text.splitlines(), 1):
            if OTHER.search(line):
                found.add("crypto", file, f"line {number}: {PROVIDER} chooses the provider")


def fields(file, text, found):
    """Fields of log lines that would stand there twice."""
    for number, line in enumerate(text.splitlines(), 1):
        if file.endswith(".rs") and TWICE.search(line):
            found.add("fields", file, f"line {number}: every line of the log has that name")


def names(files, found):
    """Modules and tests have one way to be named."""
    folders = {str(Path(file).parent) for file in files if file.endswith(".rs")}
    for file in files:
        path = Path(file)
        if path.suffix != ".rs":
            continue
        if str(path.with_suffix("")) in folders:
            found.add("module", file, f"has files below it: {path.stem}/mod.rs")
        stem = path.stem
        if "src" in path.parts and (stem.endswith("_tests") or stem.startswith("test_")):
            found.add("tests", file, "is not called tests.rs")


def prose(file, text):
    """Yields the lines of a document that are no code, with their numbers, without names."""
    if file == "CHANGELOG.md":
        # What is released stays as it was.
        text = re.split(r"\n## (?!Unreleased)", text)[0]
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if file.endswith(".md") and FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            yield number, re.sub(r"`[^`]*`", "`x`", line)


def words(file, text, found):
    """Words that documents do not use."""
    if file == "CONTRIBUTING.md":
        return
    for number, line in prose(file, text):
        for word in WORDS.finditer(line):
            found.add("words", file, f"line {number} says {word.group().strip(' .:;|')!r}")


def anchors(text):
    """The anchors of a document's headings, as the repository host makes them."""
    made = set()
    for _, line in prose("x.md", text):
        if line.startswith("#"):
            made.add(anchor(line))
    # Names in headings count, too.
    for line in text.splitlines():
        if line.startswith("#"):
            made.add(anchor(line))
    return made


def anchor(heading):
    """The anchor of one heading."""
    text = re.sub(r"[^\w\- ]", "", heading.lstrip("#").strip().lower())
    return text.replace(" ", "-")


def links(file, text, found, texts):
    """Links that lead nowhere, and scripts that are not there."""
    for number, line in enumerate(text.splitlines(), 1):
        for script in SCRIPT.findall(line):
            if not (ROOT / script.rstrip(".")).exists():
                found.add("links", file, f"line {number}: {script} is not there")
        for target in LINK.findall(line):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, heading = target.partition("#")
            path = (ROOT / file).parent / name if name else ROOT / file
            if not path.exists():
                found.add("links", file, f"line {number}: {target} is not there")
                continue
            there = texts.get(str(path.resolve().relative_to(ROOT)), "")
            if heading and heading not in anchors(there):
                found.add("links", file, f"line {number}: {target} has no such heading")


def citations(file, text, found, headings):
    """Comments that cite a heading which is not there."""
    for cited in GONE.findall(text):
        found.add("links", file, f"cites {cited!r}, which is in no file here; cite {WIRE}")
    # A comment goes on in the next line.
    joined = re.sub(r"\n\s*(?://[/!]?|#)\s*", " ", text)
    for cited in CITED.findall(joined):
        for heading in re.findall(r'"([^"]+)"', cited):
            if heading not in headings:
                found.add("links", file, f"cites {WIRE}, {heading!r}, which is not there")


def look(texts):
    """Everything that breaks a rule in these files."""
    found = Found()
    names(texts, found)
    headings = {
        line.lstrip("#").strip() for line in texts.get(WIRE, "").splitlines() if line[:1] == "#"
    }
    for file, text in texts.items():
        if is_code(file, text):
            columns(file, text, found)
            crypto(file, text, found)
            fields(file, text, found)
            citations(file, text, found, headings)
        if is_document(file):
            words(file, text, found)
            links(file, text, found, texts)
    return found


def tracked():
    """The text of every file that is or will be in the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    texts = {}
    for name in sorted(listed.decode().split("\0")):
        path = ROOT / name
        if not name or not path.is_file() or path.suffix in {".json", ".svg", ".lock"}:
            continue
        try:
            texts[name] = path.read_text()
        except UnicodeDecodeError:
            continue
    return texts


def read_list(path):
    """The list of what is allowed."""
    allowed = Counter()
    for line in path.read_text().splitlines() if path.exists() else []:
        if line and not line.startswith("#"):
            rule, file, number = line.split(" ")
            allowed[rule, file] = int(number)
    return allowed


def allowance(allowed, rule, file, there):
    """How often a file may break a rule."""
    if (rule, file) in allowed:
        return allowed[rule, file]
    gone = [
        number
        for (other, path), number in allowed.items()
        if other == rule and path not in there and same_name(path, file)
    ]
    return max(gone, default=0)


def same_name(one, other):
    """Says whether two paths are of files with one name; that of mod.rs is its folder's."""
    one, other = (Path(each).parts[-2:] for each in (one, other))
    if one[-1] in {"mod.rs", "tests.rs", "lib.rs"}:
        return one == other
    return one[-1] == other[-1]


HEAD = """\
# What tidy.py allows because it is there today: rule, file, how often. `--bless` writes this list
# from what is there. That is meant for taking lines away.
"""


def main():
    """Checks, prints or writes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--print", action="store_true", help="print every place")
    parser.add_argument("--bless", action="store_true", help="write the list from what is there")
    options = parser.parse_args()
    texts = tracked()
    found = look(texts)
    if options.bless:
        lines = [f"{rule} {file} {number}\n" for (rule, file), number in sorted(found.items())]
        ALLOWED.write_text(HEAD + "".join(lines))
        return 0
    allowed = Counter() if options.print else read_list(ALLOWED)
    status = 0
    for rule, file in sorted(found):
        number, limit = found[rule, file], allowance(allowed, rule, file, texts)
        if number > limit:
            status = 1
            more = f", {limit} of which are allowed" if limit else ""
            print(f"{rule}: {file}: {number}{more}")
            print("\n".join(f"  {place}" for place in found.places[rule, file]))
    if not options.print and any(found[each] < number for each, number in allowed.items()):
        print(f"{ALLOWED.name} allows more than is there; run tidy.py --bless")
    return 0 if options.print else status


if __name__ == "__main__":
    sys.exit(main())
