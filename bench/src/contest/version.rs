//! What a proxy says of its version, so that a result names what it is of.

use std::process::{Command, Stdio};

/// Whose version counts beside the program's own.
const LIBRARY: &str = "OpenSSL ";

/// The version that a command prints; none if it does not start or says nothing of the kind.
pub(super) fn ask(command: &[String]) -> Option<String> {
    let (program, arguments) = command.split_first()?;
    let mut command = Command::new(program);
    let said = command.args(arguments).stdin(Stdio::null()).output().ok()?;
    // nginx says it on standard error.
    let text = [said.stdout, said.stderr].concat();
    find(&String::from_utf8_lossy(&text))
}

/// The first version in a text, and that of OpenSSL: of the one that runs, where it was built with
/// another.
fn find(text: &str) -> Option<String> {
    let words = text.split(|letter: char| letter.is_whitespace() || letter == '/');
    let own = words.map(str::trim).find(|word| is_version(word))?;
    let running = |line: &&str| line.to_lowercase().contains("running");
    let of_line = |line: &str| {
        Some(
            line.rsplit_once(LIBRARY)?
                .1
                .split_whitespace()
                .next()?
                .into(),
        )
    };
    let library: Option<String> = text
        .lines()
        .filter(running)
        .chain(text.lines())
        .filter_map(of_line)
        .find(|word: &String| is_version(word));
    Some(match library {
        Some(library) => format!("{own}, {LIBRARY}{library}"),
        None => own.into(),
    })
}

fn is_version(word: &str) -> bool {
    word.starts_with(|letter: char| letter.is_ascii_digit()) && word.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_the_program_s_and_that_of_the_library_that_runs() {
        for (text, version) in [
            ("eyesplice 0.1.0\n", "0.1.0"),
            (
                "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https\n\
                 Built with OpenSSL version : OpenSSL 3.0.22 25 Aug 2026\n\
                 Running on OpenSSL version : OpenSSL 3.0.19 27 Jan 2026\n\
                 OpenSSL library supports SNI : yes\n",
                "2.6.12-1+deb12u4, OpenSSL 3.0.19",
            ),
            (
                "nginx version: nginx/1.22.1\n\
                 built with OpenSSL 3.0.22 25 Aug 2026 (running with OpenSSL 3.0.19 27 Jan 2026)\n",
                "1.22.1, OpenSSL 3.0.19",
            ),
            (
                "nginx version: nginx/1.30.6\nbuilt with OpenSSL 3.6.5 29 Sep 2026\n",
                "1.30.6, OpenSSL 3.6.5",
            ),
            (
                "stunnel 5.82 on x86_64-pc-linux-gnu platform\n\
                 Compiled with OpenSSL 3.6.4 25 Aug 2026\n\
                 Running  with OpenSSL 3.6.5 29 Sep 2026\n",
                "5.82, OpenSSL 3.6.5",
            ),
        ] {
            assert_eq!(find(text).as_deref(), Some(version));
        }
        assert_eq!(find("usage: program\n"), None);
    }

    #[test]
    fn program_that_does_not_start_has_no_version() {
        assert_eq!(ask(&["/nonexistent/program".into()]), None);
        assert_eq!(ask(&[]), None);
        let echo = ["sh", "-c", "echo x 1.2 >&2"].map(String::from);
        assert_eq!(ask(&echo).as_deref(), Some("1.2"));
    }
}
