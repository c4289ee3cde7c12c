//! Says which build this is.

use serde::Serialize;

/// The identity of this build.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Build {
    /// Semantic version.
    pub version: &'static str,
    /// Commit, if the build was told one in `EYESPLICE_COMMIT`; else `unknown`.
    pub commit: &'static str,
    /// Architecture that it was built for.
    pub architecture: &'static str,
    /// `release`, or `debug` with assertions.
    pub profile: &'static str,
}

/// This build.
pub const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    commit: match option_env!("EYESPLICE_COMMIT") {
        Some(commit) => commit,
        None => "unknown",
    },
    architecture: std::env::consts::ARCH,
    profile: if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    },
};
