"""Reads Rust sources as far as imports need it: code without comments, strings and tests; paths."""

import re

# Comments, raw strings, strings, characters (a lifetime has no second quote).
LITERAL = re.compile(
    r"""//[^\n]*|/\*.*?\*/|b?r(\#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?'(?:\\[^']+|[^'\\])'""",
    re.DOTALL,
)

TEST_ONLY = re.compile(r"#\[cfg\((?:test|any\(test\b[^\]]*)\)\]")
ATTRIBUTE = re.compile(r"\s*#\[[^\]]*\]")
MODULE = re.compile(r"\bmod\s+(\w+)\s*;")
USE = re.compile(r"(\bpub(?:\s*\([^)]*\))?\s+)?\buse\s+([^;]+);")
PATH = re.compile(r"(?<![\w:$])(?:::)?([a-z_]\w*(?:\s*::\s*[A-Za-z_]\w*)+)")


def code(text):
    """Returns the code without comments and tests; literals become empty strings."""
    blank = LITERAL.sub(lambda found: " " if found.group().startswith("/") else '""', text)
    return without_tests(blank)[0]


def without_tests(text):
    """Returns the code outside of `#[cfg(test)]`, and the modules that are declared within it."""
    kept, modules, at = [], [], 0
    while found := TEST_ONLY.search(text, at):
        kept.append(text[at : found.start()])
        end = item_end(text, found.end())
        modules += MODULE.findall(text[found.end() : end])
        at = end
    kept.append(text[at:])
    return "".join(kept), modules


def item_end(text, start):
    """Returns where the item behind an attribute ends: at its `;` or its last brace."""
    while more := ATTRIBUTE.match(text, start):
        start = more.end()
    depth = 0
    for at in range(start, len(text)):
        if text[at] in "([{":
            depth += 1
        elif text[at] in ")]}":
            depth -= 1
            if depth == 0 and text[at] == "}":
                return at + 1
        elif text[at] == ";" and depth == 0:
            return at + 1
    return len(text)


def test_modules(text):
    """Returns the names of modules that only tests have."""
    blank = LITERAL.sub(lambda found: " " if found.group().startswith("/") else '""', text)
    return without_tests(blank)[1]


def uses(text):
    """Yields what `use` binds in this code: name, path, and whether others can see it."""
    for found in USE.finditer(text):
        for path, name in tree(found.group(2)):
            yield name, path, bool(found.group(1))


def tree(text):
    """Yields the paths of a use tree with the names that they bind."""
    text = text.strip().removeprefix("::")
    before, brace, rest = text.partition("{")
    if brace:
        prefix = segments(before)
        for part in split(rest.rsplit("}", 1)[0]):
            for path, name in tree(part):
                joined = prefix + path
                if joined[-1] == "self":
                    joined = joined[:-1]
                    name = joined[-1] if name == "self" else name
                yield joined, name
        return
    path, _, alias = text.partition(" as ")
    path = segments(path)
    if path:
        yield path, alias.strip() or path[-1]


def split(text):
    """Splits at the commas that are in no braces."""
    parts, depth, last = [], 0, 0
    for at, char in enumerate(text):
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char == "," and depth == 0:
            parts.append(text[last:at])
            last = at + 1
    parts.append(text[last:])
    return [part for part in parts if part.strip()]


def segments(path):
    """Returns the segments of a path."""
    return [each for each in re.split(r"\s*::\s*|\s+", path.strip()) if each]


def paths(text):
    """Yields the paths in code outside of `use`."""
    for found in PATH.finditer(USE.sub(" ", text)):
        yield segments(found.group(1))
