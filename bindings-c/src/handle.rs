//! Handles: what a C caller holds instead of an object.
//!
//! A handle is a number in the clothes of a pointer, and nobody follows it: an index into a table and
//! the generation of that place. So a handle that was freed, one of another kind and a pointer from
//! elsewhere are errors, and freeing one while another thread is inside a call is safe: the call
//! has a share of the object.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};

use crate::raw;
use crate::status::{Fault, Outcome, answer, argument, call, ember_error, ember_status};

/// What a handle of C's type `C` stands for.
pub(crate) trait Object: Any + Send + Sync + Sized {
    /// The opaque type in the header.
    type C;
    /// The type's name there.
    const NAME: &'static str;
    /// What it is called as an argument.
    const ARGUMENT: &'static str;
}

/// A place of the table.
struct Place {
    generation: u32,
    object: Option<Arc<dyn Any + Send + Sync>>,
}

/// All objects that a caller holds.
struct Table {
    places: Vec<Place>,
    free: Vec<usize>,
}

static TABLE: RwLock<Table> = RwLock::new(Table { places: Vec::new(), free: Vec::new() });

/// Bits of a handle that are the index, above the lowest bit. That one is set in every handle, so
/// that no address of an object in memory is one.
const INDEX_BITS: u32 = usize::BITS / 2 - 1;

/// The last generation; a place that has had it is not used again.
const LAST: u32 = if usize::BITS == 64 { u32::MAX } else { u16::MAX as u32 };

fn encode(index: usize, generation: u32) -> usize {
    ((generation as usize) << (INDEX_BITS + 1)) | (index << 1) | 1
}

fn decode(handle: usize) -> Option<(usize, u32)> {
    let index = (handle >> 1) & ((1 << INDEX_BITS) - 1);
    (handle & 1 == 1).then_some((index, (handle >> (INDEX_BITS + 1)) as u32))
}

/// Puts an object into the table.
fn insert(object: Arc<dyn Any + Send + Sync>) -> Outcome<usize> {
    let mut table = TABLE.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(index) = table.free.pop() {
        let place = &mut table.places[index];
        place.object = Some(object);
        return Ok(encode(index, place.generation));
    }
    let index = table.places.len();
    if index >= 1 << INDEX_BITS {
        return Err(argument("handle", format!("would be one of {index}; free some first")));
    }
    table.places.push(Place { generation: 1, object: Some(object) });
    Ok(encode(index, 1))
}

/// The object of a handle, shared with the table.
fn find(handle: usize) -> Option<Arc<dyn Any + Send + Sync>> {
    let (index, generation) = decode(handle)?;
    let table = TABLE.read().unwrap_or_else(PoisonError::into_inner);
    let place = table.places.get(index).filter(|place| place.generation == generation)?;
    place.object.clone()
}

/// Takes an object out of the table; the handle is then no handle any more.
fn remove(handle: usize) -> Option<Arc<dyn Any + Send + Sync>> {
    let (index, generation) = decode(handle)?;
    let mut table = TABLE.write().unwrap_or_else(PoisonError::into_inner);
    let place = table.places.get_mut(index).filter(|place| place.generation == generation)?;
    let object = place.object.take()?;
    if place.generation < LAST {
        place.generation += 1;
        table.free.push(index);
    }
    Some(object)
}

/// Hands an object out as a handle.
pub(crate) fn give<O: Object>(out: raw::Out<*mut O::C>, object: O) -> Outcome {
    let handle = insert(Arc::new(object))?;
    out.set(std::ptr::without_provenance_mut(handle));
    Ok(())
}

/// The border of an entry that works on an object: as [`call`], with what the handle stands for.
pub(crate) fn with<O: Object, S: Into<ember_status>>(
    handle: *const O::C,
    error: *mut ember_error,
    body: impl FnOnce(Arc<O>) -> Outcome<S>,
) -> ember_status {
    call(error, || body(get(O::ARGUMENT, handle)?))
}

/// The border of an entry that asks an object and cannot say what went wrong: `otherwise` then.
pub(crate) fn ask<O: Object, T>(
    handle: *const O::C,
    otherwise: T,
    body: impl FnOnce(Arc<O>) -> T,
) -> T {
    answer(otherwise, || Ok(body(get(O::ARGUMENT, handle)?)))
}

/// The object of a handle, which the caller passed as `name`.
pub(crate) fn get<O: Object>(name: &str, handle: *const O::C) -> Outcome<Arc<O>> {
    if handle.is_null() {
        return Err(argument(name, "is NULL"));
    }
    let Some(object) = find(handle.addr()) else {
        let problem = format!("is no {}: it was freed, or never was one", O::NAME);
        return Err(argument(name, problem));
    };
    object.downcast().map_err(|_| argument(name, format!("is a handle, but no {}", O::NAME)))
}

