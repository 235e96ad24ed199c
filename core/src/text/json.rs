//! What a `tokenizer.json` says, as it is read: its parts, and the tokens by id.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::parts::Kind;
use super::pieces::{MAX_TOKEN, MAX_TOKENS, Pieces};
use super::spelling;
use super::unigram::MAX_PIECE;
use crate::quote::quote;

/// A string of the file, borrowed where it has no escapes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Text<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Strings;
        impl<'de> Visitor<'de> for Strings {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> std::result::Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> std::result::Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(Strings)
    }
}

/// The parts of the file. Truncation and padding are not among them.
#[derive(serde::Deserialize)]
pub(crate) struct Parts<'a> {
    #[serde(default)]
    pub normalizer: Value,
    #[serde(default)]
    pub pre_tokenizer: Value,
    #[serde(default)]
    pub post_processor: Value,
    #[serde(default)]
    pub decoder: Value,
    #[serde(borrow, default)]
    pub added_tokens: Vec<AddedToken<'a>>,
    #[serde(borrow)]
    pub model: ModelPart<'a>,
}

#[derive(serde::Deserialize)]
pub(crate) struct AddedToken<'a> {
    pub id: u32,
    #[serde(borrow)]
    pub content: Text<'a>,
    #[serde(default)]
    pub single_word: bool,
    #[serde(default)]
    pub lstrip: bool,
    #[serde(default)]
    pub rstrip: bool,
    #[serde(default)]
    pub normalized: bool,
    #[serde(default)]
    pub special: bool,
}

#[derive(serde::Deserialize)]
pub(crate) struct ModelPart<'a> {
    #[serde(rename = "type", borrow, default)]
    pub kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub vocab: Vocab<'a>,
    #[serde(borrow, default)]
    pub merges: Option<Vec<Merge<'a>>>,
    #[serde(borrow, default)]
    pub unk_token: Option<Text<'a>>,
    #[serde(default)]
    pub unk_id: Option<u64>,
    #[serde(default)]
    pub dropout: Option<f64>,
    #[serde(borrow, default)]
    pub continuing_subword_prefix: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub end_of_word_suffix: Option<Text<'a>>,
    #[serde(default)]
    pub fuse_unk: Option<bool>,
    #[serde(default)]
    pub byte_fallback: Option<bool>,
    #[serde(default)]
    pub ignore_merges: Option<bool>,
    #[serde(default)]
    pub max_input_chars_per_word: Option<u64>,
}

/// Tokens with their ids, whether the file has them as a map or, with scores, as a list.
pub(crate) struct Vocab<'a>(pub Vec<(Text<'a>, u32)>);

impl<'de: 'a, 'a> Deserialize<'de> for Vocab<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        fn check<'a, E: serde::de::Error>(
            all: &[(Text<'a>, u32)],
            token: &Text<'a>,
            id: u64,
        ) -> std::result::Result<u32, E> {
            if token.0.len() > MAX_TOKEN {
                let len = token.0.len();
                return Err(E::custom(format!(
                    "`model.vocab` has a token of {len} bytes; at most {MAX_TOKEN} would be right"
                )));
            }
            u32::try_from(id)
                .ok()
                .filter(|&id| (id as usize) < MAX_TOKENS && all.len() < MAX_TOKENS)
                .ok_or_else(|| {
                    E::custom(format!(
                        "`model.vocab` has the id {id} for `{}`; less than {MAX_TOKENS} would be \
                         right",
                        token.0
                    ))
                })
        }
        impl<'de> Visitor<'de> for Entries {
            type Value = Vocab<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`model.vocab`, a map of tokens to ids or a list with scores")
            }
            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Vocab<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some((token, id)) = map.next_entry::<Text<'de>, u64>()? {
                    let id = check(&all, &token, id)?;
                    all.push((token, id));
                }
                Ok(Vocab(all))
            }
            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> std::result::Result<Vocab<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some((token, score)) = list.next_element::<(Text<'de>, f64)>()? {
                    let id = check(&all, &token, all.len() as u64)?;
                    if !(score as f32).is_finite() {
                        return Err(A::Error::custom(format!(
                            "`model.vocab` has a score for `{}` that is too large",
                            token.0
                        )));
                    }
                    all.push((token, id));
                }
                Ok(Vocab(all))
            }
        }
        from.deserialize_any(Entries)
    }
}

