//! A checkpoint's tensors as the [`Source`] of a module's parameters.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use burn::backend::{AllocationProperty, Bytes as Storage};
use burn::module::{Param, ParamId};
use burn::tensor::{DType, Device, Tensor, TensorData};
use bytes::Bytes;

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::family::revert::StoredShapes;
use crate::family::{Family, names};
use crate::load::{Dtype, Stored, aligned_copy};
use crate::nn::is_host;
use crate::nn::source::{Source, Start, frozen};
use crate::nn::spec::Head;
use crate::nn::{Full, Weight};
use crate::precision::Precision;
use crate::quant::Format;
use crate::quant::ggml;
use crate::quant::repacked::Repacked;
use crate::quant::weights::{Packed, part_limit};
use crate::report::{LoadReport, SHOWN};

/// A parameter of an open model: where its numbers are, and what they are.
#[derive(Clone, Debug)]
pub(crate) struct ParamInfo {
    /// Tensors that hold it, row after row, with the bytes of each that count.
    pub parts: Vec<(ParamId, usize)>,
    pub format: Format,
    pub shape: Vec<usize>,
}

/// What saving needs to know of the files that a model was opened from.
pub(crate) struct Origin {
    pub family: &'static Family,
    /// Where the transformer's own files stand; `None` for a GGUF file.
    pub home: Option<PathBuf>,
    /// Parameters under our names.
    pub params: BTreeMap<String, ParamInfo>,
    /// Shapes under our names before fix-ups.
    pub found: StoredShapes,
    /// The checkpoint's names of those.
    pub theirs: BTreeMap<String, String>,
}

/// Missing tensors after which no more are looked for.
const MISSING: usize = 4096;

/// Reads parameters from a checkpoint and keeps count of what does not fit.
pub(crate) struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    device: &'a Device,
    precision: Precision,
    used: BTreeSet<String>,
    report: LoadReport,
    kept: BTreeMap<String, ParamInfo>,
}

impl<'a> Weights<'a> {
    pub(crate) fn new(
        checkpoint: &'a Checkpoint,
        device: &'a Device,
        precision: Precision,
    ) -> Self {
        Weights {
            checkpoint,
            device,
            precision,
            used: BTreeSet::new(),
            report: LoadReport::default(),
            kept: BTreeMap::new(),
        }
    }

    /// The tensor `name`, if it is there with the shape wanted; else the report has it.
    fn take(&mut self, name: &str, shape: &[usize]) -> Option<(&'a Stored, Format)> {
        let Some(stored) = self.checkpoint.tensors.get(name) else {
            self.report.missing.push((name.to_string(), None));
            return None;
        };
        self.used.insert(name.to_string());
        let theirs = self.checkpoint.original(name);
        if stored.shape != shape {
            self.report.misshapen.push((theirs, stored.shape.clone(), shape.to_vec()));
            return None;
        }
        match stored.dtype {
            Dtype::Weight(format) => Some((stored, format)),
            Dtype::Other(name) => {
                self.report.unreadable.push((theirs, name.to_string()));
                None
            }
        }
    }

    /// Ends loading: everything was there, was used, and had its shape. Gives the
    /// parameters by name.
    ///
    /// # Errors
    /// [`Error::Weights`] with the whole list and the nearest names.
    pub(crate) fn finish(mut self) -> Result<BTreeMap<String, ParamInfo>> {
        match self.failed() {
            Error::Weights(report) if report.is_empty() => Ok(self.kept),
            error => Err(error),
        }
    }

    /// What did not fit so far, as an error.
    fn failed(&mut self) -> Error {
        let checkpoint = self.checkpoint;
        let mut report = std::mem::take(&mut self.report);
        let left = checkpoint.tensors.keys().filter(|name| !self.used.contains(*name));
        let left = left.filter(|name| !checkpoint.unneeded(name));
        let mut unused: Vec<String> = left.map(|name| checkpoint.original(name)).collect();
        unused.extend(checkpoint.unknown.iter().cloned());
        unused.sort();
        unused.dedup();
        for (i, (name, near)) in report.missing.iter_mut().enumerate() {
            *name = checkpoint.original(name);
            if i < SHOWN {
                *near = names::nearest(name, unused.iter().map(String::as_str)).map(str::to_string);
            }
        }
        report.unused = unused;
        Error::Weights(Box::new(report))
    }
}

