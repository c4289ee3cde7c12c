//! `eyesplice token static`.

use super::form::{Failure, pretty};
use crate::cli::args::TableFormat;
use crate::cli::say::{complain, print};
use crate::cli::token_args::{StaticCheckArgs, StaticCommand, StaticGenerateArgs};
use eyesplice_identity::token::static_tokens::{StaticTokens, append, generate};
use eyesplice_process::Exit;
use eyesplice_proto::causes::chain;
use serde_json::json;

pub(super) fn run(command: StaticCommand) -> Result<Exit, Failure> {
    match command {
        StaticCommand::Generate(args) => make(args),
        StaticCommand::Check(args) => Ok(check(&args)),
    }
}

fn make(args: StaticGenerateArgs) -> Result<Exit, Failure> {
    let line = generate(&args.entry)?;
    let Some(file) = args.file else {
        return Ok(print(&format!("{}\n", *line)));
    };
    append(&file, &line)?;
    let token = line.split(',').next().unwrap_or_default();
    Ok(print(&format!("{token}\n")))
}

fn check(args: &StaticCheckArgs) -> Exit {
    let file = args.file.display();
    let tokens = match StaticTokens::load(&args.file) {
        Ok(tokens) => tokens,
        Err(error) => {
            if args.output == TableFormat::Json {
                print(&pretty(&json!({"valid": false, "error": chain(&error)})));
            } else {
                complain(&chain(&error));
            }
            return Exit::Failure;
        }
    };
    let warnings: Vec<String> = tokens.warnings().iter().map(ToString::to_string).collect();
    match args.output {
        TableFormat::Json => print(&pretty(&json!({
            "valid": true, "tokens": tokens.len(), "warnings": warnings
        }))),
        TableFormat::Table => {
            for warning in warnings {
                complain(&format!("warning: {file}: {warning}"));
            }
            print(&format!("{file} is valid: {} tokens\n", tokens.len()))
        }
    }
}
