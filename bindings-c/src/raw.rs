//! Pointers of the caller's to values and back: the only file with `unsafe`.
//!
//! Every pointer here has come through a function of the header, whose conventions are the
//! contract: it is NULL, or it points to what the header says for as long as the call runs. What
//! can be checked is checked (NULL, alignment, sizes that no memory has, UTF-8); the rest is the
//! caller's promise, as in all of C.

use std::ffi::{CStr, c_char};
use std::mem::size_of;

use crate::status::{Outcome, argument, ember_error, ember_status, out_of_memory};

/// The length that says: up to the first NUL. `EMBER_NUL` in the header.
const NUL: usize = usize::MAX;

/// A text ended by a NUL.
pub(crate) fn string<'a>(name: &str, data: *const c_char) -> Outcome<&'a str> {
    text(name, data, NUL)
}

/// A text ended by a NUL, or none.
pub(crate) fn optional_string<'a>(name: &str, data: *const c_char) -> Outcome<Option<&'a str>> {
    if data.is_null() { Ok(None) } else { string(name, data).map(Some) }
}

/// A text of `len` bytes, or up to the first NUL.
pub(crate) fn text<'a>(name: &str, data: *const c_char, len: usize) -> Outcome<&'a str> {
    let bytes = if len == NUL {
        if data.is_null() {
            return Err(argument(name, "is NULL"));
        }
        // SAFETY: not NULL, and ended by a NUL as the header asks for.
        unsafe { CStr::from_ptr(data) }.to_bytes()
    } else {
        slice(name, data.cast::<u8>(), len)?
    };
    std::str::from_utf8(bytes).map_err(|error| {
        argument(name, format!("is not UTF-8 from byte {} on", error.valid_up_to()))
    })
}

/// `count` texts; without `lengths` each is ended by a NUL.
pub(crate) fn texts<'a>(
    name: &str,
    data: *const *const c_char,
    lengths: *const usize,
    count: usize,
) -> Outcome<Vec<&'a str>> {
    let pointers = slice(name, data, count)?;
    let lengths = if lengths.is_null() { None } else { Some(slice("lengths", lengths, count)?) };
    let mut texts = reserved(count)?;
    for (i, pointer) in pointers.iter().enumerate() {
        let len = lengths.and_then(|lengths| lengths.get(i)).copied().unwrap_or(NUL);
        texts.push(text(&format!("{name}[{i}]"), *pointer, len)?);
    }
    Ok(texts)
}

/// `len` values. NULL is as good as any pointer for none.
pub(crate) fn slice<'a, T>(name: &str, data: *const T, len: usize) -> Outcome<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    checked(name, data)?;
    if len > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(argument(name, format!("has a length of {len}, more than any memory")));
    }
    // SAFETY: not NULL, aligned, and `len` values long as the caller promises.
    Ok(unsafe { std::slice::from_raw_parts(data, len) })
}

/// `count` rows of ids, each with its length.
pub(crate) fn rows<'a>(
    (name, data): (&str, *const *const u32),
    (lengths_name, lengths): (&str, *const usize),
    count: usize,
) -> Outcome<Vec<&'a [u32]>> {
    let lengths = slice(lengths_name, lengths, count)?;
    let pointers = slice(name, data, count)?;
    let mut rows = reserved(count)?;
    for (i, (row, len)) in pointers.iter().zip(lengths).enumerate() {
        rows.push(slice(&format!("{name}[{i}]"), *row, *len)?);
    }
    Ok(rows)
}

fn checked<T>(name: &str, data: *const T) -> Outcome {
    if data.is_null() {
        return Err(argument(name, "is NULL"));
    }
    if !data.is_aligned() {
        return Err(argument(name, "is not aligned"));
    }
    Ok(())
}

/// Where a result goes.
#[derive(Debug)]
pub(crate) struct Out<T>(*mut T);

/// Where a result goes; an error when it is nowhere.
pub(crate) fn out<T>(name: &str, place: *mut T) -> Outcome<Out<T>> {
    checked(name, place)?;
    Ok(Out(place))
}

/// Where a result goes, or nowhere.
pub(crate) fn optional_out<T>(name: &str, place: *mut T) -> Outcome<Option<Out<T>>> {
    if place.is_null() { Ok(None) } else { out(name, place).map(Some) }
}

impl<T> Out<T> {
    /// Writes the result.
    pub(crate) fn set(self, value: T) {
        // SAFETY: not NULL and aligned; `write` does not read what was there.
        unsafe { self.0.write(value) }
    }
}

