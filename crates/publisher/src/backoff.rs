//! How long to wait before trying again.

use std::time::Duration;

/// The wait before the `tries`th repetition, from 0: doubles from 50 ms up to `longest`.
pub fn backoff(tries: u32, longest: Duration) -> Duration {
    Duration::from_millis(50).saturating_mul(1 << tries.min(16)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_their_bound() {
        let longest = Duration::from_secs(4);
        assert_eq!(backoff(0, longest), Duration::from_millis(50));
        assert_eq!(backoff(1, longest), Duration::from_millis(100));
        assert_eq!(backoff(u32::MAX, longest), longest);
    }
}
