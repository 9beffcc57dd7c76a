//! What a listener makes of a connection: plain, passed on, or TLS that ends here.

use super::{SecretRef, TlsSpec};
use crate::{
    config::ListenerProtocol,
    fields::{Field, Fields, Issues},
    object::Meta,
    read,
};

/// What is spoken once TLS has ended, and how it ends where it does.
type Spoken = (ListenerProtocol, Option<TlsSpec>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Terminate,
    Passthrough,
}

pub(super) fn read_protocol(entry: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<Spoken> {
    let hint = "write HTTP, HTTPS, TCP or TLS";
    let Field { value, at } = entry.required_value("protocol", hint, issues, read::text)?;
    match value.as_str() {
        "HTTPS" => Some((ListenerProtocol::Http, Some(read_ended(entry, meta, issues)))),
        "TLS" => Some(read_tls(entry, meta, issues)),
        name => {
            entry.unsupported(&["tls"], issues);
            match name {
                "HTTP" => Some((ListenerProtocol::Http, None)),
                "TCP" => Some((ListenerProtocol::Tcp, None)),
                name => {
                    issues.error(at, format!("not supported yet: protocol {name:?} of a listener"), hint);
                    // Its name and port are known, so routes that name it are not told that it does not exist.
                    Some((ListenerProtocol::Http, None))
                }
            }
        }
    }
}

fn read_mode(tls: &mut Fields<'_>, issues: &mut Issues) -> Mode {
    const WORDS: &[(&str, Mode)] = &[("Terminate", Mode::Terminate), ("Passthrough", Mode::Passthrough)];
    tls.value("mode", issues, read::word(WORDS)).map_or(Mode::Terminate, |mode| mode.value)
}

/// Passed on by the server name, or ended and then passed on as bytes.
fn read_tls(entry: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Spoken {
    let mode = entry.map("tls", issues).map_or(Mode::Terminate, |mut tls| read_mode(&mut tls, issues));
    if mode == Mode::Terminate {
        return (ListenerProtocol::Tcp, Some(read_ended(entry, meta, issues)));
    }
    if let Some(mut tls) = entry.map("tls", issues) {
        tls.node("mode");
        tls.unsupported(&["certificateRefs", "options", "frontendValidation"], issues);
        tls.finish(issues);
    }
    (ListenerProtocol::Tls, None)
}

fn read_ended(entry: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> TlsSpec {
    let hint = "add `tls: {certificateRefs: [{name: SECRET}]}`, a Secret of type kubernetes.io/tls";
    let nothing = TlsSpec { certificate: None };
    let Some(mut tls) = entry.required_map("tls", hint, issues) else { return nothing };
    let mode_at = tls.key_at("mode");
    if read_mode(&mut tls, issues) == Mode::Passthrough {
        let message = "an HTTPS listener cannot pass TLS on";
        issues.error(mode_at, message, "write protocol: TLS, or mode: Terminate");
    }
    let at = tls.key_at("certificateRefs");
    let present = tls.required("certificateRefs", hint, issues).is_some();
    let mut refs = tls.maps("certificateRefs", issues).into_iter();
    let first = refs.next();
    if present && first.is_none() {
        issues.error(at, format!("{} is empty", tls.path_of("certificateRefs")), hint);
    }
    if let Some(second) = refs.next() {
        let message = "not supported yet: more than one certificate for a listener";
        issues.error(second.at, message, "add a listener on the same port for the other hostname");
    }
    let certificate = first.and_then(|fields| read_ref(fields, meta, issues));
    tls.unsupported(&["options", "frontendValidation"], issues);
    tls.finish(issues);
    TlsSpec { certificate }
}

fn read_ref(mut fields: Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<Field<SecretRef>> {
    let at = fields.at;
    let group = fields.value("group", issues, read::any_text);
    let kind = fields.value("kind", issues, read::text);
    let name = fields.required_value("name", "the name of the Secret", issues, read::object_name);
    let namespace = fields.value("namespace", issues, read::object_name);
    fields.finish(issues);
    if group.is_some_and(|group| !group.value.is_empty()) || kind.is_some_and(|kind| kind.value != "Secret") {
        issues.error(at, "not supported yet: a certificate that is in no Secret", "name a core Secret");
        return None;
    }
    let namespace = namespace.map_or_else(|| meta.namespace.clone(), |namespace| namespace.value);
    Some(Field { value: SecretRef { namespace, name: name?.value }, at })
}
