//! Writes what packages have of the program itself: man pages and completions.

use super::args::{Cli, Generated};
use clap::CommandFactory;
use clap_complete::Shell;
use std::io;
use std::path::Path;

pub(super) fn write(what: Generated, dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    match what {
        Generated::Man => clap_mangen::generate_to(Cli::command(), dir),
        Generated::Completions => {
            for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
                clap_complete::generate_to(shell, &mut Cli::command(), "eyesplice", dir)?;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_man_has_a_page_per_command() {
        let dir = tempfile::tempdir().unwrap();
        write(Generated::Man, dir.path()).unwrap();
        for page in ["eyesplice.1", "eyesplice-gateway.1", "eyesplice-pki-init.1"] {
            let text = std::fs::read_to_string(dir.path().join(page)).unwrap();
            assert!(text.contains(".TH"), "{page}");
        }
        assert!(!dir.path().join("eyesplice-generate.1").exists(), "hidden");
    }

    #[test]
    fn write_completions_has_every_shell() {
        let dir = tempfile::tempdir().unwrap();
        write(Generated::Completions, dir.path()).unwrap();
        for file in ["eyesplice.bash", "eyesplice.fish", "_eyesplice"] {
            let text = std::fs::read_to_string(dir.path().join(file)).unwrap();
            assert!(text.contains("gateway"), "{file}");
        }
    }
}
