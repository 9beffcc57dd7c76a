//! Policy from a Git repository, as a hub follows it: what is pushed, what is forced, what is broken, who signed.

use super::fixture::{CLUSTERS, Hub, LIMIT, config, policy};
use std::{fs, path::PathBuf, process::Command, time::Duration};
use tempfile::TempDir;
use tidegate_hub::PolicySource;
use tokio::time::timeout;

struct Repository {
    folder: TempDir,
}

impl Repository {
    fn new() -> Self {
        let repository = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir_all(repository.at("repository/policy")).unwrap();
        repository.git(&["init", "--quiet", "-b", "fleet"]);
        fs::write(repository.at("repository/policy/clusters.yaml"), CLUSTERS).unwrap();
        repository
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn git(&self, arguments: &[&str]) -> String {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "gpg.format=ssh"];
        let mut command = Command::new("git");
        let ran = command.args(identity).args(arguments).current_dir(self.at("repository")).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        String::from_utf8(ran.stdout).unwrap().trim().to_owned()
    }

    /// The commit.
    fn commit(&self, web: &str, more: &[&str]) -> String {
        fs::write(self.at("repository/policy/web.yaml"), web).unwrap();
        fs::write(self.at("repository/elsewhere.yaml"), "kind: [").unwrap();
        self.git(&["add", "-A"]);
        self.git(&[&["commit", "--quiet", "-m", "change"], more].concat());
        self.git(&["rev-parse", "HEAD"])
    }

    async fn hub(&self, signers: Option<PathBuf>) -> Hub {
        let mut config = config(self.folder.path());
        config.policies = PolicySource::Git {
            url: self.at("repository").to_str().unwrap().to_owned(),
            branch: "fleet".to_owned(),
            path: "policy".into(),
            // Only the webhook makes it look again.
            interval: Duration::from_secs(3600),
            signers,
        };
        Hub::start_as(config).await
    }
}

/// Asks the hub to look, until it shows this.
async fn reload(hub: &Hub, what: &str) -> String {
    assert!(hub.http("POST", "/api/v1/reload").contains("200 OK"));
    let shown = async {
        loop {
            let shown = hub.http("GET", "/api/v1/rollout");
            if shown.contains(what) {
                return shown;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let shown = timeout(LIMIT, shown).await;
    shown.unwrap_or_else(|_| panic!("no {what}: {}", hub.http("GET", "/api/v1/rollout")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_a_version_whether_pushed_forced_or_partly_broken() {
    let repository = Repository::new();
    let first = repository.commit(&policy("10s"), &[]);
    let hub = repository.hub(None).await;
    let shown = hub.http("GET", "/api/v1/rollout");
    assert!(shown.contains(&first) && shown.contains("\"problems\":[]"), "{shown}");
    let second = repository.commit(&policy("20s"), &[]);
    reload(&hub, &second).await;
    // A mistake keeps its object as it was, and the commit says nothing else: the version stays.
    repository.commit(&policy("20s").replace("holdDown", "holdDwon"), &[]);
    let shown = reload(&hub, "holdDwon").await;
    assert!(shown.contains(&second), "{shown}");
    // History is rewritten: what the branch is now counts.
    repository.git(&["reset", "--quiet", "--hard", &first]);
    let forced = repository.commit(&policy("40s"), &["--amend"]);
    let shown = reload(&hub, &forced).await;
    assert!(shown.contains("\"sequence\":3") && shown.contains("\"problems\":[]"), "{shown}");
    assert!(hub.http("GET", "/api/v1/audit").contains(&format!("commit {forced}")));
    // The branch is gone: what was read stays.
    repository.git(&["branch", "-m", "fleet", "other"]);
    let again = repository.commit(&policy("50s"), &[]);
    assert!(reload(&hub, "git fetch").await.contains(&forced));
    repository.git(&["branch", "-m", "other", "fleet"]);
    reload(&hub, &again).await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_nobody_of_the_list_signed_is_not_taken() {
    let repository = Repository::new();
    let key = |name: &str| {
        let path = repository.at(name);
        let mut command = Command::new("ssh-keygen");
        let ran = command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        path.to_str().unwrap().to_owned()
    };
    let (own, other) = (key("own"), key("other"));
    let public = fs::read_to_string(format!("{own}.pub")).unwrap();
    let signers = repository.at("signers");
    fs::write(&signers, format!("t@example.org {public}")).unwrap();
    let signed = |by: &str, hold_down: &str| repository.commit(&policy(hold_down), &[&format!("-S{by}")]);
    let first = signed(&own, "10s");
    let hub = repository.hub(Some(signers)).await;
    assert!(hub.http("GET", "/api/v1/rollout").contains(&first));
    let version = format!("\"version\":\"{first}\"");
    let bad = signed(&other, "20s");
    assert!(reload(&hub, &format!("commit {bad} is not believed")).await.contains(&version));
    let bad = repository.commit(&policy("30s"), &[]);
    assert!(reload(&hub, &format!("commit {bad} is not believed")).await.contains(&version));
    let good = signed(&own, "40s");
    let shown = reload(&hub, &good).await;
    assert!(shown.contains("\"problems\":[]"), "{shown}");
    hub.stop().await;
}
