//! `eyesplice token bootstrap`.

mod place;

use super::form::{Failure, fields, pretty, read_token};
use crate::cli::args::TableFormat;
use crate::cli::say::{columns, complain, print};
use crate::cli::token_args::{
    BootstrapCommand, CreateArgs, DeleteArgs, DescribeArgs, ExpireArgs, ListArgs, Usage,
};
use eyesplice_identity::certificate::instant;
use eyesplice_identity::token::bootstrap::{
    BootstrapToken, Bound, Expiry, Record, Usages, secret_name,
};
use eyesplice_process::Exit;
use eyesplice_proto::causes::chain;
use place::Tokens;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;

/// A token on the command line that is none.
#[derive(Debug, thiserror::Error)]
enum TokenError {
    #[error("the token {0}")]
    Format(eyesplice_identity::token::bootstrap::FormatError),
    #[error("cannot make a token: the system's random source failed")]
    Random,
    #[error("a token that lives until {0} s from now lives for ever; use --ttl 0")]
    Ttl(u64),
}

pub(super) fn run(command: BootstrapCommand) -> Result<Exit, Failure> {
    match command {
        BootstrapCommand::Create(args) => create(args),
        BootstrapCommand::List(args) => list(&args),
        BootstrapCommand::Describe(args) => describe(&args),
        BootstrapCommand::Expire(args) => expire(&args),
        BootstrapCommand::Delete(args) => delete(&args),
    }
}

fn create(args: CreateArgs) -> Result<Exit, Failure> {
    let token = match args.token.as_deref() {
        None => BootstrapToken::generate().map_err(|_| TokenError::Random)?,
        Some("-") => {
            let text = read_token(Path::new("-"))?;
            text.trim().parse().map_err(TokenError::Format)?
        }
        Some(text) => text.parse().map_err(TokenError::Format)?,
    };
    let expiry = match args.ttl {
        Duration::ZERO => Expiry::Never,
        ttl => Expiry::At(after(ttl)?),
    };
    let record = Record {
        token,
        expiry,
        usages: Usages {
            authentication: args.usages.contains(&Usage::Authentication),
            signing: args.usages.contains(&Usage::Signing),
        },
        groups: args
            .groups
            .into_iter()
            .filter(|group| !group.is_empty())
            .collect(),
        bound: Bound {
            nodes: args.nodes,
            gateways: args.gateways,
        },
        description: args.description,
    };
    Tokens::open(&args.dir)?.create(&record)?;
    Ok(print(&format!("{}\n", *record.token.expose())))
}

/// The whole second, as the Secret holds it.
fn after(ttl: Duration) -> Result<OffsetDateTime, TokenError> {
    let end = OffsetDateTime::now_utc().checked_add(ttl.try_into().unwrap_or(time::Duration::MAX));
    let end = end
        .filter(|end| end.year() <= 9999)
        .ok_or(TokenError::Ttl(ttl.as_secs()))?;
    Ok(end.replace_nanosecond(0).unwrap_or(end))
}

fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let now = SystemTime::now();
    let records = Tokens::open(&args.dir)?.list()?;
    let mut broken = false;
    let mut good = Vec::new();
    for record in records {
        match record {
            Ok(record) => good.push(record),
            Err(error) => {
                broken = true;
                complain(&chain(&*error));
            }
        }
    }
    let printed = print(&match args.output {
        TableFormat::Json => {
            let items: Vec<Value> = good.iter().map(|record| as_json(record, now)).collect();
            pretty(&json!({ "tokens": items }))
        }
        TableFormat::Table => {
            let header = [
                "ID",
                "TTL",
                "EXPIRES",
                "USAGES",
                "EXTRA GROUPS",
                "DESCRIPTION",
            ];
            let mut rows = vec![header.map(str::to_owned)];
            rows.extend(good.iter().map(|record| row(record, now)));
            columns(&rows, "   ").concat()
        }
    });
    Ok(if broken { Exit::Failure } else { printed })
}

fn row(record: &Record, now: SystemTime) -> [String; 6] {
    [
        record.token.id.to_string(),
        ttl(&record.expiry, now),
        expires(&record.expiry),
        usages(record.usages).join(","),
        record.groups.join(","),
        record.description.clone(),
    ]
}

