//! GGUF: one file with metadata, vocabulary and tensors, checked whole when it is opened.
//!
//! ```text
//! "GGUF" | version u32 | tensors u64 | keys u64
//! keys    x (name, type u32, value)                     -> Metadata
//! tensors x (name, n_dims u32, dims u64 x n, type u32, offset u64)
//! padding to `general.alignment`                        (offsets count from here)
//! data                                                  -> Stored, slices of the mapping
//! ```
//! Nothing is allocated from a count or length of the file before it has been compared with the
//! bytes that are there. Vocabularies of some hundred thousand strings stay in the mapping and are
//! read when [`Metadata::strings`] asks for them.
//!
//! Source: `docs/gguf.md` in the ggml repository; the checks are at least those of `gguf.cpp`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::path::Path;

use bytes::Bytes;

use super::file::{Dtype, MAX_NAME, MAX_TENSORS, Mapped, Stored};
use crate::error::{Error, Result};
use crate::quant::Format;
use crate::quote::quote;

const FORMAT: &str = "GGUF";
/// Most keys of the metadata; real files hold some dozens.
const MAX_KEYS: u64 = 65_536;
/// Longest single text, such as a chat template, in bytes.
const MAX_TEXT: usize = 8 << 20;
/// Longest text in a list, such as a token, in bytes.
const MAX_ITEM: usize = 64 << 10;
/// Largest `general.alignment`; real files use 32.
const MAX_ALIGNMENT: u64 = 1 << 20;
/// Shortest record of a key (length, one letter, type, one byte) and of a tensor (length, one
/// letter, n_dims, one dim, type, offset).
const KEY_BYTES: u64 = 8 + 1 + 4 + 1;
const TENSOR_BYTES: u64 = 8 + 1 + 4 + 8 + 4 + 8;

/// An opened GGUF file.
#[derive(Debug)]
pub(crate) struct Gguf {
    /// Everything that is not a tensor.
    pub(crate) metadata: Metadata,
    /// The bytes of the file up to the end of its metadata.
    pub(crate) head: Bytes,
    /// The tensors by name, shapes row-major (the file lists the fastest dimension first).
    pub(crate) tensors: BTreeMap<String, Stored>,
}

impl Gguf {
    /// Maps and checks the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Format`] as [`Mapped::open`]; [`Error::Format`] for anything in
    /// the file that breaks the format; [`Error::Config`] when the file is one part of several.
    pub(crate) fn open(path: &Path) -> Result<Gguf> {
        Gguf::read(&Mapped::open(path, FORMAT)?.bytes, path)
    }

    /// Checks the bytes of a file; `path` is for messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn read(bytes: &Bytes, path: &Path) -> Result<Gguf> {
        let gguf = parse(bytes).map_err(|problem| Error::format(path, FORMAT, problem))?;
        if let Some(parts) = gguf.metadata.u64("split.count")?
            && parts > 1
        {
            let problem = format!(
                "is {parts}: the file is one part of a split model, merge the parts into one file \
                 first"
            );
            return Err(Error::config("split.count", problem));
        }
        Ok(gguf)
    }
}

/// What the file's bytes hold, or the sentence that says why they hold nothing.
type Parsed<T> = std::result::Result<T, String>;

fn parse(bytes: &Bytes) -> Parsed<Gguf> {
    let mut reader = Reader { bytes, at: 0 };
    match reader.take(4, "the magic number")? {
        b"GGUF" => {}
        b"ggml" | b"ggmf" | b"ggjt" | b"ggla" | b"lmgg" | b"fmgg" | b"tjgg" | b"algg" => {
            return Err("it is a GGML file from before GGUF, convert it again".into());
        }
        other => {
            let found = quote(&String::from_utf8_lossy(other));
            return Err(format!("it begins with {found}, want `GGUF`"));
        }
    }
    let version = reader.u32("the version")?;
    match version {
        2 | 3 => {}
        1 => return Err("version 1 is not supported, want 2 or 3: convert the file again".into()),
        0x0100_0000 | 0x0200_0000 | 0x0300_0000 => {
            return Err("it is big-endian, want a little-endian file".into());
        }
        other => return Err(format!("version {other} is not known, want 2 or 3")),
    }
    let tensor_count = reader.u64("the number of tensors")?;
    let key_count = reader.u64("the number of metadata keys")?;
    reader.check_count(key_count, KEY_BYTES, MAX_KEYS, "metadata keys")?;
    let mut metadata = Metadata::default();
    for index in 0..key_count {
        let key = reader.name(|| format!("metadata key {index}"))?;
        let value = reader.value().map_err(|problem| format!("key {}: {problem}", quote(&key)))?;
        match metadata.values.entry(key) {
            Entry::Vacant(place) => _ = place.insert(value),
            Entry::Occupied(place) => {
                return Err(format!("key {} is there twice", quote(place.key())));
            }
        }
    }
    let head = bytes.slice(..reader.at);
    let alignment = alignment(&metadata)?;
    // After the keys, because only now the bytes that remain for tensors are known.
    reader.check_count(tensor_count, TENSOR_BYTES, MAX_TENSORS as u64, "tensors")?;
    let mut infos = BTreeMap::new();
    for index in 0..tensor_count {
        let name = reader.name(|| format!("the name of tensor {index}"))?;
        let info = reader.info(alignment).map_err(|problem| about(&name, problem))?;
        match infos.entry(name) {
            Entry::Vacant(place) => _ = place.insert(info),
            Entry::Occupied(place) => {
                return Err(format!("tensor {} is there twice", quote(place.key())));
            }
        }
    }
    let start = reader.at.checked_next_multiple_of(alignment).unwrap_or(usize::MAX);
    let tensors = lay_out(infos, bytes, start)?;
    Ok(Gguf { metadata, head, tensors })
}

