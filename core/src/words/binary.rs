//! The binary format of word2vec: each word before its vector.
//!
//! ```text
//! 3000000 300\n | word, a space, 300 floats | (a newline) word, a space, 300 floats | ..
//! ```
//! Records differ in length, so the file is gone through once when it is opened; the numbers stay
//! where they lie. `word2vec.c` puts a newline after each record, Google's files and gensim none.
//!
//! Source: `word2vec.c`; `KeyedVectors._load_word2vec_format` of gensim.

use bytes::Bytes;

use super::list::WordList;
use super::parsed::{Header, Parsed};
use super::table::Table;
use crate::load::file::MAX_NAME;
use crate::quote::quote;

/// Reads the words of `bytes`, in which the records begin at `at`.
pub(super) fn read(bytes: &Bytes, at: usize, header: &Header) -> Parsed<(WordList, Table)> {
    let size = header.width * 4;
    let count = header.words.unwrap_or(0);
    let left = bytes.len().saturating_sub(at) as u64;
    // A record is at least a space and its numbers.
    if count.checked_mul(size as u64 + 1).is_none_or(|needed| needed > left) {
        let width = header.width;
        return Err(format!(
            "the first line says {count} words of {width} numbers, which the {left} bytes after \
             it cannot hold"
        ));
    }
    let (mut list, mut starts) = (WordList::new(), Vec::with_capacity(count as usize));
    let mut rest = &bytes[at..];
    for i in 1..=count {
        let skipped = rest.iter().take_while(|byte| **byte == b'\n').count();
        rest = &rest[skipped..];
        let about = |problem: &str| format!("word {i} of {count} {problem}");
        let window = &rest[..rest.len().min(MAX_NAME + 1)];
        let Some(end) = window.iter().position(|byte| *byte == b' ') else {
            return Err(about(match window.len() > MAX_NAME {
                true => "has no space after it within 65,535 bytes",
                false => "is cut off: the file ends in it",
            }));
        };
        let word = std::str::from_utf8(&rest[..end])
            .map_err(|error| about(&format!("is not UTF-8: {error}")))?;
        rest = &rest[end + 1..];
        if rest.len() < size {
            return Err(about(&format!(
                "({}) is cut off: the file ends in its numbers",
                quote(word)
            )));
        }
        match list.push(word) {
            true => starts.push(bytes.len() - rest.len()),
            false => log::warn!("word {} comes again and is left out", quote(word)),
        }
        rest = &rest[size..];
    }
    if !rest.trim_ascii().is_empty() {
        let left = rest.len();
        return Err(format!("{left} bytes follow the {count} words that the first line says"));
    }
    match list.len() {
        0 => Err("it holds no word".into()),
        _ => Ok((list, Table::scattered(bytes.clone(), header.width, starts))),
    }
}
