//! The key that a real API server signs service accounts' tokens with.

use crate::{Error, io_error};
use std::{fs, io, path::Path};

pub(crate) fn write(path: &Path) -> Result<(), Error> {
    let pair = rcgen::KeyPair::generate().map_err(io::Error::other);
    let written = pair.and_then(|pair| fs::write(path, pair.serialize_pem()));
    written.map_err(io_error("a key for service accounts"))
}
