//! What is checked before a `tokenizer.json` is given to the `tokenizers` crate.
//!
//! The crate trusts its file: parts of it panic, abort or never end on numbers and patterns that
//! a file may hold. So only parts that are listed here get through, with every number in bounds,
//! every token that is named in the vocabulary, and patterns of which matching is linear. What
//! is refused is named by its place in the file.

use serde_json::Value;
use tokenizers::utils::SysRegex;

use super::json::{Merge, ModelPart, Parts, Table};
use super::normal::Charsmap;
use super::unigram::MAX_PIECE;
use super::wordpiece::MAX_WORD;
use crate::quote::quote;

/// What a chain of replacements may multiply a text by.
const MAX_GROWTH: u64 = 1024;
/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 1024;
/// The most characters that a strip may take.
const MAX_STRIP: u64 = 1024;
/// The deepest nesting of sequences.
const MAX_DEPTH: usize = 8;

type Check = Result<(), String>;

/// Checks that hold for every file, whatever it runs on.
pub(crate) fn tokens(parts: &Parts<'_>, table: &Table<'_>) -> Check {
    let model = &parts.model;
    if table.tokens.is_empty() || model.vocab.0.is_empty() {
        return Err("`model.vocab` is empty".into());
    }
    if let Some(dropout) = model.dropout.filter(|dropout| *dropout != 0.0) {
        return Err(format!("`model.dropout` is {dropout}; 0 would be right, to encode alike"));
    }
    if let Some(token) = &model.unk_token
        && table.id(&token.0, parts).is_none()
    {
        return Err(format!("`model.unk_token` is `{}`, which is no token", token.0));
    }
    if let Some(id) = model.unk_id.filter(|&id| id >= model.vocab.0.len() as u64) {
        return Err(format!("`model.unk_id` is {id}, outside {} tokens", model.vocab.0.len()));
    }
    max_word(model).map(drop)
}

/// `model.max_input_chars_per_word`, checked.
pub(crate) fn max_word(model: &ModelPart<'_>) -> Result<usize, String> {
    let max = model.max_input_chars_per_word.unwrap_or(100);
    usize::try_from(max).ok().filter(|&max| max <= MAX_WORD).ok_or_else(|| {
        format!("`model.max_input_chars_per_word` is {max}; at most {MAX_WORD} would be right")
    })
}

/// What to say about a merge that is not two tokens, or whose whole is none.
pub(crate) fn bad_merge(merges: &[Merge<'_>], at: usize) -> String {
    let (left, right) =
        merges.get(at).map_or(("", ""), |Merge(left, right)| (left.0.as_ref(), right.0.as_ref()));
    let merge = quote(&format!("{left} {right}"));
    format!("`model.merges[{at}]` is {merge}; two tokens that make a third would be right")
}

/// Checks for files that the crate runs.
pub(crate) fn parts(parts: &Parts<'_>, table: &Table<'_>) -> Check {
    model(parts, table)?;
    let mut growth = 1;
    normalizer(&parts.normalizer, "normalizer", 0, &mut growth)?;
    pre_tokenizer(&parts.pre_tokenizer, "pre_tokenizer", 0, &mut growth)?;
    post_processor(&parts.post_processor, "post_processor", 0, table)?;
    let mut growth = 1;
    decoder(&parts.decoder, "decoder", 0, &mut growth)
}

/// The type of a part; `None` if the part is absent.
fn kind<'v>(part: &'v Value, place: &str) -> Result<Option<&'v str>, String> {
    match part {
        Value::Null => Ok(None),
        part => match part.get("type").and_then(Value::as_str) {
            Some(kind) => Ok(Some(kind)),
            None => Err(format!("`{place}.type` is missing")),
        },
    }
}

fn unknown(place: &str, kind: &str) -> Check {
    Err(format!("`{place}.type` is `{kind}`, which is not supported"))
}

