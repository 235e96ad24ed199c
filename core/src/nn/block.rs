//! One block: attention and MLP, each with its residual and its norms.
//!
//! ```text
//! Before   x + attn(norm(x))          x + mlp(norm(x))
//! After    norm(x + attn(x))          norm(x + mlp(x))
//! Around   x + norm(attn(norm(x)))    x + norm(mlp(norm(x)))
//! ```

use burn::module::Module;
use burn::tensor::{Bool, Tensor};

use super::attention::Attention;
use super::cache::LayerCache;
use super::mlp::Mlp;
use super::norm::Norm;
use super::position::Angles;
use super::source::Source;
use super::spec::{self, Place, Spec};
use crate::error::Result;

/// Attention, MLP and their norms.
#[derive(Module, Debug)]
pub struct Block {
    /// Norm before the attention, or after its residual with [`Place::After`].
    pub attn_norm: Norm,
    /// The attention.
    pub attn: Attention,
    /// Norm between the attention and its residual, with [`Place::Around`].
    pub attn_post_norm: Option<Norm>,
    /// Norm before the MLP, or after its residual with [`Place::After`].
    pub mlp_norm: Norm,
    /// The MLP.
    pub mlp: Mlp,
    /// Norm between the MLP and its residual, with [`Place::Around`].
    pub mlp_post_norm: Option<Norm>,
    #[module(skip)]
    place: Place,
}

impl Block {
    pub(crate) fn build(source: &mut dyn Source, i: usize, spec: &Spec) -> Result<Self> {
        let (name, width) = (format!("blocks.{i}"), spec.width);
        let own = spec.layers.get(i).and_then(|layer| layer.scale);
        let attention = spec::Attention {
            scale: own.unwrap_or(spec.attention.scale),
            ..spec.attention.clone()
        };
        let mut norm = |wanted: bool, part: &str| match wanted {
            true => Norm::build(source, &format!("{name}.{part}"), width, spec.norm).map(Some),
            false => Ok(None),
        };
        let around = spec.place == Place::Around;
        let attn_post_norm = norm(around, "attn_post_norm")?;
        let mlp_post_norm = norm(around, "mlp_post_norm")?;
        Ok(Block {
            attn_norm: Norm::build(source, &format!("{name}.attn_norm"), width, spec.norm)?,
            attn: Attention::build(source, &format!("{name}.attn"), width, &attention)?,
            attn_post_norm,
            mlp_norm: Norm::build(source, &format!("{name}.mlp_norm"), width, spec.norm)?,
            mlp: Mlp::build(source, &format!("{name}.mlp"), width, &spec.mlp)?,
            mlp_post_norm,
            place: spec.place,
        })
    }

    /// # Shapes
    /// `x: [B, T, D]` -> `[B, T, D]`; the rest as in [`Attention`].
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        angles: Option<&Angles>,
        hidden: Option<&Tensor<4, Bool>>,
        cache: Option<&mut LayerCache>,
    ) -> Tensor<3> {
        if self.place == Place::After {
            let y = self.attn.forward(x.clone(), angles, hidden, cache);
            let x = self.attn_norm.forward(x + y);
            let y = self.mlp.forward(x.clone());
            return self.mlp_norm.forward(x + y);
        }
        let post = |norm: &Option<Norm>, y: Tensor<3>| match norm {
            Some(norm) => norm.forward(y),
            None => y,
        };
        let y = self.attn.forward(self.attn_norm.forward(x.clone()), angles, hidden, cache);
        let x = x + post(&self.attn_post_norm, y);
        let y = self.mlp.forward(self.mlp_norm.forward(x.clone()));
        x + post(&self.mlp_post_norm, y)
    }
}
