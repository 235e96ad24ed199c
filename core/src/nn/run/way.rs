//! Who computes a block.

use std::fmt;

use super::why::Why;

/// Who computes a block.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Way {
    /// Slices on the CPU, but for steps that tensor operations compute, each with its reason.
    Slices(Vec<(&'static str, Why)>),
    /// Kernels on a GPU, but for steps that tensor operations compute, each with its reason.
    Kernels(Vec<(&'static str, Why)>),
    /// Launches that are recorded once and played for each token.
    Recorded,
    /// Tensor operations, which know everything.
    Tensors(Why),
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, others) = match self {
            Way::Slices(others) => ("slices", others),
            Way::Kernels(others) => ("kernels", others),
            Way::Recorded => return f.write_str("recorded launches"),
            Way::Tensors(why) => return write!(f, "tensors, because of {why}"),
        };
        f.write_str(name)?;
        for (step, why) in others {
            write!(f, "; {step} by tensors, because of {why}")?;
        }
        Ok(())
    }
}
