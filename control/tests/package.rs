//! What the Debian package has beside the program: its configuration, units and scripts agree with
//! the program and with each other. `scripts/test --long` installs the package itself.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a step of a test that fails ends it")]

use clap::Parser;
use eyesplice::cli::Cli;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The units of the package.
const UNITS: [&str; 4] = [
    "eyesplice-agent.service",
    "eyesplice-authority.service",
    "eyesplice-bootstrap.service",
    "eyesplice-gateway.service",
];

fn crate_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(crate_file(path)).unwrap()
}

/// Runs `eyesplice check` on a configuration that is written into `dir`.
fn check(dir: &Path, config: &str) -> (bool, String) {
    let file = dir.join("gateway.yaml");
    fs::write(&file, config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_eyesplice"))
        .arg("check")
        .arg(file)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// Turns the settings on that a configuration has as comments: `#` and no blank behind it.
fn with_settings(config: &str) -> String {
    let lines = config.lines().map(|line| {
        let indent = line.len() - line.trim_start().len();
        let (blank, rest) = line.split_at(indent);
        match rest.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => format!("{blank}{setting}\n"),
            _ => format!("{line}\n"),
        }
    });
    lines.collect()
}

#[test]
fn configuration_as_it_comes_is_valid_and_denies_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (valid, said) = check(dir.path(), &text("dist/etc/gateway.yaml"));
    assert!(valid, "{said}");
    assert!(said.contains("everything-else"), "{said}");
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn configuration_with_all_its_settings_is_valid_with_the_files_of_pki_init() {
    let dir = tempfile::tempdir().unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_eyesplice"))
        .args(["pki", "init"])
        .arg(dir.path().join("pki"))
        .args(["--apiserver", "10.0.0.1", "--node", "w1=10.0.0.11"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let config = with_settings(&text("dist/etc/gateway.yaml"));
    // A test may not write there.
    let log = dir.path().join("audit.log").display().to_string();
    let config = config.replace("/var/log/eyesplice/audit.log", &log);
    for setting in [
        "\nkubelet:\n",
        "\negressCA:\n",
        "\naudit:\n",
        "- {name: kubelets",
    ] {
        assert!(config.contains(setting), "{setting}: {config}");
    }
    // The CA of kubelets that kubeadm has is the tree's own for kubelets.
    let config = config.replace(
        "caFile: pki/ca.crt\n",
        "caFile: pki/kubelet-serving-ca.crt\n",
    );
    let (valid, said) = check(dir.path(), &config);
    assert!(valid, "{said}\n{config}");
}

#[test]
fn commands_of_units_are_command_lines_of_the_program() {
    for unit in UNITS {
        let unit_text = text(&format!("dist/{unit}"));
        let commands = unit_text.lines().filter_map(|line| {
            line.strip_prefix("ExecStart=")
                .or_else(|| line.strip_prefix("ExecStartPre="))
        });
        let mut seen = 0;
        for command in commands {
            seen += 1;
            // As the file of /etc/default shows it.
            let defaults = text("dist/etc/bootstrap");
            let options = defaults.split("#BOOTSTRAP_OPTIONS=").nth(1).unwrap();
            let options = options.lines().next().unwrap();
            let command = command.replace("$BOOTSTRAP_OPTIONS", options);
            let words = command.split_whitespace();
            let parsed = Cli::try_parse_from(words);
            assert!(parsed.is_ok(), "{unit}: {command}: {}", parsed.unwrap_err());
        }
        assert!(seen > 0, "{unit}");
    }
}

#[test]
fn scripts_know_every_unit() {
    for script in ["postinst", "prerm", "postrm"] {
        let script_text = text(&format!("dist/deb/{script}"));
        for unit in UNITS {
            assert!(script_text.contains(unit), "{script}: {unit}");
        }
    }
    let shipped = fs::read_dir(crate_file("dist")).unwrap();
    let names = shipped.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut units: Vec<String> = names.filter(|name| name.ends_with(".service")).collect();
    units.sort();
    assert_eq!(units, UNITS);
}

#[test]
fn files_of_the_package_are_there() {
    let manifest = text("Cargo.toml");
    let (_, assets) = manifest.split_once("\nassets = [\n").unwrap();
    let (assets, _) = assets.split_once("\n]\n").unwrap();
    let mut seen = Vec::new();
    for line in assets.lines() {
        let source = line.split('"').nth(1).unwrap();
        // What `scripts/package` makes.
        if !source.starts_with("../target/package/") {
            let path = crate_file(source);
            let (folder, name) = (path.parent().unwrap(), path.file_name().unwrap());
            let (begin, end) = name.to_str().unwrap().split_once('*').unwrap_or_default();
            let matches = |found: &str| found.starts_with(begin) && found.ends_with(end);
            let listed = fs::read_dir(folder).unwrap();
            let mut names = listed.map(|entry| entry.unwrap().file_name());
            let there = names.any(|found| {
                found == name || (source.contains('*') && matches(found.to_str().unwrap()))
            });
            assert!(there, "{source}");
        }
        seen.push(line.to_owned());
    }
    for unit in UNITS {
        assert!(seen.iter().any(|line| line.contains(unit)), "{unit}");
    }
}

#[test]
fn changelog_is_of_this_version() {
    let changelog = text("dist/deb/changelog");
    let first = changelog.lines().next().unwrap();
    let wanted = format!("eyesplice ({}-1) ", env!("CARGO_PKG_VERSION"));
    assert!(first.starts_with(&wanted), "{first}");
}