/// `general.alignment`, 32 when it is not there.
fn alignment(metadata: &Metadata) -> Parsed<usize> {
    let Some(value) = metadata.get("general.alignment") else {
        return Ok(32);
    };
    let alignment = match (value.item, value.count) {
        (Kind::U32, None) => value.integer().and_then(|value| u64::try_from(value).ok()),
        _ => None,
    };
    alignment
        .filter(|&value| (8..=MAX_ALIGNMENT).contains(&value) && value.is_power_of_two())
        .and_then(|value| usize::try_from(value).ok())
        .ok_or_else(|| {
            format!(
                "key `general.alignment` is {value}, want a u32 that is a power of two from 8 to \
                 {MAX_ALIGNMENT}"
            )
        })
}

/// Slices the tensors out of the data that begins at `start`.
fn lay_out(
    infos: BTreeMap<String, Info>,
    bytes: &Bytes,
    start: usize,
) -> Parsed<BTreeMap<String, Stored>> {
    let data = bytes.len().saturating_sub(start);
    let mut spans = Vec::with_capacity(infos.len());
    for (name, info) in &infos {
        match info.offset.checked_add(info.size) {
            Some(end) if end <= data => spans.push((info.offset, end, name.as_str())),
            _ => {
                let problem = format!(
                    "{} bytes from offset {} are not all in the file, whose data is {data} bytes",
                    info.size, info.offset
                );
                return Err(about(name, problem));
            }
        }
    }
    spans.sort_unstable();
    for pair in spans.windows(2) {
        if let [(_, end, first), (offset, _, second)] = *pair
            && offset < end
        {
            let problem = format!(
                "its offset {offset} lies inside tensor {}, which ends at {end}",
                quote(first)
            );
            return Err(about(second, problem));
        }
    }
    drop(spans);
    // `start` and every end were compared with the file's length above.
    let slice = |info: &Info| {
        let from = start + info.offset;
        bytes.slice(from..from + info.size)
    };
    Ok(infos
        .into_iter()
        .map(|(name, info)| {
            let bytes = slice(&info);
            (name, Stored { dtype: info.dtype, shape: info.shape, bytes })
        })
        .collect())
}

fn about(tensor: &str, problem: String) -> String {
    format!("tensor {}: {problem}", quote(tensor))
}

/// What the header says of one tensor.
struct Info {
    dtype: Dtype,
    shape: Vec<usize>,
    /// From the start of the data, in bytes.
    offset: usize,
    size: usize,
}

/// Reads the header from front to back; every step is compared with what is left.
struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: u64, what: &str) -> Parsed<&'a [u8]> {
        let end = usize::try_from(count).ok().and_then(|count| self.at.checked_add(count));
        match end.and_then(|end| self.bytes.get(self.at..end)) {
            Some(slice) => {
                self.at += slice.len();
                Ok(slice)
            }
            None => Err(format!(
                "{what} needs {count} bytes from byte {}, but the file ends at byte {}",
                self.at,
                self.bytes.len()
            )),
        }
    }

    fn array<const N: usize>(&mut self, what: &str) -> Parsed<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, what)?);
        Ok(array)
    }

    fn u32(&mut self, what: &str) -> Parsed<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Parsed<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// Refuses a count of records that are `each` bytes long at least and cannot all be there.
    fn check_count(&self, count: u64, each: u64, limit: u64, what: &str) -> Parsed<()> {
        if count > limit {
            return Err(format!("{count} {what} are over the limit of {limit}"));
        }
        let left = (self.bytes.len() - self.at) as u64;
        match count.checked_mul(each) {
            Some(bytes) if bytes <= left => Ok(()),
            _ => Err(format!("{count} {what} do not fit the {left} bytes that are left")),
        }
    }

    /// A length and that many bytes.
    fn text(&mut self, limit: usize, what: &str) -> Parsed<&'a [u8]> {
        let length = self.u64(what)?;
        if length > limit as u64 {
            let at = self.at;
            return Err(format!(
                "{what} at byte {at} is {length} bytes long, over the limit of {limit}"
            ));
        }
        self.take(length, what)
    }

    fn name(&mut self, what: impl Fn() -> String) -> Parsed<String> {
        let at = self.at;
        let bytes =
            self.text(MAX_NAME, "its text").map_err(|problem| format!("{}: {problem}", what()))?;
        match std::str::from_utf8(bytes) {
            Ok("") => Err(format!("{} at byte {at} is empty", what())),
            Ok(name) if !name.contains('\0') => Ok(name.to_owned()),
            _ => Err(format!("{} at byte {at} is not UTF-8 text without zero bytes", what())),
        }
    }

    fn value(&mut self) -> Parsed<Value> {
        let item = Kind::from_id(self.u32("the type of its value")?)?;
        match item {
            Kind::Array => self.list(),
            Kind::String => {
                let text = self.text(MAX_TEXT, "its text")?;
                if let Err(error) = std::str::from_utf8(text) {
                    let at = error.valid_up_to();
                    return Err(format!("its text is not UTF-8 after {at} bytes"));
                }
                Ok(Value { item, count: None, bytes: self.bytes.slice_ref(text) })
            }
            _ => {
                let bytes = self.take(item.size() as u64, "its value")?;
                check_bools(item, bytes)?;
                Ok(Value { item, count: None, bytes: self.bytes.slice_ref(bytes) })
            }
        }
    }

    fn list(&mut self) -> Parsed<Value> {
        let item = Kind::from_id(self.u32("the type of its items")?)?;
        let count = self.u64("the number of its items")?;
        self.check_count(count, item.size() as u64, u64::MAX, "items")?;
        let from = self.at;
        match item {
            Kind::Array => return Err("lists of lists are not supported".into()),
            Kind::String => {
                for index in 0..count {
                    self.text(MAX_ITEM, "its text")
                        .map_err(|problem| format!("item {index}: {problem}"))?;
                }
            }
            _ => {
                let bytes = count.saturating_mul(item.size() as u64);
                check_bools(item, self.take(bytes, "its items")?)?;
            }
        }
        let count = usize::try_from(count).map_err(|error| error.to_string())?;
        Ok(Value { item, count: Some(count), bytes: self.bytes.slice(from..self.at) })
    }

    fn info(&mut self, alignment: usize) -> Parsed<Info> {
        let n_dims = self.u32("the number of its dimensions")?;
        if !(1..=4).contains(&n_dims) {
            return Err(format!("it has {n_dims} dimensions, want 1 to 4"));
        }
        let mut shape = Vec::with_capacity(4);
        for _ in 0..n_dims {
            let dim = self.u64("a dimension")?;
            match usize::try_from(dim) {
                Ok(dim) if dim > 0 => shape.push(dim),
                _ => return Err(format!("a dimension is {dim}, want at least 1")),
            }
        }
        let type_id = self.u32("its type")?;
        let offset = self.u64("its offset")?;
        let (dtype, block, block_bytes) = storage(type_id)?;
        let width = shape.first().copied().unwrap_or(1);
        if !width.is_multiple_of(block) {
            return Err(format!(
                "a row of {width} is not made of {dtype} blocks, want a multiple of {block}"
            ));
        }
        // The product of all dimensions is checked as well as the bytes: a packed format may hold
        // more numbers than bytes.
        let numbers = shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
        let size = numbers.and_then(|numbers| (numbers / block).checked_mul(block_bytes));
        let Some(size) = size.filter(|&size| isize::try_from(size).is_ok()) else {
            return Err(format!("its dimensions {shape:?} multiply to more than any memory"));
        };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        if !offset.is_multiple_of(alignment) {
            return Err(format!("its offset {offset} is no multiple of the alignment {alignment}"));
        }
        shape.reverse();
        Ok(Info { dtype, shape, offset, size })
    }
}

