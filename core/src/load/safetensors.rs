//! safetensors: one file, or an index and its shards, checked whole when opened.
//!
//! ```text
//! length u64 | header, JSON {"name": {"dtype", "shape", "data_offsets": [from, to]}, ..} | data
//! ```
//! Every byte of the data belongs to exactly one tensor. Nothing is allocated from a number of the
//! file before it has been compared with the bytes that are there.
//!
//! Source: the format's description in the safetensors repository (`README.md`) and the attacks
//! that its audit lists; names given twice and a header that does not begin with `{` are errors.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::file::{Dtype, MAX_NAME, MAX_TENSORS, Mapped, Stored, read_limited};
use crate::error::{Error, Result};
use crate::quant::Format;
use crate::quote::quote;

const FORMAT: &str = "safetensors";
/// Longest header and longest index, in bytes. Headers of the largest models are near 10 MB.
const MAX_HEADER: u64 = 64 << 20;
/// Most dimensions of a tensor.
const MAX_DIMS: usize = 16;
/// Most entries of `__metadata__`, and most shards of an index.
const MAX_NOTES: usize = 65_536;
const MAX_SHARDS: usize = 4096;

/// The file that holds all tensors of a model, when there is only one.
pub(crate) const SINGLE: &str = "model.safetensors";
/// The file that says which shard holds which tensor.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// Maps and checks one file.
///
/// # Errors
/// [`Error::Io`] and [`Error::Format`] as [`Mapped::open`]; [`Error::Format`] for anything in the
/// file that breaks the format.
pub(crate) fn open(path: &Path) -> Result<BTreeMap<String, Stored>> {
    let mapped = Mapped::open(path, FORMAT)?;
    parse(&mapped.bytes).map_err(|problem| Error::format(path, FORMAT, problem))
}

/// Opens `model.safetensors` of a folder, or else the shards that `model.safetensors.index.json`
/// names.
///
/// A shard's name is one plain component, so that a file outside the folder is opened only through
/// a link that the folder itself holds, as in the cache of a model hub.
///
/// # Errors
/// As [`open`] for each file; [`Error::Io`] when neither file is there; [`Error::Format`] when the
/// index is no index, names a file outside the folder, or claims a tensor that its shard lacks,
/// and when two shards hold the same tensor.
pub(crate) fn open_folder(folder: &Path) -> Result<BTreeMap<String, Stored>> {
    let single = folder.join(SINGLE);
    // A link that leads nowhere is an error of its own and not a missing file.
    if single.symlink_metadata().is_ok() {
        return open(&single);
    }
    let index_path = folder.join(INDEX);
    if index_path.symlink_metadata().is_err() {
        let problem = format!("neither `{SINGLE}` nor `{INDEX}` is in the folder");
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, problem);
        return Err(Error::Io { path: single, source });
    }
    let text = read_limited(&index_path, MAX_HEADER)?;
    let index =
        parse_index(&text).map_err(|problem| Error::format(&index_path, "JSON", problem))?;
    drop(text);
    let mut tensors = BTreeMap::new();
    for shard in index.shards.keys() {
        for (name, stored) in open(&folder.join(shard))? {
            if tensors.len() >= MAX_TENSORS {
                return Err(Error::format(&index_path, "JSON", too_many()));
            }
            match tensors.entry(name) {
                Entry::Vacant(place) => _ = place.insert((stored, shard.as_str())),
                Entry::Occupied(place) => {
                    let problem = format!(
                        "tensor {} is also in {}",
                        quote(place.key()),
                        quote(place.get().1)
                    );
                    return Err(Error::format(&folder.join(shard), FORMAT, problem));
                }
            }
        }
    }
    for (shard, names) in &index.shards {
        if let Some(name) =
            names.iter().find(|&name| tensors.get(name).is_none_or(|(_, found)| found != shard))
        {
            let problem =
                format!("{} is not in {}, which should hold it", quote(name), quote(shard));
            return Err(Error::format(&index_path, "JSON", problem));
        }
    }
    Ok(tensors.into_iter().map(|(name, (stored, _))| (name, stored)).collect())
}

