//! `eyesplice token`: runs one command on tokens, and says what came of it.

mod bootstrap;
mod form;
mod serviceaccount;
mod static_file;

use super::args::TableFormat;
use super::say::{complain, fail, print, warn};
use super::token_args::{ReviewArgs, TokenCommand};
use eyesplice_identity::authn::{
    AuthenticationConfig, Authenticator, AuthnError, SourceErrors, Sources,
};
use eyesplice_identity::document::{ConfigErrors, Document, Loaded};
use eyesplice_identity::token::BearerToken;
use eyesplice_process::Exit;
use eyesplice_proto::causes::chain;
use form::{Failure, fields, pretty, read_token};
use serde_json::json;
use std::time::SystemTime;

pub(super) fn run(command: TokenCommand) -> Exit {
    let result = match command {
        TokenCommand::Bootstrap(command) => bootstrap::run(command),
        TokenCommand::Static(command) => static_file::run(command),
        TokenCommand::Serviceaccount(command) => serviceaccount::run(command),
        TokenCommand::Review(args) => review(&args),
    };
    result.unwrap_or_else(|error| fail(&chain(&*error)))
}

fn review(args: &ReviewArgs) -> Result<Exit, Failure> {
    let Loaded { config, warnings } =
        AuthenticationConfig::load(&args.config).map_err(|errors: ConfigErrors| errors)?;
    warn(warnings);
    let sources = Sources::load(&config.settings).map_err(|errors: SourceErrors| errors)?;
    warn(sources.warnings());
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
            if args.output == TableFormat::Json {
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
        TableFormat::Json => pretty(&json!({
            "authenticated": true, "user": user, "audiences": reviewed.audiences
        })),
        TableFormat::Table => {
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