fn describe(args: &DescribeArgs) -> Result<Exit, Failure> {
    let record = Tokens::open(&args.dir)?.find(&args.id)?;
    let now = SystemTime::now();
    let secret = args.show_secret.then(|| record.token.expose());
    Ok(print(&match args.output {
        TableFormat::Json => {
            let mut value = as_json(&record, now);
            if let Some(secret) = secret {
                value["token"] = secret.as_str().into();
            }
            pretty(&value)
        }
        TableFormat::Table => fields(&[
            ("ID", record.token.id.to_string()),
            (
                "Token",
                secret.map(|secret| secret.to_string()).unwrap_or_default(),
            ),
            (
                "Secret",
                format!("kube-system/{}", secret_name(&record.token.id)),
            ),
            ("Username", format!("system:bootstrap:{}", record.token.id)),
            ("TTL", ttl(&record.expiry, now)),
            ("Expires", expires(&record.expiry)),
            ("Usages", usages(record.usages).join(", ")),
            ("Extra groups", record.groups.join(", ")),
            ("Nodes", names(&record.bound, &record.bound.nodes)),
            ("Gateways", names(&record.bound, &record.bound.gateways)),
            ("Description", record.description.clone()),
        ]),
    }))
}

/// Whom a token is for, of one kind.
fn names(bound: &Bound, names: &[String]) -> String {
    if bound.is_free() {
        "any that its groups are for".to_owned()
    } else {
        names.join(", ")
    }
}

fn expire(args: &ExpireArgs) -> Result<Exit, Failure> {
    let end = after(args.within)?;
    let record = Tokens::open(&args.dir)?.set_expiry(&args.id, Expiry::At(end))?;
    let line = format!(
        "bootstrap token {} expires {}\n",
        args.id,
        expires(&record.expiry)
    );
    Ok(print(&line))
}

fn delete(args: &DeleteArgs) -> Result<Exit, Failure> {
    let tokens = Tokens::open(&args.dir)?;
    if args.expired {
        let deleted = tokens.delete_expired(SystemTime::now())?;
        let lines = deleted
            .iter()
            .map(|id| format!("bootstrap token {id} deleted\n"));
        return Ok(print(&lines.collect::<String>()));
    }
    let mut exit = Exit::Success;
    for id in &args.ids {
        match tokens.delete(id) {
            Ok(()) => {
                print(&format!("bootstrap token {id} deleted\n"));
            }
            Err(error) => {
                complain(&chain(&*error));
                exit = Exit::Failure;
            }
        }
    }
    Ok(exit)
}

fn as_json(record: &Record, now: SystemTime) -> Value {
    let expires = match &record.expiry {
        Expiry::Never => Value::Null,
        Expiry::At(end) => instant(*end).into(),
        Expiry::Unreadable(text) => text.as_str().into(),
    };
    json!({
        "id": record.token.id.as_str(),
        "expires": expires,
        "expired": record.expiry.is_over(now),
        "usages": usages(record.usages),
        "groups": record.groups,
        "nodes": record.bound.nodes,
        "gateways": record.bound.gateways,
        "description": record.description,
    })
}

fn usages(usages: Usages) -> Vec<&'static str> {
    let all = [
        (usages.signing, "signing"),
        (usages.authentication, "authentication"),
    ];
    all.into_iter()
        .filter_map(|(has, word)| has.then_some(word))
        .collect()
}

fn expires(expiry: &Expiry) -> String {
    match expiry {
        Expiry::Never => "never".to_owned(),
        Expiry::At(end) => instant(*end),
        Expiry::Unreadable(text) => format!("{text:?}, which is no time"),
    }
}

/// What is left, in its two largest units, as kubeadm shows it.
fn ttl(expiry: &Expiry, now: SystemTime) -> String {
    let Expiry::At(end) = expiry else {
        return match expiry {
            Expiry::Never => "forever".to_owned(),
            _ => "expired".to_owned(),
        };
    };
    let left = *end - OffsetDateTime::from(now);
    if !left.is_positive() {
        return "expired".to_owned();
    }
    let (days, hours) = (left.whole_days(), left.whole_hours() % 24);
    let (minutes, seconds) = (left.whole_minutes() % 60, left.whole_seconds() % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{seconds}s"),
        (0, ..) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}
