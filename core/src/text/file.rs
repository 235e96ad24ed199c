//! `tokenizer.json`: reading it, and finding the compact model for its shape.
//!
//! The file names its parts (normalizer, pre-tokenizer, model, post-processor, decoder). The
//! combinations that published models use are rebuilt here on our own parts; what is left goes
//! to the `tokenizers` crate, past the checks in `guard.rs`.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde_json::Value;
use tokenizers::normalizers::BertNormalizer;

use super::guard;
use super::json::{Merge, Parts, Table, Text};
use super::merge::{Bpe, Cuts, NONE, Order};
use super::normal::{Prefix, Spaces};
use super::parts::{
    Added, Edges, Engine, Frame, Inner, Kind, Own, Rule, Slot, Spelling, TokenModel, Trim,
};
use super::pieces::{Pieces, Trie};
use super::split::{Keep, Pattern, Splitter};
use super::wordpiece::{Letters, WordPiece};
use super::{pre, spelling, vocabulary};
use crate::error::{Error, Result};

/// The largest `tokenizer.json` that is read, in bytes. The largest published ones have 40 MB.
pub(crate) const MAX_FILE: u64 = 256 << 20;

pub(crate) const FORMAT: &str = "tokenizer.json";

/// The error of a JSON parser with the place in words: the keys that lead to it.
fn at_path(bytes: &[u8], error: &serde_json::Error) -> String {
    let before: usize = bytes
        .split_inclusive(|&byte| byte == b'\n')
        .take(error.line().max(1) - 1)
        .map(<[u8]>::len)
        .sum();
    let end = (before + error.column()).min(bytes.len());
    // Of each value that is open: the key it is at, or the place in a list.
    let mut path: Vec<Result<&[u8], usize>> = Vec::new();
    let (mut at, mut text) = (0, &bytes[..0]);
    while at < end {
        match bytes[at] {
            b'"' => {
                let start = at + 1;
                at = start;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += 1 + usize::from(bytes[at] == b'\\');
                }
                text = &bytes[start..at.min(bytes.len())];
            }
            // Deeper than any parser here goes.
            b'{' | b'[' if path.len() == 256 => break,
            b'{' => path.push(Ok(b"")),
            b'[' => path.push(Err(0)),
            b'}' | b']' => _ = path.pop(),
            b':' => {
                if let Some(key @ Ok(_)) = path.last_mut() {
                    *key = Ok(text);
                }
            }
            b',' => {
                if let Some(Err(place)) = path.last_mut() {
                    *place += 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    let mut words = String::new();
    for step in path {
        match step {
            Ok(b"") => {}
            Ok(key) => {
                let dot = if words.is_empty() { "" } else { "." };
                let key: String = String::from_utf8_lossy(key).chars().take(64).collect();
                words.push_str(&format!("{dot}{key}"));
            }
            Err(place) => words.push_str(&format!("[{place}]")),
        }
    }
    if words.is_empty() { error.to_string() } else { format!("`{words}`: {error}") }
}

/// Whether byte-level tokens have their spaces outside of their places.
fn trim(post: &Value) -> Option<Trim> {
    members(post, "processors").into_iter().find_map(|part| {
        let flag = |name: &str| part.get(name).and_then(Value::as_bool).unwrap_or(true);
        let trims = matches!(kind(part), Some("ByteLevel" | "RobertaProcessing"));
        (trims && flag("trim_offsets")).then(|| Trim { prefix: flag("add_prefix_space") })
    })
}

/// Builds the tokenizer of a `tokenizer.json`.
pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<Inner> {
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::format(path, FORMAT, format!("it has more than {MAX_FILE} bytes")));
    }
    let fail = |problem: String| Error::format(path, FORMAT, problem);
    let mut parts: Parts<'_> =
        serde_json::from_slice(bytes).map_err(|error| fail(at_path(bytes, &error)))?;
    let mut table = Table::new(&mut parts).map_err(&fail)?;
    guard::tokens(&parts, &table).map_err(&fail)?;
    let rule = rule(&parts.decoder);
    if let (Some(rule), Some(frame)) = (&rule, frame(&parts.post_processor, &table).map_err(&fail)?)
    {
        let own = match parts.model.kind.as_ref().map(|kind| kind.0.as_ref()) {
            Some("WordPiece") => words(&parts, &mut table),
            Some("BPE") => match bytes_shape(&parts, rule) {
                Some(shape) => byte_pairs(&parts, &mut table, shape).map(Some),
                None => Ok(None),
            },
            _ => Ok(None),
        };
        if let Some((spelling, model, pieces)) = own.map_err(&fail)? {
            let (added, trim) = (added(&parts), trim(&parts.post_processor));
            return Ok(Inner {
                pieces,
                kinds: table.kinds,
                spelling,
                special: table.special,
                rule: rule.clone(),
                engine: Engine::Own(Box::new(Own { added, model, frame, trim })),
            });
        }
    }
    guard::parts(&parts, &table).map_err(&fail)?;
    library(bytes, parts, table, rule, path)
}

fn kind(part: &Value) -> Option<&str> {
    part.get("type")?.as_str()
}

/// A flag of a part, or its default.
fn flag(part: &Value, name: &str, default: bool) -> bool {
    part.get(name).and_then(Value::as_bool).unwrap_or(default)
}

/// The members of a sequence, or the part itself; nothing for `null`.
fn members<'v>(part: &'v Value, key: &str) -> Vec<&'v Value> {
    match (part, kind(part)) {
        (Value::Null, _) => Vec::new(),
        (_, Some("Sequence")) => match part.get(key).and_then(Value::as_array) {
            Some(all) => all.iter().flat_map(|part| members(part, key)).collect(),
            None => vec![part],
        },
        _ => vec![part],
    }
}

