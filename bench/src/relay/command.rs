//! `eyesplice-load relay`: a program at the other end of a delayed line.

use super::{Line, LineOptions};
use crate::{Attempt, Error, Result};
use clap::Args;
use std::process::Command;

/// What `relay` is told.
#[derive(Args, Clone, Debug)]
pub struct RelayOptions {
    /// The line
    #[command(flatten)]
    pub line: LineOptions,
    /// Program and arguments; {near} and {far} stand for the addresses of the two sides
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Runs a program beyond the line until it ends.
///
/// # Errors
/// If the line cannot be laid, or the program fails.
pub fn relay(options: &RelayOptions) -> Result<()> {
    let line = Line::lay(&options.line)?;
    let addresses = [("{near}", line.near()), ("{far}", line.far())];
    let words: Vec<_> = options
        .command
        .iter()
        .map(|word| {
            addresses
                .iter()
                .fold(word.clone(), |word, (name, address)| {
                    word.replace(name, &address.to_string())
                })
        })
        .collect();
    let Some((program, arguments)) = words.split_first() else {
        return Err(Error::Unfit("relay needs a command to run".into()));
    };
    eprintln!("line from {} to {}", line.near(), line.far());
    let (name, mut command) = (program.clone(), Command::new(program));
    command.args(arguments);
    let status = line.beyond(move || command.status().attempt(format!("run {name}")))?;
    eprintln!("the line lost {} packets", line.lost()?);
    match status.success() {
        true => Ok(()),
        false => Err(Error::Unfit(format!("{program} ended with {status}"))),
    }
}
