"""What the matrix's tables say, and that the README's is what docs/kubectl-matrix.md says."""

import re
import unittest
from pathlib import Path
from types import SimpleNamespace

import matrix

ROOT = Path(__file__).resolve().parents[2]
LONG = {short: name for name, short in matrix.SHORT.items()}


def read(text):
    """Returns the matrix that wrote this document."""
    result, way, columns = matrix.Matrix(), None, []
    ways = {
        f"## {matrix.TRANSPORTS[transport]}, {mode} mode": (transport, mode)
        for transport, mode in matrix.COMBINATIONS
    }
    for line in text.splitlines():
        if line.startswith("## "):
            way = ways.get(line)
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if line.startswith("| kubectl"):
            columns = cells[2:]
        elif way and cells and not line.startswith("| ---"):
            for column, cell in zip(columns, cells[2:]):
                if cell:
                    result.add(tuple(cells[:2]), column, way, *outcome(cell))
    return result


def outcome(cell):
    """Returns whether a cell passed, and what carried it."""
    after = re.findall(r"\(after (\S+) (\d+)\)", cell)
    refused = {(LONG.get(name, name), int(status)) for name, status in after}
    passed, *carried = re.sub(r"\(.*?\)", "", cell).split()
    protocols = {LONG.get(name, name) for name in carried}
    return passed == "ok", SimpleNamespace(protocols=protocols, refused=refused)


def lane(*protocols):
    """What a lane says of its streams."""
    return SimpleNamespace(protocols=set(protocols), refused=set())


class Tables(unittest.TestCase):
    """The tables of a matrix."""

    def test_releases_of_which_the_same_holds_share_a_row(self):
        table = matrix.Matrix()
        for version in ("v1.20.2", "v1.27.16"):
            for way in matrix.COMBINATIONS:
                table.add((version, "SPDY"), "exec", way, True, lane("SPDY/3.1"))
        self.assertEqual(
            table.compact().splitlines()[2:],
            ["| 1.20.2, 1.27.16 | 1 of 1 verbs, carried by SPDY |  |"],
        )

    def test_verb_that_failed_in_one_way_does_not_count(self):
        table = matrix.Matrix()
        row = ("v1.20.2", "SPDY")
        for number, way in enumerate(matrix.COMBINATIONS):
            table.add(row, "exec", way, number != 1, lane("SPDY/3.1"))
        self.assertIn("| 1.20.2 | 0 of 1 verbs", table.compact())

    def test_document_is_what_the_matrix_in_it_writes(self):
        text = (ROOT / "docs/kubectl-matrix.md").read_text()
        self.assertEqual(read(text).document(), text)

    def test_readme_says_what_the_document_says(self):
        table = read((ROOT / "docs/kubectl-matrix.md").read_text())
        text = (ROOT / "README.md").read_text()
        self.assertEqual(table.into_readme(text), text)


if __name__ == "__main__":
    unittest.main()
