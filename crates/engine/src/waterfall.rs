//! The waterfall: the demand of a whole fleet for one service, poured over the budgets of its pools.
//!
//! Every source first offers to its nearest tier; a pool accepts up to its budget, shared in proportion to the
//! offers; what is refused is offered to the tier's other pools, and what the whole tier refuses goes to the next
//! one. All sources go down their tiers in step, so that those who are near are served before those who come from
//! far. The passes are those of DESIGN section 4.
//!
//! Pouring alone is greedy: who has a choice may fill what another one needs. So each pass ends with `reroute`, by
//! which as much is served as the pass allows to any distribution, and more health never serves less.
//!
//! Whole numbers only: amounts are millionths of a request per second, or of a request in progress. Nothing is lost
//! by rounding: what a division leaves over is given out unit by unit, to the first in order. So the caller gives
//! streams and pools in an order of their own (by name), and the order in which things were heard decides nothing.
//!
//! Who the sources and pools are, and what follows for a plan, is the business of `declared`.

mod offer;
mod reroute;
#[cfg(test)]
mod tests;

use crate::{capacity::MOST, policy::WhenExhausted};
use offer::divide;
pub use reroute::Move;
use reroute::reroute;

/// What one source wants, and its way down the tiers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// Its demand.
    pub demand: u64,
    /// Whether it is one of the own cluster's, to which the gates apply.
    pub own: bool,
    /// The pools that it reaches, by index, tier by tier.
    pub tiers: Vec<Vec<usize>>,
    /// By what it divides its offers over the pools of a tier that have room, as long as the tier; else by their room.
    pub weights: Vec<Vec<OfferWeight>>,
}

/// The weight of a pool in the offers of a stream, which are never more than its room. Where no open pool of a tier has
/// any, room decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfferWeight {
    /// While pools serve within their admit.
    pub within: u64,
    /// While they serve beyond it; not less than within.
    pub beyond: u64,
}

/// What one pool takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolBudget {
    /// What it takes within its admit.
    pub within: u64,
    /// What its healthy endpoints take at the target utilisation, whatever is admitted; zero when none is healthy.
    pub ceiling: u64,
    /// What others, who are no streams, take of it already.
    pub taken: u64,
    /// What the own cluster's streams together may take within its admit, while our way to it ramps; `u64::MAX` else.
    pub gate: u64,
    /// How it stands.
    pub standing: Standing,
    /// Whether its cluster is heard. Else nobody knows what room there is, and no stream is counted on to move on to
    /// it for another's sake.
    pub heard: bool,
}

/// How a pool stands, as far as the passes differ by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Neither of the others.
    Settled,
    /// Whole again and merely waiting or climbing: the first to serve beyond its admit.
    Returning,
    /// Traffic was moved away from it on purpose.
    Shifted,
}

/// By which pass a pool was given something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pass {
    /// Within its admit and its budget.
    WithinAdmit,
    /// Beyond its admit, within what its healthy endpoints take.
    BeyondAdmit,
    /// The same, though traffic was moved away from it.
    Shifted,
    /// Beyond what its healthy endpoints are declared to take.
    BeyondBudget,
}

/// What became of the demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spending {
    /// Pool by pool, what each stream gets of it.
    amounts: Vec<u64>,
    /// The last pass by which it got it.
    passes: Vec<Option<Pass>>,
    streams: usize,
    /// Per pool, what all streams and those who are none get of it.
    pub loads: Vec<u64>,
    /// Per stream, what nobody takes.
    pub left: Vec<u64>,
    /// Who was moved on for whom, by stream, pool left and pool taken.
    pub moves: Vec<Move>,
}

impl Spending {
    /// What the stream gets of the pool, and by which pass last.
    #[must_use]
    pub fn amount(&self, stream: usize, pool: usize) -> (u64, Option<Pass>) {
        let at = pool * self.streams + stream;
        (self.amounts[at], self.passes[at])
    }
}

