//! One answer with what is in it, on a connection of its own.

use super::{
    Target,
    target::Checked,
    wire::{Body, Opened, open},
};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Bytes;
use std::time::Duration;

/// The largest answer that is read.
const MAX_ANSWER: usize = 1 << 20;

/// Asks once, by HTTP/1.1.
///
/// # Errors
/// Why there is no whole answer in time.
pub(crate) async fn fetch(target: &Target, limit: Duration) -> Result<(StatusCode, Bytes), String> {
    let to = Checked::new(target).map_err(|error| error.to_string())?;
    let asked = async {
        let sender = open(&to, None).await.map_err(|error| error.to_string())?;
        let Opened::Http1(mut sender) = sender else {
            return Err("it does not speak HTTP/1.1".to_owned());
        };
        let mut request = Request::new(Body::default());
        *request.uri_mut() = to.uri.clone();
        for (name, value) in &to.headers {
            request.headers_mut().append(name.clone(), value.clone());
        }
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
    };
    tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}
