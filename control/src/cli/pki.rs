//! `eyesplice pki`: runs one command on a tree, and says what came of it.

use super::args::TableFormat;
use super::pki_args::{
    PkiAcceptArgs, PkiCommand, PkiInitArgs, PkiIssueArgs, PkiRenewArgs, PkiRotateArgs, PkiShowArgs,
};
use super::pki_table;
use super::say::{fail, print, warn};
use eyesplice_identity::certificate::instant;
use eyesplice_identity::kubeconfig::Severity;
use eyesplice_identity::pki::{
    Added, InitReport, PendingRequest, PkiError, Reload, RenewedKey, Selection, Source, Step, Tree,
    Written, init, notice,
};
use eyesplice_process::Exit;
use eyesplice_proto::causes::chain;
use std::path::Path;
use std::time::SystemTime;

pub(super) fn run(command: PkiCommand) -> Exit {
    let result = match command {
        PkiCommand::Init(args) => run_init(args),
        PkiCommand::Show(args) => inspect(&args, false),
        PkiCommand::Verify(args) => inspect(&args, true),
        PkiCommand::Issue(args) => issue(&args),
        PkiCommand::Renew(args) => renew(args),
        PkiCommand::Accept(args) => accept(&args),
        PkiCommand::RotateCa(args) => rotate(&args),
    };
    result.unwrap_or_else(|error| fail(&chain(&error)))
}

fn run_init(args: PkiInitArgs) -> Result<Exit, PkiError> {
    let PkiInitArgs {
        dir,
        config,
        options,
        force,
    } = args;
    let source = match config {
        Some(config) => Source::Config(config),
        None => Source::Options(Box::new(options)),
    };
    let report = init(&dir, &source, force)?;
    warn(&report.warnings);
    Ok(print(&init_summary(&report)))
}

fn init_summary(report: &InitReport) -> String {
    let authorities = instant(report.authorities_expire.into());
    let leaves = instant(report.leaves_expire.into());
    let files = list(&report.dir, &report.files);
    let pending = pending(&report.dir, &report.pending);
    let made = if report.pending.is_empty() {
        format!("CAs expire {authorities}, everything else {leaves}")
    } else {
        format!("new CAs expire {authorities}, what they signed {leaves}")
    };
    let new = report
        .files
        .iter()
        .any(|file| file == "super-admin.kubeconfig");
    let rights = if new {
        "then apply pki-rbac.yaml (of eyesplice) with super-admin.kubeconfig: it gives admin its\n\
         rights, and lets the API server and the gateway use kubelets\n"
    } else {
        "then apply pki-rbac.yaml (of eyesplice): it lets the gateway use kubelets\n"
    };
    format!(
        "{files}{} files written; {made}\n{pending}{rights}",
        report.files.len()
    )
}

fn inspect(args: &PkiShowArgs, verify: bool) -> Result<Exit, PkiError> {
    let tree = Tree::open_to_inspect(&args.dir, args.config.as_deref())?;
    let rows = tree.inspect(SystemTime::now());
    let printed = print(&match (args.output, verify) {
        (TableFormat::Json, _) => pki_table::json(&rows),
        (TableFormat::Table, false) => pki_table::table(&rows),
        (TableFormat::Table, true) => pki_table::verdict(&rows),
    });
    let bad = rows
        .iter()
        .any(|row| row.severity() == Some(Severity::Error));
    Ok(if verify && bad {
        Exit::Failure
    } else {
        printed
    })
}

fn issue(args: &PkiIssueArgs) -> Result<Exit, PkiError> {
    let tree = Tree::open(&args.dir, args.config.as_deref())?;
    let added = Added {
        nodes: args.nodes.clone(),
        users: args.users.clone(),
        agents: args.agents.clone(),
        break_glass: args.break_glass.clone(),
    };
    let written = tree.issue(&args.names, &added, args.force)?;
    Ok(summary(
        &args.dir,
        &written,
        "every certificate is there; nothing to issue\n",
    ))
}

fn renew(args: PkiRenewArgs) -> Result<Exit, PkiError> {
    let selection = match (args.all, args.due) {
        (true, _) => Selection::All,
        (_, true) => Selection::Due,
        _ => Selection::Names(args.names),
    };
    let key = if args.keep_keys {
        RenewedKey::Kept
    } else {
        RenewedKey::New
    };
    let tree = Tree::open(&args.dir, args.config.as_deref())?;
    let written = tree.renew(&selection, key)?;
    Ok(summary(
        &args.dir,
        &written,
        "no certificate is due; nothing was renewed\n",
    ))
}

