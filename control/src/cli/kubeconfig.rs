//! `eyesplice kubeconfig`: writes one, or says what is wrong with one.

use super::kubeconfig_args::{KubeconfigCheckArgs, KubeconfigCommand, KubeconfigCreateArgs};
use super::say::{complain, fail, print};
use eyesplice_identity::kubeconfig::{CheckOptions, Severity, check_all, connect};
use eyesplice_identity::pki::kubeconfig::{create, write};
use eyesplice_process::Exit;
use eyesplice_proto::causes::chain;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
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
        request,
        force,
    } = args;
    let written = create(&request).and_then(|config| {
        let text = config.render();
        if file.as_os_str() == "-" {
            return Ok(print(&text));
        }
        write(&file, &text, force)?;
        Ok(print(&format!("{} written\n", file.display())))
    });
    written.unwrap_or_else(|error| fail(&chain(&error)))
}

fn run_check(args: &KubeconfigCheckArgs) -> Exit {
    let options = CheckOptions {
        now: SystemTime::now(),
        context: args.context.clone(),
    };
    let files = match files(&args.files) {
        Ok(files) => files,
        Err(message) => {
            complain(message);
            return Exit::Usage;
        }
    };
    let mut checked = check_all(&files, &options);
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
            "and its server was validated"
        } else {
            "its server was not contacted"
        };
        let names: Vec<String> = files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        let verb = if files.len() > 1 { "are" } else { "is" };
        let _ = writeln!(text, "{} {verb} usable, {how}", names.join(", "));
    }
    match print(&text) {
        Exit::Success if bad => Exit::Failure,
        exit => exit,
    }
}

/// The files that were named, each of which may be a list as KUBECONFIG is; without any, the files that
/// kubectl would read.
fn files(named: &[PathBuf]) -> Result<Vec<PathBuf>, &'static str> {
    if named.is_empty() {
        let listed = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty());
        if let Some(list) = listed {
            return Ok(split(&list));
        }
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        return match home {
            Some(home) => Ok(vec![Path::new(&home).join(".kube/config")]),
            None => {
                Err("no kubeconfig is named, and neither KUBECONFIG nor HOME is set; name a FILE")
            }
        };
    }
    let whole = |file: &PathBuf| match file.exists() {
        true => vec![file.clone()],
        false => split(file.as_os_str()),
    };
    Ok(named.iter().flat_map(whole).collect())
}

fn split(list: &OsStr) -> Vec<PathBuf> {
    let parts = std::env::split_paths(list);
    parts.filter(|path| !path.as_os_str().is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_may_be_a_list_as_in_kubeconfig() {
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("a:b");
        std::fs::write(&odd, "").unwrap();
        let named = |text: &str| files(&[PathBuf::from(text)]).unwrap();
        assert_eq!(named("/x:/y::/z"), ["/x", "/y", "/z"].map(PathBuf::from));
        assert_eq!(named("/x"), [PathBuf::from("/x")]);
        assert_eq!(named(odd.to_str().unwrap()), [odd]);
    }
}
