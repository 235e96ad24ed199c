//! Asking work to stop, from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Stops work from another thread. Clones stop the same work, and only they are equal.
#[derive(Clone, Debug, Default)]
pub struct CancelToken {
    own: Arc<AtomicBool>,
    /// What stops this work among others.
    all: Option<Arc<AtomicBool>>,
}

impl PartialEq for CancelToken {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.own, &other.own)
    }
}

impl CancelToken {
    /// A token that nothing has been asked of.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the work to stop: a forward pass stops before its next block.
    pub fn cancel(&self) {
        self.own.store(true, Ordering::Relaxed);
    }

    /// Forgets that it was asked, for the next work that listens to the same token.
    pub(crate) fn rearm(&self) {
        self.own.store(false, Ordering::Relaxed);
    }

    /// Whether it was asked.
    pub fn is_cancelled(&self) -> bool {
        let asked = |flag: &Arc<AtomicBool>| flag.load(Ordering::Relaxed);
        asked(&self.own) || self.all.as_ref().is_some_and(asked)
    }

    /// A token of its own for a part of the work that this one stops.
    pub(crate) fn part(&self) -> CancelToken {
        CancelToken { own: Arc::default(), all: Some(self.own.clone()) }
    }
}