/// A byte that is to be a truth value and is neither 0 nor 1 breaks the format.
fn check_bools(item: Kind, bytes: &[u8]) -> Parsed<()> {
    match bytes.iter().find(|&&byte| item == Kind::Bool && byte > 1) {
        Some(byte) => Err(format!("a truth value is {byte}, want 0 or 1")),
        None => Ok(()),
    }
}

/// A `ggml_type` number: what it is, numbers in a block, bytes of a block.
fn storage(id: u32) -> Parsed<(Dtype, usize, usize)> {
    if let Some(format) = Format::from_ggml(id) {
        return Ok((Dtype::Weight(format), format.block(), format.block_bytes()));
    }
    let (name, block, bytes) = match id {
        9 => ("Q8_1", 32, 36),
        15 => ("Q8_K", 256, 292),
        16 => ("IQ2_XXS", 256, 66),
        17 => ("IQ2_XS", 256, 74),
        18 => ("IQ3_XXS", 256, 98),
        19 => ("IQ1_S", 256, 50),
        20 => ("IQ4_NL", 32, 18),
        21 => ("IQ3_S", 256, 110),
        22 => ("IQ2_S", 256, 82),
        23 => ("IQ4_XS", 256, 136),
        24 => ("I8", 1, 1),
        25 => ("I16", 1, 2),
        26 => ("I32", 1, 4),
        27 => ("I64", 1, 8),
        28 => ("F64", 1, 8),
        29 => ("IQ1_M", 256, 56),
        31 => ("Q4_0_4_4", 32, 18),
        32 => ("Q4_0_4_8", 32, 18),
        33 => ("Q4_0_8_8", 32, 18),
        34 => ("TQ1_0", 256, 54),
        35 => ("TQ2_0", 256, 66),
        36 => ("IQ4_NL_4_4", 32, 18),
        37 => ("IQ4_NL_4_8", 32, 18),
        38 => ("IQ4_NL_8_8", 32, 18),
        39 => ("MXFP4", 32, 17),
        40 => ("NVFP4", 64, 36),
        41 => ("Q1_0", 128, 18),
        _ => {
            return Err(format!("its type {id} is not known, the known ones go from 0 to 41"));
        }
    };
    Ok((Dtype::Other(name), block, bytes))
}

