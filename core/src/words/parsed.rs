//! What the readers of each format share: a block of bytes, the first line, and what they give.

use std::io::Read;

/// Bytes that are looked at in one go, and the longest line of a text.
pub(super) const BLOCK: usize = 1 << 20;

/// What the bytes hold, or the sentence that says why they hold nothing.
pub(super) type Parsed<T> = std::result::Result<T, String>;

/// The first line of a file, or what stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// How many words the file says it has, if it does.
    pub words: Option<u64>,
    /// Numbers of a vector.
    pub width: usize,
    /// Lines that it takes.
    pub lines: u64,
}

/// Fills `block` up to [`BLOCK`] bytes; whether the file ended.
pub(super) fn fill(block: &mut Vec<u8>, file: &mut dyn Read) -> Parsed<bool> {
    let missing = BLOCK.saturating_sub(block.len()) as u64;
    let read = file.take(missing).read_to_end(block).map_err(|error| error.to_string())?;
    Ok((read as u64) < missing)
}
