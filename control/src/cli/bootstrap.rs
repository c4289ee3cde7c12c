//! `eyesplice bootstrap`: gets a node's certificate once, keeps it, or says what is in the way.

use super::args::BootstrapArgs;
use super::say::{fail, print, start_log, warn};
use crate::bootstrap::{self, Finding};
use eyesplice_identity::certificate::instant;
use eyesplice_process::{Exit, exposure, log};
use eyesplice_proto::causes::chain;
use std::collections::BTreeSet;
use std::time::SystemTime;
use tokio::runtime::Builder;

pub(super) fn run(args: BootstrapArgs) -> Exit {
    let BootstrapArgs {
        options,
        keep,
        dry_run,
        log_format,
    } = args;
    let files = options.ca_file.iter().cloned().collect();
    let secrets = BTreeSet::from([options.token_file.clone()]);
    let exposed = exposure::find(&files, &secrets);
    if !keep {
        warn(&exposed);
    }
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    if dry_run {
        let findings = runtime.block_on(bootstrap::diagnose(&options, SystemTime::now()));
        return tell(&findings);
    }
    if keep {
        let _log = match start_log(log_format, None) {
            Ok(log) => log,
            Err(exit) => return exit,
        };
        if let Err(error) = log::begin() {
            return fail(&chain(&error));
        }
        for exposure in &exposed {
            tracing::warn!(%exposure, "file is open to more people than it should be");
        }
        return match runtime.block_on(bootstrap::keep(&options)) {
            Ok(()) => Exit::Success,
            Err(error) => fail(&format!("cannot catch signals: {error}")),
        };
    }
    match runtime.block_on(bootstrap::once(&options, SystemTime::now())) {
        Ok(joined) => {
            let done = if joined.unchanged {
                "is valid"
            } else {
                "is new, valid"
            };
            print(&format!(
                "{} {done} until {}; its renewal is due {}\n{}\n",
                joined.pair.display(),
                instant(joined.not_after),
                instant(joined.renew_at),
                joined.kubeconfig.display()
            ))
        }
        Err(error) => fail(&format!("{}: {}", error.cause(), chain(&error))),
    }
}

/// One line for each part; fails if one of them does.
fn tell(findings: &[Finding]) -> Exit {
    let mut text = String::new();
    for Finding { part, outcome } in findings {
        let line = match outcome {
            Ok(good) => format!("ok    {part}: {good}\n"),
            Err(bad) => format!("FAIL  {part}: {bad}\n"),
        };
        text.push_str(&line);
    }
    let printed = print(&text);
    if findings.iter().any(|finding| finding.outcome.is_err()) {
        return Exit::Failure;
    }
    printed
}