fn is_replace(part: &Value, from: &str, to: &str) -> bool {
    kind(part) == Some("Replace")
        && part.pointer("/pattern/String").and_then(Value::as_str) == Some(from)
        && part.get("content").and_then(Value::as_str) == Some(to)
}

/// The rule of a decoder, if it is one that works token by token.
fn rule(decoder: &Value) -> Option<Rule> {
    let parts = members(decoder, "decoders");
    let text = |part: &Value, name: &str| Some(part.get(name)?.as_str()?.to_string());
    Some(match parts[..] {
        [] => Rule::Joined,
        [part] => match kind(part)? {
            "ByteLevel" => Rule::Bytes,
            "WordPiece" => Rule::Words {
                prefix: text(part, "prefix").unwrap_or_else(|| "##".into()),
                clean: flag(part, "cleanup", true),
            },
            "Metaspace" => Rule::Marks {
                mark: text(part, "replacement")?.chars().next()?,
                strip: part.get("prepend_scheme").and_then(Value::as_str) != Some("never")
                    && flag(part, "add_prefix_space", true),
            },
            "BPEDecoder" => Rule::Ends { suffix: text(part, "suffix").filter(|s| !s.is_empty())? },
            _ => return None,
        },
        [replace, bytes, fuse, ref rest @ ..]
            if is_replace(replace, "▁", " ")
                && kind(bytes) == Some("ByteFallback")
                && kind(fuse) == Some("Fuse") =>
        {
            match rest {
                [] => Rule::Spaces { strip: false },
                [strip]
                    if kind(strip) == Some("Strip")
                        && strip.get("content").and_then(Value::as_str) == Some(" ")
                        && strip.get("start").and_then(Value::as_u64) == Some(1)
                        && strip.get("stop").and_then(Value::as_u64) == Some(0) =>
                {
                    Rule::Spaces { strip: true }
                }
                _ => return None,
            }
        }
        _ => return None,
    })
}

