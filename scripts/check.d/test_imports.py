"""Which imports are found in small crates, and which of them are faults."""

import tempfile
import unittest
from pathlib import Path

import imports
import rust


def tree(files, name="a"):
    """The picture of one crate, from the texts of its files."""
    with tempfile.TemporaryDirectory() as folder:
        for path, text in files.items():
            path = Path(folder) / path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return imports.Picture(imports.Tree([imports.Crate(name, Path(folder))]))


class Code(unittest.TestCase):
    """What is read of a file."""

    def test_comments_strings_and_tests_are_no_code(self):
        text = """
        // use crate::a;
        /* use crate::b; */
        const X: &str = "use crate::c;"; const Y: &str = r#"use "crate::d";"#;
        fn f<'a>(x: &'a str) -> char { '"' }
        #[cfg(test)]
        mod tests { use crate::e; fn g() { if true { } } }
        #[cfg(any(test, feature = "fuzzing"))]
        pub mod fuzzing;
        use crate::f;
        """
        found = [path for _, path, _ in rust.uses(rust.code(text))]
        self.assertEqual(found, [["crate", "f"]])
        self.assertEqual(rust.test_modules(text), ["fuzzing"])

    def test_use_trees_bind_names(self):
        text = "pub(crate) use crate::a::{self, b::{C, D as E}, f::*};"
        self.assertEqual(
            list(rust.uses(text)),
            [
                ("a", ["crate", "a"], True),
                ("C", ["crate", "a", "b", "C"], True),
                ("E", ["crate", "a", "b", "D"], True),
                ("*", ["crate", "a", "f", "*"], True),
            ],
        )

    def test_paths_outside_of_use_are_found(self):
        text = "use a::b; fn f() { crate::c::d(); super::e::F::g(); h::i(&x) }"
        self.assertEqual(
            list(rust.paths(text)),
            [["crate", "c", "d"], ["super", "e", "F", "g"], ["h", "i"]],
        )


class Arrows(unittest.TestCase):
    """What imports what."""

    def test_reexported_name_counts_where_it_is_defined(self):
        picture = tree(
            {
                "lib.rs": "mod a; mod b;",
                "a/mod.rs": "mod inner; pub use inner::Thing;",
                "a/inner.rs": "pub struct Thing;",
                "b.rs": "use crate::a::Thing;",
            }
        )
        arrows = {me[1]: to for me, to in picture.tree.arrows.items()}
        self.assertEqual(arrows, {("b",): {("a", ("a", "inner"))}})

    def test_name_that_is_used_where_it_is_reexported_counts_there_too(self):
        picture = tree(
            {"lib.rs": "", "a.rs": "pub use crate::b::B; fn f(b: B) {}", "b.rs": "pub struct B;"}
        )
        self.assertEqual(picture.tree.arrows[("a", ("a",))], {("a", ("b",))})

    def test_super_self_and_modules_by_name_are_resolved(self):
        picture = tree(
            {
                "a/mod.rs": "mod x; fn f() { x::g(); self::x::g() }",
                "a/x.rs": "use super::super::b; fn g() { b::h(); super::y::i() }",
                "a/y.rs": "",
                "b.rs": "",
            }
        )
        arrows = picture.tree.arrows
        self.assertEqual(arrows[("a", ("a",))], {("a", ("a", "x"))})
        self.assertEqual(arrows[("a", ("a", "x"))], {("a", ("b",)), ("a", ("a", "y"))})

    def test_imports_of_tests_do_not_count(self):
        picture = tree(
            {
                "lib.rs": "#[cfg(test)] mod testing; mod a;",
                "a.rs": "#[cfg(test)] mod tests;",
                "a/tests.rs": "use crate::b;",
                "testing/mod.rs": "use crate::b;",
                "b.rs": "use crate::a;",
                "b_tests.rs": "use crate::c;",
            }
        )
        self.assertEqual(dict(picture.tree.arrows), {("a", ("b",)): {("a", ("a",))}})


class Faults(unittest.TestCase):
    """What the list allows."""

    LOOP = {
        "a/mod.rs": "mod x; mod y;",
        "a/x.rs": "use crate::b::B;",
        "a/y.rs": "use crate::b::C;",
        "b.rs": "use crate::a::x::A;",
    }

    def test_arrow_that_runs_back_is_a_fault_unless_it_is_listed(self):
        picture = tree(self.LOOP)
        self.assertIn("folders of a import in a circle: a, b", picture.faults([])[0])
        self.assertEqual(picture.faults(["back a: b -> a"]), [])
        self.assertEqual(len(picture.lines([])), 1)

    def test_lightest_arrow_of_a_circle_is_the_one_that_runs_back(self):
        weights = {("a", "b"): [1, 2], ("b", "c"): [1], ("c", "a"): [1, 2]}
        self.assertEqual(imports.backward(weights), [("b", "c")])

    def test_arrow_that_is_listed_already_is_preferred(self):
        weights = {("a", "b"): [1, 2], ("b", "a"): [1]}
        self.assertEqual(imports.backward(weights, [("a", "b")]), [("a", "b")])

    def test_list_without_need_shrinks(self):
        self.assertEqual(tree({"a.rs": "", "b.rs": ""}).lines(["back a: a -> b"]), [])

    def test_circle_of_four_files_needs_no_line_and_one_of_five_does(self):
        def ring(count):
            names = [f"f{number}" for number in range(count)]
            following = names[1:] + names[:1]
            return tree(
                {f"x/{one}.rs": f"use super::{to}::T;" for one, to in zip(names, following)}
            )

        self.assertEqual(ring(4).faults([]), [])
        self.assertIn("5 files of a import in a circle", ring(5).faults([])[0])
        self.assertEqual(ring(5).faults(["circle a: 5"]), [])
        self.assertEqual(len(ring(6).faults(["circle a: 5"])), 1)

    def test_new_arrow_between_crates_is_a_fault(self):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for name, text in {"low": "", "high": "use low::x;"}.items():
                (root / name / "src").mkdir(parents=True)
                (root / name / "src/lib.rs").write_text(text)
                (root / name / "Cargo.toml").write_text(f'[package]\nname = "{name}"\n')
            picture = imports.Picture(imports.Tree(list(imports.crates(root))))
        self.assertEqual(picture.lines([]), ["crate high -> low"])
        self.assertEqual(len(picture.faults([])), 1)
        self.assertEqual(picture.faults(["crate high -> low"]), [])

    def test_table_names_arrows_that_run_back(self):
        table = tree(self.LOOP).table()
        self.assertIn("  b -> a 1 <", table)


if __name__ == "__main__":
    unittest.main()
