//! What the allocator keeps of memory that was freed.

/// Gives freed memory back to the kernel (malloc_trim(3)).
///
/// By itself glibc gives back only what lies at the top of a heap, so that a few small objects keep all
/// that a crowd needed and left. It looks through every heap, each under its lock: 3 ms at most for
/// 512 MiB. Call it rarely. Does nothing with another C library.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim has no preconditions; glibc's allocator takes its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Resident memory of this process, in bytes.
    fn resident() -> usize {
        let pages = fs::read_to_string("/proc/self/statm").unwrap();
        let resident: usize = pages.split(' ').nth(1).unwrap().parse().unwrap();
        resident * 4096
    }

    #[test]
    fn give_back_returns_what_lies_below_an_object_that_stays() {
        const PIECE: usize = 4096;
        const PIECES: usize = 16 * 1024;
        let pieces: Vec<_> = (0..PIECES).map(|_| vec![1_u8; PIECE]).collect();
        let above = vec![1_u8; PIECE];
        let full = resident();
        drop(pieces);
        give_back();
        // Other tests run beside this one, with far less than half of it.
        assert!(resident() < full - PIECE * PIECES / 2);
        assert_eq!(above.len(), PIECE);
    }
}
