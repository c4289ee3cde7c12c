"""Tests of symptoms.py."""

import unittest

import symptoms

SOURCE = r'''
fn refuse() { format!("no rule allows {asked}; add \
    one under \"egress\"") } // "never said"
'''

ROW = """| `no rule allows <target>; add one under "egress"` | `denied` |"""
DOCUMENT = f"""
| Message | Reason | Do |
|---|---|---|
{ROW} Add it <!-- test: rule_is_missing --> |
"""

KNOWN = (list(symptoms.strings(SOURCE)), {"rule_is_missing"}, {"denied"})

def found(document):
    """What is wrong with a document."""
    return symptoms.problems(symptoms.DOCUMENT, document, *KNOWN)


class Symptoms(unittest.TestCase):
    """What is found."""

    def test_messages_of_the_code_are_good(self):
        """Over the lines of a string, and around what differs."""
        self.assertEqual(found(DOCUMENT), [])
        self.assertEqual(found(DOCUMENT.replace("<target>; add", ".. add")), [])

    def test_messages_that_nothing_says_are_found(self):
        """Also if a comment has them."""
        for words in ("no rule permits", "never said"):
            changed = DOCUMENT.replace("no rule allows", words)
            wanted = f"{symptoms.DOCUMENT}: no string of the code has {words!r}"
            self.assertEqual(found(changed), [wanted])

    def test_reasons_are_words_of_the_code(self):
        """And no others."""
        self.assertEqual(len(found(DOCUMENT.replace("`denied`", "`refused`"))), 1)

    def test_tests_are_there(self):
        """Each message has one."""
        self.assertEqual(len(found(DOCUMENT.replace("rule_is_missing", "other"))), 1)
        self.assertEqual(len(found(DOCUMENT.replace("<!-- test: rule_is_missing -->", ""))), 1)

    def test_other_tables_have_no_messages(self):
        """Their code spans may be anything."""
        other = DOCUMENT.replace("Message", "What kubectl prints").replace("allows", "x")
        self.assertEqual(found(other), [])


if __name__ == "__main__":
    unittest.main()
