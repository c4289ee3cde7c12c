//! Runs test cases, and tells a skipped one from one that passed.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// Set by scripts/ktls-guest: nothing may be skipped there.
const NO_SKIP: &str = "EYESPLICE_KTLS_GUEST";

/// Why a case cannot run here.
#[derive(Debug)]
pub(crate) struct Skip(pub(crate) String);

pub(crate) type Outcome = Result<(), Skip>;

/// One test.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) run: Box<dyn Fn() -> Outcome>,
}

impl Case {
    pub(crate) fn new(name: impl Into<String>, run: impl Fn() -> Outcome + 'static) -> Self {
        Case {
            name: name.into(),
            run: Box::new(run),
        }
    }
}

/// Runs the cases whose name contains one of the arguments, all without arguments.
pub(crate) fn main(cases: &[Case]) -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut filters, mut list) = (Vec::new(), false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list" => list = true,
            // libtest's options that have a value; this harness has no use for any.
            "--test-threads" | "--skip" | "--format" | "--color" | "--logfile" => {
                arguments.next();
            }
            option if option.starts_with('-') => {}
            _ => filters.push(argument),
        }
    }
    let chosen = cases.iter().filter(|case| {
        filters.is_empty() || filters.iter().any(|filter| case.name.contains(filter))
    });
    if list {
        chosen.for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), BTreeMap::new());
    for case in chosen {
        match catch_unwind(AssertUnwindSafe(|| (case.run)())) {
            Ok(Ok(())) => {
                println!("test {} ... ok", case.name);
                passed += 1;
            }
            Ok(Err(Skip(why))) if std::env::var_os(NO_SKIP).is_none() => {
                println!("test {} ... SKIPPED", case.name);
                *skipped.entry(why).or_insert(0) += 1;
            }
            Ok(Err(Skip(why))) => {
                println!(
                    "test {} ... FAILED: cannot run in the guest: {why}",
                    case.name
                );
                failed.push(&case.name);
            }
            Err(_) => {
                println!("test {} ... FAILED", case.name);
                failed.push(&case.name);
            }
        }
    }
    println!();
    for (why, count) in &skipped {
        println!("SKIPPED {count}: {why}");
    }
    for name in &failed {
        println!("FAILED: {name}");
    }
    println!(
        "test result: {}. {passed} passed; {} failed; {} SKIPPED",
        if failed.is_empty() { "ok" } else { "FAILED" },
        failed.len(),
        skipped.values().sum::<u32>()
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
