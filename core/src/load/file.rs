//! Bytes of a model's files: mapped for weights, read with a limit for everything small.
//!
//! The formats beside this file ([`super::gguf`], [`super::safetensors`]) turn a [`Mapped`] file
//! into named [`Stored`] tensors without copying a weight.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, FileType, Metadata};
use std::io::Read;
use std::path::Path;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::quant::Format;

/// Most tensors of one model, over all its files: what is kept for a name, a shape and a slice
/// then stays below 64 MB whatever a header claims. The largest public models hold 150 thousand.
pub(super) const MAX_TENSORS: usize = 262_144;

/// Longest name of a tensor or key, in bytes: the limit that the GGUF specification sets.
pub(crate) const MAX_NAME: usize = 65_535;

/// A whole file as read-only memory.
///
/// Pages are read when they are touched and shared between processes. As with every mapping, a
/// program that shortens the file while it is open takes the bytes away from under us; replace
/// model files by renaming a new one over the old one.
#[derive(Clone, Debug)]
pub(crate) struct Mapped {
    /// All of its bytes; slices of it keep the mapping alive.
    pub(crate) bytes: Bytes,
}

impl Mapped {
    /// Maps the file at `path`, which is to hold `format` (for the error's text).
    ///
    /// # Errors
    /// [`Error::Io`] when the system refuses, [`Error::Format`] when it is no regular file (so a
    /// pipe or a device never blocks the caller), is empty, or does not fit the address space.
    pub(crate) fn open(path: &Path, format: &'static str) -> Result<Mapped> {
        let (file, metadata) = open_regular(path, format)?;
        let size = metadata.len();
        if size == 0 {
            return Err(Error::format(path, format, "the file is empty"));
        }
        let Ok(size) = usize::try_from(size) else {
            let problem = format!("{size} bytes do not fit the address space of this program");
            return Err(Error::format(path, format, problem));
        };
        // SAFETY: the mapping is private to this process, read-only, and as long as the open file
        // is. What no program can rule out, a file that is changed in place meanwhile, is stated
        // above and shared with every other loader of these formats.
        let map = unsafe { memmap2::MmapOptions::new().len(size).map(&file) };
        let bytes = Bytes::from_owner(map.map_err(Error::io(path))?);
        Ok(Mapped { bytes })
    }
}

/// Reads the file at `path` whole if it holds at most `limit` bytes.
///
/// # Errors
/// [`Error::Io`] when the system refuses, [`Error::Format`] when it is no regular file or longer
/// than `limit`.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let is_json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let format = if is_json { "JSON" } else { "text" };
    let (file, metadata) = open_regular(path, format)?;
    let size = metadata.len();
    let mut bytes = Vec::new();
    if size <= limit {
        bytes.reserve(usize::try_from(size).unwrap_or(0));
        // One byte more than allowed: a file that grows meanwhile is seen, not followed.
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(Error::io(path))?;
    }
    let size = size.max(bytes.len() as u64);
    if size > limit {
        let problem = format!("{size} bytes are over the limit of {limit} bytes");
        return Err(Error::format(path, format, problem));
    }
    Ok(bytes)
}

/// Opens `path` if it is a regular file or a link to one.
///
/// Asked before opening, because opening a pipe waits for its other end, and again on the open
/// handle, because the name may mean something else by then.
pub(crate) fn open_regular(path: &Path, format: &'static str) -> Result<(File, Metadata)> {
    let regular = |metadata: Metadata| match metadata.is_file() {
        true => Ok(metadata),
        false => {
            let kind = kind_of(metadata.file_type());
            Err(Error::format(path, format, format!("it is {kind}, want a regular file")))
        }
    };
    regular(std::fs::metadata(path).map_err(Error::io(path))?)?;
    let file = File::open(path).map_err(Error::io(path))?;
    let metadata = regular(file.metadata().map_err(Error::io(path))?)?;
    Ok((file, metadata))
}

/// What a thing that is no regular file is, in words.
fn kind_of(kind: FileType) -> &'static str {
    if kind.is_dir() {
        return "a folder";
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a named pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    "a special file"
}