/// What the bytes hold, or the sentence that says why they hold nothing.
type Parsed<T> = std::result::Result<T, String>;

fn too_many() -> String {
    format!("more tensors than the limit of {MAX_TENSORS}")
}

fn parse(bytes: &Bytes) -> Parsed<BTreeMap<String, Stored>> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(format!("{} bytes hold no header length of 8 bytes", bytes.len()));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER {
        return Err(format!("the header of {length} bytes is over the limit of {MAX_HEADER}"));
    }
    let split = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
    let Some((header, data)) = split else {
        let left = rest.len();
        return Err(format!("the header of {length} bytes does not fit the {left} that are left"));
    };
    if header.first() != Some(&b'{') {
        return Err("the header does not begin with `{`".into());
    }
    let infos = json(header, Header).map_err(|error| format!("the header: {error}"))?;
    lay_out(infos, &bytes.slice_ref(data))
}

/// Parses `text` to its end with `seed`; an error ends with its line and column.
fn json<'de, S: DeserializeSeed<'de>>(text: &'de [u8], seed: S) -> serde_json::Result<S::Value> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = seed.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Slices the tensors out of `data`, each byte of which must belong to exactly one.
fn lay_out(infos: BTreeMap<String, Info>, data: &Bytes) -> Parsed<BTreeMap<String, Stored>> {
    let about = |name: &str, problem: String| format!("tensor {}: {problem}", quote(name));
    let mut order: Vec<(u64, u64, &str)> =
        infos.iter().map(|(name, info)| (info.offsets.0, info.offsets.1, name.as_str())).collect();
    order.sort_unstable();
    let mut end = 0;
    for (from, to, name) in order {
        if to < from || to > data.len() as u64 {
            let problem = format!(
                "offsets [{from}, {to}] are no span of the data, which is {} bytes",
                data.len()
            );
            return Err(about(name, problem));
        }
        if from < end {
            return Err(about(name, format!("offset {from} is before byte {end}: an overlap")));
        }
        if from > end {
            return Err(about(name, format!("bytes {end} to {from} before it are a hole")));
        }
        end = to;
    }
    if end != data.len() as u64 {
        let left = data.len() as u64 - end;
        return Err(format!("the last {left} bytes of the data belong to no tensor"));
    }
    let slice = |info: &Info| -> Parsed<Bytes> {
        let (from, to) = info.offsets;
        let size = info.size()?;
        if size != to - from {
            return Err(format!(
                "{} of shape {:?} is {size} bytes, but its offsets [{from}, {to}] hold {}",
                info.dtype,
                info.shape,
                to - from
            ));
        }
        // Both are at most the length of the data.
        Ok(data.slice(from as usize..to as usize))
    };
    infos
        .into_iter()
        .map(|(name, info)| match slice(&info) {
            Ok(bytes) => Ok((name, Stored { dtype: info.dtype, shape: info.shape, bytes })),
            Err(problem) => Err(about(&name, problem)),
        })
        .collect()
}

/// A type by its name in the header, and its bits.
fn storage(name: &str) -> Option<(Dtype, u64)> {
    let other = |name, bits| (Dtype::Other(name), bits);
    Some(match name {
        "F32" => (Dtype::Weight(Format::F32), 32),
        "F16" => (Dtype::Weight(Format::F16), 16),
        "BF16" => (Dtype::Weight(Format::BF16), 16),
        "BOOL" => other("BOOL", 8),
        "F4" => other("F4", 4),
        "F6_E2M3" => other("F6_E2M3", 6),
        "F6_E3M2" => other("F6_E3M2", 6),
        "U8" => other("U8", 8),
        "I8" => other("I8", 8),
        "F8_E5M2" => other("F8_E5M2", 8),
        "F8_E4M3" => other("F8_E4M3", 8),
        "F8_E8M0" => other("F8_E8M0", 8),
        "F8_E4M3FNUZ" => other("F8_E4M3FNUZ", 8),
        "F8_E5M2FNUZ" => other("F8_E5M2FNUZ", 8),
        "I16" => other("I16", 16),
        "U16" => other("U16", 16),
        "I32" => other("I32", 32),
        "U32" => other("U32", 32),
        "I64" => other("I64", 64),
        "U64" => other("U64", 64),
        "F64" => other("F64", 64),
        "C64" => other("C64", 64),
        _ => return None,
    })
}

/// What the header says of one tensor.
struct Info {
    dtype: Dtype,
    bits: u64,
    shape: Vec<usize>,
    /// In the data, in bytes.
    offsets: (u64, u64),
}

impl Info {
    /// Bytes of the tensor.
    fn size(&self) -> Parsed<u64> {
        // A zero among the dimensions must not hide that the others overflow.
        let others = self.shape.iter().filter(|&&dim| dim > 0);
        let bits = others.copied().try_fold(self.bits, |bits, dim| bits.checked_mul(dim as u64));
        match bits {
            None => Err(format!("shape {:?} multiplies to more than any memory", self.shape)),
            Some(_) if self.shape.contains(&0) => Ok(0),
            Some(bits) if bits.is_multiple_of(8) => Ok(bits / 8),
            Some(bits) => Err(format!("shape {:?} is {bits} bits, no whole bytes", self.shape)),
        }
    }
}

/// The whole header: `__metadata__` (looked at, not kept) and the tensors.
struct Header;

impl<'de> DeserializeSeed<'de> for Header {
    type Value = BTreeMap<String, Info>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Header {
    type Value = BTreeMap<String, Info>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut infos = BTreeMap::new();
        let mut has_notes = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                if std::mem::replace(&mut has_notes, true) {
                    return Err(A::Error::custom("`__metadata__` is there twice"));
                }
                map.next_value_seed(Notes)?;
                continue;
            }
            if name.is_empty() || name.len() > MAX_NAME {
                let length = name.len();
                return Err(A::Error::custom(format!(
                    "a name of {length} bytes, want 1 to {MAX_NAME}"
                )));
            }
            if infos.len() >= MAX_TENSORS {
                return Err(A::Error::custom(too_many()));
            }
            match infos.entry(name) {
                Entry::Vacant(place) => {
                    let info = map.next_value_seed(Fields { tensor: place.key() })?;
                    place.insert(info);
                }
                Entry::Occupied(place) => {
                    let name = quote(place.key());
                    return Err(A::Error::custom(format!("tensor {name} is there twice")));
                }
            }
        }
        Ok(infos)
    }
}

