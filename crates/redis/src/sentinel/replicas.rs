//! The replicas of a service, with a connection to each that is read from.
//!
//! Until somebody wants to read from one, the sentinels are not asked for them. A replica that they do not call sound any more is
//! left at once; calls that are under way on its connection end as they would have.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::cluster::{Open, Place, ReadFrom, pick_replica};

/// See the module.
pub(super) struct Replicas {
    open: Open,
    are_wanted: AtomicBool,
    /// They are wanted from now on.
    wish: Notify,
    /// Those that can be read from.
    sound: ArcSwap<Vec<Arc<Place>>>,
}

impl Replicas {
    pub fn new(open: Open) -> Self {
        Self {
            open,
            are_wanted: AtomicBool::new(false),
            wish: Notify::new(),
            sound: ArcSwap::from_pointee(Vec::new()),
        }
    }

    /// The one to read from; `None` if that is the primary.
    pub fn pick(&self, read_from: ReadFrom) -> Option<Arc<Place>> {
        if !self.are_wanted() && !self.are_wanted.swap(true, Ordering::Relaxed) {
            self.wish.notify_one();
        }
        pick_replica(&self.sound.load(), read_from)
    }

    /// Whether anybody has ever wanted to read from one.
    pub fn are_wanted(&self) -> bool {
        self.are_wanted.load(Ordering::Relaxed)
    }

    /// Ends when they begin to be wanted. Cancel safe.
    pub async fn wished_for(&self) {
        self.wish.notified().await;
    }

    /// The sentinels call these sound. Whether that is news. One at a time.
    pub fn replace(&self, addresses: &[String]) -> bool {
        let before = self.sound.load();
        if before.iter().map(|place| place.address()).eq(addresses.iter().map(String::as_str)) {
            return false;
        }
        let place = |address: &String| {
            let known = before.iter().find(|place| place.address() == address).cloned();
            known.unwrap_or_else(|| Arc::new(Place::new(address, self.open.clone())))
        };
        self.sound.store(Arc::new(addresses.iter().map(place).collect()));
        true
    }
}
