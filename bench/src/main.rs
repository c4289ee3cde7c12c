//! `eyesplice-load`: see [`eyesplice_bench`].
#![forbid(unsafe_code)]

use clap::Parser;
use eyesplice_bench::args::{self, Cli};
use eyesplice_proto::causes::chain;
use eyesplice_proto::tls::provider;
use std::process::ExitCode;

fn main() -> ExitCode {
    provider::install();
    let Err(error) = args::run(Cli::parse()) else {
        return ExitCode::SUCCESS;
    };
    eprintln!("eyesplice-load: {}", chain(&error));
    ExitCode::FAILURE
}
