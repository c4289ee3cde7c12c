//! Says which limit has no room for a ring, and what to do.

use crate::limits::{self, Limit};
use crate::uring::UringConfig;

/// There is too little locked memory for a ring of the size in use. Shows the limit and the remedy.
///
/// Rings count against RLIMIT_MEMLOCK of an ordinary user, over all its processes: on kernels
/// before 5.12, and again on current ones (seen on 6.18). What a ring held comes back some time
/// after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, derive_more::Display)]
#[display("{}; {}", self.why(), self.remedy())]
pub struct UringShortage {
    /// What a ring takes.
    pub ring: u64,
    /// The limit, if it could be read.
    pub limit: Option<Limit>,
}

impl UringShortage {
    /// With the limit as it is now.
    #[must_use]
    pub fn now() -> Self {
        Self {
            ring: UringConfig::default().locked_bytes(),
            limit: limits::locked_memory().ok(),
        }
    }

    pub(super) fn why(&self) -> String {
        let ring = kib(self.ring);
        match self.limit {
            Some(limit) if limit.soft != u64::MAX => format!(
                "a ring takes {ring} of locked memory, and all processes of this user together may have {} \
                 (RLIMIT_MEMLOCK)",
                kib(limit.soft)
            ),
            _ => format!("the kernel has no memory for a ring, which takes {ring}"),
        }
    }

    pub(super) fn remedy(&self) -> &'static str {
        match self.limit {
            Some(limit) if limit.soft != u64::MAX => {
                "raise LimitMEMLOCK in the systemd unit, or `ulimit -l`, or the container runtime's \
                 memlock, to that for each worker of each process, or grant CAP_IPC_LOCK"
            }
            _ => "raise the memory limit",
        }
    }
}

fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortage_names_limit_and_remedy() {
        let limit = |soft| Some(Limit { soft, hard: soft });
        let shortage = UringShortage {
            ring: 84 * 1024,
            limit: limit(64 * 1024),
        };
        let text = shortage.to_string();
        for part in [
            "84 KiB",
            "64 KiB",
            "RLIMIT_MEMLOCK",
            "LimitMEMLOCK",
            "CAP_IPC_LOCK",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let shortage = UringShortage {
            limit: limit(u64::MAX),
            ..shortage
        };
        let text = shortage.to_string();
        assert!(
            !text.contains("MEMLOCK") && text.contains("memory limit"),
            "{text}"
        );
    }

    #[test]
    fn ring_in_use_takes_84_kib() {
        assert_eq!(UringConfig::default().locked_bytes(), 84 * 1024);
    }
}