fn members<'v>(
    part: &'v Value,
    place: &str,
    key: &str,
    depth: usize,
) -> Result<&'v [Value], String> {
    if depth > MAX_DEPTH {
        return Err(format!("`{place}` is nested too deeply"));
    }
    match part.get(key).and_then(Value::as_array) {
        Some(members) if members.len() <= 64 => Ok(members),
        _ => Err(format!("`{place}.{key}` is not a list of at most 64 parts")),
    }
}

fn text<'v>(part: &'v Value, place: &str, key: &str) -> Result<&'v str, String> {
    part.get(key).and_then(Value::as_str).ok_or_else(|| format!("`{place}.{key}` is not a string"))
}

fn one_character(part: &Value, place: &str, key: &str) -> Check {
    let text = text(part, place, key)?;
    match text.chars().count() {
        1 => Ok(()),
        _ => Err(format!("`{place}.{key}` is `{text}`; one character would be right")),
    }
}

/// A pattern that matches in linear time and never matches nothing.
fn pattern(part: &Value, place: &str) -> Check {
    let place = format!("{place}.pattern");
    let Some(pattern) = part.get("pattern") else { return Err(format!("`{place}` is missing")) };
    if let Some(text) = pattern.get("String").and_then(Value::as_str) {
        return match text.len() {
            0 => Err(format!("`{place}` is empty")),
            1..=MAX_PATTERN => Ok(()),
            len => Err(format!("`{place}` has {len} bytes; at most {MAX_PATTERN} would be right")),
        };
    }
    let Some(source) = pattern.get("Regex").and_then(Value::as_str) else {
        return Err(format!("`{place}` is neither a `String` nor a `Regex`"));
    };
    if source.len() > MAX_PATTERN {
        return Err(format!("`{place}` has more than {MAX_PATTERN} bytes"));
    }
    // Whatever makes the engine backtrack: it is exponential, and it gives up in silence.
    let backtracks = ["(?=", "(?!", "(?<", "(?>", "(?P=", "(?(", "(?'", "\\k", "\\g", "\\K", "\\G"];
    let possessive = ["*+", "++", "?+", "}+"];
    let digit = source.as_bytes().windows(2).any(|w| w[0] == b'\\' && w[1].is_ascii_digit());
    let found = backtracks.iter().chain(&possessive).find(|what| source.contains(**what));
    if let Some(what) = found.copied().or(digit.then_some("a back-reference")) {
        return Err(format!(
            "`{place}` is `{source}`, which has {what}; a pattern without it would be right"
        ));
    }
    let regex = SysRegex::new(source).map_err(|error| format!("`{place}` is wrong: {error}"))?;
    for probe in ["", "a", " ", "a B1 _\n\u{301}中.", "\n\n", "1"] {
        if regex.find_iter(probe).any(|(start, end)| start == end) {
            return Err(format!("`{place}` is `{source}`, which can match nothing at all"));
        }
    }
    Ok(())
}

/// A replacement, and how much longer it can make a text.
fn replace(part: &Value, place: &str, growth: &mut u64) -> Check {
    pattern(part, place)?;
    grow(text(part, place, "content")?, &format!("{place}.content"), growth)
}

fn grow(text: &str, place: &str, growth: &mut u64) -> Check {
    *growth = growth.saturating_mul((text.len() as u64).max(1));
    match *growth {
        0..=MAX_GROWTH => Ok(()),
        _ => Err(format!("`{place}` makes a text more than {MAX_GROWTH} times as long")),
    }
}

