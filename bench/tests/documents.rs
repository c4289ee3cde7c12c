//! The harness accepts every command line that the documents show for it.
#![forbid(unsafe_code)]

use clap::Parser;
use eyesplice_bench::args::Cli;
use std::path::Path;

/// The words of a command as a shell splits them, up to a comment.
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
            (None, '#') if word.is_empty() => return words,
            _ => word.push(char),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// The commands of the blocks of a document that run the harness.
fn commands(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let mut fenced = false;
    let mut commands = Vec::new();
    for line in joined.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced && line.trim_start().starts_with("eyesplice-load ") {
            commands.push(line.trim().to_string());
        }
    }
    commands
}

#[test]
fn commands_in_blocks_are_whole_command_lines() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let mut seen = 0;
    for entry in std::fs::read_dir(docs).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "md") {
            continue;
        }
        for command in commands(&std::fs::read_to_string(&path).unwrap()) {
            seen += 1;
            // A process id is a number; the shell puts it in.
            let parsed = Cli::try_parse_from(words(&command.replace("$(pidof eyesplice)", "1")));
            if let Err(error) = parsed {
                panic!("{}: {command}\n{error}", path.display());
            }
        }
    }
    assert!(seen >= 5, "docs/load.md has commands");
}
