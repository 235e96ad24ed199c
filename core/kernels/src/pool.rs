//! Threads of the library's own, so that a product is shared out in a microsecond.
//!
//! A [`Pool`] holds threads that look for work for a few dozen microseconds after the last piece
//! and then sleep: between two products of a forward pass they are awake, between two calls of a
//! program they cost nothing. The caller always works too and never waits for a thread to wake:
//! whoever comes late finds the work done. While one thread of the program uses the pool, others
//! compute alone; so many callers on few processors do not get into each other's way.

use std::any::Any;
use std::cell::{RefCell, UnsafeCell};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::arithmetic::Arithmetic;

/// How long a thread looks for the next work before it sleeps.
const AWAKE: Duration = Duration::from_micros(60);

/// Set in [`Shared::state`] while threads may join the work; the bits below count those who did.
const OPEN: u64 = 1 << 31;

/// The work: called with the number of each task once.
type Work<'a> = dyn Fn(usize) + Sync + 'a;

struct Shared {
    /// Number of the work, [`OPEN`], number of threads that joined.
    state: AtomicU64,
    /// Threads that have joined and are done.
    done: AtomicUsize,
    /// How many threads have begun to take tasks.
    begun: AtomicUsize,
    /// The tasks, so many of them as there are threads and tasks to take.
    ranges: Vec<Tasks>,
    in_use: AtomicUsize,
    /// The work, while `state` is open or a joined thread is not done.
    work: UnsafeCell<Option<*const Work<'static>>>,
    /// Whether a caller is using the pool.
    busy: AtomicBool,
    stop: AtomicBool,
    asleep: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Some tasks that follow each other. A thread takes them in their order, so that what the next one
/// reads lies behind what this one does; others that have no more of their own take the last.
#[derive(Default)]
#[repr(align(64))]
struct Tasks(AtomicU64);

impl Tasks {
    fn fill(&self, tasks: Range<usize>) {
        self.0.store((tasks.start as u64) << 32 | tasks.end as u64, Ordering::Relaxed);
    }

    /// Takes one off, as `rest` says.
    fn take(&self, rest: impl Fn(Range<u64>) -> (u64, Range<u64>)) -> Option<usize> {
        let mut held = self.0.load(Ordering::Relaxed);
        loop {
            let tasks = held >> 32..held & u64::from(u32::MAX);
            if tasks.is_empty() {
                return None;
            }
            let (task, rest) = rest(tasks);
            let left = rest.start << 32 | rest.end;
            match self.0.compare_exchange_weak(held, left, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(task as usize),
                Err(now) => held = now,
            }
        }
    }

    fn first(&self) -> Option<usize> {
        self.take(|tasks| (tasks.start, tasks.start + 1..tasks.end))
    }

    fn last(&self) -> Option<usize> {
        self.take(|tasks| (tasks.end - 1, tasks.start..tasks.end - 1))
    }
}

// SAFETY: `work` is written by the caller that holds `busy` alone, while `state` is closed and all
// threads that joined are done; it is read by threads that joined. What it points to is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is followed only while the caller's borrow lasts.
unsafe impl Send for Shared {}

/// A caller and the threads that help it.
pub struct Pool {
    shared: Arc<Shared>,
    threads: usize,
    arithmetic: Arithmetic,
    workers: Vec<thread::JoinHandle<()>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({} threads)", self.threads)
    }
}

thread_local! {
    /// The pool of the model that is computing on this thread.
    static CURRENT: RefCell<Option<Arc<Pool>>> = const { RefCell::new(None) };
}

/// The pool of all that asks for no other: one thread a processor.
pub fn shared() -> &'static Arc<Pool> {
    static ALL: OnceLock<Arc<Pool>> = OnceLock::new();
    ALL.get_or_init(|| Arc::new(Pool::new(processors())))
}

/// Processors that this program may use.
pub fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Runs `call` with `pool` as the pool of this thread.
pub fn with<R>(pool: &Arc<Pool>, call: impl FnOnce() -> R) -> R {
    struct Restore(Option<Arc<Pool>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.with_borrow_mut(|current| *current = self.0.take());
        }
    }
    let _restore = Restore(CURRENT.replace(Some(pool.clone())));
    call()
}

