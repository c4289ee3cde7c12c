//! What the README and the documents show is accepted by the program: commands and configurations.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a step of a test that fails ends it")]

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use eyesplice::cli::Cli;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Name and text of every document.
fn documents() -> Vec<(String, String)> {
    let root = root();
    let mut files = vec![root.join("README.md"), root.join("SECURITY.md")];
    files.extend(["docs"].iter().flat_map(|folder| {
        let listed = fs::read_dir(root.join(folder)).unwrap();
        let paths = listed.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|end| end == "md"))
    }));
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The fenced blocks of a document, without their indentation.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        match &mut open {
            None if line.trim_start().starts_with("```") => open = Some((indent, String::new())),
            Some(_) if line.trim() == "```" => blocks.extend(open.take().map(|(_, block)| block)),
            Some((outer, block)) => {
                block.push_str(line.get((*outer).min(indent)..).unwrap_or_default());
                block.push('\n');
            }
            None => {}
        }
    }
    assert_eq!(open, None, "a block has no end");
    blocks
}

/// The commands of a block that run the program; a line that ends with `\` goes on.
fn commands(block: &str) -> Vec<String> {
    let lines = block.replace("\\\n", " ");
    let commands = lines.lines().map(|line| line.trim().to_string());
    commands
        .filter(|line| line.starts_with("eyesplice "))
        .collect()
}

/// The words of a command as a shell splits them, up to what the shell takes for itself.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for char in command.chars() {
        match (quote, char) {
            (None, '\'' | '"') => quote = Some(char),
            (Some(open), _) if open == char => quote = None,
            (None, ' ') if !word.is_empty() => words.push(std::mem::take(&mut word)),
            (None, ' ') => {}
            (None, '#' | '>' | '<' | '|' | '&' | ';') if word.is_empty() => return words,
            _ => word.push(char),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

#[test]
fn commands_in_blocks_are_whole_command_lines() {
    let mut seen = 0;
    for (name, text) in documents() {
        for command in blocks(&text).iter().flat_map(|block| commands(block)) {
            seen += 1;
            let parsed = Cli::try_parse_from(words(&command));
            assert!(
                parsed.is_ok(),
                "{name}: {command}\n{}",
                parsed.err().unwrap()
            );
        }
    }
    assert!(seen >= 2, "the README has commands");
}

#[test]
fn commands_in_sentences_exist() {
    let mut seen = 0;
    for (name, text) in documents() {
        let mut prose = true;
        for line in text.lines() {
            if line.trim_start().starts_with("```") {
                prose = !prose;
            }
            let code = line.split('`').skip(1).step_by(2);
            for command in code.filter(|code| prose && code.starts_with("eyesplice ")) {
                seen += 1;
                let Err(error) = Cli::try_parse_from(words(command)) else {
                    continue;
                };
                // A sentence may leave out what does not matter to it.
                let left_out = matches!(
                    error.kind(),
                    ErrorKind::MissingRequiredArgument
                        | ErrorKind::MissingSubcommand
                        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                );
                assert!(left_out, "{name}: {command}\n{error}");
            }
        }
    }
    assert!(seen >= 10, "the documents name commands");
}

/// The examples of `--help`, of a command and of all below it.
fn examples(command: &clap::Command) -> Vec<String> {
    let help = command.get_after_help().map(ToString::to_string);
    let help = help.unwrap_or_default();
    let mut found = help
        .split_once("Examples:\n")
        .map_or_else(Vec::new, |(_, examples)| commands(examples));
    found.extend(command.get_subcommands().flat_map(examples));
    found
}

#[test]
fn examples_of_help_are_whole_command_lines() {
    let examples = examples(&Cli::command());
    assert!(examples.len() >= 20, "{examples:?}");
    // Three dots stand for what the example before them has.
    let whole = examples.iter().filter(|command| !command.contains(" ... "));
    let wrong: Vec<_> = whole
        .filter_map(|command| {
            let error = Cli::try_parse_from(words(command)).err()?;
            Some(format!("{command}\n{error}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Carried out in namespaces, with a kubelet and an API server that are stood in for; `scripts/e2e`
/// does the same on a real cluster. The same program finds commands that no test executes.
#[test]
fn setup_of_the_readme_leads_to_a_gateway_that_works() {
    /// The exit status of a run that is not possible here.
    const SKIPPED: i32 = 77;
    let output = Command::new("python3")
        .arg("-B")
        .arg(root().join("scripts/e2e.d/readme.py"))
        .args(["--eyesplice", env!("CARGO_BIN_EXE_eyesplice")])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(SKIPPED) {
        // Past the capture of the test harness, so that it is counted.
        let _ = writeln!(std::io::stderr(), "{}", printed.trim_end());
        return;
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{errors}");
}

/// What `scripts/demo --quick` shows after its build.
#[test]
fn quick_demo_holds() {
    /// The exit status of a run that is not possible here.
    const SKIPPED: i32 = 77;
    let output = Command::new("python3")
        .arg("-B")
        .arg(root().join("scripts/demo.d/quick.py"))
        .args(["--eyesplice", env!("CARGO_BIN_EXE_eyesplice")])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(SKIPPED) {
        // Past the capture of the test harness, so that it is counted.
        let _ = writeln!(std::io::stderr(), "{}", printed.trim_end());
        return;
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{errors}");
    for said in [
        "without Kubernetes",
        "stood in for",
        "serverTLSBootstrap",
        "\"kind\": \"end\"",
    ] {
        assert!(printed.contains(said), "{said}: {printed}");
    }
}
