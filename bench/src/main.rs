//! `eyesplice-load`: see [`eyesplice_bench`].
#![forbid(unsafe_code)]

use clap::Parser;
use eyesplice_bench::args::{self, Cli};
use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Err(error) = args::run(Cli::parse()) else {
        return ExitCode::SUCCESS;
    };
    eprintln!("eyesplice-load: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        eprintln!("  because: {inner}");
        cause = inner.source();
    }
    ExitCode::FAILURE
}
