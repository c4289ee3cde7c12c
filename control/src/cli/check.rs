//! `eyesplice check`: prints what is wrong with a configuration, or what it comes to.

use super::say::{complain, print};
use crate::check;
use eyesplice_authority::config::{Form, form};
use eyesplice_process::Exit;
use std::fmt::Display;
use std::path::Path;
use std::time::SystemTime;

pub(super) fn run(file: &Path) -> Exit {
    let now = SystemTime::now();
    match form(file) {
        Form::Authority => {
            let report = eyesplice_authority::check(file, now);
            tell(report.map(|report| (report.warnings.clone(), report)))
        }
        Form::Cluster => {
            let report = eyesplice_authority::check_cluster(file, now);
            tell(report.map(|report| (report.warnings.clone(), report)))
        }
        Form::Gateway => {
            let report = check::check(file, now);
            tell(report.map(|report| (report.warnings.clone(), report)))
        }
    }
}

fn tell(outcome: Result<(Vec<String>, impl Display), impl Display>) -> Exit {
    match outcome {
        Ok((warnings, report)) => {
            for warning in &warnings {
                complain(&format!("warning: {warning}"));
            }
            print(&report.to_string())
        }
        Err(error) => {
            complain(&error.to_string());
            Exit::Failure
        }
    }
}
