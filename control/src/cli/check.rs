//! `eyesplice check`: prints what is wrong with a configuration, or what it comes to.

use super::{Exit, complain, print};
use crate::config::check;
use std::path::Path;
use std::time::SystemTime;

pub(super) fn run(file: &Path) -> Exit {
    match check(file, SystemTime::now()) {
        Ok(report) => {
            for warning in &report.warnings {
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
