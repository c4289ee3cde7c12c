"""Reads what documents show: fenced blocks by language, with the commands of shell blocks."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What a fence may say; only `sh` is executed.
LANGUAGES = ("sh", "yaml", "text")


@dataclass
class Block:
    """A fenced block, and the sentence before it."""

    language: str
    text: str
    before: str

    def commands(self):
        """Returns its commands, each on one line and without its comment."""
        lines = re.sub(r"\\\n\s*", "", self.text).splitlines()
        lines = (re.sub(r"\s+# .*", "", line).strip() for line in lines)
        return [line for line in lines if line]

    def path(self):
        """Returns the file that the sentence before it names last: where the block belongs."""
        named = re.findall(r"`(/[^`\s]+)`", self.before)
        return named[-1] if named else None


def documents():
    """Returns every document by its name."""
    paths = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("scripts/*/*.md")]
    return {str(path.relative_to(ROOT)): path.read_text() for path in sorted(paths)}


def blocks(text):
    """Returns the fenced blocks of a document, without their indentation."""
    found, before, block = [], [], None
    for line in text.splitlines():
        fence = re.match(r"(\s*)```(\w*)$", line)
        if block is None and fence:
            block = (len(fence[1]), fence[2], [])
        elif block is not None and fence:
            found.append(Block(block[1], "\n".join(block[2]) + "\n", "\n".join(before)))
            before, block = [], None
        elif block is not None:
            block[2].append(line[min(block[0], len(line) - len(line.lstrip())) :])
        else:
            before.append(line)
    if block is not None:
        raise ValueError("a block has no end")
    return found


def section(text, begin, end):
    """Returns what is between two headings of a document."""
    lines = text.splitlines()
    return "\n".join(lines[lines.index(f"## {begin}") : lines.index(f"## {end}")])


def commands(document, begin, end):
    """Returns the shell commands between two headings of a document."""
    found = blocks(section(documents()[document], begin, end))
    return [command for block in found if block.language == "sh" for command in block.commands()]
