//! A tokenizer from the metadata of a GGUF file, which holds the vocabulary but not the rules.
//!
//! | `tokenizer.ggml.model` | rules | order of merges |
//! |---|---|---|
//! | `llama` | SentencePiece byte pairs, unknown characters as bytes | scores |
//! | `gpt2` | byte-level byte pairs, split by `tokenizer.ggml.pre` | merges |
//! | `gemma4` | SentencePiece's spaces and bytes | merges |
//! | `bert` | WordPiece | |
//! | `t5` | SentencePiece unigram | |
//!
//! What a file leaves out has the default of llama.cpp. Where references disagree, the tokens are
//! those the model was trained with: SentencePiece's own for `llama` and `t5`, the published
//! `tokenizer.json` for `gpt2` and `bert`.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use tokenizers::normalizers::BertNormalizer;

use super::merge::{Bpe, Cuts, NONE, Order, Ranks, score_key};
use super::normal::{Charsmap, Prefix, Spaces};
use super::parts::{Added, Engine, Frame, Inner, Kind, Own, Rule, Spelling, TokenModel};
use super::pieces::{MAX_TOKEN, MAX_TOKENS, Pieces, Trie};
use super::split::{Keep, Pattern, Splitter};
use super::unigram::{MAX_PIECE, Unigram};
use super::wordpiece::{Letters, WordPiece};
use super::{pre, spelling};
use crate::error::{Error, Result};
use crate::quote::quote;

