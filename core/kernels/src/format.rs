//! The formats that weights are stored in.
//!
//! A weight matrix `[rows, width]` is `rows` runs of `width / block` blocks, each block
//! [`Format::block_bytes`] long.
//!
//! Source of the layouts: `ggml-common.h` and `ggml-quants.c` of llama.cpp.

/// A storage format of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types)]
pub enum Format {
    /// 32-bit IEEE float.
    F32,
    /// 16-bit IEEE float.
    F16,
    /// bfloat16: the upper half of a 32-bit float.
    BF16,
    /// 32 weights: f16 scale, 4-bit values minus 8.
    Q4_0,
    /// 32 weights: f16 scale and minimum, 4-bit values.
    Q4_1,
    /// 32 weights: f16 scale, 5-bit values minus 16.
    Q5_0,
    /// 32 weights: f16 scale and minimum, 5-bit values.
    Q5_1,
    /// 32 weights: f16 scale, 8-bit signed values.
    Q8_0,
    /// 256 weights in 16 groups: 2-bit values, 4-bit scales and minima.
    Q2_K,
    /// 256 weights in 16 groups: 3-bit values, 6-bit scales.
    Q3_K,
    /// 256 weights in 8 groups: 4-bit values, 6-bit scales and minima.
    Q4_K,
    /// 256 weights in 8 groups: 5-bit values, 6-bit scales and minima.
    Q5_K,
    /// 256 weights in 16 groups: 6-bit values, 8-bit scales.
    Q6_K,
}

impl Format {
    /// Every format, in the order of the enum.
    pub const ALL: [Format; 13] = [
        Format::F32,
        Format::F16,
        Format::BF16,
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q8_0,
        Format::Q2_K,
        Format::Q3_K,
        Format::Q4_K,
        Format::Q5_K,
        Format::Q6_K,
    ];

    /// Weights in one block.
    pub const fn block(self) -> usize {
        match self {
            Format::F32 | Format::F16 | Format::BF16 => 1,
            Format::Q4_0 | Format::Q4_1 | Format::Q5_0 | Format::Q5_1 | Format::Q8_0 => 32,
            Format::Q2_K | Format::Q3_K | Format::Q4_K | Format::Q5_K | Format::Q6_K => 256,
        }
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Format::F32 => 4,
            Format::F16 | Format::BF16 => 2,
            Format::Q4_0 => 18,
            Format::Q4_1 => 20,
            Format::Q5_0 => 22,
            Format::Q5_1 => 24,
            Format::Q8_0 => 34,
            Format::Q2_K => 84,
            Format::Q3_K => 110,
            Format::Q4_K => 144,
            Format::Q5_K => 176,
            Format::Q6_K => 210,
        }
    }

    /// Bytes of a row of `width` weights; `None` when `width` is no multiple of the block or the
    /// number does not fit.
    pub const fn row_bytes(self, width: usize) -> Option<usize> {
        if !width.is_multiple_of(self.block()) {
            return None;
        }
        (width / self.block()).checked_mul(self.block_bytes())
    }

    /// The name that GGUF tools print.
    pub const fn name(self) -> &'static str {
        match self {
            Format::F32 => "F32",
            Format::F16 => "F16",
            Format::BF16 => "BF16",
            Format::Q4_0 => "Q4_0",
            Format::Q4_1 => "Q4_1",
            Format::Q5_0 => "Q5_0",
            Format::Q5_1 => "Q5_1",
            Format::Q8_0 => "Q8_0",
            Format::Q2_K => "Q2_K",
            Format::Q3_K => "Q3_K",
            Format::Q4_K => "Q4_K",
            Format::Q5_K => "Q5_K",
            Format::Q6_K => "Q6_K",
        }
    }

    /// The format behind a `ggml_type` number of a GGUF file.
    pub const fn from_ggml(id: u32) -> Option<Format> {
        Some(match id {
            0 => Format::F32,
            1 => Format::F16,
            2 => Format::Q4_0,
            3 => Format::Q4_1,
            6 => Format::Q5_0,
            7 => Format::Q5_1,
            8 => Format::Q8_0,
            10 => Format::Q2_K,
            11 => Format::Q3_K,
            12 => Format::Q4_K,
            13 => Format::Q5_K,
            14 => Format::Q6_K,
            30 => Format::BF16,
            _ => return None,
        })
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The bytes of a row; asserts that `w` holds `n` of them.
pub(super) fn row_bytes(format: Format, w: &[u8], k: usize, n: usize) -> usize {
    let bytes = format.row_bytes(k);
    let all = bytes.and_then(|bytes| bytes.checked_mul(n));
    assert!(
        all.is_some_and(|all| all <= w.len()),
        "{n} rows of {k} weights in {format} do not fit {} bytes",
        w.len()
    );
    bytes.unwrap_or(0)
}
