//! "Requesting Multiple Resources on a Single Stream": together, one by one, or on streams of their own.

use crate::client::{EDS, Sotw};
use crate::server::Server;

#[tokio::test]
async fn names_may_come_together_one_by_one_or_on_several_streams() {
    let server = Server::start(&[(EDS, "foo", "1"), (EDS, "bar", "2")]);
    let mut together = Sotw::connect(&server).await;
    together.subscribe(EDS, &["foo", "bar"]).await;
    together.take(EDS, "2 1").await;
    let mut grown = Sotw::connect(&server).await;
    grown.subscribe(EDS, &["foo"]).await;
    grown.take(EDS, "1").await;
    grown.subscribe(EDS, &["foo", "bar"]).await;
    grown.take(EDS, "2").await;
    for (name, body) in [("foo", "1"), ("bar", "2")] {
        let mut alone = Sotw::connect(&server).await;
        alone.subscribe(EDS, &[name]).await;
        alone.take(EDS, body).await;
    }
}