/// A merge, written `"a b"` or `["a", "b"]`.
pub(crate) struct Merge<'a>(pub Text<'a>, pub Text<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Merge<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Halves;
        impl<'de> Visitor<'de> for Halves {
            type Value = Merge<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an entry of `model.merges`, two tokens")
            }
            fn visit_borrowed_str<E: serde::de::Error>(
                self,
                text: &'de str,
            ) -> std::result::Result<Merge<'de>, E> {
                match text.split_once(' ') {
                    Some((left, right)) if !right.contains(' ') => {
                        Ok(Merge(Text(Cow::Borrowed(left)), Text(Cow::Borrowed(right))))
                    }
                    _ => Err(E::custom(format!(
                        "`model.merges` has {}; two tokens and a space would be right",
                        quote(text)
                    ))),
                }
            }
            fn visit_str<E: serde::de::Error>(
                self,
                text: &str,
            ) -> std::result::Result<Merge<'de>, E> {
                match text.split_once(' ') {
                    Some((left, right)) if !right.contains(' ') => Ok(Merge(
                        Text(Cow::Owned(left.to_owned())),
                        Text(Cow::Owned(right.to_owned())),
                    )),
                    _ => Err(E::custom(format!(
                        "`model.merges` has {}; two tokens and a space would be right",
                        quote(text)
                    ))),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> std::result::Result<Merge<'de>, A::Error> {
                let merge = match (list.next_element()?, list.next_element()?) {
                    (Some(left), Some(right)) => Merge(left, right),
                    _ => return Err(A::Error::custom("`model.merges` has less than two tokens")),
                };
                match list.next_element::<serde::de::IgnoredAny>()? {
                    None => Ok(merge),
                    Some(_) => Err(A::Error::custom("`model.merges` has more than two tokens")),
                }
            }
        }
        from.deserialize_any(Halves)
    }
}

/// The strings of a vocabulary and its added tokens by id.
pub(crate) struct Table<'a> {
    pub tokens: Vec<Option<Cow<'a, str>>>,
    pub kinds: Vec<Kind>,
    pub special: HashSet<u32>,
    added: HashMap<Cow<'a, str>, u32>,
}

impl<'a> Table<'a> {
    pub(crate) fn new(parts: &mut Parts<'a>) -> std::result::Result<Table<'a>, String> {
        let vocab = &mut parts.model.vocab.0;
        let count = vocab.len() + parts.added_tokens.len();
        let ids = vocab.iter().map(|(_, id)| *id);
        let last = ids.chain(parts.added_tokens.iter().map(|token| token.id)).max();
        let len = last.map_or(0, |last| last as usize + 1);
        if len > MAX_TOKENS || len > count * 2 + (1 << 16) {
            return Err(format!("`model.vocab` has {count} tokens, but ids up to {len}"));
        }
        let mut table = Table {
            tokens: vec![None; len],
            kinds: vec![Kind::Absent; len],
            special: HashSet::new(),
            added: HashMap::with_capacity(parts.added_tokens.len()),
        };
        for (token, id) in &*vocab {
            let slot = &mut table.tokens[*id as usize];
            if let Some(other) = slot {
                return Err(format!(
                    "`model.vocab` has the id {id} for `{other}` and `{}`",
                    token.0
                ));
            }
            *slot = Some(token.0.clone());
            table.kinds[*id as usize] = Kind::Piece;
        }
        // Sorted, to look up added tokens without a map of owned strings.
        vocab.sort_unstable();
        if let Some(twice) = vocab.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(format!("`model.vocab` has the token `{}` twice", twice[0].0.0));
        }
        for (at, token) in parts.added_tokens.iter().enumerate() {
            let (id, content) = (token.id, &token.content);
            if content.0.is_empty() || content.0.len() > MAX_PIECE {
                return Err(format!(
                    "`added_tokens[{at}].content` has {} bytes; 1 to {MAX_PIECE} would be right",
                    content.0.len()
                ));
            }
            let place = vocab.binary_search_by(|(other, _)| other.cmp(content));
            let known = place.ok().map(|at| vocab[at].1);
            let before = table.added.insert(content.0.clone(), id);
            let other = known.or(before);
            let slot = &mut table.tokens[id as usize];
            if other.is_some_and(|other| other != id)
                || slot.as_ref().is_some_and(|other| *other != content.0)
            {
                return Err(format!(
                    "`added_tokens[{at}].id` is {id} for `{}`, which contradicts another entry",
                    content.0
                ));
            }
            *slot = Some(content.0.clone());
            table.kinds[id as usize] = Kind::Literal;
            if token.special {
                table.special.insert(id);
            }
        }
        Ok(table)
    }

