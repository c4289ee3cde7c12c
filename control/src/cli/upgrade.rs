//! `gateway --upgrade`: brings the gateway that runs to this binary and the newest configuration.

use super::args::GatewayArgs;
use super::say::{fail, print};
use crate::gateway;
use clap::ValueEnum;
use eyesplice_process::takeover::{Upgraded, upgrade};
use eyesplice_process::{Exit, ProcessError};
use eyesplice_proto::causes::chain;
use std::ffi::OsString;

pub(super) fn run(args: GatewayArgs) -> Exit {
    let meeting = gateway::meeting(args.handover_dir.clone());
    let mut done = None;
    let upgraded = eyesplice_process::run("upgrade", async {
        done = Some(upgrade(meeting, arguments(args)).await?);
        Ok::<_, ProcessError>(())
    });
    match (upgraded, done) {
        (Ok(()), Some(Upgraded::TookOver { pid })) => print(&format!(
            "process {pid} took over; the one before it drains\n"
        )),
        (Ok(()), Some(Upgraded::Reloads { pid })) => print(&format!(
            "process {pid} is of this binary, and was asked to reload\n"
        )),
        (Err(error), _) => fail(&chain(&error)),
        (Ok(()), None) => Exit::Success,
    }
}

/// What makes this program take over as these arguments say.
fn arguments(args: GatewayArgs) -> Vec<OsString> {
    let mut all: Vec<OsString> = ["gateway", "--takeover", "--tell", "--config"]
        .map(OsString::from)
        .into();
    all.push(args.config.into());
    if args.sandbox.insecure_no_sandbox {
        all.push("--insecure-no-sandbox".into());
    }
    let format = args
        .log
        .log_format
        .and_then(|format| format.to_possible_value());
    let options = [
        ("--handover-dir", args.handover_dir.map(OsString::from)),
        (
            "--log-format",
            format.map(|format| format.get_name().into()),
        ),
        ("--log-level", args.log.log_level.map(OsString::from)),
    ];
    for (name, value) in options {
        if let Some(value) = value {
            all.extend([name.into(), value]);
        }
    }
    all
}
