//! `eyesplice token`: runs one command on tokens, and says what came of it.

mod bootstrap;
mod serviceaccount;
mod static_file;

use super::token_args::{ReviewArgs, TokenCommand, TokenFormat};
use super::{complain, print};
use eyesplice_identity::authn::{
    AuthenticationConfig, Authenticator, AuthnError, SourceErrors, Sources,
};
use eyesplice_identity::document::ConfigErrors;
use eyesplice_identity::token::BearerToken;
use eyesplice_process::Exit;
use eyesplice_proto::causes::chain;
use serde_json::{Value, json};
use std::error::Error;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use zeroize::Zeroizing;

/// Longest token that is read, with room for line ends: others are no tokens.
const MAX_INPUT: u64 = 64 << 10;

/// How a command that failed has failed; printed by [`run`].
type Failure = Box<dyn Error>;

/// A token that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read a token from {}", .path.display())]
struct InputError {
    path: PathBuf,
    source: io::Error,
}

pub(super) fn run(command: TokenCommand) -> Exit {
    let result = match command {
        TokenCommand::Bootstrap(command) => bootstrap::run(command),
        TokenCommand::Static(command) => static_file::run(command),
        TokenCommand::Serviceaccount(command) => serviceaccount::run(command),
        TokenCommand::Review(args) => review(&args),
    };
    result.unwrap_or_else(|error| {
        complain(&chain(&*error));
        Exit::Failure
    })
}

fn review(args: &ReviewArgs) -> Result<Exit, Failure> {
    let (config, warnings) =
        AuthenticationConfig::load(&args.config).map_err(|errors: ConfigErrors| errors)?;
    for warning in warnings {
        complain(&format!("warning: {warning}"));
    }
    let sources = Sources::load(&config.settings).map_err(|errors: SourceErrors| errors)?;
    for warning in sources.warnings() {
        complain(&format!("warning: {warning}"));
    }
    let text = read_token(&args.file)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let authenticator = Authenticator::new(sources);
    let reviewed = BearerToken::new(text.trim())
        .map_err(AuthnError::bearer)
        .and_then(|token| {
            let now = SystemTime::now();
            runtime.block_on(authenticator.review(&token, &args.audiences, now))
        });
    let reviewed = match reviewed {
        Ok(reviewed) => reviewed,
        Err(error) => {
            let cause = error.cause().as_str();
            if args.output == TokenFormat::Json {
                let answer = json!({
                    "authenticated": false, "cause": cause, "error": chain(&error)
                });
                print(&pretty(&answer));
            } else {
                complain(&format!("{cause}: {}", chain(&error)));
            }
            return Ok(Exit::Failure);
        }
    };
    let user = &reviewed.user;
    Ok(print(&match args.output {
        TokenFormat::Json => pretty(&json!({
            "authenticated": true, "user": user, "audiences": reviewed.audiences
        })),
        TokenFormat::Table => {
            let mut rows = vec![
                ("Username", user.username.clone()),
                ("UID", user.uid.clone()),
                ("Groups", user.groups.join(", ")),
                ("Audiences", reviewed.audiences.join(", ")),
            ];
            let extra = user.extra.iter();
            let extra: Vec<String> = extra
                .map(|(key, values)| format!("{key}={}", values.join("+")))
                .collect();
            rows.push(("Extra", extra.join(", ")));
            fields(&rows)
        }
    }))
}

/// Reads a token from a file, or from standard input.
fn read_token(path: &Path) -> Result<Zeroizing<String>, InputError> {
    let fail = |source| InputError {
        path: path.to_owned(),
        source,
    };
    let mut text = Zeroizing::new(String::with_capacity(8 << 10));
    if path == Path::new("-") {
        io::stdin().lock().take(MAX_INPUT).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_INPUT).read_to_string(&mut text))
    }
    .map_err(fail)?;
    Ok(text)
}

/// Writes fields one below the other; empty ones are left out.
fn fields(rows: &[(&str, String)]) -> String {
    let rows: Vec<_> = rows.iter().filter(|(_, value)| !value.is_empty()).collect();
    let width = rows
        .iter()
        .map(|(name, _)| name.len() + 1)
        .max()
        .unwrap_or(0);
    rows.iter()
        .map(|(name, value)| format!("{:width$}  {value}\n", format!("{name}:")))
        .collect()
}

/// Writes aligned columns.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        let cells: Vec<String> = cells.collect();
        format!("{}\n", cells.join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
