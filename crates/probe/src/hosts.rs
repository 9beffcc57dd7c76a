//! How many checks an IP address has under way. Pure: no clock, no I/O.
//!
//! Many targets may share one address (ports of one node, services of one pod). When such a host hangs, all of its
//! checks would wait for their timeouts at once, and when it is slow, they would make it slower.

use crate::schedule::Ticket;
use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

/// So many checks of one IP address are under way at most. One that finds no room waits for another of the same address
/// to end. With the default timeout of 500 ms, a host that hangs is asked 32 times a second and no more.
pub const PER_HOST_LIMIT: u32 = 16;

/// The hosts that are being checked. One that is not takes no room.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    busy: HashMap<IpAddr, Host>,
}

#[derive(Debug, Default)]
struct Host {
    under_way: u32,
    /// Each ticket at most once: a target is in one place.
    waiting: VecDeque<Ticket>,
}

impl Hosts {
    /// Takes a place for a check; without room the ticket waits, and `false` comes back.
    pub(crate) fn enter(&mut self, ip: IpAddr, ticket: Ticket) -> bool {
        let host = self.busy.entry(ip).or_default();
        if host.under_way >= PER_HOST_LIMIT {
            host.waiting.push_back(ticket);
            return false;
        }
        host.under_way += 1;
        true
    }

    /// Gives a place back.
    pub(crate) fn leave(&mut self, ip: IpAddr) {
        if let Some(host) = self.busy.get_mut(&ip) {
            host.under_way = host.under_way.saturating_sub(1);
        }
    }

    /// The ticket that has waited longest for a place that was given back; it may try again.
    pub(crate) fn next_waiting(&mut self, ip: IpAddr) -> Option<Ticket> {
        let host = self.busy.get_mut(&ip)?;
        let next = host.waiting.pop_front();
        if host.under_way == 0 && next.is_none() {
            self.busy.remove(&ip);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn who_finds_no_room_waits_and_goes_on_in_order() {
        let mut hosts = Hosts::default();
        let other: IpAddr = [127, 0, 0, 2].into();
        assert!((0..u64::from(PER_HOST_LIMIT)).all(|ticket| hosts.enter(IP, ticket)));
        assert!(!hosts.enter(IP, 100));
        assert!(!hosts.enter(IP, 101));
        assert!(hosts.enter(other, 102), "another host has room");
        for ticket in [100, 101] {
            hosts.leave(IP);
            assert_eq!(hosts.next_waiting(IP), Some(ticket));
            assert!(hosts.enter(IP, ticket));
        }
        assert_eq!(hosts.next_waiting(IP), None);
    }

    #[test]
    fn a_host_without_checks_takes_no_room() {
        let mut hosts = Hosts::default();
        hosts.enter(IP, 1);
        hosts.leave(IP);
        assert_eq!(hosts.next_waiting(IP), None);
        assert!(hosts.busy.is_empty());
    }
}
