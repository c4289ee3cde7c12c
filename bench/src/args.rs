//! The command line of `eyesplice-ab`.

use crate::{Result, ab, idle, proxy};
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Measures eyesplice against its baselines, on loopback, with a core for the proxy alone
#[derive(Debug, Parser)]
#[command(name = "eyesplice-ab", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compares splicing with a bare two-splice loop
    Splice(AbArgs),
    /// Compares terminating with tokio-rustls on both legs
    Terminate(AbArgs),
    /// Both comparisons in one run
    All(AbArgs),
    /// Measures the gateway's memory per idle stream
    Idle(idle::Options),
    /// A proxy under test
    #[command(hide = true)]
    Proxy(proxy::Spec),
    /// The clients of idle streams
    #[command(hide = true)]
    IdleClients(idle::ClientSpec),
    /// The servers of idle streams
    #[command(hide = true)]
    IdleServers(idle::ServerSpec),
}

#[derive(clap::Args, Debug)]
struct AbArgs {
    #[command(flatten)]
    options: ab::Options,
    /// Writes `DATE-ab.json` and `DATE-ab.md` into this directory
    #[arg(long)]
    output: Option<PathBuf>,
}

/// Does what the command line says.
///
/// # Errors
/// If a measurement cannot be made.
pub fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Splice(args) => compare(&[ab::Mode::Splice], &args),
        Command::Terminate(args) => compare(&[ab::Mode::Terminate], &args),
        Command::All(args) => compare(&ab::Mode::ALL, &args),
        Command::Idle(options) => idle::run(&options),
        Command::Proxy(spec) => proxy::run(&spec),
        Command::IdleClients(spec) => idle::clients(&spec),
        Command::IdleServers(spec) => idle::servers(&spec),
    }
}

fn compare(modes: &[ab::Mode], args: &AbArgs) -> Result<()> {
    let report = ab::run(modes, &args.options)?;
    print!("{report}");
    if let Some(directory) = &args.output {
        for path in report.write(directory)? {
            eprintln!("wrote {}", path.display());
        }
    }
    Ok(())
}
