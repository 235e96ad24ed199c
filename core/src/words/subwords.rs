//! fastText's `.bin`: words, and pieces of words that give vectors to words never seen.
//!
//! ```text
//! magic, version | arguments | words with their counts | matrix [words + buckets, D] | outputs
//! ```
//! The vector of a word is the mean of its own row, if it has one, and the rows of its pieces of
//! `minn` to `maxn` characters, `<` and `>` put around it; a piece's row is chosen by its hash.
//!
//! Source: `FastText::loadModel`, `Args::load`, `Dictionary::load` and
//! `Dictionary::computeSubwords` of fastText 0.9; arXiv:1607.04606, section 3.2.

use bytes::Bytes;
use rayon::prelude::*;

use super::list::WordList;
use super::parsed::Parsed;
use super::table::{Number, Table};
use crate::error::Result;
use crate::load::file::MAX_NAME;
use crate::quote::quote;
use crate::reserve::reserved;

/// The first four bytes of the file.
pub(super) const MAGIC: [u8; 4] = 793_712_314_u32.to_le_bytes();
/// The mark of a line's end, which has no pieces.
const END: &str = "</s>";
/// Longest piece, in characters, that a file may ask for. Published models have at most 6.
const MAX_PIECE: i32 = 64;

/// How words are cut into pieces, and where the rows of pieces begin.
pub(super) struct Subwords {
    min: usize,
    max: usize,
    buckets: u32,
    words: usize,
}

impl Subwords {
    /// Rows of the pieces of `word`.
    fn rows(&self, word: &str, rows: &mut Vec<usize>) {
        if word == END {
            return;
        }
        let framed = format!("<{word}>");
        let bounds: Vec<usize> =
            framed.char_indices().map(|(at, _)| at).chain([framed.len()]).collect();
        let characters = bounds.len() - 1;
        for from in 0..characters {
            let mut hash = 2_166_136_261_u32;
            for to in from + 1..=characters.min(from + self.max) {
                for byte in framed[bounds[to - 1]..bounds[to]].bytes() {
                    // The sign of a byte is carried over, an oddity of the original that files
                    // depend on.
                    hash = (hash ^ i32::from(byte as i8) as u32).wrapping_mul(16_777_619);
                }
                let alone = to - from == 1 && (from == 0 || to == characters);
                if to - from >= self.min && !alone {
                    rows.push(self.words + (hash % self.buckets) as usize);
                }
            }
        }
    }
}

/// The mean of rows, computed as fastText does, to the last bit.
fn mean(table: &Table, rows: &[usize], out: &mut [f32], scratch: &mut [f32]) {
    out.fill(0.0);
    for row in rows {
        table.add(*row, out, scratch);
    }
    if !rows.is_empty() {
        let factor = (1.0 / rows.len() as f64) as f32;
        out.iter_mut().for_each(|x| *x *= factor);
    }
}

impl Subwords {
    /// Writes the vector of `word`, whose own row is `row`; `false` when there is nothing to make
    /// it of.
    pub(super) fn vector(
        &self,
        table: &Table,
        row: Option<usize>,
        word: &str,
        out: &mut [f32],
    ) -> bool {
        let mut rows: Vec<usize> = row.into_iter().collect();
        self.rows(word, &mut rows);
        mean(table, &rows, out, &mut vec![0.0; out.len()]);
        !rows.is_empty()
    }

    /// The vectors of all words.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory) when they do not fit.
    pub(super) fn all(&self, table: &Table, list: &WordList) -> Result<Table> {
        let width = table.width();
        let mut values = reserved::<u8>("word vectors", &[list.len(), width, 4])?;
        values.resize(list.len() * width * 4, 0);
        values.par_chunks_mut(width * 4).enumerate().for_each_init(
            || vec![0.0; width],
            |row, (i, out)| {
                if let Some(word) = list.word(i) {
                    self.vector(table, Some(i), word, row);
                    for (bytes, x) in out.as_chunks_mut().0.iter_mut().zip(row.iter()) {
                        *bytes = x.to_le_bytes();
                    }
                }
            },
        );
        Ok(Table::even(Bytes::from(values), Number::F32, width))
    }
}

/// A file's bytes, taken from the front.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self, what: &str) -> Parsed<[u8; N]> {
        let (first, rest) =
            self.0.split_first_chunk().ok_or_else(|| format!("it ends before {what}"))?;
        self.0 = rest;
        Ok(*first)
    }

    fn i32(&mut self, what: &str) -> Parsed<i32> {
        self.take(what).map(i32::from_le_bytes)
    }

    fn i64(&mut self, what: &str) -> Parsed<i64> {
        self.take(what).map(i64::from_le_bytes)
    }

    /// A matrix of floats with its shape before it.
    fn matrix(&mut self, what: &str) -> Parsed<(u64, u64)> {
        let shape = (self.i64(what)?, self.i64(what)?);
        let (Ok(rows), Ok(width)) = (u64::try_from(shape.0), u64::try_from(shape.1)) else {
            return Err(format!("{what} is {} by {}", shape.0, shape.1));
        };
        let size = rows.checked_mul(width).and_then(|count| count.checked_mul(4));
        match size.and_then(|size| usize::try_from(size).ok()) {
            Some(size) if size <= self.0.len() => {
                self.0 = &self.0[size..];
                Ok((rows, width))
            }
            _ => {
                let left = self.0.len();
                Err(format!(
                    "{what} of {rows} by {width} floats does not fit the {left} bytes left"
                ))
            }
        }
    }
}