    /// Whether `id` is a token.
    pub(crate) fn has(&self, id: u64) -> bool {
        let kind = usize::try_from(id).ok().and_then(|id| self.kinds.get(id));
        kind.is_some_and(|kind| *kind != Kind::Absent)
    }

    /// The id of the token written `name`.
    pub(crate) fn id(&self, name: &str, parts: &Parts<'_>) -> Option<u32> {
        self.added.get(name).copied().or_else(|| {
            let vocab = &parts.model.vocab.0;
            let at = vocab.binary_search_by(|(token, _)| token.0.as_ref().cmp(name)).ok()?;
            Some(vocab[at].1)
        })
    }

    /// The strings as pieces. Those of the model are spelled by `spell` and can be found; what it
    /// cannot spell stays as it is. A token that is both an added one and the model's is kept as
    /// the model spells it if `marks`, else only if that is the same.
    pub(crate) fn pieces(
        &mut self,
        parts: &Parts<'_>,
        marks: bool,
        spell: impl Fn(&str, &mut Vec<u8>) -> Option<()>,
    ) -> std::result::Result<Pieces, String> {
        let size = self.tokens.iter().flatten().map(|token| token.len()).sum();
        let mut pieces = Pieces::with_capacity(self.tokens.len(), size);
        let mut bytes = Vec::new();
        for (id, token) in (0u32..).zip(&self.tokens) {
            let token = token.as_deref().unwrap_or_default();
            let kind = &mut self.kinds[id as usize];
            bytes.clear();
            let in_model = *kind == Kind::Piece || *kind == Kind::Literal && parts.knows(token);
            let spelled = in_model && spell(token, &mut bytes).is_some();
            let same = bytes == token.as_bytes();
            if marks && spelling::byte(token.as_bytes()).is_some() {
                *kind = Kind::Byte;
            } else if *kind == Kind::Literal && marks && spelled && !same {
                *kind = Kind::Piece;
            } else if *kind == Kind::Piece && !spelled {
                *kind = Kind::Literal;
            }
            if !spelled || *kind == Kind::Literal && !same {
                pieces.push(token.as_bytes());
                continue;
            }
            pieces.push(&bytes);
            if !bytes.is_empty() {
                pieces.index(id).map_err(|other| {
                    format!("`model.vocab` has two tokens for one piece, {other} and {id}")
                })?;
            }
        }
        Ok(pieces)
    }
}

impl Parts<'_> {
    /// Whether the model's own vocabulary has the token `id`.
    pub(crate) fn knows_id(&self, table: &Table<'_>, id: usize) -> bool {
        match table.kinds.get(id) {
            Some(Kind::Piece) => true,
            Some(Kind::Literal) => table
                .tokens
                .get(id)
                .and_then(Option::as_deref)
                .is_some_and(|token| self.knows(token)),
            _ => false,
        }
    }

    /// Whether the model's own vocabulary has `token`. Its entries are sorted by then.
    pub(crate) fn knows(&self, token: &str) -> bool {
        let vocab = &self.model.vocab.0;
        vocab.binary_search_by(|(other, _)| other.0.as_ref().cmp(token)).is_ok()
    }
}
