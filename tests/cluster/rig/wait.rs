//! Waiting for what must happen: by watches, with a deadline that says what did not come and what was there.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

/// For everything that must happen. Generous: machines of tests are busy.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Looks again and again until there is a value; `Err` says what was seen instead.
pub async fn wait_until<T, F, Fut>(deadline: Duration, what: &str, mut look: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let end = Instant::now() + deadline;
    let mut seen = "nothing yet".to_owned();
    loop {
        match tokio::time::timeout_at(end.into(), look()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(other)) => seen = other,
            Err(_) => panic!("after {deadline:?} still no {what}; last seen: {seen}"),
        }
        assert!(Instant::now() < end, "after {deadline:?} still no {what}; last seen: {seen}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Watches one object until it is as wanted, and returns it.
pub async fn wait_for<K>(api: &Api<K>, name: &str, what: &str, wanted: impl Fn(&K) -> bool) -> K
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watch(api, name, what, |object| object.filter(|o| wanted(o))).await
}

/// Watches one object until it is really gone.
pub async fn wait_gone<K>(api: &Api<K>, name: &str)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watch(api, name, "end of it", |object| object.is_none().then_some(())).await;
}

async fn watch<K, T>(api: &Api<K>, name: &str, what: &str, wanted: impl Fn(Option<K>) -> Option<T>) -> T
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut seen = "nothing yet".to_owned();
    let search = async {
        let mut states = std::pin::pin!(watcher::watch_object(api.clone(), name).default_backoff());
        loop {
            match states.try_next().await {
                Ok(Some(state)) => {
                    seen = format!("{state:#?}");
                    if let Some(found) = wanted(state) {
                        return found;
                    }
                }
                Ok(None) => unreachable!("watches go on forever"),
                Err(error) => seen = format!("the watch failed: {error}"),
            }
        }
    };
    match tokio::time::timeout(DEADLINE, search).await {
        Ok(found) => found,
        Err(_) => panic!("{name}: after {DEADLINE:?} still no {what}; last seen: {seen}"),
    }
}