/// One tensor as it lies in a file: checked against its file when that was opened, not copied.
///
/// `bytes` is a slice of the mapping of exactly the length that `dtype` and `shape` ask for,
/// little-endian, row-major. In a GGUF file it begins at a multiple of at least 8 bytes; in a
/// safetensors file it may begin anywhere, so that an `F32` tensor is not always aligned for
/// `f32`: whoever casts the slice must copy where the cast fails.
#[derive(Clone, Debug)]
pub struct Stored {
    /// How the numbers are stored.
    pub dtype: Dtype,
    /// Row-major, slowest first, whatever the file's own order: a matrix is `[rows, width]`.
    /// Empty for a single number.
    pub shape: Vec<usize>,
    /// The bytes in the file.
    pub bytes: Bytes,
}

impl Stored {
    /// The numbers as 32-bit floats, for small tensors; `None` for block formats and for what is
    /// no weight.
    pub(crate) fn floats(&self) -> Option<Vec<f32>> {
        let pairs = || self.bytes.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
        match self.dtype {
            Dtype::Weight(Format::F32) => Some(
                self.bytes
                    .chunks_exact(4)
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect(),
            ),
            Dtype::Weight(Format::F16) => {
                Some(pairs().map(|pair| half::f16::from_le_bytes(pair).to_f32()).collect())
            }
            Dtype::Weight(Format::BF16) => {
                Some(pairs().map(|pair| half::bf16::from_le_bytes(pair).to_f32()).collect())
            }
            _ => None,
        }
    }
}

/// Tensors under our names.
pub(crate) type Tensors = BTreeMap<String, Stored>;

/// How the numbers of a [`Stored`] tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// A format that can be multiplied with.
    Weight(Format),
    /// A type that the file format knows and this crate does not compute with, by the name that
    /// the file format gives it, such as `I64`, `BOOL` or `IQ4_XS`.
    Other(&'static str),
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dtype::Weight(format) => f.write_str(format.name()),
            Dtype::Other(name) => f.write_str(name),
        }
    }
}

/// The same bytes where any number may begin.
pub(crate) fn aligned_copy(bytes: &[u8]) -> Bytes {
    /// A buffer of 32-bit words seen as bytes.
    struct Words(Vec<u32>, usize);
    impl AsRef<[u8]> for Words {
        fn as_ref(&self) -> &[u8] {
            &bytemuck::cast_slice(&self.0)[..self.1]
        }
    }
    let mut words = vec![0u32; bytes.len().div_ceil(4)];
    bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
    Bytes::from_owner(Words(words, bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn only_regular_files_are_opened() {
        let folder = crate::scratch::Scratch::new().unwrap();
        let check = |path: &Path, code: Code, word: &str| {
            let mapped = Mapped::open(path, "GGUF").unwrap_err();
            assert_eq!(mapped.code(), code, "{mapped}");
            assert!(mapped.to_string().contains(word), "{mapped}");
            let read = read_limited(path, 100).unwrap_err();
            assert_eq!(read.code(), code, "{read}");
        };
        check(folder.path(), Code::Format, "a folder");
        check(&folder.path().join("nothing"), Code::Io, "nothing");
        #[cfg(unix)]
        {
            check(Path::new("/dev/zero"), Code::Format, "a device");
            let socket = folder.path().join("socket");
            let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
            check(&socket, Code::Format, "a socket");
            let circle = folder.path().join("circle");
            std::os::unix::fs::symlink(&circle, &circle).unwrap();
            check(&circle, Code::Io, "circle");
        }
    }

    #[test]
    fn a_file_is_mapped_whole_and_read_up_to_its_limit() {
        let folder = crate::scratch::Scratch::new().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(&Mapped::open(&path, "GGUF").unwrap().bytes[..], b"12345");
        assert_eq!(read_limited(&path, 5).unwrap(), b"12345");
        let error = read_limited(&path, 4).unwrap_err().to_string();
        assert!(error.contains("limit of 4 bytes") && error.contains("JSON"), "{error}");
        std::fs::write(&path, b"").unwrap();
        assert!(Mapped::open(&path, "GGUF").unwrap_err().to_string().contains("empty"));
        assert_eq!(read_limited(&path, 5).unwrap(), b"");
    }
}
