//! Gateway API `BackendTLSPolicy`: that the endpoints of a service are spoken to by TLS, and who they have to be.

use crate::{
    config::SubjectName,
    fields::{Field, Fields, Issues, Wrong},
    read,
    yaml::Node,
};

/// What a `BackendTLSPolicy` says.
#[derive(Debug, PartialEq)]
pub(crate) struct BackendTlsSpec {
    pub(crate) targets: Vec<Field<PortRef>>,
    pub(crate) trust: TrustSpec,
    /// The name that is asked for, and that the certificate bears unless `names` says otherwise.
    pub(crate) hostname: String,
    /// Names of which the certificate bears one.
    pub(crate) names: Vec<SubjectName>,
}

/// A service of the policy's namespace, or one port of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PortRef {
    pub(crate) service: String,
    pub(crate) port: Option<String>,
}

/// Whose certificates are believed.
#[derive(Debug, PartialEq)]
pub(crate) enum TrustSpec {
    /// Those that the machine believes.
    System,
    /// Those that are written in these objects.
    Authorities(Vec<Field<AuthorityRef>>),
}

/// A `ConfigMap`, or a `Secret`, of the policy's namespace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AuthorityRef {
    pub(crate) is_secret: bool,
    pub(crate) name: String,
}

/// Gateway API's limits.
const MAX_TARGETS: usize = 16;
const MAX_AUTHORITIES: usize = 8;
const MAX_NAMES: usize = 5;

const TARGETS: &str =
    "say whose endpoints speak TLS: `targetRefs: [{group: \"\", kind: Service, name: web}]`";
const TRUST: &str = "say whose certificates are believed: `caCertificateRefs: [{group: \"\", kind: ConfigMap, name: ca}]`, or \
                     `wellKnownCACertificates: System`";

pub(super) fn read(fields: &mut Fields<'_>, issues: &mut Issues) -> Option<BackendTlsSpec> {
    let mut spec = fields.required_map("spec", "add `spec:` with targetRefs and validation", issues)?;
    let targets = read_targets(&mut spec, issues);
    // Nothing is defined for all implementations, and ours has none.
    if spec.entries("options", issues, read::any_text).iter().any(|_| true) {
        issues.error(spec.key_at("options"), "not supported yet: spec.options", "remove the field");
    }
    let validation = spec.required_map("validation", TRUST, issues);
    let validated = validation.and_then(|validation| read_validation(validation, issues));
    spec.finish(issues);
    let (trust, hostname, names) = validated?;
    (!targets.is_empty()).then_some(BackendTlsSpec { targets, trust, hostname, names })
}

fn read_targets(spec: &mut Fields<'_>, issues: &mut Issues) -> Vec<Field<PortRef>> {
    let mut targets: Vec<Field<PortRef>> = Vec::new();
    if spec.required("targetRefs", TARGETS, issues).is_none() {
        return targets;
    }
    let at = spec.key_at("targetRefs");
    let errors = issues.list.len();
    for mut target in spec.maps_up_to(MAX_TARGETS, "targetRefs", issues) {
        let at = target.at;
        let group = target.value("group", issues, read::any_text);
        let kind = target.required_value("kind", "Service", issues, read::word(&[("Service", ())]));
        let service = target.required_value("name", "the name of the Service", issues, read::object_name);
        let port = target.value("sectionName", issues, read::text).map(|port| port.value);
        target.finish(issues);
        refuse_group(group, issues);
        let (Some(_), Some(service)) = (kind, service) else { continue };
        let value = PortRef { service: service.value, port };
        if targets.iter().any(|earlier| earlier.value == value) {
            issues.error(at, "the target is listed twice", "remove one");
        } else {
            targets.push(Field { value, at });
        }
    }
    if targets.is_empty() && issues.list.len() == errors {
        issues.error(at, "spec.targetRefs is empty", TARGETS);
    }
    targets
}

type Validated = (TrustSpec, String, Vec<SubjectName>);

