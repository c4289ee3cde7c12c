//! Writes an error with its causes in one line.

use std::error::Error;

/// Joins an error and its causes: `cannot read a.yaml: permission denied`.
///
/// `Display` of an error of ours prints its own level only, so this is how one is shown.
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        line.push_str(": ");
        line.push_str(&source.to_string());
        cause = source.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt;

    #[derive(Debug)]
    struct Level(&'static str, Option<Box<Level>>);

    impl fmt::Display for Level {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Level {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            let cause = self.1.as_deref()?;
            Some(cause)
        }
    }

    #[test]
    fn chain_of_three_levels_is_one_line_from_the_outside_in() {
        let cause = Level("b", Some(Box::new(Level("c", None))));
        assert_eq!(chain(&Level("a", Some(Box::new(cause)))), "a: b: c");
        assert_eq!(chain(&Level("a", None)), "a");
    }
}
