//! `tidegate access`: who may ask the hub from elsewhere.

use crate::{
    admin::{HubDoor, encoded},
    cluster::Options,
    hub::duration,
    table,
};
use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use std::{fs, path::PathBuf, process::ExitCode, time::SystemTime};
use tidegate_hub::{
    Role,
    view::{CertificateView, DoneView, GrantView, TokenView},
};
use tidegate_link::identity::{PersonName, PrivateKey, write_public, write_secret};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Give somebody a token for the hub's TLS door (`tidegate hub --admin-tls`). It is printed once, and names the hub's authority.
    Grant(Grant),
    /// Give somebody a certificate for it instead: NAME.crt and NAME.key, for --client-cert and --client-key. The key is made here.
    Certificate(Certificate),
    /// List who has a token or certificate.
    List(Options),
    /// Take it away.
    Revoke(Revoke),
}

#[derive(Debug, Parser)]
pub(crate) struct Grant {
    /// Whose it is, as the audit log will say.
    name: String,
    /// viewer: sees. operator: resumes, rolls back, reloads. admin: lets clusters in and out, gives tokens.
    #[arg(long, value_name = "ROLE")]
    role: Role,
    /// Limit it to a namespace; may be given several times. What concerns the whole fleet is then refused.
    #[arg(long = "namespace", value_name = "NAME")]
    namespaces: Vec<String>,
    /// How long it is good for; at most 8784h.
    #[arg(long, value_name = "DURATION", default_value = "720h")]
    ttl: String,
    #[command(flatten)]
    door: HubDoor,
}

#[derive(Debug, Parser)]
pub(crate) struct Certificate {
    #[command(flatten)]
    grant: Grant,
    /// The folder to write both files into.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

#[derive(Debug, Parser)]
pub(crate) struct Revoke {
    /// Whose.
    name: String,
    #[command(flatten)]
    door: HubDoor,
}

pub(crate) async fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Grant(args) => grant(args).await?,
        Command::Certificate(args) => certificate(args).await?,
        Command::List(options) => list(options).await?,
        Command::Revoke(args) => {
            let path = format!("/api/v1/access/{}/revoke", encoded(&args.name));
            let answer: DoneView = args.door.ask(&path).await?;
            say!("{}", answer.done);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What is asked for, as a part of an address.
fn query(args: &Grant) -> Result<String> {
    let ttl = duration("--ttl", &args.ttl)?.as_secs();
    let namespaces = match &args.namespaces[..] {
        [] => String::new(),
        some => format!("&namespaces={}", encoded(&some.join(","))),
    };
    let (name, role) = (encoded(&args.name), args.role);
    Ok(format!("name={name}&role={role}&ttl_s={ttl}{namespaces}"))
}

async fn grant(args: &Grant) -> Result<()> {
    let made: TokenView = args.door.ask(&format!("/api/v1/access?{}", query(args)?)).await?;
    say!("{}", made.token);
    Ok(())
}

async fn certificate(args: &Certificate) -> Result<()> {
    let name: PersonName = args.grant.name.parse()?;
    let key = PrivateKey::generate()?;
    let path = format!("/api/v1/access-certificates?{}", query(&args.grant)?);
    let (certificate_file, key_file) =
        (args.out.join(format!("{name}.crt")), args.out.join(format!("{name}.key")));
    let failed = |path: &PathBuf| format!("{} cannot be written", path.display());
    fs::create_dir_all(&args.out).with_context(|| failed(&args.out))?;
    let made: CertificateView = args.grant.door.send(&path, key.request()?).await?;
    write_secret(&key_file, key.to_pem().as_bytes()).with_context(|| failed(&key_file))?;
    write_public(&certificate_file, made.certificate.as_bytes())
        .with_context(|| failed(&certificate_file))?;
    let (certificate, key) = (certificate_file.display(), key_file.display());
    say!("{name} is {}: --client-cert {certificate} --client-key {key}", args.grant.role);
    Ok(())
}

async fn list(options: &Options) -> Result<()> {
    let grants: Vec<GrantView> = options.door.get("/api/v1/access").await?;
    if let Some(text) = options.output.document(&grants)? {
        say!("{}", text.trim_end());
        return Ok(());
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |it| it.as_secs());
    let mut table = table::new(&["NAME", "ROLE", "NAMESPACES", "BY", "HOURS LEFT"]);
    for it in &grants {
        let all = || "all".to_owned();
        let namespaces = it.namespaces.as_ref();
        let namespaces = namespaces.map_or_else(all, |it| it.iter().cloned().collect::<Vec<_>>().join(", "));
        let left = it.expires_at.saturating_sub(now) / 3600;
        let by = if it.by_certificate { "certificate" } else { "token" };
        table.add_row([it.name.clone(), it.role.to_string(), namespaces, by.to_owned(), left.to_string()]);
    }
    say!("{table}");
    Ok(())
}
