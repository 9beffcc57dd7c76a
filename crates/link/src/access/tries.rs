//! How often somebody may show a token that nobody knows. Pure; times are passed in.
//!
//! A secret of 256 bits is not found by trying, whatever the rate. The limit keeps a script with an old token, or a scanner, from
//! costing more than a look into a table, and makes it seen. It counts by where requests come from, and whoever showed a good token here
//! before is not kept waiting by a neighbour behind the same address: such a token is no guess.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

/// So many wrong tokens come from one address at once: somebody who copies a wrong line a few times is not kept waiting.
const AT_ONCE: u32 = 10;
/// After that, one in so long.
const EACH: Duration = Duration::from_secs(6);
/// So many addresses are told apart; the one that is soonest forgiven is forgotten first.
const ADDRESSES: usize = 4096;
/// So many good tokens are remembered; twice as many as there can be, because some end while others are given.
const GOOD: usize = 2 * super::MAX_GRANTS;
/// That an address is limited is told to whoever keeps a record of it so often, whichever it is.
const TELL: Duration = Duration::from_secs(60);

/// What was tried at a door.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// By address: when all that came from it is forgiven.
    forgiven: BTreeMap<IpAddr, Instant>,
    /// Hashes of secrets that were good.
    good: BTreeSet<String>,
    told: Option<Instant>,
}

/// Whom a limit is for: a host of IPv6 has a whole network of 64 bits to come from.
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(it) => {
            let [a, b, c, d, ..] = it.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        it => it,
    }
}

impl Tries {
    /// Whether a token with this hash may be looked for now.
    ///
    /// # Errors
    /// For how long not.
    pub(super) fn may(&self, from: IpAddr, hash: &str, now: Instant) -> Result<(), Duration> {
        if self.good.contains(hash) {
            return Ok(());
        }
        let Some(forgiven) = self.forgiven.get(&whose(from)) else { return Ok(()) };
        let room = EACH * (AT_ONCE - 1);
        match forgiven.saturating_duration_since(now).checked_sub(room) {
            None | Some(Duration::ZERO) => Ok(()),
            Some(wait) => Err(wait),
        }
    }

    /// It was good.
    pub(super) fn good(&mut self, hash: String) {
        if self.good.len() >= GOOD && !self.good.contains(&hash) {
            // Whoever uses one of them is remembered again at once, unless their address is limited just then.
            self.good.clear();
        }
        self.good.insert(hash);
    }

    /// It was wrong; if it was good before, it was revoked.
    pub(super) fn wrong(&mut self, from: IpAddr, hash: &str, now: Instant) {
        self.good.remove(hash);
        let whose = whose(from);
        if self.forgiven.len() >= ADDRESSES && !self.forgiven.contains_key(&whose) {
            self.forgiven.retain(|_, at| *at > now);
            let soonest = self.forgiven.iter().min_by_key(|(_, at)| **at).map(|(address, _)| *address);
            if self.forgiven.len() >= ADDRESSES
                && let Some(soonest) = soonest
            {
                self.forgiven.remove(&soonest);
            }
        }
        let forgiven = self.forgiven.entry(whose).or_insert(now);
        *forgiven = (*forgiven).max(now) + EACH;
    }

    /// Whether it is time to tell of an address that is limited.
    pub(super) fn tells(&mut self, now: Instant) -> bool {
        let is_time = self.told.is_none_or(|at| now.saturating_duration_since(at) >= TELL);
        if is_time {
            self.told = Some(now);
        }
        is_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn some_wrong_tokens_are_a_mistake_and_more_of_them_wait() {
        let (mut tries, now) = (Tries::default(), Instant::now());
        for _ in 0..AT_ONCE {
            assert_eq!(tries.may(address(1), "x", now), Ok(()));
            tries.wrong(address(1), "x", now);
        }
        assert_eq!(tries.may(address(1), "x", now), Err(EACH));
        assert_eq!(tries.may(address(2), "x", now), Ok(()), "another address");
        tries.good("mine".to_owned());
        assert_eq!(tries.may(address(1), "mine", now), Ok(()), "it was good before");
        assert_eq!(tries.may(address(1), "x", now + EACH), Ok(()));
        tries.wrong(address(1), "mine", now + EACH);
        assert!(tries.may(address(1), "mine", now + EACH).is_err(), "it was revoked");
        assert!(tries.may(address(1), "x", now + EACH).is_err(), "one in {EACH:?}");
        assert_eq!(tries.may(address(1), "x", now + EACH * (AT_ONCE + 1)), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_a_mapped_one_is_of_ipv4() {
        let (mut tries, now) = (Tries::default(), Instant::now());
        for host in 0..AT_ONCE {
            tries.wrong(format!("2001:db8:0:1::{host:x}").parse().unwrap(), "x", now);
            tries.wrong("::ffff:192.0.2.1".parse().unwrap(), "x", now);
        }
        assert!(tries.may("2001:db8:0:1:ffff::1".parse().unwrap(), "x", now).is_err());
        assert_eq!(tries.may("2001:db8:0:2::1".parse().unwrap(), "x", now), Ok(()));
        assert!(tries.may("192.0.2.1".parse().unwrap(), "x", now).is_err());
    }

    #[test]
    fn whoever_has_many_addresses_fills_no_memory_and_does_not_free_the_worst() {
        let (mut tries, now) = (Tries::default(), Instant::now());
        for _ in 0..AT_ONCE {
            tries.wrong(address(1), "x", now);
        }
        for number in 2..3 * u32::try_from(ADDRESSES).unwrap() {
            tries.wrong(address(number), "x", now);
        }
        assert!(tries.forgiven.len() <= ADDRESSES);
        assert!(tries.may(address(1), "x", now).is_err());
        for number in 0..3 * GOOD {
            tries.good(number.to_string());
        }
        assert!(tries.good.len() <= GOOD);
    }

    #[test]
    fn that_somebody_is_limited_is_told_now_and_then() {
        let (mut tries, now) = (Tries::default(), Instant::now());
        assert!(tries.tells(now) && !tries.tells(now) && tries.tells(now + TELL));
    }
}
