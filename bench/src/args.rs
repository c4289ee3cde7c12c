//! The command line of `eyesplice-load`.

use crate::identity::{Identity, Suite};
use crate::readme::{ReadmeOptions, readme};
use crate::relay::{RelayOptions, relay};
use crate::run::{RunOptions, runtime};
use crate::{Attempt, Result, contest, herd, idle, origin, proxy, run, strangers};
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Puts load on eyesplice or any other proxy, checks every byte, and compares proxies
#[derive(Debug, Parser)]
#[command(name = "eyesplice-load", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs workloads through one proxy, or directly, and reports
    Run(Box<RunOptions>),
    /// Is the far end, for a generator on another machine or in another process
    Serve(origin::ServeOptions),
    /// Writes numbered lines, in a pod whose log `run --via kubectl-logs` follows
    Emit(origin::EmitOptions),
    /// Compares proxies: in turn, interleaved, many rounds
    Ab(contest::ContestOptions),
    /// Runs a program at the other end of a delayed line
    Relay(RelayOptions),
    /// Makes the certificates that `run`, `serve` and a proxy between them can share
    Certificates {
        /// Where to: ca.crt, ca.key, leaf.crt, leaf.key, and leaf.pem with both
        directory: PathBuf,
    },
    /// Measures the engine's memory per idle stream
    Idle(idle::Options),
    /// Measures new streams of an API server while strangers crowd the gateway's TCP listener
    Strangers(strangers::Options),
    /// Simulates a herd of agents and their gateways: restarts, partitions, NATs
    Herd(herd::Options),
    /// Writes the table of docs/performance.md from results
    Readme(ReadmeOptions),
    /// One of the bundled proxies; ends with standard input
    Proxy(proxy::Spec),
    /// The strangers
    #[command(hide = true)]
    StrangersCrowd(strangers::CrowdSpec),
    /// The clients of idle streams
    #[command(hide = true)]
    IdleClients(idle::ClientSpec),
    /// The servers of idle streams
    #[command(hide = true)]
    IdleServers(idle::ServerSpec),
}

/// Does what the command line says.
///
/// # Errors
/// If a measurement cannot be made, or a byte was lost or wrong.
pub fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Run(options) => run::run(&options),
        Command::Serve(options) => {
            let cores = std::thread::available_parallelism().map_or(1, Into::into);
            runtime(cores)?.block_on(origin::serve(&options))
        }
        Command::Emit(options) => runtime(1)?.block_on(origin::emit(&options)),
        Command::Relay(options) => relay(&options),
        Command::Ab(options) => contest::run(&options),
        Command::Certificates { directory } => {
            std::fs::create_dir_all(&directory).attempt(format!("make {}", directory.display()))?;
            Identity::create(&directory, Suite::default()).map(drop)
        }
        Command::Idle(options) => idle::run(&options),
        Command::Herd(options) => herd::run(&options),
        Command::Readme(options) => readme(&options),
        Command::Proxy(spec) => proxy::run(&spec),
        Command::Strangers(options) => strangers::run(&options),
        Command::StrangersCrowd(spec) => strangers::crowd(&spec),
        Command::IdleClients(spec) => idle::clients(&spec),
        Command::IdleServers(spec) => idle::servers(&spec),
    }
}
