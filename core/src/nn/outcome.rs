//! The outcome of sampling a token on a device.

/// The outcome of sampling a token on a device.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(not(any(feature = "wgpu", feature = "cuda")), expect(dead_code))]
pub(crate) enum Outcome {
    /// A token and the natural logarithm of its probability.
    Token(u32, f32),
    /// A logit was NaN or infinite, or all were minus infinity.
    NotFinite,
    /// The host has to choose.
    Undecided,
}
