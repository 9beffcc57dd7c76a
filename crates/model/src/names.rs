//! Names of things. Each kind of name has a type of its own, so that a zone
//! cannot be passed where a cluster is meant.

use serde::{Deserialize, Serialize};
use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

/// A name that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty or longer than 253 bytes (the limit of a DNS name, which Kubernetes names obey).
    #[error("a {kind} must have 1 to 253 characters, this one has {length}")]
    Length {
        /// What the name was to be.
        kind: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// A character outside letters, digits, `-`, `_` and `.`.
    #[error("a {kind} may hold letters, digits, '-', '_' and '.', not {found:?}")]
    Character {
        /// What the name was to be.
        kind: &'static str,
        /// The first bad character.
        found: char,
    },
    /// Not of the form `NAMESPACE/NAME`.
    #[error("a {kind} is written NAMESPACE/NAME, not {found:?}")]
    Form {
        /// What the name was to be.
        kind: &'static str,
        /// What was written.
        found: String,
    },
}

fn check(kind: &'static str, text: &str) -> Result<(), NameError> {
    if text.is_empty() || text.len() > 253 {
        return Err(NameError::Length { kind, length: text.len() });
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))) {
        Some(found) => Err(NameError::Character { kind, found }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name, if it has 1 to 253 letters, digits, `-`, `_` or `.`.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check($kind, text)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(&text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// A cluster of the fleet: one Kubernetes cluster, or one folder of manifests.
    ClusterName,
    "cluster name"
);
name!(
    /// A region, the value of `topology.kubernetes.io/region`.
    Region,
    "region"
);
name!(
    /// A zone, the value of `topology.kubernetes.io/zone`.
    Zone,
    "zone"
);

/// Between the parts of a name with a namespace.
const BETWEEN: char = '\0';

macro_rules! namespaced {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        // Both parts in one text, with a byte between them that neither can hold and that comes before all others: so it
        // orders by namespace and then by name, and what there are a hundred thousand of is half as large.
        pub struct $type(Arc<str>);

        impl $type {
            /// From its two parts, each 1 to 253 letters, digits, `-`, `_` or `.`.
            pub fn new(namespace: &str, name: &str) -> Result<Self, NameError> {
                check("namespace", namespace)?;
                check($kind, name)?;
                Ok(Self(format!("{namespace}{BETWEEN}{name}").into()))
            }

            /// The namespace.
            #[must_use]
            pub fn namespace(&self) -> &str {
                self.parts().0
            }

            /// The name within the namespace.
            #[must_use]
            pub fn name(&self) -> &str {
                self.parts().1
            }

            fn parts(&self) -> (&str, &str) {
                self.0.split_once(BETWEEN).unwrap_or_default()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let (namespace, name) = self.parts();
                f.pad(&format!("{namespace}/{name}"))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "\"{self}\"")
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                match text.split_once('/') {
                    Some((namespace, name)) => Self::new(namespace, name),
                    None => Err(NameError::Form { kind: $kind, found: text.to_owned() }),
                }
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.to_string()
            }
        }
    };
}

namespaced!(
    /// A service: the same service wherever this name is exported. Written `NAMESPACE/NAME`.
    ServiceName,
    "service name"
);
namespaced!(
    /// A gateway of a cluster. Written `NAMESPACE/NAME`.
    GatewayName,
    "gateway name"
);

/// Where something is: a zone of a region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Locality {
    /// The region.
    pub region: Region,
    /// The zone. Zone names are taken to be unique only within their region.
    pub zone: Zone,
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.region, self.zone))
    }
}

/// A pool: the endpoints of one service in one zone of one cluster, the unit that traffic is steered to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PoolKey {
    /// The service.
    pub service: ServiceName,
    /// The cluster whose agent owns the pool.
    pub cluster: ClusterName,
    /// The zone of that cluster.
    pub zone: Zone,
}

impl fmt::Display for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}@{}/{}", self.service, self.cluster, self.zone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_name_says_what_is_wrong() {
        let found = |text: &str| text.parse::<ServiceName>().unwrap_err().to_string();
        assert_eq!(found("shop"), "a service name is written NAMESPACE/NAME, not \"shop\"");
        assert_eq!(found("shop/"), "a service name must have 1 to 253 characters, this one has 0");
        assert_eq!(found("shop/a b"), "a service name may hold letters, digits, '-', '_' and '.', not ' '");
        assert_eq!(found("shop/a/b"), "a service name may hold letters, digits, '-', '_' and '.', not '/'");
    }

    #[test]
    fn names_order_by_namespace_and_then_by_name() {
        let mut names: Vec<ServiceName> =
            ["a-b/a", "a/z", "a.b/a", "a/a-b", "a/a", "ab/a"].map(|it| it.parse().unwrap()).to_vec();
        names.sort();
        let parts: Vec<_> = names.iter().map(|it| (it.namespace(), it.name())).collect();
        assert!(parts.is_sorted(), "{parts:?}");
        assert_eq!(parts[0], ("a", "a"));
    }

    #[test]
    fn names_read_back_what_they_write() {
        let name: ServiceName = "shop/web".parse().unwrap();
        let json = serde_json::to_string(&name).unwrap();
        assert_eq!(json, "\"shop/web\"");
        assert_eq!(serde_json::from_str::<ServiceName>(&json).unwrap(), name);
        assert!(serde_json::from_str::<Zone>("\"a/b\"").is_err());
    }
}