/// `__metadata__`: texts by name.
struct Notes;

impl<'de> DeserializeSeed<'de> for Notes {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Notes {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings for `__metadata__`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some((key, Text)) = map.next_entry::<String, Text>()? {
            if seen.contains(&key) {
                let problem = format!("key {} of `__metadata__` is there twice", quote(&key));
                return Err(A::Error::custom(problem));
            }
            seen.insert(key);
            if seen.len() > MAX_NOTES {
                let problem = format!("more keys of `__metadata__` than the limit of {MAX_NOTES}");
                return Err(A::Error::custom(problem));
            }
        }
        Ok(())
    }
}

/// A text that is checked and not kept.
struct Text;

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Text, D::Error> {
        from.deserialize_str(Text)
    }
}

impl Visitor<'_> for Text {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, _: &str) -> Result<Text, E> {
        Ok(Text)
    }
}

/// The three fields of one tensor.
struct Fields<'a> {
    tensor: &'a str,
}

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = Info;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Info, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Info;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with dtype, shape and data_offsets for tensor {}", quote(self.tensor))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Info, A::Error> {
        let fail =
            |problem: String| A::Error::custom(format!("tensor {}: {problem}", quote(self.tensor)));
        let (mut dtype, mut shape, mut offsets) = (None, None, None);
        while let Some(field) = map.next_key::<String>()? {
            let again = match field.as_str() {
                "dtype" => {
                    let text = map.next_value::<String>()?;
                    let known = storage(&text)
                        .ok_or_else(|| fail(format!("dtype {} is not known", quote(&text))))?;
                    dtype.replace(known).is_some()
                }
                "shape" => shape.replace(map.next_value_seed(Shape)?).is_some(),
                "data_offsets" => offsets.replace(map.next_value::<(u64, u64)>()?).is_some(),
                _ => return Err(fail(format!("field {} is not known", quote(&field)))),
            };
            if again {
                return Err(fail(format!("field {} is there twice", quote(&field))));
            }
        }
        let (dtype, bits) = dtype.ok_or_else(|| fail("it has no `dtype`".into()))?;
        let shape = shape.ok_or_else(|| fail("it has no `shape`".into()))?;
        let offsets = offsets.ok_or_else(|| fail("it has no `data_offsets`".into()))?;
        Ok(Info { dtype, bits, shape, offsets })
    }
}