impl Source for Weights<'_> {
    fn matrix(&mut self, name: &str, rows: usize, width: usize) -> Result<Weight> {
        let weight = self.read_matrix(name, rows, width)?;
        if !self.report.missing.is_empty() {
            // Loading fails in the end, and soon where a config tells of layers upon layers.
            return match self.report.missing.len() < MISSING {
                true => Ok(weight),
                false => Err(self.failed()),
            };
        }
        let parts = match &weight {
            Weight::Full(values) => vec![(values.id, rows * width * size_of::<f32>())],
            Weight::Packed(packed) => packed.ids(),
        };
        let kept = ParamInfo { parts, format: weight.format(), shape: vec![rows, width] };
        self.kept.insert(name.to_string(), kept);
        Ok(weight)
    }

    fn vector(&mut self, name: &str, len: usize, _start: Start) -> Result<Param<Tensor<1>>> {
        let values = self.read_vector(name, len);
        if !self.report.missing.is_empty() {
            return Ok(values);
        }
        let parts = vec![(values.id, len * size_of::<f32>())];
        let kept = ParamInfo { parts, format: Format::F32, shape: vec![len] };
        self.kept.insert(name.to_string(), kept);
        Ok(values)
    }
}

impl Weights<'_> {
    fn read_matrix(&mut self, name: &str, rows: usize, width: usize) -> Result<Weight> {
        let Some((stored, format)) = self.take(name, &[rows, width]) else {
            // Loading fails in the end; until then a lying config must not allocate what it says.
            return Ok(Weight::Full(frozen(Tensor::zeros([1, 1], self.device)).into()));
        };
        let wide = matches!(format, Format::F32 | Format::F16 | Format::BF16);
        // Tables are looked up, not multiplied; a head that shares one is multiplied as it is.
        let table = name.starts_with("embed.") || name.starts_with("encoder.embed.");
        if self.precision == Precision::Int8 && wide && !table && width.is_multiple_of(32) {
            let bytes = Bytes::from(ggml::to_q8_0(format, &stored.bytes));
            return Packed::new(bytes, Format::Q8_0, rows, width, self.device).map(Weight::Packed);
        }
        let half = self.precision == Precision::F16;
        if half && matches!(format, Format::F32 | Format::BF16) && !table {
            let bytes = Bytes::from(ggml::to_f16(format, &stored.bytes));
            let packed = Packed::new(bytes, Format::F16, rows, width, self.device)?;
            return Ok(Weight::Packed(packed.repacked(Repacked::Half)));
        }
        let fits = stored.bytes.len() <= part_limit(self.device);
        let encoder = matches!(self.checkpoint.spec.head, Head::None | Head::Encoder { .. });
        let repack = match self.precision {
            Precision::F16 if !table && !is_host(self.device) => Repacked::Half,
            _ if table || !wide || !is_host(self.device) => Repacked::Never,
            Precision::Bf16 => Repacked::Rounded(Arc::default()),
            _ if encoder => Repacked::Stored(Arc::default()),
            _ => Repacked::Never,
        };
        if format == Format::F32 && fits {
            let values = frozen(full(stored, [rows, width], self.device));
            return Ok(Weight::Full(Full::from(values).repacked(repack)));
        }
        let packed = Packed::new(stored.bytes.clone(), format, rows, width, self.device)?;
        Ok(Weight::Packed(packed.repacked(repack)))
    }

    fn read_vector(&mut self, name: &str, len: usize) -> Param<Tensor<1>> {
        let values = match self.take(name, &[len]) {
            Some((stored, format)) => match stored.floats() {
                Some(values) => values,
                None => {
                    let entry = (self.checkpoint.original(name), format.name().to_string());
                    self.report.unreadable.push(entry);
                    vec![0.0]
                }
            },
            None => vec![0.0],
        };
        let len = values.len();
        frozen(Tensor::from_data(TensorData::new(values, [len]), self.device))
    }
}

/// A matrix of 32-bit floats: the mapping itself on the CPU where it is aligned.
fn full(stored: &Stored, shape: [usize; 2], device: &Device) -> Tensor<2> {
    let aligned = (stored.bytes.as_ptr() as usize).is_multiple_of(align_of::<f32>());
    let bytes = if aligned { stored.bytes.clone() } else { aligned_copy(&stored.bytes) };
    let data = TensorData::from_bytes(
        Storage::from_shared(bytes, AllocationProperty::File),
        shape,
        DType::F32,
    );
    Tensor::from_data(data, (device, DType::F32))
}
