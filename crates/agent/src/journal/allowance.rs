//! How much a journal may write in its time. Pure; times are passed in.
//!
//! A fleet in which a thousand slices change in a second would have tens of megabytes written in each: that is more work than to
//! decide, and all that is kept would be of the last seconds. What is used up is not allowed again before there is plenty: one long
//! gap that can be gone on after is worth more than many short ones.

use tidegate_model::Time;

/// Bytes that may be written.
#[derive(Debug)]
pub(super) struct Allowance {
    per_second: u64,
    most: u64,
    left: u64,
    at: Time,
    /// Whether it was used up and there is not plenty again.
    used_up: bool,
}

impl Allowance {
    /// So many bytes a second, and `most` at once.
    pub(super) const fn new(per_second: u64, most: u64) -> Self {
        Self { per_second, most, left: most, at: Time::ZERO, used_up: false }
    }

    /// Whether something may be written now.
    pub(super) fn allows(&mut self, now: Time) -> bool {
        let grown = now.since(self.at).as_secs_f64() * self.per_second as f64;
        // Less than a byte is kept for the next time.
        if grown >= 1.0 {
            self.left = self.left.saturating_add(grown as u64).min(self.most);
            self.at = now;
        }
        self.used_up &= self.left < self.most;
        !self.used_up
    }

    /// So many bytes were written.
    pub(super) const fn used(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(bytes);
        self.used_up |= self.left == 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_up_is_allowed_again_when_there_is_plenty() {
        let at = Time::from_millis;
        let mut allowance = Allowance::new(1_000, 5_000);
        assert!(allowance.allows(at(0)));
        allowance.used(4_999);
        assert!(allowance.allows(at(0)), "something is left");
        // A line is written whole.
        allowance.used(100);
        for ms in 0..5_000 {
            assert!(!allowance.allows(at(ms)), "{ms}");
        }
        assert!(allowance.allows(at(5_000)));
        // As much as it grows is allowed for ever.
        for second in 5..1_000 {
            assert!(allowance.allows(at(second * 1_000)));
            allowance.used(1_000);
        }
    }
}
