//! What a network device has lost, by the kernel's count.

use crate::{Attempt, Error, Result};

/// Packets that device `name` of this thread's namespace dropped, either way.
pub(super) fn of(name: &str) -> Result<u64> {
    const FILE: &str = "/proc/thread-self/net/dev";
    let text = std::fs::read_to_string(FILE).attempt(format!("read {FILE}"))?;
    dropped(&text, name)
        .ok_or_else(|| Error::Unfit(format!("{FILE} has no readable line of device {name}")))
}

/// Columns of the file: bytes, packets, errs, drop, five more; the same again for what was sent.
fn dropped(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| {
        let (device, rest) = line.split_once(':')?;
        (device.trim() == name).then_some(rest)
    })?;
    let columns: Vec<_> = line.split_whitespace().collect();
    let number = |at: usize| columns.get(at)?.parse::<u64>().ok();
    Some(number(3)? + number(11)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_columns_of_the_right_device_are_added() {
        let text = "Inter-| Receive | Transmit\n face |bytes ...\n\
                    \x20 tun1: 1 2 3 99 5 6 7 8 1 2 3 99 5 6 7 8\n\
                    \x20 tun0: 1 2 3 40 5 6 7 8 1 2 3 2 5 6 7 8\n";
        assert_eq!(dropped(text, "tun0"), Some(42));
        assert_eq!(dropped(text, "tun2"), None);
        assert_eq!(dropped("tun0: 1 2 3", "tun0"), None);
    }
}
