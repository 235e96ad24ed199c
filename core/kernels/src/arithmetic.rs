//! How products are computed.

/// How products are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arithmetic {
    /// Activations stay floats.
    Floats,
    /// Activations are rounded to 16 bits, 32 to a scale, where weights are small integers; the
    /// formats F32, F16 and BF16 are multiplied in floats all the same. Where a processor has AMX,
    /// products with many rows go by two pieces of bfloat16 of each activation and each weight: 16
    /// bits too.
    #[default]
    Integers,
}
