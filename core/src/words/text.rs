//! Word vectors as text: a line a word, with or without a first line that says how many.
//!
//! ```text
//! 400000 50              word2vec and fastText: words and width; GloVe has no such line
//! the 0.418 0.24968 ..   a word, a space, numbers with spaces between
//! ```
//! A word may hold spaces, as some of GloVe's do: the last numbers of a line are its vector. It may
//! not end in a space and a number, which would be a line of another width.
//!
//! Source: `word2vec.c`; `FastText::saveVectors` of fastText; GloVe's `glove.c`.

use std::io::Read;

use bytes::Bytes;
use rayon::prelude::*;

use super::list::WordList;
use super::parsed::{BLOCK, Header, Parsed, fill};
use super::table::{Number, Table};
use crate::quote::quote;

/// Where a word ends in a line, and its numbers from there.
///
/// From the right, since only the word may hold spaces.
fn split(line: &[u8], width: usize) -> Option<(&[u8], &[u8])> {
    let space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let end = line.iter().rposition(|byte| !byte.is_ascii_whitespace())? + 1;
    let mut at = end;
    for k in 0..width {
        let gap = line[..at].iter().rposition(space)?;
        // The separator itself belongs to nobody; more of them stand between numbers only.
        at = match k + 1 < width {
            true => line[..gap].iter().rposition(|byte| !space(byte))? + 1,
            false => gap,
        };
    }
    Some((&line[..at], &line[at + 1..end]))
}

/// Appends the numbers of `fields` to `out`, little-endian; their count must be `width`.
fn numbers(fields: &str, width: usize, out: &mut Vec<u8>) -> Parsed<()> {
    let before = out.len();
    for field in fields.split([' ', '\t']).filter(|field| !field.is_empty()) {
        match field.parse::<f32>() {
            Ok(number) if number.is_finite() => out.extend_from_slice(&number.to_le_bytes()),
            Ok(_) => return Err(format!("{} is not a finite 32-bit number", quote(field))),
            Err(_) => return Err(format!("{} is not a number", quote(field))),
        }
    }
    let found = (out.len() - before) / 4;
    if found == width { Ok(()) } else { Err(format!("{found} numbers, want {width}")) }
}

/// The words of some lines, and their numbers.
struct Lines<'a> {
    words: Vec<&'a str>,
    values: Vec<u8>,
}

fn parse<'a>(lines: &[&'a [u8]], width: usize) -> Result<Lines<'a>, (usize, String)> {
    // A number takes two bytes at least, so what the first line claims allocates nothing.
    let bytes: usize = lines.iter().map(|line| line.len()).sum();
    let capacity = (lines.len() * width * 4).min(bytes * 2 + 4);
    let mut found = Lines { words: Vec::new(), values: Vec::with_capacity(capacity) };
    for (i, line) in lines.iter().enumerate() {
        let at = |problem: String| (i, problem);
        let Some((word, fields)) = split(line, width) else {
            return Err(at(format!("want a word and {width} numbers")));
        };
        let word = std::str::from_utf8(word)
            .map_err(|error| at(format!("the word is not UTF-8: {error}")))?;
        let fields = std::str::from_utf8(fields)
            .map_err(|error| at(format!("the numbers are not UTF-8: {error}")))?;
        let about = |problem| at(format!("word {}: {problem}", quote(word)));
        numbers(fields, width, &mut found.values).map_err(about)?;
        // Else a wrong width would go unseen: all but the last numbers would be part of words.
        if let Some((_, last)) = word.rsplit_once(' ')
            && last.parse::<f32>().is_ok()
        {
            return Err(at(format!("word {}: more than {width} numbers follow it", quote(word))));
        }
        found.words.push(word);
    }
    Ok(found)
}

/// Whether a line is a word and `width` numbers.
pub(super) fn is_record(line: &[u8], width: usize) -> bool {
    parse(&[line], width).is_ok()
}

