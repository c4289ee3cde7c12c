//! Runs all fuzz bodies on stable Rust: `fuzz_seeded CASES [TARGET [SEED]]`, or
//! writes their seeds out for libFuzzer: `fuzz_seeded --seeds DIRECTORY`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use std::{env, fs, io};

use eyesplice_proto_fuzz::{FuzzTarget, seeded};

/// Exit status of a wrong command line, as everywhere in this project.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["--seeds", directory] = arguments[..] {
        return match write_seeds(Path::new(directory)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("fuzz_seeded: write seeds to {directory}: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let number = |text: &str| text.parse::<u64>().ok();
    let (cases, name, seed) = match arguments[..] {
        [cases] => (number(cases), None, Some(1)),
        [cases, name] => (number(cases), Some(name), Some(1)),
        [cases, name, seed] => (number(cases), Some(name), number(seed)),
        _ => (None, None, None),
    };
    let known = name.is_none_or(|name| targets().any(|target| target.name == name));
    let (Some(cases), Some(seed), true) = (cases, seed, known) else {
        let names: Vec<_> = targets().map(|target| target.name).collect();
        eprintln!("usage: fuzz_seeded CASES [TARGET [SEED]] | --seeds DIRECTORY");
        eprintln!("targets: {}", names.join(" "));
        return ExitCode::from(USAGE);
    };
    for target in targets().filter(|target| name.is_none_or(|name| target.name == name)) {
        let start = Instant::now();
        seeded::run(target, cases, seed);
        println!(
            "{}: {cases} cases held, {:.1?}",
            target.name,
            start.elapsed()
        );
    }
    ExitCode::SUCCESS
}

fn write_seeds(directory: &Path) -> io::Result<()> {
    for target in targets() {
        let directory = directory.join(target.name);
        fs::create_dir_all(&directory)?;
        for (number, seed) in target.seeds.iter().enumerate() {
            fs::write(directory.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}

/// Those of the protocols, then those of control.
fn targets() -> impl Iterator<Item = &'static FuzzTarget> {
    let protocols = eyesplice_proto_fuzz::TARGETS;
    protocols.iter().chain(eyesplice_tests::fuzzing::TARGETS)
}
