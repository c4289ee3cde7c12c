//! `eyesplice check`: prints what is wrong with a configuration, or what it comes to, and dials its
//! kubelets.

use super::args::{CheckArgs, TextFormat};
use super::check_report::{Checked, table};
use super::say::{fail, print, warn};
use crate::agent;
use crate::check;
use crate::dial::{self, DialError, DialReport, Nodes, Options, Verdict};
use eyesplice_authority::config::{Form, form};
use eyesplice_identity::document::CheckErrors;
use eyesplice_process::Exit;
use eyesplice_process::resolve::SystemLookup;
use eyesplice_proto::causes::chain;
use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::runtime::Builder;

pub(super) fn run(args: &CheckArgs) -> Exit {
    let now = SystemTime::now();
    let file = &*args.file;
    if agent::is_agent(file) {
        let report = agent::check(file, now);
        return tell(args, report.map(|report| (report.warnings.clone(), report)));
    }
    match form(file) {
        Form::Authority => {
            let report = eyesplice_authority::check(file, now);
            tell(args, report.map(|report| (report.warnings.clone(), report)))
        }
        Form::Cluster => {
            let report = eyesplice_authority::check_cluster(file, now);
            tell(args, report.map(|report| (report.warnings.clone(), report)))
        }
        Form::Gateway if args.dial => {
            let report = check::check(file, now);
            tell_dialled(args, report.map(|report| (report.warnings.clone(), report)))
        }
        Form::Gateway => {
            let report = check::check(file, now);
            tell(args, report.map(|report| (report.warnings.clone(), report)))
        }
    }
}

type Outcome<R> = Result<(Vec<String>, R), CheckErrors>;

/// Tells what a configuration comes to.
fn tell(args: &CheckArgs, outcome: Outcome<impl Display>) -> Exit {
    if args.dial && outcome.is_ok() {
        return fail("only the configuration of a gateway has kubelets to dial");
    }
    match (outcome, args.output) {
        (Ok((warnings, report)), TextFormat::Text) => {
            warn(&warnings);
            print(&report.to_string())
        }
        (Ok((warnings, report)), TextFormat::Json) => {
            let summary = Some(report.to_string());
            print(&checked(&args.file, &warnings, summary).json())
        }
        (Err(errors), format) => wrong(&args.file, &errors, format),
    }
}

/// Tells what came of a dial of every node of a valid configuration.
fn tell_dialled(args: &CheckArgs, outcome: Outcome<impl Display>) -> Exit {
    let (warnings, report) = match outcome {
        Ok(valid) => valid,
        Err(errors) => return wrong(&args.file, &errors, args.output),
    };
    let dialled = match dial_all(args) {
        Ok(dialled) => dialled,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    let printed = match (args.output, &dialled) {
        (TextFormat::Text, Ok(dialled)) => {
            warn(&warnings);
            print(&table(dialled))
        }
        (TextFormat::Text, Err(error)) => fail(&chain(error)),
        (TextFormat::Json, outcome) => {
            let checked = Checked {
                undialled: outcome.as_ref().err().map(|error| chain(error)),
                dialled: outcome.as_ref().ok(),
                ..checked(&args.file, &warnings, Some(report.to_string()))
            };
            print(&checked.json())
        }
    };
    match dialled {
        Ok(dialled) if dialled.count(Verdict::Fails) == 0 => printed,
        _ => Exit::Failure,
    }
}

fn dial_all(args: &CheckArgs) -> io::Result<Result<DialReport, DialError>> {
    let nodes = match (&args.inventory, &args.kubeconfig) {
        (Some(file), _) => Nodes::File(file.clone()),
        (None, Some(file)) => Nodes::Cluster(file.clone()),
        (None, None) => Nodes::Configured,
    };
    let options = Options {
        nodes,
        port: args.port,
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let dialling = dial::dial(&args.file, &options, Arc::new(SystemLookup));
    let dialled = runtime.block_on(dialling);
    // A name server that does not answer holds a thread; the report does not wait for it.
    runtime.shutdown_background();
    Ok(dialled)
}

fn wrong(file: &Path, errors: &CheckErrors, format: TextFormat) -> Exit {
    if format == TextFormat::Text {
        return fail(&errors.to_string());
    }
    let checked = Checked {
        errors: Some(errors),
        ..checked(file, &[], None)
    };
    // What is printed is right; what it says is not.
    let _ = print(&checked.json());
    Exit::Failure
}

fn checked<'a>(file: &Path, warnings: &'a [String], summary: Option<String>) -> Checked<'a> {
    Checked {
        file: file.display().to_string(),
        warnings,
        summary,
        errors: None,
        undialled: None,
        dialled: None,
    }
}