/// Pours the demand over the pools. What no budget takes is spread over the healthy pools that a stream reaches, in
/// proportion to what they take, or left (to be shed). A stream that reaches no healthy pool is left with everything.
/// A pool that is not there takes nothing; an amount above a billion requests (per second) is taken as that.
#[must_use]
pub fn spend(streams: &[Stream], pools: &[PoolBudget], exhausted: WhenExhausted) -> Spending {
    let mut pouring = Pouring::new(streams, pools);
    let shifted = |it: &PoolBudget| it.standing == Standing::Shifted;
    let gates = pools.iter().map(|it| it.gate).collect();
    pouring.pass(Pass::WithinAdmit, &|it| if shifted(it) { 0 } else { it.within }, gates);
    // Those that come back first, then whatever else is healthy, then those that somebody moved traffic away from.
    let returns = |it: &PoolBudget| it.standing == Standing::Returning || it.gate < u64::MAX;
    type Takes<'a> = &'a dyn Fn(&PoolBudget) -> bool;
    let beyond: [(Pass, Takes<'_>); 3] = [
        (Pass::BeyondAdmit, &|it| returns(it) && !shifted(it)),
        (Pass::BeyondAdmit, &|it| !shifted(it)),
        (Pass::Shifted, &shifted),
    ];
    for (pass, takes) in beyond {
        if pouring.is_done() {
            break;
        }
        let ceiling = |it: &PoolBudget| if takes(it) { it.ceiling } else { 0 };
        pouring.pass(pass, &ceiling, vec![u64::MAX; pools.len()]);
    }
    if exhausted == WhenExhausted::Spread && !pouring.is_done() {
        pouring.spread();
    }
    pouring.spending
}

/// What a pool is offered in a round.
#[derive(Clone, Copy, Debug, Default)]
struct Offered {
    all: u64,
    own: u64,
}

/// Place by place of a tier: the room there, its weight (nothing at all if room decides), and what it is offered.
#[derive(Default)]
struct Tier {
    open: Vec<u64>,
    weights: Vec<u64>,
    parts: Vec<u64>,
}

struct Pouring<'a> {
    streams: &'a [Stream],
    pools: &'a [PoolBudget],
    /// The tiers of the stream that has most.
    depth: usize,
    /// Pool by pool, what each stream offers in this round; all zero between rounds.
    offers: Vec<u64>,
    offered: Vec<Offered>,
    /// The tier of the stream that offers.
    tier: Tier,
    /// Whether pools serve beyond their admit in this pass.
    beyond: bool,
    spending: Spending,
}

impl<'a> Pouring<'a> {
    fn new(streams: &'a [Stream], pools: &'a [PoolBudget]) -> Self {
        let cells = streams.len() * pools.len();
        Self {
            streams,
            pools,
            depth: streams.iter().map(|it| it.tiers.len()).max().unwrap_or(0),
            offers: vec![0; cells],
            offered: vec![Offered::default(); pools.len()],
            tier: Tier::default(),
            beyond: false,
            spending: Spending {
                amounts: vec![0; cells],
                passes: vec![None; cells],
                streams: streams.len(),
                loads: pools.iter().map(|it| it.taken.min(MOST)).collect(),
                left: streams.iter().map(|it| it.demand.min(MOST)).collect(),
                moves: Vec::new(),
            },
        }
    }

    fn is_done(&self) -> bool {
        self.spending.left.iter().all(|left| *left == 0)
    }

    /// All streams go down their tiers in step; then those that have a choice move on, while that helps others.
    /// `limit` is what each pool takes by the end of this pass.
    fn pass(&mut self, pass: Pass, limit: &dyn Fn(&PoolBudget) -> u64, mut gates: Vec<u64>) {
        let rooms = self.pools.iter().zip(&self.spending.loads);
        let mut room: Vec<u64> = rooms.map(|(it, load)| limit(it).min(MOST).saturating_sub(*load)).collect();
        self.pour(pass, &mut room, &mut gates);
        if !self.is_done() {
            reroute(self.streams, self.pools, &mut self.spending, pass, &mut room, &mut gates);
        }
    }

    fn pour(&mut self, pass: Pass, room: &mut [u64], gates: &mut [u64]) {
        self.beyond = pass != Pass::WithinAdmit;
        for tier in 0..self.depth {
            // Each round that refuses something has filled a pool or a gate, so there are at most two per pool.
            while self.offer(tier, room, gates) && self.accept(pass, room, gates) {}
        }
    }

    /// Every stream divides what it has left over its tier. Whether any had room.
    fn offer(&mut self, tier: usize, room: &[u64], gates: &[u64]) -> bool {
        let (count, beyond) = (self.streams.len(), self.beyond);
        let mut any = false;
        for (at, stream) in self.streams.iter().enumerate() {
            let left = self.spending.left[at];
            let Some(pools) = stream.tiers.get(tier).filter(|_| left > 0) else { continue };
            let open = |pool: &usize| match room.get(*pool) {
                Some(room) if stream.own => *room.min(&gates[*pool]),
                Some(room) => *room,
                None => 0,
            };
            self.tier.open.clear();
            self.tier.open.extend(pools.iter().map(open));
            if self.tier.open.iter().all(|open| *open == 0) {
                continue;
            }
            any = true;
            let weight = |it: &OfferWeight| if beyond { it.beyond } else { it.within };
            let weights = stream.weights.get(tier).filter(|it| it.len() == pools.len());
            self.tier.weights.clear();
            self.tier.weights.extend(weights.into_iter().flatten().map(weight));
            self.tier.parts.clear();
            self.tier.parts.resize(pools.len(), 0);
            divide(left, &self.tier.open, &self.tier.weights, &mut self.tier.parts);
            for (pool, part) in pools.iter().zip(&self.tier.parts).filter(|(_, part)| **part > 0) {
                self.offers[pool * count + at] += part;
                self.offered[*pool].all += part;
                self.offered[*pool].own += if stream.own { *part } else { 0 };
            }
        }
        any
    }

