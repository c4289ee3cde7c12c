"""Computes who imports whom, and fails when an import points back that did not before.

Three pictures: arrows between crates, arrows between the top-level folders of each crate, and
circles of files. `imports.allowed` lists what is there today:

    crate CRATE -> CRATE          an arrow between crates
    back CRATE: FOLDER -> FOLDER  an arrow that runs back: without these, folders have no circles
    circle CRATE: N               a circle of N files; circles of up to four need no line

Tests are left out. A name that a module re-exports counts where it is defined.

    python3 -B scripts/check.d/imports.py [--print] [--bless]
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import rust

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = Path(__file__).resolve().parent / "imports.allowed"

# Circles of so many files may be anywhere.
SMALL = 4

# Files and folders of tests and of what only tests use.
TESTS = {"tests", "testing", "fuzzing"}


class Module:
    """One file of a crate."""

    def __init__(self, path, text):
        self.path = path
        self.code = rust.code(text)
        self.test_modules = rust.test_modules(text)
        self.uses = list(rust.uses(self.code))
        self.names = {name: (target, public) for name, target, public in self.uses}


class Crate:
    """The library or binary below one `src`."""

    def __init__(self, name, source):
        self.name = name
        self.modules = {}
        for file in sorted(source.rglob("*.rs")):
            path = module_path(file.relative_to(source))
            if not TESTS & set(path) and not any(each.endswith("_tests") for each in path):
                self.modules[path] = Module(path, file.read_text())
        hidden = {
            module.path + (name,)
            for module in self.modules.values()
            for name in module.test_modules
        }
        self.modules = {
            path: module
            for path, module in self.modules.items()
            if not any(path[: len(each)] == each for each in hidden)
        }


def module_path(relative):
    """Returns the module that a file is."""
    parts = list(relative.with_suffix("").parts)
    if parts[-1] == "mod" or parts == ["lib"]:
        parts.pop()
    return tuple(parts)


class Tree:
    """All crates, and what imports what."""

    def __init__(self, crates):
        self.crates = {crate.name: crate for crate in crates}
        # File to file, as (crate, module).
        self.arrows = defaultdict(set)
        for crate in crates:
            for module in crate.modules.values():
                self._imports(crate, module)

    def _imports(self, crate, module):
        me = (crate.name, module.path)
        outside = rust.USE.sub(" ", module.code)
        for name, target, public in module.uses:
            # What is only passed on is imported by those that use it.
            if public and name not in rust.re.findall(r"\w+", outside):
                continue
            self._arrow(me, self.defined(crate, module.path, target))
        for target in rust.paths(module.code):
            self._arrow(me, self.defined(crate, module.path, target))

    def _arrow(self, me, target):
        if target and target != me:
            self.arrows[me].add(target)

    def defined(self, crate, at, path, fuel=20):
        """Returns the module that defines what a path in module `at` names, if it is ours."""
        if fuel == 0 or not path:
            return None
        first, rest = path[0], list(path[1:])
        module = crate.modules.get(at)
        if first == "crate":
            return self._down(at, crate, (), rest, fuel)
        if first == "self":
            return self._down(at, crate, at, rest, fuel)
        if first == "super":
            ups = next((n for n, each in enumerate(path) if each != "super"), len(path))
            return self._down(at, crate, at[:-ups], list(path[ups:]), fuel)
        if at + (first,) in crate.modules:
            return self._down(at, crate, at, list(path), fuel)
        if module and first in module.names and module.names[first][0] != list(path[:1]):
            return self.defined(crate, at, module.names[first][0] + rest, fuel - 1)
        if first in self.crates:
            return self._down(at, self.crates[first], (), rest, fuel)
        return None

    def _down(self, viewer, crate, at, rest, fuel):
        for index, name in enumerate(rest):
            if at + (name,) in crate.modules:
                at += (name,)
                continue
            module = crate.modules.get(at)
            target, public = module.names.get(name, (None, False)) if module else (None, False)
            # A module's private imports are seen by the modules in it.
            if target and (public or viewer[: len(at)] == at):
                return self.defined(crate, at, target + rest[index + 1 :], fuel - 1)
            break
        return (crate.name, at) if at in crate.modules else None

    def between_crates(self):
        """Arrows between crates."""
        found = {(me[0], to[0]) for me, targets in self.arrows.items() for to in targets}
        return sorted(each for each in found if each[0] != each[1])

    def between_folders(self, crate):
        """Arrows between top-level modules of a crate, with the imports behind each."""
        found = defaultdict(list)
        for me, targets in self.arrows.items():
            for to in targets:
                ours = me[0] == crate == to[0] and me[1] and to[1]
                if ours and me[1][0] != to[1][0]:
                    found[me[1][0], to[1][0]].append((me[1], to[1]))
        return dict(found)

    def circles(self, crate):
        """Circles of files of a crate, as lists, the longest first."""
        arrows = {
            me[1]: {to[1] for to in targets if to[0] == crate}
            for me, targets in self.arrows.items()
            if me[0] == crate
        }
        found = [each for each in components(arrows) if len(each) > 1]
        return sorted(found, key=lambda each: (-len(each), each))


def components(arrows):
    """The strongly connected components of a graph, each sorted (Tarjan, without recursion)."""
    nodes = sorted(set(arrows) | {to for targets in arrows.values() for to in targets})
    index, low, stack, on, found = {}, {}, [], set(), []
    for root in nodes:
        if root in index:
            continue
        work = [(root, iter(sorted(arrows.get(root, ()))))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on.add(root)
        while work:
            node, targets = work[-1]
            for to in targets:
                if to not in index:
                    index[to] = low[to] = len(index)
                    stack.append(to)
                    on.add(to)
                    work.append((to, iter(sorted(arrows.get(to, ())))))
                    break
                if to in on:
                    low[node] = min(low[node], index[to])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    cut = stack.index(node)
                    found.append(sorted(stack[cut:]))
                    on -= set(stack[cut:])
                    del stack[cut:]
    return found


def circle_in(arrows):
    """Returns the folders of one circle, or nothing."""
    graph = defaultdict(set)
    for one, other in arrows:
        graph[one].add(other)
    circles = [each for each in components(graph) if len(each) > 1]
    return max(circles, key=len, default=[])


def backward(weights, allowed=()):
    """Returns arrows without which there are no circles: of those that are allowed the needed ones,
    and then the lightest of each circle."""
    taken = {each for each in allowed if each in weights}
    while circle := circle_in(set(weights) - taken):
        inside = [each for each in weights if each not in taken and set(each) <= set(circle)]
        taken.add(min(inside, key=lambda each: (len(weights[each]), each)))
    for each in sorted(taken, key=lambda each: (len(weights[each]), each), reverse=True):
        if not circle_in(set(weights) - taken | {each}):
            taken.remove(each)
    return sorted(taken)


class Picture:
    """What is to be compared with the list."""

    def __init__(self, tree):
        self.tree = tree
        self.crates = tree.between_crates()
        self.folders = {name: tree.between_folders(name) for name in sorted(tree.crates)}
        self.circles = {name: tree.circles(name) for name in sorted(tree.crates)}

    def large(self, crate):
        """The sizes of circles of more than four files."""
        return [len(each) for each in self.circles[crate] if len(each) > SMALL]

    def lines(self, allowed):
        """The list, as it would be now."""
        lines = [f"crate {one} -> {other}" for one, other in self.crates]
        for crate, weights in self.folders.items():
            before = [each for name, *each in arrows_of(allowed) if name == crate]
            for one, other in backward(weights, [tuple(each) for each in before]):
                lines.append(f"back {crate}: {one} -> {other}")
        for crate in self.circles:
            lines += [f"circle {crate}: {size}" for size in self.large(crate)]
        return lines

    def faults(self, allowed):
        """What the list does not allow, in words."""
        faults = []
        for one, other in self.crates:
            if f"crate {one} -> {other}" not in allowed:
                faults.append(f"crate {one} imports crate {other}, which it did not before")
        for crate, weights in self.folders.items():
            back = {(one, other) for name, one, other in arrows_of(allowed) if name == crate}
            if circle := circle_in(set(weights) - back):
                faults.append(f"folders of {crate} import in a circle: {', '.join(circle)}")
                faults += [
                    f"  {one} -> {other}: {imports(weights[one, other])}"
                    for one, other in sorted(set(weights) - back)
                    if {one, other} <= set(circle)
                ]
        for crate, circles in self.circles.items():
            head = f"circle {crate}: "
            sizes = [int(line.removeprefix(head)) for line in allowed if line.startswith(head)]
            sizes.sort(reverse=True)
            for at, circle in enumerate(circles):
                limit = sizes[at] if at < len(sizes) else SMALL
                if len(circle) > limit:
                    names = ", ".join("::".join(each) or "lib" for each in circle)
                    faults.append(f"{len(circle)} files of {crate} import in a circle: {names}")
        return faults

    def table(self):
        """All three pictures, for people."""
        lines = ["crates"]
        lines += [f"  {one} -> {other}" for one, other in self.crates]
        for crate, weights in self.folders.items():
            lines.append(f"folders of {crate} (imports; < runs back)")
            back = backward(weights)
            for one in sorted({each[0] for each in weights}):
                targets = [
                    f"{other} {len(found)}{' <' if (one, other) in back else ''}"
                    for (source, other), found in sorted(weights.items())
                    if source == one
                ]
                lines.append(f"  {one} -> {', '.join(targets)}")
            circles = self.circles[crate]
            lines.append(f"circles of files of {crate}: {len(circles)}")
            lines += [
                f"  {len(each)}: {', '.join('::'.join(path) or 'lib' for path in each)}"
                for each in circles
            ]
        return "\n".join(lines)


def imports(found):
    """Says which files import which, some of them."""
    names = [f"{'::'.join(me)} uses {'::'.join(to)}" for me, to in sorted(found)]
    return "; ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def arrows_of(allowed):
    """Yields the arrows of a list that run back: crate, from, to."""
    for line in allowed:
        if line.startswith("back "):
            crate, _, arrow = line.removeprefix("back ").partition(": ")
            one, _, other = arrow.partition(" -> ")
            yield crate, one, other


def crates(root):
    """Finds every crate of the workspace that has a library or a program."""
    for manifest in sorted(root.glob("**/Cargo.toml")):
        folder = manifest.parent
        if "target" in manifest.relative_to(root).parts or not (folder / "src").is_dir():
            continue
        for line in manifest.read_text().splitlines():
            if line.startswith("name = "):
                name = line.split('"')[1].replace("-", "_")
                yield Crate(name, folder / "src")
                break


def read_list(path):
    """Returns the lines of a list, without comments."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in lines if line and not line.startswith("#")]


HEAD = """\
# What imports.py allows because it is there today. `--bless` writes this list from what is there.
# That is meant for taking lines away; a new line needs its reason in the commit.
"""


def main():
    """Checks, prints or writes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--print", action="store_true", help="print the pictures")
    parser.add_argument("--bless", action="store_true", help="write the list from what is there")
    options = parser.parse_args()
    picture = Picture(Tree(list(crates(ROOT))))
    allowed = read_list(ALLOWED)
    if options.print:
        print(picture.table())
        return 0
    now = picture.lines(allowed)
    if options.bless:
        ALLOWED.write_text(HEAD + "".join(f"{line}\n" for line in now))
        return 0
    faults = picture.faults(allowed)
    print("\n".join(faults), end="\n" if faults else "")
    if gone := [line for line in allowed if line not in now]:
        print(f"nothing needs these lines of {ALLOWED.name}; run imports.py --bless:")
        print("\n".join(f"  {line}" for line in gone))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
