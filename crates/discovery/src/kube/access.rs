//! How the API of a cluster is reached: by the service account of a pod, or by a kubeconfig; and what is wrong when it is not.

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use std::{path::PathBuf, time::Duration};

/// A server that does not take a connection within this time is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the API is, and as whom it is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubeAccess {
    /// A kubeconfig; without one, and without a context, the service account of the pod.
    pub kubeconfig: Option<PathBuf>,
    /// A context of it; without one, the current one.
    pub context: Option<String>,
}

/// Why an API cannot be asked at all. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Neither a pod nor a kubeconfig.
    #[error(
        "--kubernetes without --kubeconfig is for a pod, and this is none: {0}\n  \
         hint: in a pod, mount its service account (automountServiceAccountToken: true); elsewhere, --kubeconfig FILE"
    )]
    NoPod(String),
    /// The kubeconfig cannot be read.
    #[error(
        "the kubeconfig {path} cannot be used: {why}\n  hint: `kubectl --kubeconfig {path} config view` shows what is in it"
    )]
    Kubeconfig {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// There is no such context in it.
    #[error("the kubeconfig {path} has no context {context:?}; it has {known}\n  hint: --context NAME")]
    Context {
        /// The file.
        path: String,
        /// What was asked for; empty if it names no current one.
        context: String,
        /// The ones that there are.
        known: String,
    },
    /// No client can be made of it, as with certificates that are none.
    #[error(
        "the API at {url} cannot be asked: {why}\n  hint: check the certificates and the credentials of the kubeconfig"
    )]
    Client {
        /// Where it is.
        url: String,
        /// Why.
        why: String,
    },
}

impl KubeAccess {
    /// A client for all that asks this API. Nothing is asked yet.
    ///
    /// # Errors
    /// If the kubeconfig or the service account cannot be used.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub async fn client(&self) -> Result<(Client, String), AccessError> {
        let mut config = match (&self.kubeconfig, &self.context) {
            (None, None) => Config::incluster().map_err(|error| AccessError::NoPod(error.to_string()))?,
            _ => self.by_kubeconfig().await?,
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // A watch is silent for long, and retries are ours to pace.
        config.read_timeout = None;
        config.default_retry = false;
        let url = config.cluster_url.to_string();
        let failed = |error: kube::Error| AccessError::Client { url: url.clone(), why: chain(&error) };
        let client = Client::try_from(config).map_err(failed)?;
        Ok((client, url))
    }

    async fn by_kubeconfig(&self) -> Result<Config, AccessError> {
        let (path, read) = match &self.kubeconfig {
            Some(path) => (path.display().to_string(), Kubeconfig::read_from(path)),
            None => ("$KUBECONFIG".to_owned(), Kubeconfig::read()),
        };
        let failed =
            |error: KubeconfigError| AccessError::Kubeconfig { path: path.clone(), why: chain(&error) };
        let kubeconfig = read.map_err(failed)?;
        let known: Vec<String> = kubeconfig.contexts.iter().map(|it| it.name.clone()).collect();
        let context = self.context.clone().or_else(|| kubeconfig.current_context.clone()).unwrap_or_default();
        if !known.contains(&context) {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(AccessError::Context { path, context, known });
        }
        let options = KubeConfigOptions { context: Some(context), ..KubeConfigOptions::default() };
        Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(failed)
    }
}

/// An error with all that is behind it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = error.source();
    }
    text
}