/// Frees a handle. NULL, a freed handle and one of another kind are left alone.
pub(crate) fn free<O: Object>(handle: *mut O::C) {
    answer((), || {
        if handle.is_null() {
            return Ok(());
        }
        match get::<O>(O::ARGUMENT, handle) {
            Ok(_) => drop(remove(handle.addr())),
            Err(fault) => ::log::error!("a handle was not freed: {}", fault.message),
        }
        Ok(())
    });
}

/// Says which opaque types results of the core stand behind: `type of the core: type of C, "what it is
/// called as an argument"`.
macro_rules! results {
    ($($kind:ty: $c:ident, $argument:literal;)*) => {$(
        impl $crate::handle::Object for $kind {
            type C = $c;
            const NAME: &'static str = stringify!($c);
            const ARGUMENT: &'static str = $argument;
        }
    )*};
}
pub(crate) use results;

/// Item `index` of a row to the caller's struct; EMBER_DONE after the last.
pub(crate) fn item<T, C: Copy>(
    name: &str,
    (out, size): (*mut C, usize),
    row: &[T],
    index: usize,
    convert: impl FnOnce(&T) -> C,
) -> Outcome<ember_status> {
    let out = raw::sized_out(name, out, size)?;
    let Some(item) = row.get(index) else {
        return Ok(ember_status::EMBER_DONE);
    };
    out.set(convert(item));
    Ok(ember_status::EMBER_OK)
}

/// Locks what a non-const handle stands for; a second thread is refused, not kept waiting.
pub(crate) fn lock<'a, T>(name: &str, mutex: &'a Mutex<T>) -> Outcome<MutexGuard<'a, T>> {
    match mutex.try_lock() {
        Ok(guard) => Ok(guard),
        Err(TryLockError::WouldBlock) => Err(argument(
            name,
            "is in use by another thread or by the call that runs this callback",
        )),
        Err(TryLockError::Poisoned(_)) => Err(Fault {
            status: ember_status::EMBER_ERROR_PANIC,
            message: format!("`{name}` was left half way by a bug in an earlier call; free it"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Apple(u32);
    struct Pear;
    impl Object for Apple {
        type C = u64;
        const NAME: &'static str = "apple";
        const ARGUMENT: &'static str = "fruit";
    }
    impl Object for Pear {
        type C = u64;
        const NAME: &'static str = "pear";
        const ARGUMENT: &'static str = "fruit";
    }

    fn new<O: Object<C = u64>>(object: O) -> *mut u64 {
        let mut handle = std::ptr::null_mut();
        give(raw::out("handle", &raw mut handle).unwrap(), object).unwrap();
        handle
    }

    fn problem<O: Object<C = u64>>(handle: *const u64) -> String {
        get::<O>("fruit", handle).err().map(|fault| fault.message).unwrap_or_default()
    }

    #[test]
    fn only_live_handles_of_the_right_kind_are_objects() {
        let apple = new(Apple(7));
        assert_eq!(get::<Apple>("fruit", apple).unwrap().0, 7);
        assert_eq!(problem::<Pear>(apple), "`fruit` is a handle, but no pear");
        assert_eq!(problem::<Apple>(std::ptr::null()), "`fruit` is NULL");
        let here = 0u64;
        for foreign in
            [&raw const here, std::ptr::without_provenance(1), apple.wrapping_byte_add(2)]
        {
            assert!(problem::<Apple>(foreign).contains("never was one"));
        }
        free::<Pear>(apple);
        assert_eq!(get::<Apple>("fruit", apple).unwrap().0, 7);
        free::<Apple>(apple);
        free::<Apple>(apple);
        assert!(problem::<Apple>(apple).contains("it was freed"));
        // The place is used again, the handle is not.
        let pears: Vec<*mut u64> = (0..100).map(|_| new(Pear)).collect();
        assert!(problem::<Apple>(apple).contains("it was freed"));
        assert!(pears.iter().all(|pear| *pear != apple));
        pears.into_iter().for_each(free::<Pear>);
    }

    #[test]
    fn what_is_in_use_outlives_its_handle() {
        let apple = new(Apple(7));
        let held = get::<Apple>("fruit", apple).unwrap();
        free::<Apple>(apple);
        assert_eq!(held.0, 7);
    }

    #[test]
    fn handles_are_numbers_there_and_back() {
        for (index, generation) in [(0, 1), (1, 1), ((1 << INDEX_BITS) - 1, LAST), (77, 12345)] {
            let handle = encode(index, generation);
            assert_eq!(decode(handle), Some((index, generation)));
            assert_eq!(decode(handle & !1), None);
        }
    }

    #[test]
    fn a_second_user_is_refused() {
        let mutex = Mutex::new(0);
        let held = lock("session", &mutex).unwrap();
        let fault = lock("session", &mutex).unwrap_err();
        assert_eq!(fault.status, ember_status::EMBER_ERROR_ARGUMENT);
        drop(held);
        assert!(lock("session", &mutex).is_ok());
    }
}
