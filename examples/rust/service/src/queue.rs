//! Work waits in a bounded queue for the threads that compute.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use emberform::CancelToken;

use crate::error::Failure;

/// A piece of work and what says that nobody waits for it any more.
struct Job {
    work: Box<dyn FnOnce() + Send>,
    cancel: CancelToken,
}

/// The queue and its threads.
#[derive(Clone)]
pub struct Queue(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Told when a job is put in.
    more: Condvar,
    /// Requests that may be here at once, those that are computed included.
    most: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Places of requests that are still being read.
    promised: usize,
    running: usize,
}

impl Queue {
    /// A queue in which `places` requests may wait while one is computed on each of `threads`
    /// threads.
    pub fn new(places: usize, threads: usize) -> std::io::Result<Queue> {
        let threads = threads.max(1);
        let most = places.saturating_add(threads);
        let shared = Shared { state: Mutex::default(), more: Condvar::new(), most };
        let queue = Queue(Arc::new(shared));
        for i in 0..threads {
            let queue = queue.clone();
            let name = format!("compute-{i}");
            std::thread::Builder::new().name(name).spawn(move || queue.work())?;
        }
        Ok(queue)
    }

    /// Takes a place, which is free again when it is dropped or its job is done.
    ///
    /// # Errors
    /// When all places are taken.
    pub fn place(&self) -> Result<Place, Failure> {
        let mut state = self.state();
        if state.taken() >= self.0.most {
            // Those whose clients have left need no place.
            state.jobs.retain(|job| !job.cancel.is_cancelled());
        }
        if state.taken() >= self.0.most {
            return Err(Failure::busy());
        }
        state.promised += 1;
        Ok(Place(self.clone()))
    }

    /// Requests that are computed and requests that wait, without those whose clients have left.
    pub fn load(&self) -> (usize, usize) {
        let state = self.state();
        let waiting = state.jobs.iter().filter(|job| !job.cancel.is_cancelled()).count();
        (state.running, state.promised + waiting)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life: job after job.
    fn work(&self) {
        loop {
            let mut state = self.state();
            let job = loop {
                if let Some(job) = state.jobs.pop_front() {
                    break job;
                }
                state = self.0.more.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            state.running += 1;
            drop(state);
            // A job that panics drops its sender, which its request hears; the thread lives on.
            let _ = catch_unwind(AssertUnwindSafe(job.work));
            self.state().running -= 1;
        }
    }
}

impl State {
    fn taken(&self) -> usize {
        self.jobs.len() + self.promised + self.running
    }
}

/// A place in the queue.
pub struct Place(Queue);

impl Place {
    /// Puts a job on it; one whose `cancel` is asked for gives way to others.
    pub fn put(self, cancel: CancelToken, work: impl FnOnce() + Send + 'static) {
        let job = Job { work: Box::new(work), cancel };
        self.0.state().jobs.push_back(job);
        self.0.0.more.notify_one();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.state().promised -= 1;
    }
}

/// Cancels the work when its request is dropped, as it is when the client goes away.
pub struct Cancelling(pub CancelToken);

impl Drop for Cancelling {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