/// Where a struct goes that grows from version to version: `size` is the caller's size of it.
pub(crate) fn sized_out<T: Copy>(name: &str, place: *mut T, size: usize) -> Outcome<Sized<T>> {
    checked(name, place)?;
    if size == 0 || !size.is_multiple_of(align_of::<T>()) {
        return Err(argument("size", format!("is {size}, not the `sizeof` of `{name}`")));
    }
    Ok(Sized { place, size })
}

/// A place for a struct, of the caller's size.
pub(crate) struct Sized<T> {
    place: *mut T,
    size: usize,
}

impl<T: Copy> Sized<T> {
    /// Writes as much of the result as the caller knows, and zeros to what only the caller knows.
    pub(crate) fn set(self, value: T) {
        let known = self.size.min(size_of::<T>());
        // SAFETY: the place is `size` bytes long as the caller promises, and `known` is no more
        // than either side has.
        unsafe {
            let place = self.place.cast::<u8>();
            std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), place, known);
            std::ptr::write_bytes(place.add(known), 0, self.size - known);
        }
    }
}

/// A buffer of the caller's.
pub(crate) struct Buffer<T> {
    place: *mut T,
    len: usize,
}

/// A buffer for `needed` values; an error when it holds fewer.
pub(crate) fn buffer<T: Copy>(
    name: &str,
    place: *mut T,
    len: usize,
    needed: usize,
) -> Outcome<Buffer<T>> {
    if len < needed {
        return Err(argument(name, format!("holds {len} where {needed} are needed")));
    }
    if needed > 0 {
        checked(name, place)?;
    }
    Ok(Buffer { place, len })
}

/// A buffer of the caller's for `count` values, or none.
pub(crate) fn optional_buffer<T: Copy>(
    name: &str,
    place: *mut T,
    count: usize,
) -> Outcome<Option<Buffer<T>>> {
    if place.is_null() { Ok(None) } else { buffer(name, place, count, count).map(Some) }
}

impl<T: Copy> Buffer<T> {
    /// Copies the result in.
    pub(crate) fn fill(self, values: &[T]) -> Outcome {
        if values.len() > self.len {
            let (len, needed) = (self.len, values.len());
            return Err(argument("out", format!("holds {len} where {needed} are needed")));
        }
        if !values.is_empty() {
            // SAFETY: not NULL and aligned, `len` values long as the caller promises, and a result
            // of ours never lies in the caller's memory.
            unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.place, values.len()) }
        }
        Ok(())
    }
}

/// A text into a buffer of the caller's: its length to `len_out`, its bytes to `place` unless that
/// is NULL.
pub(crate) fn give_text(
    value: &str,
    place: *mut c_char,
    len: usize,
    len_out: *mut usize,
) -> Outcome {
    let len_out = out("len_out", len_out)?;
    if !place.is_null() {
        buffer("out", place.cast::<u8>(), len, value.len())?.fill(value.as_bytes())?;
    }
    len_out.set(value.len());
    Ok(())
}

/// Numbers into a buffer of the caller's, as [`give_text`].
pub(crate) fn give_slice<T: Copy>(
    values: &[T],
    place: *mut T,
    len: usize,
    len_out: *mut usize,
) -> Outcome {
    let len_out = out("len_out", len_out)?;
    if !place.is_null() {
        buffer("out", place, len, values.len())?.fill(values)?;
    }
    len_out.set(values.len());
    Ok(())
}

/// A struct of options: begins with its size as the caller knows it, and any bits are valid.
pub(crate) trait Options: Copy {
    /// Size in the first version.
    const FIRST: usize;
    /// What a field has that the caller does not know.
    fn defaults() -> Self;
}

/// The caller's options; all defaults for NULL, defaults for fields that a newer version added.
pub(crate) fn options<T: Options>(place: *const T) -> Outcome<T> {
    let mut value = T::defaults();
    if place.is_null() {
        return Ok(value);
    }
    checked("options", place)?;
    // SAFETY: not NULL and aligned; every struct of options begins with its size.
    let size = unsafe { place.cast::<usize>().read() };
    if size < T::FIRST || size > size_of::<T>() {
        let (first, now) = (T::FIRST, size_of::<T>());
        let problem = format!(
            "has a `struct_size` of {size}, not {first} to {now}; start from the struct's _INIT, \
             and do not use a header that is newer than the library"
        );
        return Err(argument("options", problem));
    }
    // SAFETY: the caller's struct has `size` bytes, ours no fewer, and all bits are valid in it.
    unsafe {
        std::ptr::copy_nonoverlapping(place.cast::<u8>(), (&raw mut value).cast::<u8>(), size);
    }
    Ok(value)
}

