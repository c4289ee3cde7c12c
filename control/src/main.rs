//! The binary `eyesplice`: everything is in the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    eyesplice::cli::main(std::env::args_os())
}