/// The type of a metadata value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl Kind {
    fn from_id(id: u32) -> Parsed<Kind> {
        Ok(match id {
            0 => Kind::U8,
            1 => Kind::I8,
            2 => Kind::U16,
            3 => Kind::I16,
            4 => Kind::U32,
            5 => Kind::I32,
            6 => Kind::F32,
            7 => Kind::Bool,
            8 => Kind::String,
            9 => Kind::Array,
            10 => Kind::U64,
            11 => Kind::I64,
            12 => Kind::F64,
            _ => return Err(format!("type {id} of a value is not known, want 0 to 12")),
        })
    }

    /// Bytes of a value, the fewest where they vary.
    const fn size(self) -> usize {
        match self {
            Kind::U8 | Kind::I8 | Kind::Bool => 1,
            Kind::U16 | Kind::I16 => 2,
            Kind::U32 | Kind::I32 | Kind::F32 => 4,
            Kind::String | Kind::U64 | Kind::I64 | Kind::F64 => 8,
            Kind::Array => 12,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Kind::U8 => "u8",
            Kind::I8 => "i8",
            Kind::U16 => "u16",
            Kind::I16 => "i16",
            Kind::U32 => "u32",
            Kind::I32 => "i32",
            Kind::F32 => "f32",
            Kind::Bool => "bool",
            Kind::String => "string",
            Kind::Array => "array",
            Kind::U64 => "u64",
            Kind::I64 => "i64",
            Kind::F64 => "f64",
        }
    }

    /// The whole number in `bytes`, when this is a type of whole numbers.
    fn integer(self, bytes: &[u8]) -> Option<i128> {
        Some(match self {
            Kind::U8 => u8::from_le_bytes(*bytes.first_chunk()?).into(),
            Kind::I8 => i8::from_le_bytes(*bytes.first_chunk()?).into(),
            Kind::U16 => u16::from_le_bytes(*bytes.first_chunk()?).into(),
            Kind::I16 => i16::from_le_bytes(*bytes.first_chunk()?).into(),
            Kind::U32 => u32::from_le_bytes(*bytes.first_chunk()?).into(),
            Kind::I32 => i32::from_le_bytes(*bytes.first_chunk()?).into(),
            Kind::U64 => u64::from_le_bytes(*bytes.first_chunk()?).into(),
            Kind::I64 => i64::from_le_bytes(*bytes.first_chunk()?).into(),
            Kind::F32 | Kind::F64 | Kind::Bool | Kind::String | Kind::Array => return None,
        })
    }

    /// The number in `bytes`, when this is a type of floats.
    fn float(self, bytes: &[u8]) -> Option<f64> {
        match self {
            Kind::F32 => Some(f32::from_le_bytes(*bytes.first_chunk()?).into()),
            Kind::F64 => Some(f64::from_le_bytes(*bytes.first_chunk()?)),
            _ => None,
        }
    }
}

/// One value of the metadata, as it lies in the file; its `Display` is a line for people.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    /// The type, of the items when it is a list.
    item: Kind,
    /// Number of items when it is a list.
    count: Option<usize>,
    /// The value without its type; a single text without its length.
    bytes: Bytes,
}

impl Value {
    fn integer(&self) -> Option<i128> {
        self.count.is_none().then(|| self.item.integer(&self.bytes))?
    }

    fn text(&self) -> Option<&str> {
        if self.count.is_some() || self.item != Kind::String {
            return None;
        }
        std::str::from_utf8(&self.bytes).ok()
    }

    /// The texts of a list, `None` for one that is not UTF-8; empty when it is no such list.
    fn texts(&self) -> impl Iterator<Item = Option<&str>> {
        let is_list = self.count.is_some() && self.item == Kind::String;
        let mut rest: &[u8] = if is_list { &self.bytes } else { &[] };
        std::iter::from_fn(move || {
            let (length, tail) = rest.split_first_chunk::<8>()?;
            let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
            let (text, tail) = tail.split_at_checked(length)?;
            rest = tail;
            Some(std::str::from_utf8(text).ok())
        })
    }

    /// The items of a list of numbers or truth values, each with its own bytes.
    fn items(&self) -> std::slice::ChunksExact<'_, u8> {
        let is_flat = self.count.is_some() && self.item != Kind::String;
        let bytes: &[u8] = if is_flat { &self.bytes } else { &[] };
        bytes.chunks_exact(self.item.size())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |bytes: &[u8]| match (self.item.integer(bytes), self.item.float(bytes)) {
            (Some(number), _) => number.to_string(),
            (_, Some(number)) if self.item == Kind::F32 => (number as f32).to_string(),
            (_, Some(number)) => number.to_string(),
            _ => (bytes.first() == Some(&1)).to_string(),
        };
        let text = |text: Option<&str>| text.map_or("`?`".to_owned(), quote);
        let Some(count) = self.count else {
            return match self.item {
                Kind::String => f.write_str(&text(self.text())),
                item => write!(f, "{} {}", item.name(), number(&self.bytes)),
            };
        };
        write!(f, "{count} x {}", self.item.name())?;
        let shown: Vec<String> = match self.item {
            Kind::String => self.texts().take(6).map(text).collect(),
            _ => self.items().take(6).map(number).collect(),
        };
        let more = if count > shown.len() { ", ..." } else { "" };
        write!(f, " [{}{more}]", shown.join(", "))
    }
}

/// The metadata of a file: keys in alphabetical order, values checked and left in the mapping.
///
/// Every getter gives `None` for a key that is not there, and [`Error::Config`] with the key's
/// name for a value of another type or out of the type's range.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metadata {
    values: BTreeMap<String, Value>,
}

impl Metadata {
    /// The value of `key`, to be shown.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// All keys.
    #[cfg(test)]
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// A text.
    pub(crate) fn string(&self, key: &str) -> Result<Option<&str>> {
        self.one(key, "a string", Value::text)
    }