/// A vector with room for `len` values; an error when there is no memory for it.
pub(crate) fn reserved<T>(len: usize) -> Outcome<Vec<T>> {
    let mut values = Vec::new();
    match values.try_reserve_exact(len) {
        Ok(()) => Ok(values),
        Err(_) => Err(out_of_memory("arguments", len as u128 * size_of::<T>() as u128)),
    }
}

/// Writes the outcome to the caller's error, if there is one.
pub(crate) fn write_error(place: *mut ember_error, status: ember_status, message: &str) {
    if place.is_null() || !place.is_aligned() {
        return;
    }
    let mut error = ember_error { status, message: [0; 508] };
    let mut end = message.len().min(error.message.len() - 1);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    // A NUL in a message would end it.
    for (to, from) in error.message.iter_mut().zip(message[..end].bytes()) {
        *to = if from == 0 { b' ' as c_char } else { from as c_char };
    }
    // SAFETY: not NULL and aligned; `write` does not read what was there.
    unsafe { place.write(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A struct as a version made it that has two fields more than the first.
    #[derive(Clone, Copy, Debug, PartialEq)]
    #[repr(C)]
    struct Grown {
        struct_size: usize,
        old: usize,
        new: u32,
        newer: u32,
    }

    impl Options for Grown {
        const FIRST: usize = 2 * size_of::<usize>();
        fn defaults() -> Self {
            Grown { struct_size: size_of::<Self>(), old: 1, new: 2, newer: 3 }
        }
    }

    #[test]
    fn an_old_caller_gets_the_defaults_of_new_fields() {
        let mut grown = Grown { struct_size: Grown::FIRST, old: 10, new: 20, newer: 30 };
        let read = options(&raw const grown).unwrap();
        assert_eq!((read.old, read.new, read.newer), (10, 2, 3));
        grown.struct_size += 4;
        assert_eq!(options(&raw const grown).unwrap().new, 20);
        grown.struct_size = size_of::<Grown>();
        assert_eq!(options(&raw const grown).unwrap(), grown);
        for wrong in [0, Grown::FIRST - 1, size_of::<Grown>() + 8, usize::MAX] {
            grown.struct_size = wrong;
            assert!(options(&raw const grown).unwrap_err().message.contains("struct_size"));
        }
        assert_eq!(options::<Grown>(std::ptr::null()).unwrap(), Grown::defaults());
    }

    #[test]
    fn an_old_caller_gets_as_much_of_a_struct_as_it_knows() {
        let value = Grown { struct_size: 1, old: 2, new: 3, newer: 4 };
        let mut place = Grown { struct_size: 9, old: 9, new: 9, newer: 9 };
        sized_out("place", &mut place, Grown::FIRST).unwrap().set(value);
        assert_eq!(place, Grown { struct_size: 1, old: 2, new: 9, newer: 9 });
        let mut newer = [place, place];
        sized_out("place", &raw mut newer[0], size_of::<[Grown; 2]>()).unwrap().set(value);
        assert_eq!(newer, [value, Grown { struct_size: 0, old: 0, new: 0, newer: 0 }]);
        assert!(sized_out("place", &raw mut place, 0).is_err());
        assert!(sized_out("place", &raw mut place, 7).is_err());
    }

    #[test]
    fn bad_pointers_are_named() {
        let problem = |outcome: Outcome<&[u32]>| outcome.unwrap_err().message;
        let word = [1u32, 2];
        assert_eq!(problem(slice("ids", std::ptr::null(), 1)), "`ids` is NULL");
        let odd = word.as_ptr().wrapping_byte_add(1);
        assert_eq!(problem(slice("ids", odd, 1)), "`ids` is not aligned");
        assert!(problem(slice("ids", word.as_ptr(), usize::MAX / 2)).contains("more than any"));
        assert_eq!(slice("ids", word.as_ptr(), 2).unwrap(), word);
        assert!(slice::<u32>("ids", std::ptr::null(), 0).unwrap().is_empty());
        let error = text("prompt", c"ab\xff".as_ptr(), NUL).unwrap_err();
        assert_eq!(error.message, "`prompt` is not UTF-8 from byte 2 on");
        assert_eq!(text("prompt", c"ab".as_ptr(), 1).unwrap(), "a");
    }
}