/// The pool of this thread.
pub(super) fn current() -> Arc<Pool> {
    CURRENT.with_borrow(|current| current.as_ref().unwrap_or_else(|| shared()).clone())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls `work` with each item once, on this thread and on those of its pool that are free.
///
/// A panic of `work` comes out here, once all threads have left it.
pub fn each<T: Send>(items: &mut [T], work: impl Fn(&mut T) + Sync) {
    let count = items.len();
    let items = Shares::new(items.iter_mut());
    current().run(count, &|_| {
        if let Some(item) = items.next() {
            work(item);
        }
    });
}

impl Pool {
    /// A pool in which up to `threads` work, the caller among them. Where the system refuses a
    /// thread, fewer do.
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            done: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            ranges: (0..threads.max(1)).map(|_| Tasks::default()).collect(),
            in_use: AtomicUsize::new(0),
            work: UnsafeCell::new(None),
            busy: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            asleep: AtomicUsize::new(0),
            lock: Mutex::new(()),
            wake: Condvar::new(),
            panic: Mutex::new(None),
        });
        let spawn = |_| {
            let shared = shared.clone();
            let name = "emberform".to_string();
            thread::Builder::new().name(name).spawn(move || help(&shared)).ok()
        };
        let workers: Vec<_> = (1..threads).map_while(spawn).collect();
        Pool { threads: workers.len() + 1, shared, arithmetic: Default::default(), workers }
    }

    /// The same with products computed otherwise.
    pub fn computing(mut self, arithmetic: Arithmetic) -> Pool {
        self.arithmetic = arithmetic;
        self
    }

    /// How products are computed.
    pub(super) fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// How many threads work, the caller among them.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `work` with each number below `tasks`, on this thread and on those that are free.
    ///
    /// A panic of `work` comes out here, once all threads have left it.
    pub(super) fn run(&self, tasks: usize, work: &Work<'_>) {
        let shared = &*self.shared;
        let alone = tasks <= 1 || self.threads == 1;
        if alone || shared.busy.swap(true, Ordering::Acquire) {
            return (0..tasks).for_each(work);
        }
        shared.begun.store(0, Ordering::Relaxed);
        shared.done.store(0, Ordering::Relaxed);
        let count = self.threads.min(tasks);
        shared.in_use.store(count, Ordering::Relaxed);
        for (i, range) in shared.ranges.iter().enumerate().take(count) {
            range.fill(i * tasks / count..(i + 1) * tasks / count);
        }
        // SAFETY: `busy` is ours, and nobody is in the last work: its caller waited for that. The
        // pointer outlives its use, since this call returns after `state` is closed and all that
        // joined are done; so the longer lifetime of the type is never relied on.
        unsafe {
            let longer: *const Work<'static> =
                std::mem::transmute::<*const Work<'_>, _>(std::ptr::from_ref(work));
            *shared.work.get() = Some(longer);
        }
        let number = (shared.state.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        shared.state.store(number << 32 | OPEN, Ordering::SeqCst);
        if shared.asleep.load(Ordering::SeqCst) > 0 {
            drop(locked(&shared.lock));
            shared.wake.notify_all();
        }
        let own = catch_unwind(AssertUnwindSafe(|| take(shared, work)));
        if own.is_err() {
            shared.drop_tasks();
        }
        let joined = shared.state.fetch_and(!OPEN, Ordering::AcqRel) & (OPEN - 1);
        let mut turns = 0_u32;
        while shared.done.load(Ordering::Acquire) as u64 != joined {
            turns = turns.wrapping_add(1);
            // More threads than processors: the one that is waited for may not be running.
            if turns.is_multiple_of(1 << 12) { thread::yield_now() } else { std::hint::spin_loop() }
        }
        let theirs = locked(&shared.panic).take();
        shared.busy.store(false, Ordering::Release);
        if let Some(panic) = own.err().or(theirs) {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(locked(&self.shared.lock));
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches what panics in it.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// Leaves no task to take.
    fn drop_tasks(&self) {
        self.ranges.iter().for_each(|range| range.fill(0..0));
    }
}

/// Takes tasks until none is left.
fn take(shared: &Shared, work: &Work<'_>) {
    let ranges = &shared.ranges[..shared.in_use.load(Ordering::Relaxed)];
    let own = shared.begun.fetch_add(1, Ordering::Relaxed);
    for i in 0..ranges.len() {
        let range = &ranges[(own + i) % ranges.len()];
        let next = || if i == 0 { range.first() } else { range.last() };
        while let Some(task) = next() {
            work(task);
        }
    }
}

/// What a thread of the pool does all its life.
fn help(shared: &Shared) {
    let mut seen = 0;
    while let Some(state) = wait(shared, seen) {
        seen = state >> 32;
        let joined = state + 1;
        if shared
            .state
            .compare_exchange(state, joined, Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
        {
            // Closed, or another joined first: look again, at the same work if it is still open.
            seen = seen.wrapping_sub(1);
            continue;
        }
        // SAFETY: this thread has joined, so the caller waits for it before the work goes away.
        if let Some(work) = unsafe { *shared.work.get() } {
            // SAFETY: as above.
            let result = catch_unwind(AssertUnwindSafe(|| take(shared, unsafe { &*work })));
            if let Err(panic) = result {
                shared.drop_tasks();
                *locked(&shared.panic) = Some(panic);
            }
        }
        shared.done.fetch_add(1, Ordering::Release);
    }
}

/// The state once it is open with a number other than `seen`; `None` when the pool ends.
fn wait(shared: &Shared, seen: u64) -> Option<u64> {
    let fresh = || {
        let state = shared.state.load(Ordering::SeqCst);
        (state & OPEN != 0 && state >> 32 != seen).then_some(state)
    };
    let start = Instant::now();
    loop {
        for _ in 0..64 {
            if let Some(state) = fresh() {
                return Some(state);
            }
            std::hint::spin_loop();
        }
        if shared.stop.load(Ordering::SeqCst) {
            return None;
        }
        if start.elapsed() < AWAKE {
            continue;
        }
        let guard = locked(&shared.lock);
        shared.asleep.fetch_add(1, Ordering::SeqCst);
        // Looked at once more now that the caller knows of us: it either sees `asleep` and wakes
        // us, or we see its work here.
        let guard = shared
            .wake
            .wait_while(guard, |()| fresh().is_none() && !shared.stop.load(Ordering::SeqCst))
            .unwrap_or_else(PoisonError::into_inner);
        shared.asleep.fetch_sub(1, Ordering::SeqCst);
        drop(guard);
    }
}

/// Work that threads take piece by piece, in order.
pub(super) struct Shares<I>(Mutex<I>);

impl<I: Iterator> Shares<I> {
    pub(super) fn new(pieces: I) -> Self {
        Shares(Mutex::new(pieces))
    }

    pub(super) fn next(&self) -> Option<I::Item> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_whoever_calls() {
        let pool = Pool::new(3);
        for tasks in [0, 1, 2, 3, 100, 1000] {
            for pause in [0, 200] {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, &|i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
                thread::sleep(Duration::from_micros(pause));
            }
        }
    }

    #[test]
    fn each_item_is_worked_on_once() {
        for count in [0, 1, 2, 50] {
            let mut items = vec![0; count];
            with(&Arc::new(Pool::new(3)), || each(&mut items, |item| *item += 1));
            assert_eq!(items, vec![1; count]);
        }
    }

    #[test]
    fn many_callers_share_a_pool() {
        let pool = Pool::new(4);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..2000 {
                        let sum = AtomicUsize::new(0);
                        pool.run(round % 7, &|i| {
                            sum.fetch_add(i + 1, Ordering::Relaxed);
                        });
                        let n = round % 7;
                        assert_eq!(sum.load(Ordering::Relaxed), n * (n + 1) / 2);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Pool::new(3);
        for at in [0, 5, 63] {
            let run = || pool.run(64, &|i| assert_ne!(i, at, "at {at}"));
            let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("it must come out");
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            assert!(text.contains(&format!("at {at}")), "{text}");
            pool.run(64, &|_| {});
        }
    }
}
