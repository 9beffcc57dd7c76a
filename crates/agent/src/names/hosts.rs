//! Addresses of names that are the cluster's own affair, written as in `/etc/hosts`: where it reaches others by a way that other
//! clusters do not have, and no name server tells it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

/// A file of more bytes is none that somebody wrote.
const MAX_BYTES: u64 = 1 << 20;

/// Why a file of hosts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// It cannot be read.
    #[error("the hosts {path} cannot be read: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A line says no address of a name.
    #[error("{path}:{line}: {what}\n  hint: an address, then its names, as in /etc/hosts: 10.0.0.7 gateways.us-east.example", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
}

/// Names and their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hosts(BTreeMap<String, BTreeSet<IpAddr>>);

impl Hosts {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, is above 1 MiB, or a line is neither empty nor an address with names.
    pub(crate) fn read(path: &Path) -> Result<Self, HostsError> {
        let read = || {
            if fs::metadata(path)?.len() > MAX_BYTES {
                return Err(io::Error::other("it has more than 1 MiB"));
            }
            fs::read_to_string(path)
        };
        let text = read().map_err(|cause| HostsError::Read { path: path.to_owned(), cause })?;
        Self::parse(&text).map_err(|(line, what)| HostsError::Line { path: path.to_owned(), line, what })
    }

    /// Reads a text; of one that is wrong, the line, from 1, and what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut hosts: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
        for (line, text) in (1..).zip(text.lines()) {
            let said = text.split_once('#').map_or(text, |(before, _)| before);
            let mut words = said.split_whitespace();
            let Some(address) = words.next() else { continue };
            let address: IpAddr =
                address.parse().map_err(|_| (line, format!("{address:?} is no address")))?;
            let mut names = words.peekable();
            if names.peek().is_none() {
                return Err((line, format!("{address} has no name")));
            }
            for name in names {
                hosts.entry(name.to_ascii_lowercase()).or_default().insert(address);
            }
        }
        Ok(Self(hosts))
    }

    /// The addresses of a name, if it is written here.
    pub(crate) fn addresses(&self, name: &str) -> Option<&BTreeSet<IpAddr>> {
        self.0.get(&name.to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_addresses_of_all_their_lines() {
        let text = "# ours\n10.0.0.1 a.example A2.example\n\n10.0.0.2\ta.example # by the other line\n";
        let hosts = Hosts::parse(text).unwrap();
        let set = |of: &[&str]| of.iter().map(|it| it.parse().unwrap()).collect::<BTreeSet<IpAddr>>();
        assert_eq!(hosts.addresses("A.example"), Some(&set(&["10.0.0.1", "10.0.0.2"])));
        assert_eq!(hosts.addresses("a2.example"), Some(&set(&["10.0.0.1"])));
        assert_eq!(hosts.addresses("b.example"), None);
    }

    #[test]
    fn a_line_that_is_wrong_is_told_with_its_number() {
        let said = |text: &str| Hosts::parse(text).unwrap_err();
        assert_eq!(said("10.0.0.1 a\n10.0.0 b"), (2, "\"10.0.0\" is no address".to_owned()));
        assert_eq!(said("10.0.0.1 # a"), (1, "10.0.0.1 has no name".to_owned()));
        let told = Hosts::read(Path::new("/nowhere/hosts")).unwrap_err().to_string();
        assert!(told.starts_with("the hosts /nowhere/hosts cannot be read: "), "{told}");
    }
}
