//! Key exchange groups (RFC 8446 section 4.2.7): their names, which are Go's, and sets of them.

use rustls::NamedGroup;
use std::fmt;

/// A group that we can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, derive_more::Display)]
#[display("{}", self.as_str())]
pub enum Group {
    /// The post-quantum hybrid of ML-KEM-768 and X25519; TLS 1.3 alone.
    X25519MlKem768,
    /// X25519.
    X25519,
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
}

impl Group {
    /// What this build has, the preferred one first.
    pub const BUILT: &[Self] = &[
        #[cfg(feature = "aws-lc")]
        Self::X25519MlKem768,
        Self::X25519,
        Self::P256,
        Self::P384,
    ];

    /// The name, as Go's crypto/tls has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X25519MlKem768 => "X25519MLKEM768",
            Self::X25519 => "X25519",
            Self::P256 => "CurveP256",
            Self::P384 => "CurveP384",
        }
    }

    /// The number in TLS, which is what a kubelet's `tlsCurvePreferences` lists.
    pub fn number(self) -> u16 {
        self.named().into()
    }

    /// Whether this build has it.
    pub fn is_built(self) -> bool {
        Self::BUILT.contains(&self)
    }

    /// One of ours, if it is.
    pub fn of(named: NamedGroup) -> Option<Self> {
        [Self::X25519MlKem768, Self::X25519, Self::P256, Self::P384]
            .into_iter()
            .find(|group| group.named() == named)
    }

    fn named(self) -> NamedGroup {
        match self {
            Self::X25519MlKem768 => NamedGroup::X25519MLKEM768,
            Self::X25519 => NamedGroup::X25519,
            Self::P256 => NamedGroup::secp256r1,
            Self::P384 => NamedGroup::secp384r1,
        }
    }
}

/// Names that groups have in Go's crypto/tls and elsewhere, whether we have them or not.
const NAMES: [(&str, u16); 10] = [
    ("X25519MLKEM768", 4588),
    ("X25519", 29),
    ("CurveP256", 23),
    ("CurveP384", 24),
    ("CurveP521", 25),
    ("X448", 30),
    ("SecP256r1MLKEM768", 4587),
    ("SecP384r1MLKEM1024", 4589),
    ("ffdhe2048", 256),
    ("ffdhe3072", 257),
];

/// The name of any group; its number where it has none here.
pub fn group_name(named: NamedGroup) -> String {
    let number = u16::from(named);
    match NAMES.iter().find(|(_, other)| *other == number) {
        Some((name, _)) => (*name).to_owned(),
        None => number.to_string(),
    }
}

/// The group of a name or number; `None` if it is that of none.
pub fn group_named(text: &str) -> Option<NamedGroup> {
    let number = match NAMES.iter().find(|(name, _)| *name == text) {
        Some((_, number)) => Some(*number),
        None => text.parse().ok(),
    };
    let known = |number: &u16| NAMES.iter().any(|(_, other)| other == number);
    number.filter(known).map(NamedGroup::from)
}

/// Names a peer's groups, in its order, without those that stand for nothing (GREASE, RFC 8701).
pub(super) fn names(groups: &[NamedGroup]) -> String {
    let grease = |group: &NamedGroup| u16::from(*group) & 0x0f0f == 0x0a0a;
    let names = groups
        .iter()
        .filter(|group| !grease(group))
        .take(NAMES.len());
    let names: Vec<_> = names.map(|group| group_name(*group)).collect();
    names.join(", ")
}

/// The groups that a TLS listener or client allows; never none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Groups(u8);

impl Groups {
    /// These; `None` if there are none.
    pub fn only(groups: &[Group]) -> Option<Self> {
        let set = groups.iter().fold(0, |set, group| set | 1 << *group as u8);
        (set != 0).then_some(Self(set))
    }

    /// Whether a group is among them.
    pub fn contains(self, group: Group) -> bool {
        self.0 & 1 << group as u8 != 0
    }

    /// Those that this build has, the preferred one first.
    pub fn iter(self) -> impl Iterator<Item = Group> {
        let all = Group::BUILT.iter().copied();
        all.filter(move |group| self.contains(*group))
    }
}

/// All that this build has.
impl Default for Groups {
    fn default() -> Self {
        Self(
            Group::BUILT
                .iter()
                .fold(0, |set, group| set | 1 << *group as u8),
        )
    }
}

impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Group::as_str).collect();
        f.write_str(&names.join(", "))
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_those_of_go() {
        for (text, group) in [
            ("X25519MLKEM768", Group::X25519MlKem768),
            ("4588", Group::X25519MlKem768),
            ("X25519", Group::X25519),
            ("29", Group::X25519),
            ("CurveP256", Group::P256),
            ("23", Group::P256),
            ("CurveP384", Group::P384),
            ("24", Group::P384),
        ] {
            assert_eq!(group_named(text).and_then(Group::of), Some(group), "{text}");
        }
        for text in [
            "",
            "x25519",
            "P-256",
            "0",
            "-1",
            "4590",
            "70000",
            "CurveP256 ",
        ] {
            assert_eq!(group_named(text), None, "{text}");
        }
        // Known, and not ours.
        for text in ["CurveP521", "25", "SecP256r1MLKEM768"] {
            assert_eq!(group_named(text).and_then(Group::of), None, "{text}");
        }
        assert_eq!(group_name(NamedGroup::from(0x6399)), "25497");
    }

    #[test]
    fn names_of_a_peer_leave_out_what_stands_for_nothing() {
        let offered = [0x1a1a, 4588, 29, 25, 0x6399].map(NamedGroup::from);
        assert_eq!(names(&offered), "X25519MLKEM768, X25519, CurveP521, 25497");
    }

    #[test]
    fn set_keeps_the_order_of_preference_whatever_is_said_first() {
        let groups = Groups::only(&[Group::P256, Group::X25519]).unwrap();
        assert_eq!(groups.to_string(), "X25519, CurveP256");
        assert_eq!(Groups::only(&[]), None);
        let all: Vec<_> = Groups::default().iter().collect();
        assert_eq!(all, Group::BUILT);
    }
}