    /// Every pool takes what it has room for, in proportion to the offers. Whether anything was refused.
    fn accept(&mut self, pass: Pass, room: &mut [u64], gates: &mut [u64]) -> bool {
        let (streams, count) = (self.streams, self.streams.len());
        let mut refused = false;
        for (pool, offered) in self.offered.iter_mut().enumerate().filter(|(_, it)| it.all > 0) {
            let Offered { mut all, own } = std::mem::take(offered);
            let cells = pool * count..(pool + 1) * count;
            let offers = &mut self.offers[cells.clone()];
            if own > gates[pool] {
                let ours = offers.iter_mut().zip(streams).filter(|(_, stream)| stream.own);
                scale_down(ours.map(|(offer, _)| offer), own, gates[pool]);
                all -= own - gates[pool];
                refused = true;
            }
            if all > room[pool] {
                scale_down(offers.iter_mut(), all, room[pool]);
                refused = true;
            }
            let given = self.spending.amounts[cells.clone()].iter_mut();
            let given = given.zip(&mut self.spending.passes[cells]).zip(&mut self.spending.left);
            for ((offer, stream), ((amount, by), left)) in offers.iter_mut().zip(streams).zip(given) {
                let part = std::mem::take(offer);
                if part == 0 {
                    continue;
                }
                *amount += part;
                *by = Some(pass);
                *left -= part;
                room[pool] -= part;
                self.spending.loads[pool] += part;
                if stream.own && gates[pool] < u64::MAX {
                    gates[pool] -= part;
                }
            }
        }
        refused
    }

    /// What no budget takes is spread over the healthy pools, in proportion to what they take; those that traffic was
    /// moved away from only when there is no other.
    fn spread(&mut self) {
        let (pools, count) = (self.pools, self.streams.len());
        for (at, stream) in self.streams.iter().enumerate() {
            for shifted in [false, true] {
                let left = self.spending.left[at];
                let weight = |pool: usize| {
                    let it = pools.get(pool).filter(|it| (it.standing == Standing::Shifted) == shifted);
                    it.map_or(0, |it| it.ceiling.min(MOST))
                };
                let all = || stream.tiers.iter().flatten().copied().filter(|pool| weight(*pool) > 0);
                let total = all().map(weight).fold(0, u64::saturating_add);
                let Some(first) = all().next().filter(|_| left > 0) else { continue };
                let mut rest = left;
                let mut give = |pool: usize, part: u64| {
                    if part > 0 {
                        let cell = pool * count + at;
                        self.spending.amounts[cell] += part;
                        self.spending.passes[cell] = Some(Pass::BeyondBudget);
                        self.spending.loads[pool] += part;
                    }
                };
                for pool in all() {
                    let part = part_of(left, weight(pool), total);
                    rest -= part;
                    give(pool, part);
                }
                give(first, rest);
                self.spending.left[at] = 0;
            }
        }
    }
}

/// Scales amounts that sum to `from` so that they sum to `to`, which is less. What rounding leaves goes to the first,
/// one unit each.
fn scale_down<'a>(amounts: impl Iterator<Item = &'a mut u64>, from: u64, to: u64) {
    let mut rest = to;
    let mut cut: Vec<&mut u64> = Vec::new();
    for amount in amounts.filter(|amount| **amount > 0) {
        let part = part_of(*amount, to, from);
        rest -= part;
        let exact = part == *amount;
        *amount = part;
        if !exact {
            cut.push(amount);
        }
    }
    for amount in cut {
        if rest == 0 {
            break;
        }
        *amount += 1;
        rest -= 1;
    }
}

/// `amount * part / whole`, rounded down and at most `amount`; nothing of nothing.
pub(crate) fn part_of(amount: u64, part: u64, whole: u64) -> u64 {
    if part >= whole {
        return if whole == 0 { 0 } else { amount };
    }
    // Nearly always it fits, and dividing 64 bits is several times faster.
    match amount.checked_mul(part) {
        Some(product) => product / whole,
        None => u64::try_from(u128::from(amount) * u128::from(part) / u128::from(whole)).unwrap_or(amount),
    }
}
