//! Which of two hubs writes: the one of the higher epoch.
//!
//! Every policy is signed with the epoch of its hub, which a promotion counts up. A hub that meets a higher one, in what an agent
//! holds or in the folder of its copy, was superseded while it was away: it keeps that, ends, and does not start again.

use super::{
    Office,
    policy::{How, Published, Rolling},
};
use crate::{run::HubError, waves::Phase};
use std::path::Path;

/// The first policy of an epoch leaves out so many sequences: the hub before may have used them after its last copy. Where it used
/// more, [`Office::outdo`] goes beyond them.
const ROOM: u64 = 1000;

/// Another hub was promoted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "another hub was promoted (epoch {newer}, and this one is of epoch {own}), as {by} tells: this one must not write any more\n  hint: start it as the one that stands by: tidegate hub --standby-of DIR, with the folder that the other hub copies to"
)]
pub struct Superseded {
    /// The epoch of this hub.
    pub own: u64,
    /// The epoch of the other one.
    pub newer: u64,
    /// Who says so.
    pub by: String,
}

/// A state that was superseded is no hub's any more.
pub(super) fn refuse_superseded(own: u64, newer: u64, state: &Path) -> Result<(), Superseded> {
    let by = || format!("the state in {}", state.display());
    if newer > own { Err(Superseded { own, newer, by: by() }) } else { Ok(()) }
}

impl Office {
    /// Keeps that another hub was promoted, and ends this one.
    pub(crate) fn supersede(&self, newer: u64, by: &str) -> Result<Superseded, HubError> {
        let superseded = Superseded { own: self.epoch, newer, by: by.to_owned() };
        self.store.supersede(newer)?;
        self.superseded.send_if_modified(|known| {
            let news = known.is_none();
            known.get_or_insert_with(|| superseded.clone());
            news
        });
        Ok(superseded)
    }

    /// Comes back once another hub was promoted.
    pub(crate) async fn until_superseded(&self) -> Superseded {
        let mut superseded = self.superseded.subscribe();
        // The sender lives as long as `self`.
        let found = superseded.wait_for(Option::is_some).await.ok().and_then(|it| it.clone());
        match found {
            Some(found) => found,
            None => std::future::pending().await,
        }
    }

    /// A hub that was promoted says so to the fleet: its policy once more, signed with its epoch. A rollout that is on its way goes
    /// on from wave to wave.
    pub(crate) fn begin_epoch(&self) -> Result<(), HubError> {
        let mut rolling = self.rolling();
        let current = self.newest();
        if current.head.as_ref().is_some_and(|(head, _)| head.epoch < self.epoch) {
            self.again(&mut rolling, self.next_sequence(&current))?;
        }
        Ok(())
    }

    /// Sees to it that the newest policy has a higher sequence than this one of a former epoch.
    pub(super) fn outdo(&self, sequence: u64) -> Result<(), HubError> {
        let mut rolling = self.rolling();
        if sequence >= self.newest().sequence() {
            self.again(&mut rolling, sequence + 1)?;
        }
        Ok(())
    }

    /// The sequence of the next policy.
    pub(super) fn next_sequence(&self, current: &Published) -> u64 {
        let epoch = current.head.as_ref().map_or(self.epoch, |(head, _)| head.epoch);
        current.sequence() + if epoch < self.epoch { ROOM } else { 1 }
    }

    fn again(&self, rolling: &mut Rolling, sequence: u64) -> Result<(), HubError> {
        let current = self.newest();
        let version = current.head.as_ref().map(|(head, _)| head.version.clone());
        let done = rolling.rollout.as_ref().is_none_or(|it| it.phase == Phase::Done);
        let how = if done { How::AtOnce } else { How::Waves };
        self.publish(rolling, current.objects.clone(), version.as_deref(), sequence, how, "hub")
    }
}
