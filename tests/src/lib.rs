//! What the tests share: golden files, the devices to test on, and the real models.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use emberform::{Device, DeviceKind, GpuChoice, Model, Precision};
use serde_json::Value;

pub mod hostile;
#[path = "../../core/src/scratch.rs"]
mod scratch;

pub use scratch::Scratch;

/// A checkpoint of `tests/golden/checkpoints`: a folder or a file; `""` is the folder of them all.
pub fn golden(name: &str) -> PathBuf {
    reference("checkpoints").join(name)
}

/// Another recording, by its path in `tests/golden`: `text/chat.json`.
pub fn reference(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(path)
}

/// A real model that `examples/models/fetch.py` gets.
///
/// # Panics
/// When it is not there, with the command that gets it.
pub fn model(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(name);
    assert!(path.exists(), "`models/{name}` is missing; run examples/models/fetch.py");
    path
}

/// The software GPU that stands in for a real one.
///
/// # Panics
/// When no driver is installed: a test that quietly leaves the GPU out proves nothing.
pub fn software_gpu() -> Device {
    let found = Device::list().into_iter().find(|info| info.kind == DeviceKind::Software);
    let info = found.expect("no software Vulkan driver; install Debian's mesa-vulkan-drivers");
    Device::Gpu(GpuChoice::Index(info.index.expect("a GPU has a number")))
}

/// The CPU and the software GPU, each with its name.
pub fn devices() -> [(&'static str, Device); 2] {
    [("cpu", Device::Cpu), ("software GPU", software_gpu())]
}

/// Opens a model on a device.
///
/// # Panics
/// With the error, when it does not open.
pub fn open(path: &Path, device: &Device) -> Model {
    let opened = Model::options().device(device.clone()).open(path);
    opened.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// As [`open`], with activations in floats throughout: what is compared with a reference to the
/// last digits.
///
/// # Panics
/// As [`open`].
pub fn open_exact(path: &Path, device: &Device) -> Model {
    let options = Model::options().device(device.clone()).precision(Precision::F32);
    options.open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A tensor of a recorded file.
pub struct Recorded {
    /// Row-major, slowest first.
    pub shape: Vec<usize>,
    dtype: String,
    bytes: Vec<u8>,
}

impl Recorded {
    fn numbers<const N: usize, T>(&self, dtype: &str, read: fn([u8; N]) -> T) -> Vec<T> {
        assert_eq!(self.dtype, dtype);
        self.bytes.chunks_exact(N).map(|b| read(b.try_into().expect("a whole number"))).collect()
    }

    /// 32-bit floats.
    pub fn f32(&self) -> Vec<f32> {
        self.numbers("F32", f32::from_le_bytes)
    }

    /// 64-bit integers.
    pub fn i64(&self) -> Vec<i64> {
        self.numbers("I64", i64::from_le_bytes)
    }

    /// 32-bit integers, signed or not, that are ids.
    pub fn ids(&self) -> Vec<u32> {
        let dtype = self.dtype.clone();
        self.numbers(&dtype, u32::from_le_bytes)
    }

    /// 64-bit unsigned integers.
    pub fn u64(&self) -> Vec<u64> {
        self.numbers("U64", u64::from_le_bytes)
    }
}

/// The tensors of a recorded safetensors file.
pub fn recorded(path: &Path) -> BTreeMap<String, Recorded> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("a length")) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
    let entries = header.as_object().expect("an object").iter();
    let tensor = |entry: &Value| {
        let numbers = |key: &str| -> Vec<usize> {
            let list = entry[key].as_array().expect("a list");
            list.iter().map(|n| n.as_u64().expect("a number") as usize).collect()
        };
        let span = numbers("data_offsets");
        Recorded {
            shape: numbers("shape"),
            dtype: entry["dtype"].as_str().expect("a dtype").to_string(),
            bytes: bytes[8 + length + span[0]..8 + length + span[1]].to_vec(),
        }
    };
    entries
        .filter(|(name, _)| *name != "__metadata__")
        .map(|(name, entry)| (name.clone(), tensor(entry)))
        .collect()
}

/// The names and shapes of the tensors in a model's folder, over all its files.
pub fn weight_shapes(folder: &Path) -> BTreeMap<String, Vec<usize>> {
    let files = std::fs::read_dir(folder).expect("a folder");
    let weights = files.map(|entry| entry.expect("an entry").path()).filter(|path| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        name.starts_with("model") && name.ends_with(".safetensors")
    });
    let tensors = weights.flat_map(|path| recorded(&path));
    tensors.map(|(name, tensor)| (name, tensor.shape)).collect()
}

/// The JSON of a recorded file.
pub fn recorded_json(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).expect("JSON")
}

/// The largest absolute difference; infinite when lengths differ or a number is not finite.
pub fn difference(found: &[f32], wanted: &[f32]) -> f32 {
    if found.len() != wanted.len() {
        return f32::INFINITY;
    }
    found.iter().zip(wanted).fold(0.0, |most, (a, b)| {
        let difference = (a - b).abs();
        if difference.is_nan() { f32::INFINITY } else { most.max(difference) }
    })
}

/// The place of the largest number.
pub fn arg_max(values: &[f32]) -> usize {
    let best = values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(index, _)| index)
}
