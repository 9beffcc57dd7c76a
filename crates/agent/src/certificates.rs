//! What the time of day makes of certificates: it is not for the core, which knows no calendar.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};
use tidegate_api::Config;

/// What is wrong with certificates at this time, for people.
pub(crate) fn out_of_date(config: &Config, at: SystemTime) -> Vec<String> {
    let since_1970 = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    config.out_of_date(since_1970).iter().map(ToString::to_string).collect()
}

/// When each ends that gateways show to clients, in seconds since 1970.
pub(crate) fn ends(config: &Config) -> BTreeMap<String, u64> {
    config.certificates.iter().map(|(name, it)| (name.to_string(), it.not_after)).collect()
}

/// Says it in the log. Who asks for the status is told at any time.
pub(crate) fn warn_of_certificates(config: &Config, at: SystemTime) {
    for problem in out_of_date(config, at) {
        tracing::warn!("{problem}");
    }
}
