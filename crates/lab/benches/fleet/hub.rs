//! The hub that is measured, with its policy: how it is started and asked.

use super::agents::cluster;
use anyhow::{Context as _, Result, bail};
use std::{
    ffi::OsString,
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tidegate_lab::{
    fetch,
    process::{Child, ChildSpec},
};

/// How long anything may take to come about.
const LIMIT: Duration = Duration::from_secs(180);

/// Starts it, for agents at `listen` and people at `admin`.
pub(crate) fn start(tidegate: &Path, files: &Path, listen: SocketAddr, admin: SocketAddr) -> Result<Child> {
    let mut args: Vec<OsString> = ["hub", "--exit-with-stdin"].map(Into::into).to_vec();
    args.extend(["--state-dir".into(), files.join("hub").into()]);
    args.extend(["--policies".into(), files.join("policies").into()]);
    args.extend(["--listen".into(), listen.to_string().into(), "--admin".into(), admin.to_string().into()]);
    let (name, log_dir) = ("hub".to_owned(), files.to_owned());
    Ok(Child::start(ChildSpec { name, program: tidegate.to_owned(), args, log_dir })?)
}

/// Until it answers.
pub(crate) async fn until_up(hub: &mut Child, admin: SocketAddr) -> Result<()> {
    let limit = Instant::now() + LIMIT;
    while fetch::get(admin, None, "/healthz", LIMIT).await.is_err() {
        hub.check()?;
        if Instant::now() > limit {
            bail!("the hub does not answer at {admin}; the end of its log:\n{}", hub.tail());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// A join token, by the admin address as `tidegate cluster join-token` asks for it.
pub(crate) async fn token(admin: SocketAddr, number: usize) -> Result<tidegate_link::hub::JoinToken> {
    use http_body_util::{BodyExt as _, Empty};
    let stream = tokio::net::TcpStream::connect(admin).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let path = format!("/api/v1/tokens?cluster={}&ttl_s=3600", cluster(number));
    let request = http::Request::post(path).header("host", "hub").body(Empty::<bytes::Bytes>::new())?;
    let answer = sender.send_request(request).await?.into_body().collect().await?.to_bytes();
    let answer: serde_json::Value = serde_json::from_slice(&answer)?;
    let token = answer["token"].as_str().with_context(|| format!("no token: {answer}"))?;
    Ok(token.parse()?)
}

pub(crate) fn team_file(files: &Path, team: usize) -> PathBuf {
    files.join("policies").join(format!("team-{team:04}.yaml"))
}

/// Policies of a team's services.
pub(crate) fn team_policies(team: usize, services: usize, hold_down_s: usize) -> Result<String> {
    let mut text = String::new();
    for service in 0..services {
        write!(
            text,
            "---\napiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {{name: service-{service}, namespace: team-{team:04}}}\n\
             spec:\n  targetRefs: [{{kind: Service, name: service-{service}}}]\n  failback: {{holdDown: {hold_down_s}s}}\n"
        )?;
    }
    Ok(text)
}

/// A file of clusters, and one for each team with the policies of its services.
pub(crate) fn write_policies(files: &Path, clusters: usize, teams: usize, services: usize) -> Result<()> {
    fs::create_dir_all(files.join("policies"))?;
    let mut text = String::new();
    for number in 0..clusters {
        let (name, region) = (cluster(number), number % 10);
        write!(
            text,
            "---\napiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {{name: {name}}}\nspec: {{region: region-{region}}}\n"
        )?;
    }
    for team in 0..teams {
        fs::write(team_file(files, team), team_policies(team, services, 10)?)?;
    }
    Ok(fs::write(files.join("policies/clusters.yaml"), text)?)
}
