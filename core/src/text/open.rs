//! Files to a [`Tokenizer`]: a `tokenizer.json`, that of a folder, or the metadata of a GGUF file.

use std::path::Path;

use bytes::Bytes;

use super::file::{self, MAX_FILE};
use super::tokenizer::Tokenizer;
use super::vocabulary::{self, Vocabulary};
use crate::error::{Error, Result};
use crate::load::file::{Mapped, read_limited};
use crate::load::gguf::{Gguf, Metadata};

impl Tokenizer {
    /// Opens a `tokenizer.json`, the one of a folder, or that of a GGUF file. What the file says
    /// about truncation and padding is ignored: both are decided per call.
    ///
    /// # Errors
    /// [`Io`](Error::Io) if the file cannot be read, [`Format`](Error::Format) if it is not a
    /// well-formed tokenizer or asks for what would be unsafe (the message names the field),
    /// [`Unsupported`](Error::Unsupported) if it uses a part that is not known,
    /// [`Missing`](Error::Missing) if a GGUF file holds none.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        of_path(path.as_ref())
    }

    /// A tokenizer from what [`to_bytes`](Self::to_bytes) gave, or from the bytes of any file that
    /// [`open`](Self::open) takes.
    ///
    /// # Errors
    /// As [`open`](Self::open); messages name the file `bytes`.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self> {
        of_bytes(bytes.into().into(), Path::new("bytes"))
    }

    /// Reads the text of a `tokenizer.json`; `path` is for messages.
    pub(crate) fn from_json(json: &[u8], path: &Path, source: Bytes) -> Result<Self> {
        Ok(Tokenizer::new(file::parse(json, path)?, source))
    }

    /// Rebuilds a tokenizer from the metadata of a GGUF file, which is `source`; `path` is for
    /// messages.
    pub(crate) fn from_vocabulary(
        vocabulary: Vocabulary<'_>,
        path: &Path,
        source: Bytes,
    ) -> Result<Self> {
        Ok(Tokenizer::new(vocabulary::build(vocabulary, path)?, source))
    }
}

/// The tokenizer of a `tokenizer.json`, of a folder, or of a GGUF file.
fn of_path(path: &Path) -> Result<Tokenizer> {
    let inner = path.join("tokenizer.json");
    let path = if path.is_dir() { &inner } else { path };
    let source = Mapped::open(path, "a tokenizer")?.bytes;
    if source.starts_with(b"GGUF") {
        return of_bytes(source, path);
    }
    // JSON is read, not mapped: a file that changes under the parser would be no text any more.
    Tokenizer::from_json(&read_limited(path, MAX_FILE)?, path, source)
}

/// The tokenizer in the bytes of a file; `path` is for messages.
fn of_bytes(source: Bytes, path: &Path) -> Result<Tokenizer> {
    if !source.starts_with(b"GGUF") {
        return Tokenizer::from_json(&source.clone(), path, source);
    }
    let gguf = Gguf::read(&source, path)?;
    of_metadata(&gguf.metadata, &gguf.head, path)?.ok_or_else(|| Error::Missing {
        call: "open",
        what: format!("a tokenizer: `{}` has no `tokenizer.ggml.model`", path.display()),
    })
}

/// The tokenizer that a GGUF file's metadata describes, or `None` when there is none.
pub(crate) fn of_metadata(
    metadata: &Metadata,
    head: &Bytes,
    path: &Path,
) -> Result<Option<Tokenizer>> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let Some(model) = metadata.string(&key("model"))? else { return Ok(None) };
    if matches!(model, "none" | "no_vocab") {
        return Ok(None);
    }
    let id = |name: &str| metadata.u32(&key(name));
    let flag = |name: &str| metadata.bool(&key(name));
    let vocabulary = Vocabulary {
        model,
        pre: metadata.string(&key("pre"))?,
        tokens: metadata
            .strings(&key("tokens"))?
            .ok_or_else(|| Error::config(key("tokens"), "is missing"))?,
        scores: metadata.f32s(&key("scores"))?,
        types: metadata.i32s(&key("token_type"))?,
        merges: metadata.strings(&key("merges"))?.unwrap_or_default(),
        bos: id("bos_token_id")?,
        eos: id("eos_token_id")?,
        unk: id("unknown_token_id")?,
        sep: id("seperator_token_id")?, // spelled so in the format
        pad: id("padding_token_id")?,
        cls: id("cls_token_id")?,
        mask: id("mask_token_id")?,
        add_bos: flag("add_bos_token")?,
        add_eos: flag("add_eos_token")?,
        add_space_prefix: flag("add_space_prefix")?,
        remove_extra_whitespaces: flag("remove_extra_whitespaces")?,
        add_sep: flag("add_sep_token")?,
        lowercase: flag("normalizer.lowercase")?,
        strip_accents: flag("normalizer.strip_accents")?,
        charsmap: metadata.u8s(&key("precompiled_charsmap"))?,
    };
    Tokenizer::from_vocabulary(vocabulary, path, head.clone()).map(Some)
}
