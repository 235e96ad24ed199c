//! Which format a file of word vectors has, by its bytes and never by its name.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;

use super::list::WordList;
use super::parsed::{Header, Parsed, fill};
use super::subwords::{self, Subwords};
use super::table::Table;
use super::{binary, text};
use crate::error::{Error, Result};
use crate::load::file::{Mapped, open_regular};
use crate::quote::quote;

const FORMAT: &str = "word vectors";
/// Most numbers of a vector.
const MAX_WIDTH: usize = 65_536;
/// How often its own size a compressed file may come to. Vectors come to less than 4 times.
const MAX_RATIO: u64 = 100;
/// Up to so many bytes the ratio does not matter.
const ANY_RATIO: u64 = 16 << 20;

/// What a file holds.
pub(super) struct Opened {
    pub format: &'static str,
    pub list: WordList,
    pub table: Table,
    pub subwords: Option<Subwords>,
}

/// Counts the bytes that come out of a file.
struct Counted(File, Arc<AtomicU64>);

impl Read for Counted {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(out)?;
        self.1.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// A compressed file as what it comes to, within [`MAX_RATIO`].
struct Inflated {
    stream: MultiGzDecoder<BufReader<Counted>>,
    taken: Arc<AtomicU64>,
    given: u64,
}

impl Inflated {
    fn new(file: File) -> Inflated {
        let taken = Arc::new(AtomicU64::new(0));
        let counted = Counted(file, taken.clone());
        Inflated { stream: MultiGzDecoder::new(BufReader::new(counted)), taken, given: 0 }
    }
}

impl Read for Inflated {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = self.stream.read(out).map_err(|error| {
            std::io::Error::new(error.kind(), format!("its compressed data is broken: {error}"))
        })?;
        self.given += count as u64;
        let most = self.taken.load(Ordering::Relaxed).saturating_mul(MAX_RATIO);
        if self.given > most.max(ANY_RATIO) {
            let problem = format!("it comes to over {MAX_RATIO} times its compressed size");
            return Err(std::io::Error::other(problem));
        }
        Ok(count)
    }
}

/// The first line of `head` without its end.
fn first_line(head: &[u8]) -> (&[u8], usize) {
    match head.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&head[..at], at + 1),
        None => (head, head.len()),
    }
}

/// `words width`, if the line is that: two whole numbers and nothing else.
fn counts(line: &[u8]) -> Option<Parsed<(u64, usize)>> {
    // Numbers longer than this are hostile; a line longer than this is no header.
    let line = std::str::from_utf8(line).ok().filter(|line| line.len() <= 4096)?;
    let mut fields = line.split_ascii_whitespace();
    let (words, width) = (fields.next()?, fields.next()?);
    let digits = |field: &str| field.bytes().all(|byte| byte.is_ascii_digit());
    if fields.next().is_some() || !digits(words) || !digits(width) {
        return None;
    }
    Some(match (words.parse::<u64>(), width.parse::<usize>()) {
        (Ok(words), Ok(width))
            if words < u64::from(u32::MAX) && (1..=MAX_WIDTH).contains(&width) =>
        {
            Ok((words, width))
        }
        _ => Err(format!(
            "the first line says {} words of {} numbers; want fewer than {} and from 1 to \
             {MAX_WIDTH}",
            quote(words),
            quote(width),
            u32::MAX
        )),
    })
}

/// Whether bytes look like text: no control characters, and UTF-8 but for a cut at the end.
fn is_text(bytes: &[u8]) -> bool {
    let bytes = &bytes[..bytes.len().min(4096)];
    let valid = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    valid && bytes.iter().all(|byte| *byte >= b' ' || matches!(byte, b'\t' | b'\r' | b'\n'))
}

/// Opens a file of word vectors.
///
/// # Errors
/// [`Error::Io`] when the system refuses, [`Error::Format`] for everything else.
pub(super) fn open(path: &Path) -> Result<Opened> {
    let failed = |problem: String| Error::format(path, FORMAT, problem);
    let (mut file, _) = open_regular(path, FORMAT)?;
    let mut head = Vec::new();
    fill(&mut head, &mut file).map_err(failed)?;
    let compressed = head.starts_with(&[0x1f, 0x8b]);
    let mut rest: Box<dyn Read> = match compressed {
        false => Box::new(file),
        true => {
            let (file, _) = open_regular(path, FORMAT)?;
            let mut inflated = Inflated::new(file);
            head.clear();
            fill(&mut head, &mut inflated).map_err(failed)?;
            Box::new(inflated)
        }
    };
    if head.is_empty() {
        return Err(failed("the file is empty".into()));
    }
    if head.starts_with(b"GGUF") {
        return Err(failed("it is GGUF; open it as a model".into()));
    }
    // All bytes, where the numbers are to stay in place.
    let whole = |head: Vec<u8>, mut rest: Box<dyn Read>| -> Result<Bytes> {
        if !compressed {
            return Ok(Mapped::open(path, FORMAT)?.bytes);
        }
        let mut bytes = head;
        let read = rest.read_to_end(&mut bytes);
        read.map_err(|error| failed(error.to_string()))?;
        bytes.shrink_to_fit();
        Ok(Bytes::from(bytes))
    };
    if head.starts_with(&subwords::MAGIC) {
        let bytes = whole(head, rest)?;
        let (list, table, subwords) =
            subwords::read(&bytes).map_err(|problem| Error::format(path, "fastText", problem))?;
        return Ok(Opened { format: "fastText binary", list, table, subwords });
    }
    let (line, at) = first_line(&head);
    let header = match counts(line) {
        Some(counts) => {
            let (words, width) = counts.map_err(failed)?;
            let (record, _) = first_line(&head[at..]);
            let header = Header { words: Some(words), width, lines: 1 };
            if !text::is_record(record, width) && !is_text(&head[at..]) {
                let bytes = whole(head, rest)?;
                let (list, table) = binary::read(&bytes, at, &header)
                    .map_err(|problem| Error::format(path, "word2vec", problem))?;
                return Ok(Opened { format: "word2vec binary", list, table, subwords: None });
            }
            head.drain(..at);
            header
        }
        None => {
            let width = text::width_of(line);
            if width == 0 || width > MAX_WIDTH || !text::is_record(line, width) {
                let problem = "its first line is neither `words width` nor a word and its numbers";
                return Err(failed(problem.into()));
            }
            Header { words: None, width, lines: 0 }
        }
    };
    let format = if header.words.is_some() { "word2vec text" } else { "GloVe text" };
    let (list, table) = text::read(header, head, &mut rest).map_err(failed)?;
    Ok(Opened { format, list, table, subwords: None })
}
