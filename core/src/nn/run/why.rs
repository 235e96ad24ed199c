//! Why tensor operations compute something.

use std::fmt;

/// Why tensor operations compute something, and no faster way does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// A gradient is asked of the parameters, or they are not on the device of the states.
    Parameters,
    /// A gradient is asked of the states, or their device has no kernels of ours.
    States,
    /// A norm of queries and keys with a scale of each head's own, or after the rotation.
    QkNorm,
    /// Heads of values are of another size than those of queries and keys.
    ValueWidth,
    /// Heads are too wide for a GPU's shared memory.
    HeadWidth,
    /// Tokens see others in runs of places.
    Chunks,
    /// Queries grow with their place.
    Temper,
    /// Attention sinks.
    Sinks,
    /// What attention gives has a gate.
    OutputGate,
    /// Something is added to scores by distance: ALiBi, learned distances.
    Bias,
    /// Multi-head latent attention.
    Latent,
    /// A mixture of experts.
    Experts,
    /// Gates are held within a limit.
    Clamp,
    /// Attention looks at a source.
    Source,
    /// Attention maps are asked for.
    Maps,
    /// Padding stands elsewhere than on the right.
    Padding,
    /// Tokens look that no other may look at, through a window.
    Beyond,
    /// Norms, residuals or gates stand in another order.
    Order,
    /// A norm without a scale.
    Scale,
    /// A norm is not of root mean squares.
    NormKind,
    /// Biases.
    Biases,
    /// The width of a matrix is no multiple of what its format is read by.
    Format,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Parameters => "gradients of parameters",
            Why::States => "gradients of states",
            Why::QkNorm => "norms of each head of queries and keys",
            Why::ValueWidth => "heads of values of another size",
            Why::HeadWidth => "heads wider than a GPU's shared memory",
            Why::Chunks => "attention in chunks",
            Why::Temper => "queries that grow with their place",
            Why::Sinks => "attention sinks",
            Why::OutputGate => "a gate of attention's output",
            Why::Bias => "a bias by distance",
            Why::Latent => "multi-head latent attention",
            Why::Experts => "a mixture of experts",
            Why::Clamp => "a clamped gate",
            Why::Source => "attention to a source",
            Why::Maps => "attention maps",
            Why::Padding => "padding that is not on the right",
            Why::Beyond => "tokens beyond a window",
            Why::Order => "the order of norms and residuals",
            Why::Scale => "a norm without a scale",
            Why::NormKind => "a norm that is not RMS",
            Why::Biases => "biases",
            Why::Format => "rows of a width that their format does not divide",
        })
    }
}