    /// A truth value.
    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.one(key, "a bool", |value| {
            let is_bool = value.count.is_none() && value.item == Kind::Bool;
            is_bool.then_some(value.bytes.first() == Some(&1))
        })
    }

    /// A whole number of any width that fits.
    pub(crate) fn u32(&self, key: &str) -> Result<Option<u32>> {
        self.one(key, "a whole number from 0 to 4294967295", |value| {
            value.integer()?.try_into().ok()
        })
    }

    /// A whole number of any width that fits.
    pub(crate) fn u64(&self, key: &str) -> Result<Option<u64>> {
        self.one(key, "a whole number from 0", |value| value.integer()?.try_into().ok())
    }

    /// A whole number of any width that fits.
    pub(crate) fn usize(&self, key: &str) -> Result<Option<usize>> {
        self.one(key, "a whole number from 0", |value| value.integer()?.try_into().ok())
    }

    /// A finite float; whole numbers are refused, as is what overflows an `f32`.
    pub(crate) fn f32(&self, key: &str) -> Result<Option<f32>> {
        self.one(key, "a finite float", |value| {
            let number = value.count.is_none().then(|| value.item.float(&value.bytes))?? as f32;
            number.is_finite().then_some(number)
        })
    }

    /// A list of texts, borrowed from the mapping.
    ///
    /// # Errors
    /// Also when a text is not UTF-8: that is looked at here and not when the file is opened.
    pub(crate) fn strings(&self, key: &str) -> Result<Option<Vec<&str>>> {
        let Some(value) = self.list(key, "strings", |item| item == Kind::String)? else {
            return Ok(None);
        };
        // At most one eighth of the bytes that are there: each text has its length before it.
        let mut texts = Vec::with_capacity(value.count.unwrap_or(0));
        for text in value.texts() {
            let Some(text) = text else {
                let problem = format!("holds an item, number {}, that is not UTF-8", texts.len());
                return Err(Error::config(key, problem));
            };
            texts.push(text);
        }
        Ok(Some(texts))
    }

    /// A list of floats, finite or not.
    pub(crate) fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>> {
        let Some(value) = self.list(key, "floats", |item| matches!(item, Kind::F32 | Kind::F64))?
        else {
            return Ok(None);
        };
        let number = |bytes| value.item.float(bytes).map(|number| number as f32);
        Ok(Some(value.items().filter_map(number).collect()))
    }

    /// A list of whole numbers, each of which fits.
    pub(crate) fn i32s(&self, key: &str) -> Result<Option<Vec<i32>>> {
        self.integers(key, "whole numbers from -2147483648 to 2147483647")
    }

    /// A list of whole numbers from 0, each of which fits. A single number is a list of one: files
    /// give some sizes either once for all layers or once for each.
    pub(crate) fn usizes(&self, key: &str) -> Result<Option<Vec<usize>>> {
        match self.get(key) {
            Some(value) if value.count.is_none() => Ok(self.usize(key)?.map(|one| vec![one])),
            _ => self.integers(key, "whole numbers from 0"),
        }
    }

    /// A list of bytes, signed or not, as they lie in the file.
    pub(crate) fn u8s(&self, key: &str) -> Result<Option<&[u8]>> {
        let value = self.list(key, "bytes", |item| matches!(item, Kind::U8 | Kind::I8))?;
        Ok(value.map(|value| &value.bytes[..]))
    }

    /// A list of truth values.
    #[cfg(test)]
    pub(crate) fn bools(&self, key: &str) -> Result<Option<Vec<bool>>> {
        let value = self.list(key, "bools", |item| item == Kind::Bool)?;
        Ok(value.map(|value| value.bytes.iter().map(|&byte| byte == 1).collect()))
    }

    /// A single value that `read` understands.
    fn one<'a, T>(
        &'a self,
        key: &str,
        want: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match read(value) {
            Some(read) => Ok(Some(read)),
            None => Err(Error::config(key, format!("is {value}, want {want}"))),
        }
    }

    /// A list whose items are of a type that `is_wanted`.
    fn list(
        &self,
        key: &str,
        want: &str,
        is_wanted: impl Fn(Kind) -> bool,
    ) -> Result<Option<&Value>> {
        self.one(key, &format!("a list of {want}"), |value| {
            (value.count.is_some() && is_wanted(value.item)).then_some(value)
        })
    }

    fn integers<T: TryFrom<i128>>(&self, key: &str, want: &str) -> Result<Option<Vec<T>>> {
        let is_integer =
            |item| !matches!(item, Kind::F32 | Kind::F64 | Kind::Bool | Kind::String | Kind::Array);
        let Some(value) = self.list(key, want, is_integer)? else {
            return Ok(None);
        };
        let mut numbers = Vec::with_capacity(value.count.unwrap_or(0));
        for (index, bytes) in value.items().enumerate() {
            let number = value.item.integer(bytes);
            let Some(fits) = number.and_then(|number| T::try_from(number).ok()) else {
                let number = number.unwrap_or_default();
                let problem = format!("holds {number} as item {index}, want {want}");
                return Err(Error::config(key, problem));
            };
            numbers.push(fits);
        }
        Ok(Some(numbers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    /// Writes a file piece by piece, so that a test can bend any piece.
    #[derive(Clone)]
    struct Writer {
        magic: [u8; 4],
        version: u32,
        tensor_count: Option<u64>,
        key_count: Option<u64>,
        keys: Vec<(Vec<u8>, u32, Vec<u8>)>,
        tensors: Vec<(Vec<u8>, Vec<u64>, u32, u64)>,
        n_dims: Option<u32>,
        alignment: usize,
        data: Vec<u8>,
    }

    fn text(text: &[u8]) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes(), text].concat()
    }

    fn list(item: u32, count: u64, items: &[u8]) -> Vec<u8> {
        [&item.to_le_bytes()[..], &count.to_le_bytes(), items].concat()
    }

    impl Writer {
        fn new() -> Writer {
            Writer {
                magic: *b"GGUF",
                version: 3,
                tensor_count: None,
                key_count: None,
                keys: Vec::new(),
                tensors: Vec::new(),
                n_dims: None,
                alignment: 32,
                data: Vec::new(),
            }
        }

        fn key(mut self, key: &str, kind: u32, value: impl AsRef<[u8]>) -> Writer {
            self.keys.push((key.into(), kind, value.as_ref().to_vec()));
            self
        }

        /// Adds a tensor at the next aligned place.
        fn tensor(mut self, name: &str, dims: &[u64], kind: u32, bytes: &[u8]) -> Writer {
            self.data.resize(self.data.len().next_multiple_of(self.alignment), 0);
            let offset = self.data.len() as u64;
            self.tensors.push((name.into(), dims.to_vec(), kind, offset));
            self.data.extend(bytes);
            self
        }

        fn bytes(&self) -> Vec<u8> {
            let mut out = self.magic.to_vec();
            out.extend(self.version.to_le_bytes());
            out.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
            out.extend(self.key_count.unwrap_or(self.keys.len() as u64).to_le_bytes());
            for (key, kind, value) in &self.keys {
                out.extend(text(key));
                out.extend(kind.to_le_bytes());
                out.extend(value);
            }
            for (name, dims, kind, offset) in &self.tensors {
                out.extend(text(name));
                out.extend(self.n_dims.unwrap_or(dims.len() as u32).to_le_bytes());
                dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
                out.extend(kind.to_le_bytes());
                out.extend(offset.to_le_bytes());
            }
            out.resize(out.len().next_multiple_of(self.alignment), 0);
            out.extend(&self.data);
            out
        }
    }

    /// A little of everything that a real file holds.
    fn good() -> Writer {
        let floats: Vec<u8> =
            [0.5_f32, -1.0, f32::NAN].iter().flat_map(|x| x.to_le_bytes()).collect();
        Writer::new()
            .key("general.architecture", 8, text(b"llama"))
            .key("general.alignment", 4, 32_u32.to_le_bytes())
            .key("llama.block_count", 4, 2_u32.to_le_bytes())
            .key("llama.context_length", 10, 4096_u64.to_le_bytes())
            .key("llama.offset", 5, (-3_i32).to_le_bytes())
            .key("llama.eps", 6, 1e-5_f32.to_le_bytes())
            .key("llama.theta", 12, 1e6_f64.to_le_bytes())
            .key("llama.flag", 7, [1])
            .key("llama.head_count_kv", 9, list(5, 2, &[1, 0, 0, 0, 2, 0, 0, 0]))
            .key("llama.pattern", 9, list(7, 3, &[1, 0, 1]))
            .key(
                "tokens",
                9,
                list(8, 3, &[text(b"a"), text("\u{e9}".as_bytes()), text(b"")].concat()),
            )
            .key("scores", 9, list(6, 3, &floats))
            .key("charsmap", 9, list(1, 4, &[1, 2, 0xff, 4]))
            .key("empty", 9, list(8, 0, &[]))
            .tensor("a.weight", &[2, 3], 0, &[7; 24])
            .tensor("b.weight", &[32, 2], 8, &[9; 68])
            .tensor("c.ids", &[5], 27, &[1; 40])
    }

    fn problem(writer: &Writer) -> String {
        parse(&Bytes::from(writer.bytes())).err().unwrap_or_else(|| "it was accepted".into())
    }

    #[test]
    fn a_file_comes_back_as_it_was_written() {
        let folder = crate::scratch::Scratch::new().unwrap();
        let path = folder.path().join("model.gguf");
        for version in [2, 3] {
            std::fs::write(&path, Writer { version, ..good() }.bytes()).unwrap();
            let Gguf { metadata: data, head, tensors } = Gguf::open(&path).unwrap();
            assert_eq!(head[4..8], version.to_le_bytes());
            let mut alone = head.to_vec();
            alone[8..16].fill(0);
            let alone = Gguf::read(&alone.into(), &path).unwrap();
            assert!(alone.tensors.is_empty());
            assert!(alone.metadata.keys().eq(data.keys()));
            assert_eq!(data.keys().count(), 14);
            assert_eq!(data.string("general.architecture").unwrap(), Some("llama"));
            assert_eq!(data.u32("llama.block_count").unwrap(), Some(2));
            assert_eq!(data.usize("llama.context_length").unwrap(), Some(4096));
            assert_eq!(data.u64("llama.missing").unwrap(), None);
            assert_eq!(data.f32("llama.eps").unwrap(), Some(1e-5));
            assert_eq!(data.f32("llama.theta").unwrap(), Some(1e6));
            assert_eq!(data.bool("llama.flag").unwrap(), Some(true));
            assert_eq!(data.usizes("llama.head_count_kv").unwrap(), Some(vec![1, 2]));
            assert_eq!(data.usizes("llama.block_count").unwrap(), Some(vec![2]));
            assert_eq!(data.i32s("llama.head_count_kv").unwrap(), Some(vec![1, 2]));
            assert_eq!(data.bools("llama.pattern").unwrap(), Some(vec![true, false, true]));
            assert_eq!(data.strings("tokens").unwrap(), Some(vec!["a", "\u{e9}", ""]));
            assert_eq!(data.strings("empty").unwrap(), Some(vec![]));
            assert_eq!(
                data.f32s("scores").unwrap().map(|all| all[..2].to_vec()),
                Some(vec![0.5, -1.0])
            );
            assert_eq!(data.u8s("charsmap").unwrap(), Some(&[1, 2, 0xff, 4][..]));

            let names: Vec<&str> = tensors.keys().map(String::as_str).collect();
            assert_eq!(names, ["a.weight", "b.weight", "c.ids"]);
            assert_eq!(tensors["a.weight"].shape, [3, 2]);
            assert_eq!(tensors["a.weight"].bytes, [7; 24][..]);
            assert_eq!(tensors["b.weight"].dtype, Dtype::Weight(Format::Q8_0));
            assert_eq!(tensors["b.weight"].bytes, [9; 68][..]);
            assert_eq!(tensors["c.ids"].dtype, Dtype::Other("I64"));
        }
    }

    #[test]
    fn a_value_of_another_type_names_its_key() {
        let gguf = parse(&Bytes::from(good().bytes())).unwrap();
        let data = &gguf.metadata;
        let errors: Vec<Error> = [
            data.string("llama.block_count").err(),
            data.string("tokens").err(),
            data.u32("llama.eps").err(),
            data.u32("llama.offset").err(),
            data.usize("tokens").err(),
            data.u32("llama.flag").err(),
            data.f32("llama.block_count").err(),
            data.bool("llama.block_count").err(),
            data.strings("scores").err(),
            data.strings("general.architecture").err(),
            data.f32s("charsmap").err(),
            data.i32s("scores").err(),
            data.usizes("general.architecture").err(),
            data.u8s("scores").err(),
            data.bools("charsmap").err(),
        ]
        .into_iter()
        .map(|error| error.expect("another type was accepted"))
        .collect();
        for error in errors {
            let Error::Config { key, problem } = &error else { panic!("{error}") };
            assert!(data.get(key).is_some() && problem.contains("want "), "{error}");
        }
        let shown = |key| data.get(key).map(Value::to_string).unwrap_or_default();
        assert_eq!(shown("tokens"), "3 x string [`a`, `\u{e9}`, ``]");
        assert_eq!(shown("llama.eps"), "f32 0.00001");
        assert_eq!(shown("llama.flag"), "bool true");

        let bad = Writer::new()
            .key("infinite", 6, f32::INFINITY.to_le_bytes())
            .key("tokens", 9, list(8, 2, &[text(b"a"), text(&[0xc3, 0x28])].concat()))
            .key("large", 9, list(10, 1, &u64::MAX.to_le_bytes()));
        let bad = parse(&Bytes::from(bad.bytes())).unwrap().metadata;
        assert!(bad.f32("infinite").is_err());
        assert!(bad.strings("tokens").unwrap_err().to_string().contains("number 1"));
        assert!(bad.i32s("large").unwrap_err().to_string().contains("item 0"));
    }

    #[test]
    fn what_breaks_the_format_is_refused_with_its_place() {
        let tensor = |dims: &[u64], kind: u32, offset: u64| {
            let mut writer = Writer::new().tensor("w", dims, kind, &[0; 256]);
            writer.tensors[0].3 = offset;
            writer
        };
        let key = |kind: u32, value: &[u8]| Writer::new().key("k", kind, value);
        let aligned = |value: u32| Writer::new().key("general.alignment", 4, value.to_le_bytes());
        let base = good;
        let huge = u64::MAX.to_le_bytes();
        let cases: Vec<(&str, Writer, &str)> = vec![
            ("magic", Writer { magic: *b"GGUX", ..base() }, "want `GGUF`"),
            ("old magic", Writer { magic: *b"tjgg", ..base() }, "before GGUF"),
            ("version 0", Writer { version: 0, ..base() }, "version 0"),
            ("version 1", Writer { version: 1, ..base() }, "version 1"),
            ("version 4", Writer { version: 4, ..base() }, "version 4"),
            ("big endian", Writer { version: 3 << 24, ..base() }, "big-endian"),
            ("key count", Writer { key_count: Some(u64::MAX), ..base() }, "limit of 65536"),
            ("key count fits limit", Writer { key_count: Some(65_000), ..base() }, "left"),
            ("one key too many", Writer { key_count: Some(15), ..base() }, "limit of 65535"),
            ("tensor count", Writer { tensor_count: Some(1 << 61), ..base() }, "limit of 262144"),
            ("tensor count 2", Writer { tensor_count: Some(200_000), ..base() }, "left"),
            ("key length", Writer::new().key(&"k".repeat(65_536), 7, [1]), "limit of 65535"),
            ("key empty", Writer::new().key("", 7, [1]), "empty"),
            ("key zero byte", Writer::new().key("a\0b", 7, [1]), "UTF-8"),
            ("key twice", base().key("tokens", 7, [1]), "twice"),
            ("value type", key(13, &[0; 8]), "type 13"),
            ("bool", key(7, &[2]), "truth value is 2"),
            ("bool list", key(9, &list(7, 2, &[1, 3])), "truth value is 3"),
            ("text length", key(8, &huge), "limit of 8388608"),
            ("text cut", key(8, &[100, 0, 0, 0, 0, 0, 0, 0]), "file ends"),
            ("text not UTF-8", key(8, &text(&[b'a', 0xff])), "not UTF-8 after 1"),
            ("list type", key(9, &list(99, 0, &[])), "type 99"),
            ("list of lists", key(9, &list(9, 0, &[])), "lists of lists"),
            ("list count", key(9, &list(10, 1 << 61, &[])), "items do not fit"),
            ("list count 2", key(9, &list(8, 1000, &[0; 64])), "items do not fit"),
            ("list item length", key(9, &list(8, 1, &huge)), "item 0"),
            ("list item limit", key(9, &list(8, 1, &text(&[b'a'; 65_537]))), "limit of 65536"),
            ("alignment 0", aligned(0), "general.alignment"),
            ("alignment 1", aligned(1), "general.alignment"),
            ("alignment 24", aligned(24), "general.alignment"),
            ("alignment 2^31", aligned(1 << 31), "general.alignment"),
            (
                "alignment i32",
                Writer::new().key("general.alignment", 5, 32_i32.to_le_bytes()),
                "want a u32",
            ),
            (
                "alignment text",
                Writer::new().key("general.alignment", 8, text(b"32")),
                "want a u32",
            ),
            ("name empty", Writer::new().tensor("", &[1], 0, &[0; 4]), "empty"),
            ("name twice", base().tensor("a.weight", &[1], 0, &[0; 4]), "twice"),
            ("0 dims", tensor(&[], 0, 0), "0 dimensions"),
            ("5 dims", tensor(&[1; 5], 0, 0), "5 dimensions"),
            ("2^32-1 dims", Writer { n_dims: Some(u32::MAX), ..base() }, "4294967295 dimensions"),
            ("dim 0", tensor(&[4, 0], 0, 0), "dimension is 0"),
            ("2^32 x 2^32", tensor(&[1 << 32, 1 << 32], 0, 0), "more than any memory"),
            ("bytes wrap", tensor(&[1 << 62], 0, 0), "more than any memory"),
            ("elements wrap", tensor(&[256, 1 << 55, 4], 10, 0), "more than any memory"),
            ("2^42+1", tensor(&[64, (1 << 42) + 1], 0, 0), "not all in the file"),
            ("type 4", tensor(&[32], 4, 0), "type 4"),
            ("type 42", tensor(&[32], 42, 0), "type 42"),
            ("type max", tensor(&[32], u32::MAX, 0), "type 4294967295"),
            ("half a block", tensor(&[31, 2], 8, 0), "multiple of 32"),
            ("half a super block", tensor(&[128], 12, 0), "multiple of 256"),
            ("offset unaligned", tensor(&[4], 0, 16), "alignment 32"),
            ("offset at the end", tensor(&[4], 0, 256), "not all in the file"),
            ("offset wraps", tensor(&[64], 0, u64::MAX - 31), "not all in the file"),
            ("offset max", tensor(&[64], 0, u64::MAX), "alignment 32"),
            (
                "overlap",
                {
                    let mut writer = base();
                    writer.tensors[1].3 = 0;
                    writer
                },
                "inside tensor `a.weight`",
            ),
        ];
        for (name, writer, word) in &cases {
            let found = problem(writer);
            assert!(found.contains(word), "{name}: {found}");
        }
        assert!(cases.len() > 50);
    }

    #[test]
    fn a_part_of_a_split_file_is_refused() {
        let folder = crate::scratch::Scratch::new().unwrap();
        let path = folder.path().join("model-00001-of-00002.gguf");
        std::fs::write(&path, good().key("split.count", 2, [2, 0]).bytes()).unwrap();
        let error = Gguf::open(&path).unwrap_err();
        assert_eq!(error.code(), Code::Config);
        assert!(error.to_string().contains("`split.count` is 2"), "{error}");
        std::fs::write(&path, good().key("split.count", 2, [1, 0]).bytes()).unwrap();
        assert!(Gguf::open(&path).is_ok());
    }

    /// The sizes of the types that files hold and that are not ours, against ggml's own table.
    #[test]
    fn every_known_type_has_a_size() {
        let known: Vec<u32> = (0..64).filter(|&id| storage(id).is_ok()).collect();
        assert_eq!(known.len(), 40);
        assert!(known.iter().all(|id| ![4, 5].contains(id) && *id <= 41));
    }

    #[test]
    fn changed_bytes_never_panic() {
        let good = good().bytes();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 16) as usize % below
        };
        let mut accepted = 0;
        for end in 0..good.len() {
            _ = parse(&Bytes::copy_from_slice(&good[..end]));
        }
        for _ in 0..30_000 {
            let mut bytes = good.clone();
            for _ in 0..=random(3) {
                let at = random(bytes.len());
                bytes[at] = match random(4) {
                    0 => 0,
                    1 => 0xff,
                    2 => bytes[at] ^ (1 << random(8)),
                    _ => random(256) as u8,
                };
            }
            if random(4) == 0 {
                bytes.truncate(random(bytes.len()));
            }
            if let Ok(gguf) = parse(&Bytes::from(bytes)) {
                accepted += 1;
                for key in gguf.metadata.keys() {
                    let metadata = &gguf.metadata;
                    _ = (metadata.strings(key), metadata.f32s(key), metadata.usizes(key));
                    _ = (metadata.string(key), metadata.bools(key), metadata.u8s(key));
                    _ = metadata.get(key).map(Value::to_string);
                }
                for stored in gguf.tensors.values() {
                    assert!(stored.bytes.len() < good.len());
                }
            }
        }
        assert!((100..29_000).contains(&accepted), "{accepted}");
    }
}