/// What the metadata of a GGUF file says about its tokenizer, each field under the key of its
/// name unless noted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vocabulary<'a> {
    /// `tokenizer.ggml.model`
    pub model: &'a str,
    /// `tokenizer.ggml.pre`
    pub pre: Option<&'a str>,
    /// `tokenizer.ggml.tokens`
    pub tokens: Vec<&'a str>,
    /// `tokenizer.ggml.scores`
    pub scores: Option<Vec<f32>>,
    /// `tokenizer.ggml.token_type`
    pub types: Option<Vec<i32>>,
    /// `tokenizer.ggml.merges`
    pub merges: Vec<&'a str>,
    /// `tokenizer.ggml.bos_token_id`
    pub bos: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`
    pub eos: Option<u32>,
    /// `tokenizer.ggml.unknown_token_id`
    pub unk: Option<u32>,
    /// `tokenizer.ggml.seperator_token_id` (so spelled)
    pub sep: Option<u32>,
    /// `tokenizer.ggml.padding_token_id`
    pub pad: Option<u32>,
    /// `tokenizer.ggml.cls_token_id`
    pub cls: Option<u32>,
    /// `tokenizer.ggml.mask_token_id`
    pub mask: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_sep_token`
    pub add_sep: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.ggml.remove_extra_whitespaces`
    pub remove_extra_whitespaces: Option<bool>,
    /// `tokenizer.ggml.precompiled_charsmap`, as bytes
    pub charsmap: Option<&'a [u8]>,
    /// `tokenizer.ggml.normalizer.lowercase`
    pub lowercase: Option<bool>,
    /// `tokenizer.ggml.normalizer.strip_accents`
    pub strip_accents: Option<bool>,
}

/// The values of `tokenizer.ggml.token_type`, where 0 is undefined and means normal.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// Builds the tokenizer that `vocabulary` describes.
pub(crate) fn build(vocabulary: Vocabulary<'_>, path: &Path) -> Result<Inner> {
    let builder = Builder::new(vocabulary, path)?;
    match builder.from.model {
        "llama" => builder.scored(),
        "gpt2" => builder.bytes(),
        "gemma4" => builder.marked(),
        "bert" => builder.words(),
        "t5" => builder.unigram(),
        model => Err(Error::Unsupported {
            what: format!("the tokenizer model `{model}`"),
            known: "llama, gpt2, gemma4, bert, t5".into(),
        }),
    }
}

/// Reads `count` merges; `spell` appends the bytes of one half. The error is the place of one that
/// is not two tokens, or whose whole is none.
pub(crate) fn ranks<'a>(
    pieces: &Pieces,
    count: usize,
    merges: impl Iterator<Item = Option<(&'a str, &'a str)>>,
    spell: impl Fn(&str, &mut Vec<u8>) -> Option<()>,
) -> std::result::Result<Ranks, usize> {
    let mut ranks = Ranks::with_capacity(count);
    let mut bytes = Vec::new();
    for (rank, halves) in merges.take(count).enumerate() {
        bytes.clear();
        let found = halves.and_then(|(left, right)| {
            spell(left, &mut bytes)?;
            let middle = bytes.len();
            spell(right, &mut bytes)?;
            let (left, right) = bytes.split_at(middle);
            Some((pieces.find(left)?, pieces.find(right)?, pieces.find(&bytes)?))
        });
        let (left, right, merged) = found.ok_or(rank)?;
        ranks.push(left, right, merged);
    }
    Ok(ranks)
}

struct Builder<'a> {
    from: Vocabulary<'a>,
    path: &'a Path,
    pieces: Pieces,
    kinds: Vec<Kind>,
    special: HashSet<u32>,
    /// Ids that are cut out of a text.
    literals: Vec<u32>,
    unused: HashSet<u32>,
    /// Ids of single bytes.
    single: Box<[u32; 256]>,
}

impl<'a> Builder<'a> {
    fn new(from: Vocabulary<'a>, path: &'a Path) -> Result<Builder<'a>> {
        let fail = |key: &str, problem: String| {
            Err(Error::format(path, "GGUF", format!("`tokenizer.ggml.{key}` {problem}")))
        };
        let count = from.tokens.len();
        if count == 0 || count > MAX_TOKENS {
            return fail(
                "tokens",
                format!("has {count} entries; 1 to {MAX_TOKENS} would be right"),
            );
        }
        let mut size = 0usize;
        for (id, token) in from.tokens.iter().enumerate() {
            size += token.len();
            if token.len() > MAX_TOKEN {
                return fail(
                    "tokens",
                    format!("[{id}] has {} bytes; at most {MAX_TOKEN} would be right", token.len()),
                );
            }
        }
        if size >= 1 << 30 {
            return fail("tokens", format!("has {size} bytes; less than 2^30 would be right"));
        }
        let lens = [
            ("scores", from.scores.as_ref().map(Vec::len)),
            ("token_type", from.types.as_ref().map(Vec::len)),
        ];
        for (key, len) in lens {
            if len.is_some_and(|len| len != count) {
                return fail(
                    key,
                    format!("has {} entries for {count} tokens", len.unwrap_or_default()),
                );
            }
        }
        let bad = |score: &f32| !score.is_finite();
        if let Some(id) = from.scores.iter().flatten().position(bad) {
            return fail("scores", format!("[{id}] is not a finite number"));
        }
        let bad = |kind: &i32| !(0..=BYTE).contains(kind);
        if let Some(id) = from.types.iter().flatten().position(bad) {
            return fail("token_type", format!("[{id}] is not one of 0 to {BYTE}"));
        }
        for (key, id) in [
            ("bos_token_id", from.bos),
            ("eos_token_id", from.eos),
            ("unknown_token_id", from.unk),
            ("seperator_token_id", from.sep),
            ("padding_token_id", from.pad),
            ("cls_token_id", from.cls),
            ("mask_token_id", from.mask),
        ] {
            if id.is_some_and(|id| id as usize >= count) {
                return fail(key, format!("is {}, outside {count} tokens", id.unwrap_or_default()));
            }
        }
        Ok(Builder {
            pieces: Pieces::with_capacity(count, size),
            kinds: Vec::with_capacity(count),
            special: HashSet::new(),
            literals: Vec::new(),
            unused: HashSet::new(),
            single: Box::new([NONE; 256]),
            from,
            path,
        })
    }

    fn error(&self, key: &str, problem: impl std::fmt::Display) -> Error {
        Error::format(self.path, "GGUF", format!("`tokenizer.ggml.{key}` {problem}"))
    }

    /// The type of a token. Files without types have control tokens where a key names them.
    fn type_of(&self, id: u32) -> i32 {
        let from = &self.from;
        match &from.types {
            Some(types) => types.get(id as usize).copied().unwrap_or(NORMAL),
            None if from.unk == Some(id) => UNKNOWN,
            None if [from.bos, from.eos, from.sep, from.pad, from.cls, from.mask]
                .contains(&Some(id)) =>
            {
                CONTROL
            }
            None => NORMAL,
        }
    }

    /// Adds the next token.
    fn push(&mut self, bytes: &[u8], kind: Kind, findable: bool) -> Result<()> {
        let id = self.kinds.len() as u32;
        self.pieces.push(bytes);
        self.kinds.push(kind);
        if findable && !bytes.is_empty() {
            self.pieces.index(id).map_err(|other| {
                let token = self.from.tokens.get(id as usize).copied().unwrap_or_default();
                self.error("tokens", format!("has `{token}` twice, at {other} and {id}"))
            })?;
        }
        Ok(())
    }

    /// Adds the next token as one that is cut out of the text.
    fn literal(&mut self, bytes: &[u8], kind: i32) -> Result<()> {
        let id = self.kinds.len() as u32;
        if matches!(kind, CONTROL | UNKNOWN) {
            self.special.insert(id);
        }
        if bytes.len() > MAX_PIECE {
            return Err(self.error(
                "tokens",
                format!("[{id}] has {} bytes; at most {MAX_PIECE} would be right", bytes.len()),
            ));
        }
        self.literals.push(id);
        self.push(bytes, Kind::Literal, false)
    }

    /// Adds all tokens of a SentencePiece vocabulary, with spaces for `▁`.
    fn marks(&mut self) -> Result<()> {
        let mut bytes = Vec::new();
        for id in 0..self.from.tokens.len() as u32 {
            let token = self.from.tokens[id as usize];
            bytes.clear();
            for (at, part) in token.split('▁').enumerate() {
                if at > 0 {
                    bytes.push(b' ');
                }
                bytes.extend_from_slice(part.as_bytes());
            }
            match self.type_of(id) {
                kind @ (UNKNOWN | CONTROL | USER_DEFINED) => self.literal(&bytes, kind)?,
                kind => {
                    let byte = spelling::byte(token.as_bytes());
                    if kind == BYTE && byte.is_none() {
                        return Err(self.error(
                            "token_type",
                            format!("[{id}] is a byte, but the token is `{token}`"),
                        ));
                    }
                    match byte.filter(|_| kind == BYTE || self.from.types.is_none()) {
                        Some(byte) => {
                            self.single[byte as usize] = id;
                            self.push(token.as_bytes(), Kind::Byte, false)?;
                        }
                        None => {
                            if kind == UNUSED {
                                self.unused.insert(id);
                            }
                            self.push(&bytes, Kind::Piece, true)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The tokens of single bytes, if there is one for every byte.
    fn fallback(&self) -> Option<Box<[u32; 256]>> {
        (!self.single.contains(&NONE)).then(|| self.single.clone())
    }

    fn added(&self, marks: bool) -> Result<Added> {
        let mut entries: Vec<(&[u8], u32)> =
            self.literals.iter().filter_map(|&id| Some((self.pieces.get(id)?, id))).collect();
        entries.sort_unstable();
        if let Some(twice) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(self.error(
                "tokens",
                format!(
                    "has `{}` twice, at {} and {}",
                    String::from_utf8_lossy(twice[0].0),
                    twice[0].1,
                    twice[1].1
                ),
            ));
        }
        Ok(Added { trie: Trie::new(entries), edges: HashMap::new(), marks })
    }

    /// The token that a flag asks to be added, if the flag is set. A flag of the file without a
    /// token is an error; a default without one adds nothing.
    fn asked(
        &self,
        key: &str,
        flag: Option<bool>,
        default: bool,
        token: Option<u32>,
    ) -> Result<Vec<u32>> {
        match (flag.unwrap_or(default), token) {
            (false, _) => Ok(Vec::new()),
            (true, Some(id)) => Ok(vec![id]),
            (true, None) if flag.is_none() => Ok(Vec::new()),
            (true, None) => Err(self.error(key, "is set, but no key names the token")),
        }
    }

    /// `id` or, if the file has that many tokens, `default`.
    fn or_default(&self, id: Option<u32>, default: u32) -> Option<u32> {
        id.or(Some(default).filter(|&id| (id as usize) < self.from.tokens.len()))
    }

    fn spaces(&self, prefix: bool) -> Result<Spaces> {
        let charsmap = match self.from.charsmap {
            None | Some([]) => None,
            Some(blob) => Some(
                Charsmap::parse(blob).map_err(|what| self.error("precompiled_charsmap", what))?,
            ),
        };
        Ok(Spaces {
            prefix: match self.from.add_space_prefix.unwrap_or(prefix) {
                true => Prefix::Always,
                false => Prefix::None,
            },
            collapse: self.from.remove_extra_whitespaces.unwrap_or(false),
            charsmap,
        })
    }

    fn finish(
        self,
        spelling: Spelling,
        rule: Rule,
        added: Added,
        model: TokenModel,
        frame: Frame,
    ) -> Inner {
        Inner {
            pieces: self.pieces,
            kinds: self.kinds,
            spelling,
            special: self.special,
            rule,
            engine: Engine::Own(Box::new(Own { added, model, frame, trim: None })),
        }
    }

    fn ascii(&self) -> Box<[u32; 128]> {
        let mut ids = Box::new([NONE; 128]);
        for (byte, id) in (0u8..).zip(ids.iter_mut()) {
            *id = self.pieces.find(&[byte]).unwrap_or(NONE);
        }
        ids
    }

    fn cuts(&self) -> Cuts {
        let of = |id: usize| {
            (self.kinds[id] == Kind::Piece).then(|| self.pieces.get(id as u32)).flatten()
        };
        Cuts::new((0..self.kinds.len()).filter_map(of), self.kinds.len())
    }

    /// `llama`: SentencePiece byte pairs by score.
    fn scored(mut self) -> Result<Inner> {
        let Some(scores) = &self.from.scores else {
            return Err(self.error("scores", "is missing; a `llama` vocabulary merges by it"));
        };
        let keys = scores.iter().map(|&score| score_key(score)).collect();
        self.marks()?;
        let unknown = self.or_default(self.from.unk, 0);
        self.characters(Order::Scores(keys), unknown, Splitter::whole())
    }

    /// `gemma4`: the same by rank.
    fn marked(mut self) -> Result<Inner> {
        self.marks()?;
        let ranks = self.ranks(|part, bytes| {
            bytes.extend_from_slice(part.replace('▁', " ").as_bytes());
            Some(())
        })?;
        // Its added tokens are the line ends, which the published split keeps apart.
        let mut splitter = Splitter::whole();
        let pattern = Pattern::parse(r"[^\n]+|[\n]+").map_err(|what| self.error("pre", what))?;
        splitter.push(pattern, Keep::Both);
        self.from.add_bos = Some(true).filter(|_| self.from.bos.is_some());
        self.from.add_space_prefix.get_or_insert(false);
        let unknown = self.from.unk;
        self.characters(Order::Ranks(ranks), unknown, splitter)
    }

    fn characters(
        mut self,
        order: Order,
        unknown: Option<u32>,
        splitter: Splitter,
    ) -> Result<Inner> {
        let spaces = self.spaces(true)?;
        let before = self.asked(
            "add_bos_token",
            self.from.add_bos,
            true,
            self.or_default(self.from.bos, 1),
        )?;
        let after = self.asked(
            "add_eos_token",
            self.from.add_eos,
            false,
            self.or_default(self.from.eos, 2),
        )?;
        let bpe = Box::new(Bpe {
            order,
            byte_level: false,
            bytes: self.fallback().unwrap_or_else(|| Box::new([NONE; 256])),
            ascii: self.ascii(),
            whole_words: false,
            unknown,
            fuse_unknown: true,
            unused: std::mem::take(&mut self.unused),
            cuts: Some(self.cuts()),
        });
        let added = self.added(true)?;
        let frame = Frame::new(&before, &after, &before, 1);
        let rule = Rule::Spaces { strip: spaces.prefix != Prefix::None };
        let model = TokenModel::Characters { spaces, splitter, bpe };
        Ok(self.finish(Spelling::Marks, rule, added, model, frame))
    }

    /// `gpt2`: byte-level byte pairs by rank.
    fn bytes(mut self) -> Result<Inner> {
        let Some(pre) = pre::find(self.from.pre) else {
            return Err(Error::Unsupported {
                what: format!("the pre-tokenizer `{}`", self.from.pre.unwrap_or_default()),
                known: pre::names(),
            });
        };
        let mut bytes = Vec::new();
        for id in 0..self.from.tokens.len() as u32 {
            let token = self.from.tokens[id as usize];
            match self.type_of(id) {
                kind @ (UNKNOWN | CONTROL | USER_DEFINED) => {
                    self.literal(token.as_bytes(), kind)?;
                }
                // Fillers that no text has and no merge makes.
                UNUSED => self.push(token.as_bytes(), Kind::Literal, false)?,
                _ => {
                    bytes.clear();
                    let plain = token.chars().try_for_each(|c| {
                        bytes.push(spelling::unprintable(c)?);
                        Some(())
                    });
                    match plain {
                        Some(()) => self.push(&bytes, Kind::Piece, true)?,
                        None => self.push(token.as_bytes(), Kind::Literal, false)?,
                    }
                }
            }
        }
        let ranks = self.ranks(|part, bytes| {
            part.chars().try_for_each(|c| {
                bytes.push(spelling::unprintable(c)?);
                Some(())
            })
        })?;
        for byte in 0..=255u8 {
            self.single[byte as usize] = self.pieces.find(&[byte]).unwrap_or(NONE);
        }
        let from = &self.from;
        let before = self.asked("add_bos_token", from.add_bos, pre.add_bos, from.bos)?;
        let after = self.asked("add_eos_token", from.add_eos, false, from.eos)?;
        let frame = if from.add_sep.unwrap_or(pre.add_sep) {
            let between: Vec<u32> = from.sep.or(from.eos).into_iter().collect();
            Frame::new(&before, &after, &between, 0)
        } else {
            Frame::new(&before, &after, &before, 1)
        };
        let bpe = Box::new(Bpe {
            order: Order::Ranks(ranks),
            byte_level: true,
            bytes: self.single.clone(),
            ascii: Box::new([NONE; 128]),
            whole_words: pre.whole_words,
            unknown: from.unk,
            fuse_unknown: false,
            unused: HashSet::new(),
            cuts: None,
        });
        let splitter = pre.splitter().map_err(|what| self.error("pre", what))?;
        let model = TokenModel::Bytes { compose: pre.compose, prefix: false, splitter, bpe };
        let added = self.added(false)?;
        Ok(self.finish(Spelling::Bytes, Rule::Bytes, added, model, frame))
    }

    /// Reads `tokenizer.ggml.merges`; `spell` appends the bytes of one half.
    fn ranks(&self, spell: impl Fn(&str, &mut Vec<u8>) -> Option<()>) -> Result<Ranks> {
        let merges = &self.from.merges;
        if merges.len() > MAX_TOKENS {
            return Err(self.error(
                "merges",
                format!("has {} entries; at most {MAX_TOKENS} would be right", merges.len()),
            ));
        }
        let halves = merges.iter().map(|merge| {
            merge.split_once(' ').filter(|(left, right)| {
                !left.is_empty() && !right.is_empty() && !right.contains(' ')
            })
        });
        ranks(&self.pieces, merges.len(), halves, spell).map_err(|rank| {
            let merge = merges.get(rank).copied().unwrap_or_default();
            self.error(
                "merges",
                format!(
                    "[{rank}] is {}; two tokens that make a third would be right",
                    quote(merge)
                ),
            )
        })
    }

    /// `bert`: WordPiece. The converter wrote `##ing` as `ing` and `the` as `▁the`.
    fn words(mut self) -> Result<Inner> {
        let phantom = self.from.tokens.iter().any(|token| token.starts_with('▁'));
        let mut name = String::new();
        for id in 0..self.from.tokens.len() as u32 {
            let token = self.from.tokens[id as usize];
            let kind = self.type_of(id);
            let stem = token.strip_prefix('▁').filter(|_| phantom);
            match kind {
                UNKNOWN | CONTROL => self.literal(token.as_bytes(), kind)?,
                USER_DEFINED => self.literal(stem.unwrap_or(token).as_bytes(), kind)?,
                UNUSED => self.push(token.as_bytes(), Kind::Literal, false)?,
                _ => {
                    name.clear();
                    if phantom && stem.is_none() {
                        name.push_str("##");
                    }
                    name.push_str(stem.unwrap_or(token));
                    self.push(name.as_bytes(), Kind::Piece, true)?;
                }
            }
        }
        let named = |builder: &Self, name: &str| {
            let written = builder.from.tokens.iter().position(|token| *token == name);
            written.map(|id| id as u32)
        };
        let from = &self.from;
        let cls = from.cls.or(from.bos).or_else(|| named(&self, "[CLS]"));
        let sep = from.sep.or_else(|| named(&self, "[SEP]")).or(from.eos);
        let Some(unknown) = from.unk.or_else(|| named(&self, "[UNK]")) else {
            return Err(self.error("unknown_token_id", "is missing, and no token is `[UNK]`"));
        };
        let before = self.asked("add_bos_token", from.add_bos, true, cls)?;
        let after = self.asked("add_sep_token", from.add_sep, true, sep)?;
        let frame = Frame::new(&before, &after, &[], 1);
        let lowercase = from.lowercase.unwrap_or(true);
        let accents = Some(from.strip_accents.unwrap_or(lowercase));
        let model = TokenModel::Words(Box::new(WordPiece {
            unknown,
            max_chars: 100,
            prefix: "##".into(),
            letters: Letters::new(BertNormalizer::new(true, true, accents, lowercase)),
        }));
        let rule = Rule::Words { prefix: "##".into(), clean: true };
        let added = self.added(false)?;
        Ok(self.finish(Spelling::Plain, rule, added, model, frame))
    }

    /// `t5`: SentencePiece unigram.
    fn unigram(mut self) -> Result<Inner> {
        self.marks()?;
        let Some(scores) = self.from.scores.take() else {
            return Err(self.error("scores", "is missing; a `t5` vocabulary chooses by it"));
        };
        let Some(unknown) = self.or_default(self.from.unk, 2) else {
            return Err(self.error("unknown_token_id", "is missing"));
        };
        let spaces = self.spaces(false)?;
        let mut entries = Vec::with_capacity(self.kinds.len());
        let mut worst = f32::INFINITY;
        for (id, kind) in (0u32..).zip(&self.kinds) {
            let Some(bytes) = self.pieces.get(id).filter(|_| *kind == Kind::Piece) else {
                continue;
            };
            if bytes.len() > MAX_PIECE {
                return Err(self.error(
                    "tokens",
                    format!("[{id}] has {} bytes; at most {MAX_PIECE} would be right", bytes.len()),
                ));
            }
            entries.push((bytes, id));
            if !self.unused.contains(&id) {
                worst = worst.min(scores.get(id as usize).copied().unwrap_or(0.0));
            }
        }
        let rule = Rule::Spaces { strip: spaces.prefix != Prefix::None };
        let model = TokenModel::Unigram {
            unigram: Box::new(Unigram {
                trie: Trie::new(entries),
                scores,
                unused: std::mem::take(&mut self.unused),
                unknown,
                worst: if worst.is_finite() { worst } else { 0.0 },
                bytes: self.fallback(),
                cuts: self.cuts(),
            }),
            spaces,
        };
        let from = &self.from;
        let before = self.asked("add_bos_token", from.add_bos, false, from.bos)?;
        let eos = self.or_default(from.eos, 1);
        let after = self.asked("add_eos_token", from.add_eos, true, eos)?;
        let between = if before.is_empty() { &[][..] } else { &after[..] };
        let frame = Frame::new(&before, &after, between, 0);
        let added = self.added(true)?;
        Ok(self.finish(Spelling::Marks, rule, added, model, frame))
    }
}