fn normalizer(part: &Value, place: &str, depth: usize, growth: &mut u64) -> Check {
    let Some(kind) = kind(part, place)? else { return Ok(()) };
    match kind {
        "Sequence" => {
            for (at, member) in members(part, place, "normalizers", depth)?.iter().enumerate() {
                normalizer(member, &format!("{place}.normalizers[{at}]"), depth + 1, growth)?;
            }
            Ok(())
        }
        "BertNormalizer" | "Strip" | "StripAccents" | "NFC" | "NFD" | "NFKC" | "NFKD"
        | "Lowercase" | "Nmt" | "ByteLevel" => Ok(()),
        "Prepend" => {
            let prepend = text(part, place, "prepend")?;
            match prepend.len() {
                1..=64 => Ok(()),
                len => Err(format!("`{place}.prepend` has {len} bytes; 1 to 64 would be right")),
            }
        }
        "Replace" => replace(part, place, growth),
        "Precompiled" => {
            let place = format!("{place}.precompiled_charsmap");
            let blob = part.get("precompiled_charsmap").and_then(Value::as_str).unwrap_or("");
            let blob = base64(blob).ok_or_else(|| format!("`{place}` is not base64"))?;
            let map = Charsmap::parse(&blob).map_err(|problem| format!("`{place}` {problem}"))?;
            map.check().map_err(|problem| format!("`{place}` {problem}"))
        }
        kind => unknown(place, kind),
    }
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.as_bytes().chunks(4) {
        let mut word = 0u32;
        for at in 0..4 {
            let digit = match group.get(at) {
                None => 0,
                Some(c @ b'A'..=b'Z') => c - b'A',
                Some(c @ b'a'..=b'z') => c - b'a' + 26,
                Some(c @ b'0'..=b'9') => c - b'0' + 52,
                Some(b'+') => 62,
                Some(b'/') => 63,
                Some(_) => return None,
            };
            word = word << 6 | u32::from(digit);
        }
        let bytes = word.to_be_bytes();
        out.extend_from_slice(bytes.get(1..group.len()).filter(|bytes| !bytes.is_empty())?);
    }
    Some(out)
}

fn pre_tokenizer(part: &Value, place: &str, depth: usize, growth: &mut u64) -> Check {
    let Some(kind) = kind(part, place)? else { return Ok(()) };
    match kind {
        "Sequence" => {
            for (at, member) in members(part, place, "pretokenizers", depth)?.iter().enumerate() {
                let place = format!("{place}.pretokenizers[{at}]");
                pre_tokenizer(member, &place, depth + 1, growth)?;
            }
            Ok(())
        }
        // Each writes a byte as up to two.
        "ByteLevel" => grow("  ", place, growth),
        "BertPreTokenizer" | "Whitespace" | "WhitespaceSplit" | "Punctuation" | "Digits"
        | "UnicodeScripts" => Ok(()),
        "Metaspace" => {
            one_character(part, place, "replacement")?;
            grow(text(part, place, "replacement")?, place, growth)
        }
        "CharDelimiterSplit" | "Delimiter" => one_character(part, place, "delimiter"),
        "Split" => pattern(part, place),
        "FixedLength" => match part.get("length").and_then(Value::as_u64) {
            Some(1..=0xffff_ffff) => Ok(()),
            _ => Err(format!("`{place}.length` is not a positive number")),
        },
        kind => unknown(place, kind),
    }
}

fn decoder(part: &Value, place: &str, depth: usize, growth: &mut u64) -> Check {
    let Some(kind) = kind(part, place)? else { return Ok(()) };
    match kind {
        "Sequence" => {
            for (at, member) in members(part, place, "decoders", depth)?.iter().enumerate() {
                decoder(member, &format!("{place}.decoders[{at}]"), depth + 1, growth)?;
            }
            Ok(())
        }
        "ByteLevel" | "ByteFallback" | "Fuse" => Ok(()),
        "WordPiece" => text(part, place, "prefix").map(drop),
        "CTC" => {
            text(part, place, "pad_token")?;
            text(part, place, "word_delimiter_token").map(drop)
        }
        "BPEDecoder" => match text(part, place, "suffix")? {
            "" => Err(format!("`{place}.suffix` is empty")),
            _ => Ok(()),
        },
        "Metaspace" => one_character(part, place, "replacement"),
        "Replace" => replace(part, place, growth),
        "Strip" => {
            one_character(part, place, "content")?;
            if part.get("start").and_then(Value::as_u64).is_none_or(|count| count > MAX_STRIP) {
                return Err(format!("`{place}.start` is not a number up to {MAX_STRIP}"));
            }
            // The crate counts back past the start of a token that is shorter.
            match part.get("stop").and_then(Value::as_u64) {
                Some(0) => {}
                _ => return Err(format!("`{place}.stop` is not 0, which alone is supported")),
            }
            Ok(())
        }
        kind => unknown(place, kind),
    }
}

