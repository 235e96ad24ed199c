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
    /// Holds gates within a limit instead of the activation.
    pub clamp: Option<Clamp>,
    /// Whether the experts' projections have a bias.
    pub bias: bool,
    /// Whether the router has a bias.
    pub router_bias: bool,
    /// From the router's logits to experts and their weights.
    pub routing: Routing,
    /// Lets a token choose among the experts of a few groups alone.
    pub groups: Option<Groups>,
    /// What weights are multiplied by.
    pub scale: Option<f64>,
    /// Whether weights multiply what goes into an expert instead of what comes out (Llama 4).
    pub weighs_input: bool,
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

/// Groups of experts, of which a token uses a few (device-limited routing, arXiv:2405.04434).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Groups; divides the experts, in their order.
    pub count: usize,
    /// Groups that a token uses.
    pub used: usize,
    /// How many of a group's best scores are summed to the group's.
    pub best: usize,
}

/// A gate that is held within a limit: `(u + 1) * g * sigmoid(alpha g)` with `g` at most `limit`
/// and `u` within it on either side (arXiv:2508.10925).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clamp {
    /// The slope of the sigmoid.
    pub alpha: f64,
    /// The limit.
    pub limit: f64,
}

impl fmt::Display for Clamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(u + 1) * g * sigmoid({} g) within {}", self.alpha, self.limit)
    }
}

/// How a router's logits choose experts and weigh them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Routing {
    /// The largest logits; weights are a softmax over all experts, so they sum to less than 1.
    SoftmaxAll,
    /// The largest logits; weights are a softmax over the chosen ones, which is a softmax over all
    /// divided by the sum of the chosen (Mixtral, arXiv:2401.04088).
    SoftmaxChosen,
    /// Each expert's score is a sigmoid of its logit, and its weight.
    Sigmoid {
        /// Whether a learned number an expert is added to scores for the choice alone, which keeps
        /// loads even (arXiv:2408.15664).
        corrected: bool,
        /// Whether weights are divided by the sum of the chosen.
        divided: bool,
    },
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
        let (activation, bias) = (self.activation, self.bias);
        match self.clamp {
            Some(clamp) => Mlp::Clamped { ffn, clamp, bias },
            None => Mlp::Gated { ffn, activation, bias, down_bias: bias },
        }
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
        if let Some(Groups { count, used, best }) = self.groups {
            if count == 0 || !self.count.is_multiple_of(count) {
                let problem = format!("is `{count}`, which does not divide {} experts", self.count);
                return bad("n_group", problem);
            }
            let size = self.count / count;
            if !(1..=count).contains(&used) || used * size < self.used {
                let least = self.used.div_ceil(size);
                let problem = format!("is `{used}`, not from {least} to {count} groups");
                return bad("topk_group", problem);
            }
            if !(1..=size).contains(&best) {
                let problem = format!(
                    "is `{count}`, which leaves {size} experts a group; want 1 to {size} that speak \
                     for it, not {best}"
                );
                return bad("n_group", problem);
            }
            if matches!(self.routing, Routing::SparseMixer { .. } | Routing::SoftmaxChosen) {
                let problem = format!(
                    "is `{count}`; groups are known with routing by `SoftmaxAll` and `Sigmoid` only"
                );
                return bad("n_group", problem);
            }
        }
        if let Some(scale) = self.scale
            && !(scale.is_finite() && scale > 0.0)
        {
            return bad("routed_scaling_factor", format!("is `{scale}`, not a number above 0"));
        }
        if let Some(Clamp { alpha, limit }) = self.clamp
            && !(alpha.is_finite() && limit.is_finite() && limit > 0.0)
        {
            let problem =
                format!("is `{limit}` with a slope of `{alpha}`; want numbers, the limit above 0");
            return bad("swiglu_limit", problem);
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
        write!(f, "{used} of {count} experts, ")?;
        if let Some(Groups { count, used, .. }) = self.groups {
            write!(f, "of {used} of {count} groups, ")?;
        }
        match self.clamp {
            Some(clamp) => write!(f, "each {clamp}, ")?,
            None => write!(f, "each {activation}-gated, ")?,
        }
        write!(f, "{ffn} wide, weighed by ")?;
        match self.routing {
            Routing::SoftmaxAll => write!(f, "softmax over all")?,
            Routing::SoftmaxChosen => write!(f, "softmax over the chosen")?,
            Routing::SparseMixer { jitter } => write!(f, "softmax over the near ({jitter})")?,
            Routing::Sigmoid { corrected, divided } => {
                let corrected = if corrected { ", chosen with a learned correction" } else { "" };
                let divided = if divided { ", divided by their sum" } else { "" };
                write!(f, "sigmoid{corrected}{divided}")?;
            }
        }
        if let Some(scale) = self.scale {
            write!(f, " * {scale}")?;
        }
        if self.weighs_input {
            write!(f, ", on the way in")?;
        }
        match self.shared {
            Some(Shared { ffn, gated }) => {
                write!(f, "; one shared{}, {ffn} wide", if gated { " by a gate" } else { "" })
            }
            None => Ok(()),
        }
    }
}
