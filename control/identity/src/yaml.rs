//! How every YAML document is parsed: bounded, so that no document overflows a stack.

use serde_saphyr::Options;

/// How deep a document may nest. The deepest of ours has six levels, a Node of `kubectl get nodes -o yaml`
/// with its managed fields twelve. The parser recurses: its own bound of 64 overflows a thread's stack
/// of 2 MiB in a debug build. Nodes and aliases are bounded by the parser's default budget.
pub(crate) const MAX_DEPTH: usize = 16;

/// Options for any document. `yes` and `on` stay text: a name may be spelled so, and no field means a
/// boolean by it. Errors quote nothing: it may be a secret.
pub fn options() -> Options {
    serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
    }
}

/// Options for what is written for Kubernetes' own parser, where `yes` is a boolean, 0777 is octal and
/// the last of two equal keys counts: all of them come out.
pub(crate) fn options_of_go() -> Options {
    serde_saphyr::options! {
        strict_booleans: false,
        legacy_octal_numbers: true,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IgnoredAny;

    #[test]
    fn document_deeper_than_the_bound_is_an_error_on_any_stack() {
        let parse =
            |text: &str| serde_saphyr::from_str_with_options::<IgnoredAny>(text, options()).is_ok();
        let nested = |depth: usize| format!("a: {}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(MAX_DEPTH - 2)));
        for depth in [MAX_DEPTH + 1, 1000, 100_000] {
            assert!(!parse(&nested(depth)), "{depth}");
            assert!(!parse(&"- ".repeat(depth)), "{depth}");
        }
    }
}
