//! The command line: parses it, runs one command, and turns its end into an exit status.

mod admin;
mod args;
mod bootstrap;
mod break_glass;
mod break_glass_args;
mod check;
mod check_report;
mod generate;
mod kubeconfig;
mod kubeconfig_args;
mod pki;
mod pki_args;
mod pki_table;
mod say;
mod table;
mod token;
mod token_args;
mod tunnel;
mod tunnel_args;
mod upgrade;
mod version;

pub use args::{Cli, Command, GatewayArgs};
pub use eyesplice_process::{BUILD, Build, Exit};

use crate::agent;
use crate::config::Here;
use crate::gateway;
use crate::probe_report::{self, Crypto};
use crate::serve::ServeError;
use args::{AgentArgs, AuthorityArgs, TableFormat};
use clap::Parser;
use eyesplice_proto::causes::chain;
use eyesplice_proto::tls::provider;
use eyesplice_sys::limits;
use eyesplice_sys::probe::probe;
use eyesplice_sys::signal::{Harmless, ignore};
use say::{fail, print, printed, start_log};
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

/// Runs the command that `arguments` (with the program's name first) ask for.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // What a file cannot take is an error of its write. No signal says more than that.
    let _ = ignore(Harmless::FileSize);
    provider::install();
    match Cli::try_parse_from(arguments) {
        Ok(cli) => run(cli.command).into(),
        Err(error) => {
            if !error.use_stderr() {
                let mut stdout = io::stdout();
                return printed(error.print().and_then(|()| stdout.flush())).into();
            }
            // A closed standard error leaves nobody to tell.
            let _ = error.print();
            Exit::Usage.into()
        }
    }
}

fn run(command: Command) -> Exit {
    match command {
        Command::Version(args) => print(&version::render(args.output)),
        Command::Pki(command) => pki::run(command),
        Command::Kubeconfig(command) => kubeconfig::run(command),
        Command::Token(command) => token::run(command),
        Command::Tunnel(command) => tunnel::run(command),
        Command::BreakGlass(command) => break_glass::run(command),
        Command::Generate(args) => match generate::write(args.what, &args.dir) {
            Ok(()) => Exit::Success,
            Err(error) => fail(&format!(
                "cannot write into {}: {error}",
                args.dir.display()
            )),
        },
        Command::Gateway(args) => run_gateway(args),
        Command::Agent(args) => run_agent(args),
        Command::Authority(args) => run_authority(args),
        Command::Bootstrap(args) => bootstrap::run(args),
        Command::Check(args) => check::run(&args),
        Command::Probe(args) => run_probe(args.output),
    }
}

fn run_gateway(args: GatewayArgs) -> Exit {
    if args.upgrade {
        return upgrade::run(args);
    }
    let _log = match start_log(args.log.log_format, args.log.log_level) {
        Ok(log) => log,
        Err(exit) => return exit,
    };
    let options = gateway::Options {
        config: args.config,
        handover_dir: args.handover_dir,
        takeover: args.takeover,
        tell: args.tell,
        sandbox: args.sandbox.wanted(),
    };
    ended("gateway", gateway::run(options), ServeError::exit)
}

fn run_agent(args: AgentArgs) -> Exit {
    let _log = match start_log(args.log.log_format, args.log.log_level) {
        Ok(log) => log,
        Err(exit) => return exit,
    };
    let options = agent::Options {
        config: args.config,
        here: Here {
            node_name: args.node_name,
            node_ip: args.node_ip,
        },
        sandbox: args.sandbox.wanted(),
    };
    ended("agent", agent::run(options), ServeError::exit)
}

/// Logs how a process ended.
fn ended<E: Error>(what: &str, result: Result<(), E>, exit: impl FnOnce(&E) -> Exit) -> Exit {
    match result {
        Ok(()) => {
            tracing::info!("stopped");
            Exit::Success
        }
        Err(error) => {
            tracing::error!(error = chain(&error), "{what} stopped");
            exit(&error)
        }
    }
}

fn run_authority(args: AuthorityArgs) -> Exit {
    let _log = match start_log(args.log.log_format, args.log.log_level) {
        Ok(log) => log,
        Err(exit) => return exit,
    };
    let options = eyesplice_authority::Options {
        config: args.config,
        kubeconfig: args.kubeconfig,
        insecure_auto_approve_group: args.insecure_auto_approve_group,
        sandbox: args.sandbox.wanted(),
    };
    let result = eyesplice_authority::run(options);
    ended("authority", result, |_| Exit::Failure)
}

fn run_probe(format: TableFormat) -> Exit {
    // As the gateway does; where it may not, it runs under the limit that the probe shows.
    let _ = limits::raise_locked_memory();
    let probe = probe();
    let crypto = Crypto::here();
    let printed = print(&match format {
        TableFormat::Table => probe_report::table(&probe, &crypto),
        TableFormat::Json => probe_report::json(&probe, &crypto),
    });
    match probe.usable() {
        Ok(()) => printed,
        Err(unusable) => Exit::of_probe(&unusable),
    }
}