fn read_validation(mut validation: Fields<'_>, issues: &mut Issues) -> Option<Validated> {
    let hint = "write the name that the endpoints' certificate bears: `hostname: web.example`";
    let hostname = validation.required_value("hostname", hint, issues, precise_hostname);
    let trust = read_trust(&mut validation, issues);
    let names = validation.maps_up_to(MAX_NAMES, "subjectAltNames", issues);
    let names: Vec<Option<SubjectName>> = names.into_iter().map(|name| read_name(name, issues)).collect();
    validation.finish(issues);
    Some((trust?, hostname?.value, names.into_iter().collect::<Option<_>>()?))
}

fn read_trust(validation: &mut Fields<'_>, issues: &mut Issues) -> Option<TrustSpec> {
    let system = validation.value("wellKnownCACertificates", issues, read::word(&[("System", ())]));
    let written = validation.maps_up_to(MAX_AUTHORITIES, "caCertificateRefs", issues);
    let any = !written.is_empty();
    let authorities: Vec<Option<Field<AuthorityRef>>> =
        written.into_iter().map(|authority| read_authority(authority, issues)).collect();
    match (system, any) {
        (Some(system), true) => {
            let message = "caCertificateRefs and wellKnownCACertificates exclude each other";
            issues.error(system.at, message, "remove one of them");
            None
        }
        (Some(_), false) => Some(TrustSpec::System),
        (None, true) => Some(TrustSpec::Authorities(authorities.into_iter().collect::<Option<_>>()?)),
        (None, false) if validation.node("wellKnownCACertificates").is_some() => None,
        (None, false) => {
            issues.error(validation.at, "spec.validation does not say whom to trust", TRUST);
            None
        }
    }
}

fn read_authority(mut authority: Fields<'_>, issues: &mut Issues) -> Option<Field<AuthorityRef>> {
    const KINDS: &[(&str, bool)] = &[("ConfigMap", false), ("Secret", true)];
    let at = authority.at;
    let group = authority.value("group", issues, read::any_text);
    let kind = authority.required_value("kind", "ConfigMap or Secret", issues, read::word(KINDS));
    let name = authority.required_value("name", "its name", issues, read::object_name);
    authority.finish(issues);
    refuse_group(group, issues);
    Some(Field { value: AuthorityRef { is_secret: kind?.value, name: name?.value }, at })
}

fn read_name(mut name: Fields<'_>, issues: &mut Issues) -> Option<SubjectName> {
    const TYPES: &[(&str, bool)] = &[("Hostname", false), ("URI", true)];
    let is_uri = name.required_value("type", "Hostname or URI", issues, read::word(TYPES))?.value;
    let (wanted, other) = if is_uri { ("uri", "hostname") } else { ("hostname", "uri") };
    let read: fn(&Node) -> Result<String, Wrong> = if is_uri { uri } else { read::hostname };
    let value = name.required_value(wanted, "the type asks for it", issues, read);
    if let Some(at) = name.stray(other) {
        let message = format!("{} belongs to the other type", name.path_of(other));
        issues.error(at, message, "remove it");
    }
    name.finish(issues);
    let value = value?.value;
    Some(if is_uri { SubjectName::Uri(value) } else { SubjectName::Host(value) })
}

fn refuse_group(group: Option<Field<String>>, issues: &mut Issues) {
    if let Some(group) = group.filter(|group| !["", "core"].contains(&group.value.as_str())) {
        issues.error(group.at, format!("the group {:?} is not supported", group.value), "write group: \"\"");
    }
}

/// What is asked for is one host: no wildcard.
fn precise_hostname(node: &Node) -> Result<String, Wrong> {
    let hostname = read::hostname(node)?;
    match hostname.starts_with('*') {
        true => Err(Wrong::new(
            "a host name without a wildcard",
            "write the name that is asked for; what else the certificate may bear is said by subjectAltNames",
        )),
        false => Ok(hostname),
    }
}

fn uri(node: &Node) -> Result<String, Wrong> {
    let written = read::text(node)?;
    let fits = |(scheme, rest): (&str, &str)| {
        !rest.is_empty() && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
    };
    if written.len() <= 253 && written.split_once("://").is_some_and(fits) {
        return Ok(written);
    }
    Err(Wrong::new("a URI with a scheme", "write for example spiffe://example/ns/shop/sa/web"))
}
