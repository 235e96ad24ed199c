//! Mixtures of experts, as data.

use std::fmt;

use super::{Activation, Mlp};
use crate::error::{Error, Result};

/// A mixture of experts (arXiv:1701.06538, arXiv:2101.03961): a router sends each token through a
/// few of many gated MLPs.
#[derive(Clone, Debug, PartialEq)]
pub struct Experts {
    /// Experts (E).
    pub count: usize,
    /// Experts that a token goes through.
    pub used: usize,
    /// Size between of each expert (F).
    pub ffn: usize,
    /// The activation of the gates.
    pub activation: Activation,
    /// From the router's logits to experts and their weights.
    pub routing: Routing,
    /// An expert that every token goes through beside (DeepSeekMoE, arXiv:2401.06066).
    pub shared: Option<Shared>,
}

/// An expert that every token goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Its size between.
    pub ffn: usize,
    /// Whether its output is multiplied by a sigmoid of a projection of its own.
    pub gated: bool,
}

/// How a router's logits choose experts and weigh them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Routing {
    /// The largest logits; weights are a softmax over all experts, so they sum to less than 1.
    SoftmaxAll,
    /// The largest logits; weights are a softmax over the chosen ones, which is a softmax over all
    /// divided by the sum of the chosen (Mixtral, arXiv:2401.04088).
    SoftmaxChosen,
    /// Two experts, each weighed by a softmax over those whose logits come near its own
    /// (SparseMixer, arXiv:2409.12136; Phi-3.5-MoE).
    SparseMixer {
        /// Half of the distance that counts as near, as a part of the logit.
        jitter: f64,
    },
}

impl Experts {
    /// One expert, of the size `ffn`.
    pub(crate) fn mlp(&self, ffn: usize) -> Mlp {
        Mlp::Gated { ffn, activation: self.activation, bias: false, down_bias: false }
    }

    /// Refuses what does not fit together.
    pub(super) fn validate(&self) -> Result<()> {
        let bad = |key: &str, problem: String| Err(Error::config(key, problem));
        if !(1..=4096).contains(&self.count) {
            return bad("num_experts", format!("is `{}`, not from 1 to 4096", self.count));
        }
        if !(1..=self.count).contains(&self.used) {
            let problem = format!("is `{}`, not from 1 to {} experts", self.used, self.count);
            return bad("num_experts_per_tok", problem);
        }
        if let Some(shared) = self.shared
            && !(1..=1 << 24).contains(&shared.ffn)
        {
            let problem = format!("is `{}`, not from 1 to {}", shared.ffn, 1 << 24);
            return bad("shared_expert_intermediate_size", problem);
        }
        if let Routing::SparseMixer { jitter } = self.routing {
            if self.used != 2 || self.count < 2 {
                return bad("num_experts_per_tok", format!("is `{}`, not 2", self.used));
            }
            if !(jitter.is_finite() && (0.0..1.0).contains(&jitter)) {
                return bad("router_jitter_noise", format!("is `{jitter}`, not from 0 to 1"));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Experts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Experts { count, used, ffn, activation, .. } = self;
        write!(f, "{used} of {count} experts, each {activation}-gated, {ffn} wide, weighed by ")?;
        match self.routing {
            Routing::SoftmaxAll => write!(f, "softmax over all")?,
            Routing::SoftmaxChosen => write!(f, "softmax over the chosen")?,
            Routing::SparseMixer { jitter } => write!(f, "softmax over the near ({jitter})")?,
        }
        match self.shared {
            Some(Shared { ffn, gated }) => {
                write!(f, "; one shared{}, {ffn} wide", if gated { " by a gate" } else { "" })
            }
            None => Ok(()),
        }
    }
}
