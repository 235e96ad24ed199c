//! Logits of a session, and a step that is under way.

use std::sync::OnceLock;

use burn::tensor::Tensor;

use crate::error::Result;
use crate::model::Model;
use crate::nn::Chosen;
use crate::output::read;

/// Logits after the last token: in this program's memory, or still on their device.
#[derive(Debug, Default)]
pub(super) struct Logits {
    pub here: OnceLock<Vec<f32>>,
    pub there: Option<Tensor<3>>,
}

impl From<Vec<f32>> for Logits {
    fn from(values: Vec<f32>) -> Logits {
        Logits { here: OnceLock::from(values), there: None }
    }
}

impl Logits {
    /// Whether no token was fed yet.
    pub(super) fn is_empty(&self) -> bool {
        self.there.is_none() && self.here.get().is_none_or(Vec::is_empty)
    }

    /// The values, which are brought from the device the first time.
    pub(super) fn read(&self, model: &Model) -> Result<&[f32]> {
        let values = match (self.here.get(), &self.there) {
            (Some(values), _) => return Ok(values),
            (None, None) => vec![],
            (None, Some(there)) => model.guarded(|| read(there.clone(), model.device()))?,
        };
        Ok(self.here.get_or_init(|| values))
    }
}

/// A step that is under way.
#[derive(Debug)]
pub(super) struct PendingStep {
    /// What it gives, `[1, 1, V]`.
    pub logits: Tensor<3>,
    /// The token after it; `None` where the host has to choose.
    pub chosen: Option<Chosen>,
}

/// A step with a token that the session does not hold yet.
#[derive(Debug)]
pub(super) struct Ahead {
    /// The token, once the host knows it.
    pub id: Option<u32>,
    pub step: PendingStep,
}