fn post_processor(part: &Value, place: &str, depth: usize, table: &Table<'_>) -> Check {
    let Some(kind) = kind(part, place)? else { return Ok(()) };
    let known = |id: Option<u64>| id.is_some_and(|id| table.has(id));
    match kind {
        "Sequence" => {
            for (at, member) in members(part, place, "processors", depth)?.iter().enumerate() {
                post_processor(member, &format!("{place}.processors[{at}]"), depth + 1, table)?;
            }
            Ok(())
        }
        "ByteLevel" => Ok(()),
        "BertProcessing" | "RobertaProcessing" => {
            for key in ["sep", "cls"] {
                if !known(part.get(key).and_then(|pair| pair.get(1)).and_then(Value::as_u64)) {
                    return Err(format!("`{place}.{key}` names a token that is not there"));
                }
            }
            Ok(())
        }
        "TemplateProcessing" => {
            let none = serde_json::Map::new();
            let tokens = part.get("special_tokens").and_then(Value::as_object).unwrap_or(&none);
            for (name, token) in tokens {
                let ids = token.get("ids").and_then(Value::as_array);
                let names = token.get("tokens").and_then(Value::as_array);
                let fits = ids.zip(names).is_some_and(|(ids, names)| {
                    ids.len() == names.len() && ids.iter().all(|id| known(id.as_u64()))
                });
                if !fits {
                    return Err(format!(
                        "`{place}.special_tokens` has `{name}`, whose ids are not tokens"
                    ));
                }
            }
            for key in ["single", "pair"] {
                for piece in members(part, place, key, depth)? {
                    // A piece is an object, or a string such as `[CLS]:0` or `$A`.
                    let name = match piece {
                        Value::String(text) if text.starts_with('$') => continue,
                        Value::String(text) => text.split(':').next(),
                        piece => match piece.get("SpecialToken") {
                            Some(token) => token.get("id").and_then(Value::as_str),
                            None if piece.get("Sequence").is_some() => continue,
                            None => None,
                        },
                    };
                    if name.is_none_or(|name| !tokens.contains_key(name)) {
                        return Err(format!(
                            "`{place}.{key}` names `{}`, which `special_tokens` lacks",
                            name.unwrap_or_default()
                        ));
                    }
                }
            }
            Ok(())
        }
        kind => unknown(place, kind),
    }
}

fn model(parts: &Parts<'_>, table: &Table<'_>) -> Check {
    let model = &parts.model;
    let known = |token: &str| table.id(token, parts).is_some();
    match model.kind.as_ref().map(|kind| kind.0.as_ref()) {
        Some("WordPiece") => match &model.unk_token {
            Some(_) => Ok(()),
            None => Err("`model.unk_token` is missing".into()),
        },
        Some("WordLevel") => match &model.unk_token {
            Some(_) => Ok(()),
            None => Err("`model.unk_token` is missing".into()),
        },
        Some("Unigram") => {
            let long = model.vocab.0.iter().find(|(token, _)| token.0.len() > MAX_PIECE);
            if let Some((token, _)) = long {
                return Err(format!(
                    "`model.vocab` has a piece of {} bytes; at most {MAX_PIECE} would be right",
                    token.0.len()
                ));
            }
            match model.unk_id {
                Some(_) => Ok(()),
                None => Err("`model.unk_id` is missing".into()),
            }
        }
        Some("BPE") => {
            let prefix = model.continuing_subword_prefix.as_ref().map_or("", |text| &text.0);
            let merges = model.merges.as_deref().unwrap_or_default();
            for (at, Merge(left, right)) in merges.iter().enumerate() {
                // The crate cuts the prefix off the right half without looking.
                let rest = right.0.strip_prefix(prefix);
                let fits = rest.is_some_and(|rest| {
                    known(&left.0) && known(&right.0) && known(&format!("{}{rest}", left.0))
                });
                if !fits {
                    return Err(bad_merge(merges, at));
                }
            }
            Ok(())
        }
        Some(kind) => unknown("model", kind),
        None => Err("`model.type` is missing".into()),
    }
}
