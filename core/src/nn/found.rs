//! What a choice of a token on a device comes to.

/// What a choice comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(not(any(feature = "wgpu", feature = "cuda")), expect(dead_code))]
pub(crate) enum Found {
    /// A token and the natural logarithm of its probability.
    Token(u32, f32),
    /// A logit was NaN or infinite, or all were minus infinity.
    NotFinite,
    /// The host has to choose.
    Undecided,
}
