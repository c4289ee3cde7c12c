//! `eyesplice kubeconfig`: writes one, or says what is wrong with one.

use super::kubeconfig_args::{KubeconfigCheckArgs, KubeconfigCommand, KubeconfigCreateArgs};
use super::{Exit, chain, complain, print};
use crate::kubeconfig::{CheckOptions, Request, check, connect, create, write};
use crate::pki::Severity;
use std::fmt::Write as _;
use std::time::SystemTime;

pub(super) fn run(command: KubeconfigCommand) -> Exit {
    match command {
        KubeconfigCommand::Create(args) => run_create(*args),
        KubeconfigCommand::Check(args) => run_check(&args),
    }
}

fn run_create(args: KubeconfigCreateArgs) -> Exit {
    let KubeconfigCreateArgs {
        file,
        name,
        pki,
        server,
        tls_server_name,
        ca_file,
        client_cert_file,
        client_key_file,
        token_file,
        cluster,
        namespace,
        references,
        force,
    } = args;
    let request = Request {
        name,
        pki,
        server,
        tls_server_name,
        ca_file,
        client: client_cert_file.zip(client_key_file),
        token_file,
        cluster,
        namespace,
        references,
    };
    let written = create(&request).and_then(|config| {
        let text = config.render();
        if file.as_os_str() == "-" {
            return Ok(print(&text));
        }
        write(&file, &text, force)?;
        Ok(print(&format!("{} written\n", file.display())))
    });
    written.unwrap_or_else(|error| {
        complain(&chain(&error));
        Exit::Failure
    })
}

fn run_check(args: &KubeconfigCheckArgs) -> Exit {
    let options = CheckOptions {
        now: SystemTime::now(),
    };
    let mut checked = check(&args.file, &options);
    let asked = match &checked.target {
        Some(target) if !args.offline => {
            checked.flaws.extend(connect(target).err());
            true
        }
        _ => false,
    };
    let mut text = String::new();
    for flaw in &checked.flaws {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}: {flaw}", flaw.severity().as_str());
    }
    let bad = checked
        .flaws
        .iter()
        .any(|flaw| flaw.severity() == Severity::Error);
    if !bad {
        let how = if asked {
            "and its server was verified"
        } else {
            "its server was not asked"
        };
        let _ = writeln!(text, "{} is usable, {how}", args.file.display());
    }
    match print(&text) {
        Exit::Success if bad => Exit::Failure,
        exit => exit,
    }
}
