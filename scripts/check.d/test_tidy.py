"""What breaks a rule of style, and what does not."""

import unittest

import tidy


def found(file, text, **others):
    """What is found in one file, as lists of places by rule."""
    texts = {tidy.WIRE: "# Wire facts\n\n### The CONNECT answer\n", file: text, **others}
    result = tidy.look(texts)
    return {rule: places for (rule, name), places in result.places.items() if name == file}


class Rules(unittest.TestCase):
    """Each rule, broken and kept."""

    def test_columns_of_code_are_counted(self):
        self.assertEqual(found("a.rs", "x" * 100 + "\n"), {})
        self.assertEqual(len(found("a.rs", "x" * 101 + "\n")["columns"]), 1)
        self.assertEqual(len(found("scripts/x", "#!/bin/sh\n" + "x" * 101 + "\n")["columns"]), 1)
        self.assertEqual(found("docs/a.md", "x" * 101 + "\n"), {})

    def test_provider_is_chosen_in_one_place(self):
        for text in ("ring::default_provider()", "rustls::ClientConfig::builder()"):
            self.assertEqual(len(found("a.rs", text + "\n")["crypto"]), 1, text)
            self.assertEqual(found(tidy.PROVIDER, text + "\n"), {}, text)
        text = "ServerConfig::builder_with_provider(provider::shared())\n"
        self.assertEqual(found("a.rs", text), {})

    def test_fields_of_log_lines_are_there_once(self):
        for text in ("info!(%target, x)", "target = %name,", "    ?level,"):
            self.assertEqual(len(found("a.rs", text + "\n")["fields"]), 1, text)
        for text in ("info!(gateway = %target)", "let target = name;", "%destination,"):
            self.assertEqual(found("a.rs", text + "\n"), {}, text)

    def test_module_with_files_below_it_is_a_mod_file(self):
        texts = {"src/a.rs": "", "src/a/b.rs": "", "src/c/mod.rs": "", "src/c/d.rs": ""}
        self.assertEqual(set(tidy.look(texts)), {("module", "src/a.rs")})

    def test_tests_have_one_name(self):
        files = ("src/a_tests.rs", "src/b/tests.rs", "src/c/tests/d.rs", "tests/e.rs")
        self.assertEqual(set(tidy.look(dict.fromkeys(files, ""))), {("tests", "src/a_tests.rs")})

    def test_words_of_documents_are_looked_at_and_names_are_not(self):
        for text in ("It is read anew.", "Nobody knows.", "TLS ends here.", "- Who has it, wins."):
            self.assertEqual(len(found("docs/a.md", text + "\n")["words"]), 1, text)
        for text in ("`anew` is a name", "```\nanew\n```", "a client that has it", "## Who may"):
            self.assertEqual(found("docs/a.md", text + "\n"), {}, text)
        self.assertEqual(found("a.rs", "// anew\n"), {})

    def test_released_changes_stay_as_they_were(self):
        text = "# Changelog\n\n## Unreleased\n\n- new\n\n## 0.1.0\n\n- written anew\n"
        self.assertEqual(found("CHANGELOG.md", text), {})

    def test_links_lead_somewhere(self):
        good = "# A\n[a](docs/wire.md#the-connect-answer) [b](#a)\n"
        self.assertEqual(found("README.md", good), {})
        for target in ("docs/none.md", "docs/wire.md#none", "#none"):
            self.assertEqual(len(found("README.md", f"[a]({target})\n")["links"]), 1, target)

    def test_scripts_that_documents_name_are_there(self):
        self.assertEqual(found("README.md", "Run `scripts/test --list`.\n"), {})
        self.assertEqual(len(found("README.md", "Run `scripts/none`.\n")["links"]), 1)

    def test_headings_that_comments_cite_are_there(self):
        good = f'//! As it is ({tidy.WIRE}, "The CONNECT\n//! answer").\n'
        self.assertEqual(found("a.rs", good), {})
        bad = f'// {tidy.WIRE}, "Wire facts" and "None"\n'
        self.assertEqual(len(found("a.rs", bad)["links"]), 1)
        gone = "// As it is (wire" "-facts G7), and hazard" " F18.\n"
        self.assertEqual(len(found("a.rs", gone)["links"]), 2)

    def test_file_that_moves_keeps_what_it_is_allowed(self):
        allowed = tidy.Counter({("columns", "a/x.rs"): 3, ("columns", "a/b/mod.rs"): 2})
        for file, there, number in (
            ("a/x.rs", {"a/x.rs"}, 3),
            ("c/x.rs", {"c/x.rs"}, 3),
            ("c/x.rs", {"a/x.rs", "c/x.rs"}, 0),
            ("c/b/mod.rs", {"c/b/mod.rs"}, 2),
            ("c/d/mod.rs", {"c/d/mod.rs"}, 0),
        ):
            self.assertEqual(tidy.allowance(allowed, "columns", file, there), number, file)
        self.assertEqual(tidy.allowance(allowed, "words", "c/x.rs", set()), 0)

    def test_anchor_is_the_repository_hosts(self):
        self.assertEqual(tidy.anchor("## `TLS`, bulk: 16 connections"), "tls-bulk-16-connections")


if __name__ == "__main__":
    unittest.main()
