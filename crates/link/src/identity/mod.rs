//! Who is who on the links of a fleet: names, keys, certificates, and whom to believe.
//!
//! Every party has a SPIFFE id, `spiffe://TRUST-DOMAIN/cluster/NAME/agent`, `.../gateway`, `spiffe://TRUST-DOMAIN/hub` or `.../person/NAME`, in a
//! short certificate of the fleet's own authority ([`Authority`]). Whom a party believes is a [`TrustBundle`]: one or more roots,
//! so that an authority can be replaced with overlap, and the serials that were revoked. An [`Identity`] holds both and can
//! be swapped while streams live: the TLS configurations made of it use what it holds when a connection begins.
//!
//! Nothing here reads a clock: TLS asks the `Clock` that it is given. Keys are never shown, and written with mode 0600.

mod authority;
mod bundle;
mod certificate;
mod files;
mod key;
mod live;
mod name;
mod pinned;
mod refusal;
mod revocation;
mod transport;
mod verify;

pub use authority::{Authority, AuthorityError, BACKDATED, Issued};
pub use bundle::{BundleError, MAX_REVOKED, MAX_ROOTS, Pin, TrustBundle};
pub use certificate::{CertificateFacts, Serial, Unreadable, to_pem};
pub use files::{write_public, write_secret};
pub use key::{KeyError, PrivateKey};
pub use live::{Clock, Credentials, Identity, SystemClock, TlsError};
pub use name::{IdentityError, Party, PersonName, SpiffeId, TrustDomain};
pub use pinned::{SeenHub, pinned_client};
pub use refusal::{Refusal, Refusals, Why};
pub use revocation::list_to_pem;
pub use rustls::ServerConfig as TlsServerConfig;
pub use rustls::pki_types::{CertificateDer, UnixTime};
pub use transport::{Accepted, DialError, PeerInfo, accept, connect, dial_pinned, refusal_in};
pub(crate) use transport::{Seen, connect_with, dial_tls};
pub use verify::Expect;
