//! Shares by target: a small map that is never changed, so that plans, decisions and views share one.

use super::Target;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{collections::BTreeMap, fmt, ops::Index, sync::Arc};
use tidegate_model::Share;

/// Who gets which share, in the order of the targets. A clone is the same map, not a copy of it: most events leave most
/// plans as they are, and a lost region changes tens of thousands at once.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Shares(Arc<[(Target, Share)]>);

impl Shares {
    /// Of pairs that are in the order of their targets, each of which is named once.
    pub(crate) fn of_sorted(pairs: impl Iterator<Item = (Target, Share)>) -> Self {
        Self(pairs.collect())
    }

    /// How many targets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody gets anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The share of a target that is named.
    #[must_use]
    pub fn get(&self, target: &Target) -> Option<&Share> {
        self.0.iter().find(|(it, _)| it == target).map(|(_, share)| share)
    }

    /// Whether a target is named.
    #[must_use]
    pub fn contains_key(&self, target: &Target) -> bool {
        self.get(target).is_some()
    }

    /// The targets with their shares, in the order of the targets.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Target, &Share)> + Clone {
        self.0.iter().map(pair as fn(&(Target, Share)) -> (&Target, &Share))
    }

    /// The targets, in their order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Target> + Clone {
        self.0.iter().map(|(target, _)| target)
    }

    /// The shares, in the order of the targets.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Share> + Clone {
        self.0.iter().map(|(_, share)| share)
    }
}

fn pair((target, share): &(Target, Share)) -> (&Target, &Share) {
    (target, share)
}

impl FromIterator<(Target, Share)> for Shares {
    fn from_iter<I: IntoIterator<Item = (Target, Share)>>(pairs: I) -> Self {
        Self::of_sorted(pairs.into_iter().collect::<BTreeMap<_, _>>().into_iter())
    }
}

impl<'a> IntoIterator for &'a Shares {
    type Item = (&'a Target, &'a Share);
    type IntoIter =
        std::iter::Map<std::slice::Iter<'a, (Target, Share)>, fn(&'a (Target, Share)) -> Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(pair)
    }
}

impl Index<&Target> for Shares {
    type Output = Share;

    /// The share of a target; one that is not named has none.
    fn index(&self, target: &Target) -> &Share {
        self.get(target).unwrap_or(&Share::NONE)
    }
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Shares {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Shares {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_written_and_read_back_in_the_order_of_their_targets() {
        let share = |name: &str, parts| (name.parse().unwrap(), Share::new(parts).unwrap());
        let shares: Shares =
            [share("cluster west", 1), share("zone a", 2), share("zone a", 3)].into_iter().collect();
        let json = serde_json::to_string(&shares).unwrap();
        assert_eq!(json, r#"{"zone a":3,"cluster west":1}"#);
        assert_eq!(serde_json::from_str::<Shares>(&json).unwrap(), shares);
        assert_eq!(shares[&"zone b".parse().unwrap()], Share::NONE);
    }
}
