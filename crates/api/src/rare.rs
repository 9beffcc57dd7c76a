//! What is mostly the default: it takes room only where it is something else.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, ops::Deref};

/// What stands for a value of which nothing was said.
pub trait Blank: Default + PartialEq + 'static {
    /// The one default that all blank values share.
    fn blank() -> &'static Self;
}

/// A value that is mostly the default, of the size of a pointer. It reads, compares and is written like the value itself:
/// of ten thousand routes hardly any redirects or changes headers, and the room for both would be more than all else.
#[derive(Clone)]
pub struct Rare<T>(Option<Box<T>>);

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Blank> From<T> for Rare<T> {
    fn from(value: T) -> Self {
        Self((value != T::default()).then(|| Box::new(value)))
    }
}

impl<T: Blank> Deref for Rare<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or_else(|| T::blank())
    }
}

impl<T: PartialEq> PartialEq for Rare<T> {
    fn eq(&self, other: &Self) -> bool {
        // Of a default nothing is kept, so that both are blank or both are not.
        self.0 == other.0
    }
}

impl<T: Eq> Eq for Rare<T> {}

impl<T: Blank + fmt::Debug> fmt::Debug for Rare<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Blank + Serialize> Serialize for Rare<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de, T: Blank + Deserialize<'de>> Deserialize<'de> for Rare<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Filters, HeaderFilters};

    #[test]
    fn it_is_like_the_value_and_keeps_no_default() {
        let blank = Rare::from(Filters::default());
        assert!(blank.0.is_none());
        assert_eq!(blank, Rare::default());
        assert_eq!(*blank, Filters::default());
        let mut headers = HeaderFilters::default();
        headers.request.remove.push("x-a".to_owned());
        let changed = Rare::from(Filters { headers, ..Filters::default() });
        assert_ne!(changed, blank);
        assert_eq!(changed.headers.request.remove, ["x-a"]);
        for it in [blank, changed] {
            let text = serde_json::to_string(&it).unwrap();
            assert_eq!(text, serde_json::to_string(&*it).unwrap());
            assert_eq!(serde_json::from_str::<Rare<Filters>>(&text).unwrap(), it);
        }
    }
}
