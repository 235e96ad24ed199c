//! How exactly a model computes, as its caller chooses.

use std::str::FromStr;

use crate::error::{Error, Result};

/// How exactly a model computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// As the file stores the weights. On the CPU, activations that are multiplied with weights of at
    /// most 8 bits are rounded to 16 bits, 32 to a scale; all sums are f32.
    #[default]
    Stored,
    /// As stored, with activations in floats throughout: slower on the CPU, the same on a GPU.
    F32,
    /// Matrices stored as F32, F16 or BF16 are rounded to 8 bits, 32 to a scale (Q8_0), when the
    /// model is opened: a quarter of the memory of F32, and about twice its speed on the CPU.
    Int8,
    /// On a CPU that multiplies bfloat16 (AMX, AVX-512 BF16), matrix products of many rows (prefill,
    /// embedding) use bfloat16 operands and f32 sums, where the matrix is stored as F32, F16 or BF16:
    /// up to three times the speed. The repacked matrices take half as much memory again for F32, as
    /// much again for the others. Decoding, and all other devices: as [`Stored`](Self::Stored).
    Bf16,
    /// Matrices stored as F32 or BF16 are rounded to F16 when the model is opened, but for tables
    /// of embeddings: half the memory of F32. On a GPU with cooperative matrices, matrix products
    /// of more than 8 rows (prefill, embedding) use f16 operands and f32 sums, whatever the format
    /// of the matrix. Decoding, and all other devices: as [`Stored`](Self::Stored).
    F16,
}

impl FromStr for Precision {
    type Err = Error;

    /// Reads `stored`, `f32`, `f16`, `bf16` and `int8`.
    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "stored" => Precision::Stored,
            "f32" => Precision::F32,
            "int8" => Precision::Int8,
            "bf16" => Precision::Bf16,
            "f16" => Precision::F16,
            _ => {
                let problem = format!("is `{name}`, not one of stored, f32, f16, bf16, int8");
                return Err(Error::argument("precision", problem));
            }
        })
    }
}
