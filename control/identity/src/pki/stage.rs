//! How far the rotation of a CA is.

/// How far the rotation of a CA is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, derive_more::Display)]
#[display("{}", self.as_str())]
pub enum Stage {
    /// None is under way.
    Idle,
    /// Both CAs are trusted, the old one signs.
    TrustBoth,
    /// Both CAs are trusted, the new one signs, and has signed everything in the tree.
    Reissued,
    /// Only the new CA is trusted; the old one is kept, to go back.
    OldDropped,
}

impl Stage {
    pub(super) const NAMES: [(&'static str, Self); 3] = [
        ("trust-both", Self::TrustBoth),
        ("reissued", Self::Reissued),
        ("old-dropped", Self::OldDropped),
    ];

    /// The word in the tree and in messages.
    pub fn as_str(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, stage)| *stage == self);
        found.map_or("idle", |(name, _)| name)
    }
}
