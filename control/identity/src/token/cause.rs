//! Which part of the matter failed where a credential is not accepted.

/// Which part of the matter failed, for metrics and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The credential as such, or what it says.
    Token,
    /// Its time is over.
    Expiry,
    /// Who signed it.
    Signature,
    /// For whom it is.
    Audience,
    /// Its time has not come: clocks disagree.
    Clock,
    /// Somebody who knows could not be asked.
    Network,
}

impl Cause {
    /// The word used in metrics and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Expiry => "expiry",
            Self::Signature => "signature",
            Self::Audience => "audience",
            Self::Clock => "clock",
            Self::Network => "network",
        }
    }
}