/// The frame of a post-processor, if it is one that only puts tokens around; the error names a
/// token that does not exist.
fn frame(post: &Value, table: &Table<'_>) -> std::result::Result<Option<Frame>, String> {
    let parts: Vec<&Value> = members(post, "processors")
        .into_iter()
        .filter(|part| kind(part) != Some("ByteLevel"))
        .collect();
    let known = |id: Option<u64>, name: &str| {
        id.filter(|&id| table.has(id))
            .and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| format!("`post_processor.{name}` names a token that is not there"))
    };
    let pair = |part: &Value, name: &str| {
        known(part.get(name).and_then(|pair| pair.get(1)).and_then(Value::as_u64), name)
    };
    match parts[..] {
        [] => Ok(Some(Frame::new(&[], &[], &[], 1))),
        [part] => match kind(part) {
            Some("BertProcessing") => {
                let (cls, sep) = (pair(part, "cls")?, pair(part, "sep")?);
                Ok(Some(Frame::new(&[cls], &[sep], &[], 1)))
            }
            Some("RobertaProcessing") => {
                let (cls, sep) = (pair(part, "cls")?, pair(part, "sep")?);
                Ok(Some(Frame::new(&[cls], &[sep], &[sep], 0)))
            }
            Some("TemplateProcessing") => {
                let slots = |name: &str| -> std::result::Result<Option<Vec<Slot>>, String> {
                    let Some(pieces) = part.get(name).and_then(Value::as_array) else {
                        return Ok(None);
                    };
                    let mut slots = Vec::new();
                    for piece in pieces {
                        let of = |name: &str| piece.get(name);
                        let kind = |part: &Value| {
                            let kind = part.get("type_id").and_then(Value::as_u64);
                            kind.and_then(|kind| u32::try_from(kind).ok())
                        };
                        match (of("SpecialToken"), of("Sequence")) {
                            (Some(token), None) => {
                                let Some(type_id) = kind(token) else { return Ok(None) };
                                let id = token.get("id").and_then(Value::as_str).unwrap_or("");
                                let ids = part
                                    .get("special_tokens")
                                    .and_then(|all| all.get(id)?.get("ids")?.as_array())
                                    .ok_or_else(|| {
                                        format!(
                                            "`post_processor.special_tokens` lacks `{id}`, which \
                                             `{name}` names"
                                        )
                                    })?;
                                for id in ids {
                                    let id = known(id.as_u64(), "special_tokens")?;
                                    slots.push(Slot::Token(id, type_id));
                                }
                            }
                            (None, Some(text)) => {
                                let Some(type_id) = kind(text) else { return Ok(None) };
                                match text.get("id").and_then(Value::as_str) {
                                    Some("A") => slots.push(Slot::First(type_id)),
                                    Some("B") => slots.push(Slot::Second(type_id)),
                                    _ => return Ok(None),
                                }
                            }
                            _ => return Ok(None),
                        }
                    }
                    Ok(Some(slots))
                };
                let (Some(single), Some(pair)) = (slots("single")?, slots("pair")?) else {
                    return Ok(None);
                };
                let count = |slots: &[Slot], of: fn(&Slot) -> bool| {
                    slots.iter().filter(|slot| of(slot)).count()
                };
                let first = |slot: &Slot| matches!(slot, Slot::First(_));
                let second = |slot: &Slot| matches!(slot, Slot::Second(_));
                if count(&single, first) != 1
                    || count(&single, second) != 0
                    || count(&pair, first) != 1
                    || count(&pair, second) != 1
                    || single.len().max(pair.len()) > 64
                {
                    return Err("`post_processor` does not use each text exactly once".into());
                }
                Ok(Some(Frame { single, pair }))
            }
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

fn added(parts: &Parts<'_>) -> Added {
    let tokens = &parts.added_tokens;
    let edges = tokens.iter().map(|token| {
        let edges = Edges { left: token.lstrip, right: token.rstrip, alone: token.single_word };
        (token.id, edges)
    });
    Added {
        trie: Trie::new(tokens.iter().map(|t| (t.content.0.as_bytes(), t.id)).collect()),
        edges: edges.filter(|(_, edges)| *edges != Edges::default()).collect(),
        marks: false,
    }
}

type Built = (Spelling, TokenModel, Pieces);

/// BERT's WordPiece, if that is the shape.
fn words(parts: &Parts<'_>, table: &mut Table<'_>) -> std::result::Result<Option<Built>, String> {
    let model = &parts.model;
    let shape = kind(&parts.normalizer) == Some("BertNormalizer")
        && kind(&parts.pre_tokenizer) == Some("BertPreTokenizer")
        && parts.added_tokens.iter().all(|token| !token.normalized);
    if !shape {
        return Ok(None);
    }
    let max_chars = guard::max_word(model)?;
    let name = model.unk_token.as_ref().map_or("[UNK]", |name| name.0.as_ref());
    let unknown = table
        .id(name, parts)
        .ok_or_else(|| format!("`model.unk_token` is `{name}`, which is no token"))?;
    let part = &parts.normalizer;
    let normalizer = BertNormalizer::new(
        flag(part, "clean_text", true),
        flag(part, "handle_chinese_chars", true),
        part.get("strip_accents").and_then(Value::as_bool),
        flag(part, "lowercase", true),
    );
    let pieces = table.pieces(parts, false, |token, bytes| {
        bytes.extend_from_slice(token.as_bytes());
        Some(())
    })?;
    let words = Box::new(WordPiece {
        unknown,
        max_chars,
        prefix: model
            .continuing_subword_prefix
            .as_ref()
            .map_or_else(|| "##".into(), |prefix| prefix.0.to_string()),
        letters: Letters::new(normalizer),
    });
    Ok(Some((Spelling::Plain, TokenModel::Words(words), pieces)))
}

/// The two shapes of byte pair encoding.
enum Shape {
    Bytes { compose: bool, prefix: bool, splitter: Splitter },
    Characters { spaces: Spaces, splitter: Splitter },
}

fn bytes_shape(parts: &Parts<'_>, rule: &Rule) -> Option<Shape> {
    let model = &parts.model;
    let empty = |text: &Option<Text<'_>>| text.as_ref().is_none_or(|text| text.0.is_empty());
    if model.dropout.is_some_and(|dropout| dropout != 0.0)
        || !empty(&model.continuing_subword_prefix)
        || !empty(&model.end_of_word_suffix)
    {
        return None;
    }
    let normalizers = members(&parts.normalizer, "normalizers");
    let stages = members(&parts.pre_tokenizer, "pretokenizers");
    let plain = parts.added_tokens.iter().all(|token| !token.normalized);
    match (rule, stages.split_last()) {
        (Rule::Bytes, Some((last, stages))) if kind(last) == Some("ByteLevel") => {
            let compose = match normalizers[..] {
                [] => false,
                [part] if kind(part) == Some("NFC") => true,
                _ => return None,
            };
            let prefix = flag(last, "add_prefix_space", true);
            if prefix && (compose || !stages.is_empty()) || model.byte_fallback == Some(true) {
                return None;
            }
            let mut splitter = Splitter::whole();
            for stage in stages {
                let (pattern, keep) = split_stage(stage)?;
                splitter.push(pattern, keep);
            }
            if flag(last, "use_regex", true) {
                splitter.push(Pattern::parse(pre::gpt2()).ok()?, Keep::Both);
            }
            Some(Shape::Bytes { compose, prefix, splitter })
        }
        // A word that is a token would be looked up whole, before it is cut.
        (Rule::Spaces { .. }, _)
            if (plain || normalizers.is_empty()) && model.ignore_merges != Some(true) =>
        {
            let mut spaces = Spaces::default();
            let mut splitter = Splitter::whole();
            let mut replaced = false;
            for part in &normalizers {
                if is_replace(part, " ", "▁") && !replaced {
                    replaced = true;
                } else if kind(part) == Some("Prepend")
                    && part.get("prepend").and_then(Value::as_str) == Some("▁")
                    && spaces.prefix == Prefix::None
                {
                    spaces.prefix = Prefix::Always;
                } else {
                    return None;
                }
            }
            match stages[..] {
                [] if replaced => {}
                // All spaces are gone by then, so that this splits nothing.
                [split]
                    if replaced
                        && kind(split) == Some("Split")
                        && split.pointer("/pattern/String").and_then(Value::as_str)
                            == Some(" ") => {}
                [mark]
                    if normalizers.is_empty()
                        && kind(mark) == Some("Metaspace")
                        && mark.get("replacement").and_then(Value::as_str) == Some("▁") =>
                {
                    let scheme = mark.get("prepend_scheme").and_then(Value::as_str);
                    spaces.prefix = match scheme.unwrap_or("always") {
                        _ if !flag(mark, "add_prefix_space", true) => Prefix::None,
                        "always" => Prefix::Missing,
                        "first" => Prefix::MissingFirst,
                        "never" => Prefix::None,
                        _ => return None,
                    };
                    if flag(mark, "split", true) {
                        splitter.push(Pattern::parse(" ?[^ ]+| ").ok()?, Keep::Both);
                    }
                }
                _ => return None,
            }
            Some(Shape::Characters { spaces, splitter })
        }
        _ => None,
    }
}

/// A pre-tokenizer that cuts by a pattern.
fn split_stage(stage: &Value) -> Option<(Pattern, Keep)> {
    match kind(stage)? {
        "Digits" => {
            let pattern =
                if flag(stage, "individual_digits", false) { r"\p{N}" } else { r"\p{N}+" };
            Some((Pattern::parse(pattern).ok()?, Keep::Both))
        }
        "Split" => {
            let pattern = match stage.pointer("/pattern/Regex").and_then(Value::as_str) {
                Some(pattern) => pattern.to_string(),
                None => {
                    let text = stage.pointer("/pattern/String")?.as_str()?;
                    let special = |c: char| c.is_ascii_punctuation();
                    text.chars().fold(String::new(), |mut all, c| {
                        if special(c) {
                            all.push('\\');
                        }
                        all.push(c);
                        all
                    })
                }
            };
            let keep = match (stage.get("behavior")?.as_str()?, flag(stage, "invert", false)) {
                ("Isolated", _) => Keep::Both,
                ("Removed", true) => Keep::Matches,
                ("Removed", false) => Keep::Gaps,
                _ => return None,
            };
            Some((Pattern::parse(&pattern).ok()?, keep))
        }
        _ => None,
    }
}

fn byte_pairs(
    parts: &Parts<'_>,
    table: &mut Table<'_>,
    shape: Shape,
) -> std::result::Result<Built, String> {
    let model = &parts.model;
    let as_bytes = |text: &str, bytes: &mut Vec<u8>| {
        text.chars().try_for_each(|c| {
            bytes.push(spelling::unprintable(c)?);
            Some(())
        })
    };
    let as_spaces = |text: &str, bytes: &mut Vec<u8>| {
        for (at, part) in text.split('▁').enumerate() {
            if at > 0 {
                bytes.push(b' ');
            }
            bytes.extend_from_slice(part.as_bytes());
        }
        Some(())
    };
    let unknown = match &model.unk_token {
        None => None,
        Some(name) => Some(
            table
                .id(&name.0, parts)
                .ok_or_else(|| format!("`model.unk_token` is `{}`, which is no token", name.0))?,
        ),
    };
    let merges = model.merges.as_deref().unwrap_or_default();
    let halves = || merges.iter().map(|Merge(left, right)| Some((&*left.0, &*right.0)));
    let byte_level = matches!(shape, Shape::Bytes { .. });
    let (pieces, ranks) = if byte_level {
        let pieces = table.pieces(parts, false, as_bytes)?;
        let ranks = vocabulary::ranks(&pieces, merges.len(), halves(), as_bytes);
        (pieces, ranks)
    } else {
        let pieces = table.pieces(parts, true, as_spaces)?;
        let ranks = vocabulary::ranks(&pieces, merges.len(), halves(), as_spaces);
        (pieces, ranks)
    };
    let ranks = ranks.map_err(|at| guard::bad_merge(merges, at))?;
    let mut bytes = Box::new([NONE; 256]);
    if byte_level {
        for (byte, id) in (0u8..=255).zip(bytes.iter_mut()) {
            *id = pieces.find(&[byte]).unwrap_or(NONE);
        }
    } else if model.byte_fallback == Some(true) {
        for (id, _) in (0u32..).zip(&table.kinds).filter(|(_, kind)| **kind == Kind::Byte) {
            if let Some(byte) = pieces.get(id).and_then(spelling::byte) {
                bytes[byte as usize] = id;
            }
        }
    }
    let mut ascii = Box::new([NONE; 128]);
    for (byte, id) in (0u8..).zip(ascii.iter_mut()) {
        *id = pieces.find(&[byte]).unwrap_or(NONE);
    }
    let of = |id: usize| pieces.get(id as u32).filter(|_| parts.knows_id(table, id));
    let bpe = Box::new(Bpe {
        order: Order::Ranks(ranks),
        byte_level,
        bytes,
        ascii,
        whole_words: model.ignore_merges == Some(true),
        unknown,
        fuse_unknown: model.fuse_unk == Some(true),
        unused: HashSet::new(),
        cuts: (!byte_level).then(|| Cuts::new((0..pieces.len()).filter_map(of), pieces.len())),
    });
    Ok(match shape {
        Shape::Bytes { compose, prefix, splitter } => {
            (Spelling::Bytes, TokenModel::Bytes { compose, prefix, splitter, bpe }, pieces)
        }
        Shape::Characters { spaces, splitter } => {
            (Spelling::Marks, TokenModel::Characters { spaces, splitter, bpe }, pieces)
        }
    })
}

/// Any other shape, on the `tokenizers` crate. The checks of `guard.rs` have been made.
fn library(
    bytes: &[u8],
    parts: Parts<'_>,
    mut table: Table<'_>,
    rule: Option<Rule>,
    path: &Path,
) -> Result<Inner> {
    let rule = rule.unwrap_or(Rule::Whole);
    let spell = |token: &str, bytes: &mut Vec<u8>| match rule {
        Rule::Bytes => token.chars().try_for_each(|c| {
            bytes.push(spelling::unprintable(c)?);
            Some(())
        }),
        _ => {
            bytes.extend_from_slice(token.as_bytes());
            Some(())
        }
    };
    let fail = |problem: String| Error::format(path, FORMAT, problem);
    let pieces = table.pieces(&parts, false, spell).map_err(&fail)?;
    if matches!(rule, Rule::Spaces { .. }) {
        for (id, kind) in (0u32..).zip(&mut table.kinds) {
            if pieces.get(id).and_then(spelling::byte).is_some() {
                *kind = Kind::Byte;
            }
        }
    }
    let added: Vec<(String, u32)> =
        parts.added_tokens.iter().map(|token| (token.content.0.to_string(), token.id)).collect();
    let edged = parts.added_tokens.iter().filter(|token| token.lstrip || token.single_word);
    let edged = edged.map(|token| token.content.0.to_string()).collect();
    // The crate takes the text a second time; what was read of it is not needed any more.
    drop(parts);
    let loaded = catch_unwind(AssertUnwindSafe(|| tokenizers::Tokenizer::from_bytes(bytes)));
    let mut library = match loaded {
        Ok(Ok(library)) => library,
        Ok(Err(error)) => return Err(fail(error.to_string())),
        Err(_) => return Err(fail("the library failed to read it".into())),
    };
    library.with_truncation(None).map_err(|error| fail(error.to_string()))?;
    library.with_padding(None);
    for (at, (token, id)) in added.iter().enumerate() {
        if library.token_to_id(token) != Some(*id) {
            return Err(fail(format!(
                "`added_tokens[{at}].id` is {id} for `{token}`; the next free id would be right"
            )));
        }
    }
    let spelling = if rule == Rule::Bytes { Spelling::Bytes } else { Spelling::Plain };
    let engine = Engine::Library { library: Box::new(library), edged };
    let (kinds, special) = (table.kinds, table.special);
    Ok(Inner { pieces, kinds, spelling, special, rule, engine })
}