fn accept(args: &PkiAcceptArgs) -> Result<Exit, PkiError> {
    let tree = Tree::open(&args.dir, args.config.as_deref())?;
    let accepted = tree.accept(&args.files)?;
    warn(&accepted.warnings);
    Ok(summary(&args.dir, &accepted.written, ""))
}

fn rotate(args: &PkiRotateArgs) -> Result<Exit, PkiError> {
    let tree = Tree::open(&args.dir, args.config.as_deref())?;
    let step = match (args.next, args.undo, args.forget) {
        (true, _, _) => Step::Next,
        (_, true, _) => Step::Undo,
        (_, _, true) => Step::Forget,
        _ => return stage(&tree, &args.name),
    };
    let key = if args.new_keys {
        RenewedKey::New
    } else {
        RenewedKey::Kept
    };
    let rotated = tree.rotate(&args.name, step, key, &args.also)?;
    let mut text = list(&args.dir, &rotated.written.files);
    text.push_str(&format!("{}: {}\n", args.name, rotated.stage));
    let (held, trusted): (Vec<Reload>, Vec<Reload>) =
        rotated.reload.into_iter().partition(|reload| reload.holds);
    for (title, reloads) in [
        (
            "before the next step, these must present what was written:\n",
            held,
        ),
        (
            "these will trust what was written; until they load it, they trust the previous CA:\n",
            trusted,
        ),
    ] {
        let lines = reloads
            .iter()
            .map(|Reload { user, how, .. }| format!("  {user}: {how}\n"));
        let lines: String = lines.collect();
        if !lines.is_empty() {
            text.push_str(title);
            text.push_str(&lines);
        }
    }
    text.push_str(notice(&rotated.written.files).unwrap_or_default());
    Ok(print(&text))
}

fn stage(tree: &Tree, name: &str) -> Result<Exit, PkiError> {
    let stage = tree.rotation(name)?;
    let mut text = format!("{name}: {stage}\n");
    if let Some(until) = tree.crossed_until(name)? {
        text.push_str(&format!(
            "until {until} or --forget, its certificates are sent with a cross-certificate by the \
             previous CA\n"
        ));
    }
    Ok(print(&text))
}

fn summary(dir: &Path, written: &Written, nothing: &str) -> Exit {
    let pending = pending(dir, &written.pending);
    if written.files.is_empty() {
        return print(&format!("{nothing}{pending}"));
    }
    let files = list(dir, &written.files);
    let count = written.files.len();
    // A key and a request change nothing for anybody yet.
    let used = |file: &String| file.ends_with(".crt") || file.ends_with(".kubeconfig");
    if !written.files.iter().any(used) {
        return print(&format!("{files}{count} files written\n{pending}"));
    }
    print(&format!(
        "{files}{count} files written; restart or reload what uses them\n{}{pending}",
        notice(&written.files).unwrap_or_default()
    ))
}

/// What is to be signed by whom, and the command that comes next.
fn pending(dir: &Path, requests: &[PendingRequest]) -> String {
    if requests.is_empty() {
        return String::new();
    }
    let mut authorities: Vec<&str> = Vec::new();
    for request in requests {
        if !authorities.contains(&request.authority.as_str()) {
            authorities.push(&request.authority);
        }
    }
    let mut text = format!("{} a signature:\n", counted(requests.len()));
    for authority in authorities {
        let own = requests.iter().filter(|own| own.authority == authority);
        let own: Vec<&str> = own.map(|own| own.file.as_str()).collect();
        text.push_str(&format!("  by the CA {authority}: {}\n", own.join(" ")));
    }
    let dir = dir.display();
    text.push_str(&format!("then: eyesplice pki accept {dir} FILE...\n"));
    text
}

fn counted(requests: usize) -> String {
    match requests {
        1 => "1 request awaits".to_owned(),
        several => format!("{several} requests await"),
    }
}

fn list(dir: &Path, files: &[String]) -> String {
    let line = |file: &String| format!("{}\n", dir.join(file).display());
    files.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_lists_requests_by_ca_and_the_next_command() {
        let request = |authority: &str, file: &str| PendingRequest {
            authority: authority.to_owned(),
            file: file.to_owned(),
        };
        let requests = [
            request("ca", "admin.csr"),
            request("etcd/ca", "etcd/peer.csr"),
            request("ca", "scheduler.csr"),
        ];
        assert_eq!(
            pending(Path::new("/pki"), &requests),
            "3 requests await a signature:\n  by the CA ca: admin.csr scheduler.csr\n  by the CA \
             etcd/ca: etcd/peer.csr\nthen: eyesplice pki accept /pki FILE...\n"
        );
        assert!(
            pending(Path::new("/pki"), &requests[..1]).starts_with("1 request awaits a signature")
        );
        assert_eq!(pending(Path::new("/pki"), &[]), "");
    }
}