/// A shape of bounded length.
struct Shape;

impl<'de> DeserializeSeed<'de> for Shape {
    type Value = Vec<usize>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Shape {
    type Value = Vec<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of whole numbers for `shape`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut shape = Vec::new();
        while let Some(dim) = seq.next_element::<usize>()? {
            if shape.len() >= MAX_DIMS {
                let problem = format!("more dimensions than the limit of {MAX_DIMS}");
                return Err(A::Error::custom(problem));
            }
            shape.push(dim);
        }
        shape.shrink_to_fit();
        Ok(shape)
    }
}

/// `model.safetensors.index.json`: the shards, each with the names of its tensors.
#[derive(Debug)]
struct Index {
    shards: BTreeMap<String, Vec<String>>,
}

fn parse_index(text: &[u8]) -> Parsed<Index> {
    json(text, TopLevel).map_err(|error| error.to_string())
}

/// The index's object, of which only `weight_map` is kept.
struct TopLevel;

impl<'de> DeserializeSeed<'de> for TopLevel {
    type Value = Index;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Index, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TopLevel {
    type Value = Index;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `weight_map`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Index, A::Error> {
        let mut index = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "weight_map" {
                map.next_value::<IgnoredAny>()?;
            } else if index.replace(map.next_value_seed(WeightMap)?).is_some() {
                return Err(A::Error::custom("`weight_map` is there twice"));
            }
        }
        index.ok_or_else(|| A::Error::custom("there is no `weight_map`"))
    }
}

/// The shard's name of each tensor.
struct WeightMap;