/// Reads a file: its words, the matrix where it lies, and how words are cut, if they are.
pub(super) fn read(bytes: &Bytes) -> Parsed<(WordList, Table, Option<Subwords>)> {
    let mut rest = Rest(bytes);
    rest.take::<4>("its magic number")?;
    let version = rest.i32("its version")?;
    if !matches!(version, 11 | 12) {
        return Err(format!("version {version}, want 11 or 12"));
    }
    let mut argument = || rest.i32("its arguments");
    let width = argument()?;
    let (_ws, _epoch, _min_count, _neg) = (argument()?, argument()?, argument()?, argument()?);
    let (_word_ngrams, _loss, kind) = (argument()?, argument()?, argument()?);
    let (buckets, min, mut max) = (argument()?, argument()?, argument()?);
    let _lr_update_rate = argument()?;
    rest.take::<8>("its arguments")?;
    if version == 11 && kind == 3 {
        max = 0; // older supervised models were trained without pieces, whatever they say
    }
    let Some(width) = usize::try_from(width).ok().filter(|width| (1..=65_536).contains(width))
    else {
        return Err(format!("`dim` is {width}, not from 1 to 65536"));
    };
    let Ok(buckets) = u32::try_from(buckets) else {
        return Err(format!("`bucket` is {buckets}"));
    };
    if max > 0 && (min < 0 || min > max || max > MAX_PIECE || buckets == 0) {
        return Err(format!(
            "pieces of {min} (`minn`) to {max} (`maxn`) characters in {buckets} buckets; want at \
             most {MAX_PIECE} and a bucket"
        ));
    }

    let (size, words) = (rest.i32("its dictionary")?, rest.i32("its dictionary")?);
    let labels = rest.i32("its dictionary")?;
    rest.take::<8>("its dictionary")?;
    let pruned = rest.i64("its dictionary")?;
    let (Ok(entries), Ok(words), Ok(labels)) =
        (usize::try_from(size), usize::try_from(words), usize::try_from(labels))
    else {
        return Err(format!("a dictionary of {size} entries, {words} words and {labels} labels"));
    };
    if words.checked_add(labels) != Some(entries) {
        return Err(format!("{entries} entries are not {words} words and {labels} labels"));
    }
    let mut list = WordList::new();
    for i in 0..entries {
        let window = &rest.0[..rest.0.len().min(MAX_NAME + 1)];
        let Some(end) = window.iter().position(|byte| *byte == 0) else {
            return Err(format!("entry {} of {entries} does not end within its bytes", i + 1));
        };
        let word = std::str::from_utf8(&window[..end])
            .map_err(|error| format!("entry {} of {entries} is not UTF-8: {error}", i + 1))?;
        rest.0 = &rest.0[end + 1..];
        let _count = rest.i64("a word's count")?;
        let [label] = rest.take("a word's kind")?;
        if usize::from(label) != usize::from(i >= words) {
            return Err(format!("entry {} is of kind {label} among {words} words", quote(word)));
        }
        if i < words && !list.push(word) {
            return Err(format!("word {} comes again", quote(word)));
        }
    }
    if words == 0 {
        return Err("it holds no word".into());
    }
    // -1 in every file that was not made smaller.
    if !matches!(pruned, -1..) {
        return Err(format!("it is pruned to {pruned} pieces"));
    }
    let quantized = pruned >= 0 || {
        let [quantized] = rest.take("its matrix")?;
        quantized != 0
    };
    if quantized {
        return Err("it is quantized (`.ftz`), which is not read; the `.bin` that it was made of \
                    is"
        .into());
    }
    let from = bytes.len() - rest.0.len() + 16;
    let (rows, columns) = rest.matrix("its matrix")?;
    if columns != width as u64 || rows != words as u64 + u64::from(buckets) {
        return Err(format!(
            "its matrix is {rows} by {columns}, want {words} words and {buckets} buckets by {width}"
        ));
    }
    let to = bytes.len() - rest.0.len();
    let [quantized] = rest.take("its second matrix")?;
    if quantized != 0 {
        return Err("its second matrix is quantized, its first is not".into());
    }
    rest.matrix("its second matrix")?;
    if !rest.0.is_empty() {
        return Err(format!("{} bytes follow its last matrix", rest.0.len()));
    }
    let table = Table::even(bytes.slice(from..to), Number::F32, width);
    let subwords =
        (max > 0).then_some(Subwords { min: min as usize, max: max as usize, buckets, words });
    Ok((list, table, subwords))
}
