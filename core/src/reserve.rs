//! Memory whose size follows from what a caller passes, such as the logits of many rows: reserved
//! before the work, so that too much of it is an error and not the end of the process.

use crate::error::{Error, Result};

/// An empty vector with room for as many items as the product of `sizes`; `what` they are, for the
/// message.
///
/// # Errors
/// [`Error::Memory`] when there is no such room.
pub(crate) fn reserved<T>(what: &'static str, sizes: &[usize]) -> Result<Vec<T>> {
    let mut items = Vec::new();
    let count = sizes.iter().try_fold(1usize, |all, size| all.checked_mul(*size));
    match count.map(|count| items.try_reserve_exact(count)) {
        Some(Ok(())) => Ok(items),
        _ => Err(too_much::<T>(what, sizes)),
    }
}

/// As many zeros as the product of `sizes`. The system makes their pages when they are written to:
/// gigabytes of them take no time here.
///
/// # Errors
/// As [`reserved`].
pub(crate) fn zeros(what: &'static str, sizes: &[usize]) -> Result<Vec<f32>> {
    let count = sizes.iter().try_fold(1usize, |all, size| all.checked_mul(*size));
    match count.map(bytemuck::allocation::try_zeroed_slice_box) {
        Some(Ok(values)) => Ok(values.into_vec()),
        _ => Err(too_much::<f32>(what, sizes)),
    }
}

fn too_much<T>(what: &'static str, sizes: &[usize]) -> Error {
    let times = |bytes: u128, size: &usize| bytes.saturating_mul(*size as u128);
    Error::Memory { what, bytes: sizes.iter().fold(size_of::<T>() as u128, times) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn what_no_memory_holds_is_an_error_with_its_size() {
        assert_eq!(zeros("numbers", &[2, 3]).unwrap(), [0.0; 6]);
        assert!(zeros("numbers", &[usize::MAX, 0]).unwrap().is_empty());
        // More than an address can be, and more than there are addresses.
        for sizes in [&[1 << 20, 1 << 27][..], &[usize::MAX, 3], &[usize::MAX; 9]] {
            let error = reserved::<u32>("numbers", sizes).unwrap_err();
            assert_eq!(error.code(), Code::Memory);
            assert!(error.to_string().ends_with("bytes of numbers"), "{error}");
            assert_eq!(zeros("numbers", sizes).unwrap_err().to_string(), error.to_string());
        }
        let error = reserved::<u32>("numbers", &[1 << 20, 1 << 27]).unwrap_err();
        assert_eq!(error.to_string(), "no memory for 562949953421312 bytes of numbers");
    }
}