impl<'de> DeserializeSeed<'de> for WeightMap {
    type Value = Index;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Index, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WeightMap {
    type Value = Index;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of file names for `weight_map`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Index, A::Error> {
        let mut shards: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        while let Some((name, shard)) = map.next_entry::<String, String>()? {
            if name.is_empty() || name.len() > MAX_NAME {
                let length = name.len();
                return Err(A::Error::custom(format!(
                    "a name of {length} bytes, want 1 to {MAX_NAME}"
                )));
            }
            if !is_plain(&shard) {
                return Err(A::Error::custom(format!(
                    "{} is said to be in {}, want the plain name of a `.safetensors` file in the \
                     same folder",
                    quote(&name),
                    quote(&shard)
                )));
            }
            if !seen.insert(name.clone()) {
                let problem = format!("tensor {} is there twice", quote(&name));
                return Err(A::Error::custom(problem));
            }
            if seen.len() > MAX_TENSORS {
                return Err(A::Error::custom(too_many()));
            }
            shards.entry(shard).or_default().push(name);
            if shards.len() > MAX_SHARDS {
                let problem = format!("more shards than the limit of {MAX_SHARDS}");
                return Err(A::Error::custom(problem));
            }
        }
        match shards.is_empty() {
            true => Err(A::Error::custom("`weight_map` is empty")),
            false => Ok(Index { shards }),
        }
    }
}

/// Whether `name` names a weight file in the folder itself, on every system: no separator, drive,
/// stream, parent or control character.
fn is_plain(name: &str) -> bool {
    let is_bad = |c: char| matches!(c, '/' | '\\' | ':') || c.is_control();
    name.len() <= 255
        && name.ends_with(".safetensors")
        && !name.starts_with('.')
        && !name.contains(is_bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn file(header: &str, data: &[u8]) -> Bytes {
        let length = (header.len() as u64).to_le_bytes();
        Bytes::from([&length[..], header.as_bytes(), data].concat())
    }

    const GOOD: &str = r#"{"__metadata__":{"format":"pt"},
        "a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},
        "b.bias":{"data_offsets":[24,30],"dtype":"BF16","shape":[3]},
        "c.none":{"dtype":"F16","shape":[0,4],"data_offsets":[24,24]},
        "d.ids":{"dtype":"I64","shape":[],"data_offsets":[30,38]}}   "#;

    #[test]
    fn a_file_comes_back_as_it_was_written() {
        let folder = crate::scratch::Scratch::new().unwrap();
        let path = folder.path().join(SINGLE);
        let data: Vec<u8> = (0..38).collect();
        std::fs::write(&path, file(GOOD, &data)).unwrap();
        for tensors in [open(&path).unwrap(), open_folder(folder.path()).unwrap()] {
            let names: Vec<&str> = tensors.keys().map(String::as_str).collect();
            assert_eq!(names, ["a.weight", "b.bias", "c.none", "d.ids"]);
            assert_eq!(tensors["a.weight"].shape, [2, 3]);
            assert_eq!(tensors["a.weight"].dtype, Dtype::Weight(Format::F32));
            assert_eq!(tensors["b.bias"].bytes, data[24..30]);
            assert_eq!(tensors["c.none"].bytes.len(), 0);
            assert_eq!(tensors["d.ids"].shape, [0_usize; 0]);
            assert_eq!(tensors["d.ids"].dtype, Dtype::Other("I64"));
        }
        assert!(parse(&file("{}", &[])).unwrap().is_empty());
    }

    #[test]
    fn what_breaks_the_format_is_refused_with_its_place() {
        let one = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"w":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        let two = |first: &str, second: &str| {
            let tensor =
                |offsets| format!(r#"{{"dtype":"F32","shape":[2],"data_offsets":{offsets}}}"#);
            format!(r#"{{"a":{},"b":{}}}"#, tensor(first), tensor(second))
        };
        let f32s = |shape: &str, offsets: &str| one(r#""F32""#, shape, offsets);
        let whole = r#"{"dtype":"U8","shape":[16],"data_offsets":[0,16]}"#;
        let cases: Vec<(&str, String, &str)> = vec![
            ("not JSON", "{x".into(), "line 1"),
            ("cut", r#"{"w":{"dtype":"#.into(), "EOF"),
            ("starts with a space", format!(" {}", f32s("[4]", "[0,16]")), "begin with `{`"),
            ("a list", "[]".into(), "begin with `{`"),
            ("text after", format!("{} x", f32s("[4]", "[0,16]")), "trailing"),
            ("tensor is a list", r#"{"w":["F32",[4],[0,16]]}"#.into(), "tensor `w`"),
            ("tensor is null", r#"{"w":null}"#.into(), "tensor `w`"),
            ("metadata is nested", r#"{"__metadata__":{"a":{}}}"#.into(), "string"),
            ("metadata twice", r#"{"__metadata__":{},"__metadata__":{}}"#.into(), "twice"),
            ("metadata key twice", r#"{"__metadata__":{"a":"","a":""}}"#.into(), "twice"),
            ("name twice", format!(r#"{{"w":{whole},"w":{whole}}}"#), "tensor `w` is there twice"),
            ("name twice, escaped", format!(r#"{{"w":{whole},"\u0077":{whole}}}"#), "twice"),
            ("name empty", format!(r#"{{"":{whole}}}"#), "name of 0"),
            ("name long", format!(r#"{{"{}":{whole}}}"#, "n".repeat(70_000)), "name of 70000"),
            ("field missing", r#"{"w":{"dtype":"F32","shape":[4]}}"#.into(), "no `data_offsets`"),
            ("field twice", format!(r#"{{"w":{{"dtype":"F32",{}}}"#, &whole[1..]), "twice"),
            ("field unknown", format!(r#"{{"w":{{"x":1,{}}}"#, &whole[1..]), "`x` is not known"),
            ("dtype unknown", one(r#""F128""#, "[4]", "[0,16]"), "`F128` is not known"),
            ("dtype number", one("3", "[4]", "[0,16]"), "string"),
            ("shape negative", f32s("[-4]", "[0,16]"), "-4"),
            ("shape float", f32s("[4.0]", "[0,16]"), "floating"),
            ("shape 2^64", f32s("[18446744073709551616]", "[0,16]"), "floating"),
            ("shape too small", f32s("[3]", "[0,16]"), "is 12 bytes"),
            ("shape too large", f32s("[5]", "[0,16]"), "is 20 bytes"),
            ("shape wraps", f32s("[4294967296,4294967296]", "[0,16]"), "any memory"),
            ("shape wraps bytes", f32s("[4611686018427387908]", "[0,16]"), "any memory"),
            ("shape wraps at 0", f32s("[4294967296,4294967296,0]", "[0,16]"), "any memory"),
            ("shape of 17", f32s("[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,4]"), "limit of 16"),
            ("half bytes", one(r#""F4""#, "[3]", "[0,16]"), "whole bytes"),
            ("offsets reversed", f32s("[4]", "[16,0]"), "no span"),
            ("offsets outside", f32s("[4]", "[0,17]"), "no span"),
            ("offsets huge", f32s("[4]", "[0,18446744073709551615]"), "no span"),
            ("offsets wrap", f32s("[4]", "[18446744073709551608,8]"), "no span"),
            ("offsets of three", f32s("[4]", "[0,16,16]"), "trailing"),
            ("offsets of one", f32s("[4]", "[0]"), "length"),
            ("overlap", two("[0,8]", "[4,12]"), "overlap"),
            ("the same place", two("[0,8]", "[0,8]"), "overlap"),
            ("hole", two("[0,8]", "[9,17]"), "no span"),
            ("hole inside", two("[0,4]", "[8,16]"), "hole"),
            ("hole at the start", f32s("[2]", "[8,16]"), "hole"),
            ("bytes at the end", f32s("[2]", "[0,8]"), "last 8 bytes"),
            ("no tensors", "{}".into(), "last 16 bytes"),
            ("deep", format!(r#"{{"w":{}"#, "[".repeat(100_000)), "line 1"),
            ("deep metadata", format!(r#"{{"__metadata__":{}"#, "[".repeat(100_000)), "line 1"),
        ];
        for (name, header, word) in &cases {
            let found = parse(&file(header, &[0; 16])).err();
            let found = found.unwrap_or_else(|| "it was accepted".into());
            assert!(found.contains(word), "{name}: {found}");
        }
        assert!(cases.len() > 40);
        for (bytes, word) in [
            (b"abc".to_vec(), "3 bytes"),
            (u64::MAX.to_le_bytes().to_vec(), "limit of 67108864"),
            ([&1000_u64.to_le_bytes()[..], b"{}"].concat(), "does not fit"),
            (vec![0; 8], "begin with `{`"),
        ] {
            let found = parse(&Bytes::from(bytes)).err().unwrap_or_default();
            assert!(found.contains(word), "{found}");
        }
    }

    #[test]
    fn an_index_stays_in_its_folder() {
        let write = |index: &str, shards: &[(&str, &str)]| {
            let folder = crate::scratch::Scratch::new().unwrap();
            std::fs::write(folder.path().join(INDEX), index).unwrap();
            for (shard, tensors) in shards {
                let mut header = Vec::new();
                for (at, name) in tensors.split_whitespace().enumerate() {
                    let (from, to) = (at * 4, at * 4 + 4);
                    header.push(format!(
                        r#""{name}":{{"dtype":"F32","shape":[1],"data_offsets":[{from},{to}]}}"#
                    ));
                }
                let data = vec![0; header.len() * 4];
                let header = format!("{{{}}}", header.join(","));
                std::fs::write(folder.path().join(shard), file(&header, &data)).unwrap();
            }
            folder
        };
        let both = [("1.safetensors", "a b"), ("2.safetensors", "c")];
        let good = r#"{"metadata":{"total_size":12},"weight_map":
            {"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors"}}"#;
        let folder = write(good, &both);
        assert_eq!(open_folder(folder.path()).unwrap().len(), 3);
        #[cfg(unix)]
        {
            // The layout of a hub's cache: the folder holds links to files elsewhere.
            let elsewhere = write(good, &both);
            let shard = folder.path().join("2.safetensors");
            std::fs::remove_file(&shard).unwrap();
            std::os::unix::fs::symlink(elsewhere.path().join("2.safetensors"), &shard).unwrap();
            assert_eq!(open_folder(folder.path()).unwrap().len(), 3);
        }

        let map = |entries: &str| format!(r#"{{"weight_map":{{{entries}}}}}"#);
        let cases: Vec<(String, Code, &str)> = vec![
            (map(r#""a":"../1.safetensors""#), Code::Format, "plain name"),
            (map(r#""a":"/tmp/1.safetensors""#), Code::Format, "plain name"),
            (map(r#""a":"x/1.safetensors""#), Code::Format, "plain name"),
            (map(r#""a":"x\\1.safetensors""#), Code::Format, "plain name"),
            (map(r#""a":"C:1.safetensors""#), Code::Format, "plain name"),
            (map(r#""a":"1.safetensors\u0000""#), Code::Format, "plain name"),
            (map(r#""a":"\u00001.safetensors""#), Code::Format, "plain name"),
            (map(r#""a":"..""#), Code::Format, "plain name"),
            (map(r#""a":"""#), Code::Format, "plain name"),
            (map(r#""a":"model.safetensors.index.json""#), Code::Format, "plain name"),
            (map(r#""a":7"#), Code::Format, "string"),
            (map(r#""a":"1.safetensors","a":"2.safetensors""#), Code::Format, "twice"),
            (map(r#""a":"3.safetensors""#), Code::Io, "3.safetensors"),
            (map(r#""a":"1.safetensors","z":"2.safetensors""#), Code::Format, "`z` is not in"),
            (map(r#""a":"1.safetensors","b":"2.safetensors""#), Code::Format, "`b` is not in"),
            (map(""), Code::Format, "empty"),
            ("{}".into(), Code::Format, "no `weight_map`"),
            ("[]".into(), Code::Format, "weight_map"),
            (
                r#"{"weight_map":{"a":"1.safetensors"},"weight_map":{}}"#.into(),
                Code::Format,
                "empty",
            ),
            (format!(r#"{{"metadata":{}"#, "[".repeat(100_000)), Code::Format, "line 1"),
        ];
        for (index, code, word) in &cases {
            let folder = write(index, &both);
            let error = open_folder(folder.path()).unwrap_err();
            assert_eq!(error.code(), *code, "{error}");
            assert!(error.to_string().contains(word), "{word}: {error}");
        }
        let index = map(r#""a":"1.safetensors","c":"2.safetensors""#);
        let folder = write(&index, &[("1.safetensors", "a"), ("2.safetensors", "c a")]);
        let error = open_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("`a` is also in `1.safetensors`"), "{error}");

        let empty = crate::scratch::Scratch::new().unwrap();
        assert_eq!(open_folder(empty.path()).unwrap_err().code(), Code::Io);
    }

    #[test]
    fn changed_bytes_never_panic() {
        let good = file(GOOD, &[1; 38]);
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 16) as usize % below
        };
        let pieces: [&[u8]; 8] =
            [b"0", b"-", b"18446744073709551615", b"[", b"}", b"\"", b",", b"\xff"];
        for end in 0..good.len() {
            assert!(parse(&good.slice(..end)).is_err());
        }
        let mut accepted = 0;
        for _ in 0..20_000 {
            let mut bytes = good.to_vec();
            for _ in 0..=random(2) {
                let at = random(bytes.len());
                if random(2) == 0 {
                    bytes[at] = random(256) as u8;
                } else {
                    let to = (at + random(3)).min(bytes.len());
                    let piece = pieces[random(pieces.len())];
                    bytes.splice(at..to, piece.iter().copied());
                }
            }
            accepted += usize::from(parse(&Bytes::from(bytes)).is_ok());
        }
        assert!((100..19_000).contains(&accepted), "{accepted}");
    }
}