/// The width of a file without a first line that says it: the numbers of its first word.
pub(super) fn width_of(line: &[u8]) -> usize {
    let fields = line.split(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
    fields.filter(|field| !field.is_empty()).count().saturating_sub(1)
}

/// Reads words and numbers from `head`, which follows the header, and then from `rest`.
///
/// Blocks of lines are read one after the other, so that a compressed file is never whole in
/// memory, and each is parsed on all cores. A word that comes again is left out, as gensim does.
pub(super) fn read(
    header: Header,
    head: Vec<u8>,
    rest: &mut dyn Read,
) -> Parsed<(WordList, Table)> {
    /// Lines of a task.
    const LINES: usize = 128;
    let Header { words: claimed, width, lines: mut line_number } = header;
    let (mut list, mut values) = (WordList::new(), Vec::new());
    let mut records = 0u64;
    let mut block = head;
    let mut ended = false;
    while !ended {
        ended = fill(&mut block, rest)?;
        // The last line of the file may end without a newline.
        let whole = match ended {
            true => block.len(),
            false => match block.iter().rposition(|byte| *byte == b'\n') {
                Some(at) => at + 1,
                None => return Err(format!("line {}: over {BLOCK} bytes", line_number + 1)),
            },
        };
        let mut lines: Vec<&[u8]> = block[..whole].split(|byte| *byte == b'\n').collect();
        if lines.last().is_some_and(|line| line.is_empty()) {
            lines.pop();
        }
        if ended {
            // Empty lines at the end say nothing.
            while lines.last().is_some_and(|line| line.trim_ascii().is_empty()) {
                lines.pop();
            }
        }
        if let Some(claimed) = claimed
            && records + lines.len() as u64 > claimed
        {
            let line = line_number + (claimed - records) + 1;
            return Err(format!("line {line}: the first line says that {claimed} words are all"));
        }
        let parts: Vec<_> = lines.par_chunks(LINES).map(|lines| parse(lines, width)).collect();
        for (i, part) in parts.into_iter().enumerate() {
            let part = part.map_err(|(line, problem)| {
                format!("line {}: {problem}", line_number + (i * LINES + line) as u64 + 1)
            })?;
            for (word, row) in part.words.iter().zip(part.values.chunks_exact(width * 4)) {
                match list.push(word) {
                    true => values.extend_from_slice(row),
                    false => log::warn!("word {} comes again and is left out", quote(word)),
                }
            }
        }
        records += lines.len() as u64;
        line_number += lines.len() as u64;
        block.drain(..whole);
    }
    match claimed {
        Some(claimed) if records < claimed => {
            Err(format!("it ends after {records} words; the first line says {claimed}"))
        }
        _ if records == 0 => Err("it holds no word".into()),
        _ => {
            values.shrink_to_fit();
            Ok((list, Table::even(Bytes::from(values), Number::F32, width)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &str, words: Option<u64>, width: usize) -> Parsed<(WordList, Table)> {
        let header = Header { words, width, lines: u64::from(words.is_some()) };
        // A byte at a time: lines are put together from the pieces of a slow file.
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
                let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
                (out[0], self.0) = (*first, rest);
                Ok(1)
            }
        }
        read(header, Vec::new(), &mut Slow(text.as_bytes()))
    }

    #[test]
    fn words_with_spaces_and_every_line_end_are_read() {
        let text = "the 1 -2.5e-1\r\n. . . 3 4 \n \u{85} 5\t6\n7 8  9\n 1 2\nthe 0 0\n\n";
        let (list, table) = open(text, None, 2).unwrap();
        let words: Vec<&str> = (0..list.len()).filter_map(|i| list.word(i)).collect();
        assert_eq!(words, ["the", ". . .", " \u{85}", "7", ""]);
        let mut row = [0.0; 2];
        let want = [[1.0, -0.25], [3.0, 4.0], [5.0, 6.0], [8.0, 9.0], [1.0, 2.0]];
        for (i, want) in want.iter().enumerate() {
            table.read(i, &mut row);
            assert_eq!(&row, want);
        }
    }

    #[test]
    fn what_is_no_word_and_numbers_is_refused_with_its_line() {
        for (text, words, problem) in [
            ("a 1 2\nb 1", None, "line 2: want a word and 2 numbers"),
            ("a 1 2\nb 1 x\n", None, "line 2: word `b`: `x` is not a number"),
            ("a 1 2\nb 1 1e39\n", None, "`1e39` is not a finite"),
            ("a 1 2\nb 1 2 3\n", None, "line 2: word `b 1`: more than 2 numbers"),
            ("a 1 nan\n", Some(1), "line 2: word `a`: `nan` is not a finite"),
            ("a 1 2\n\nb 1 2\n", None, "line 2: want a word"),
            ("a 1 2\nb 1 2\n", Some(1), "line 3: the first line says that 1 words are all"),
            ("a 1 2\n", Some(2), "it ends after 1 words; the first line says 2"),
            ("", None, "no word"),
        ] {
            let error = open(text, words, 2).err().expect(text);
            assert!(error.contains(problem), "{error}");
        }
    }
}
