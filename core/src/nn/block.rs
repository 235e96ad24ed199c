//! One block: attention and MLP, each with its residual and its norms.
//!
//! ```text
//! Before   x + attn(norm(x))          x + mlp(norm(x))
//! After    norm(x + attn(x))          norm(x + mlp(x))
//! Around   x + norm(attn(norm(x)))    x + norm(mlp(norm(x)))
//! Inside   x + norm(attn(x))          x + norm(mlp(x))
//! Parallel x + attn(norm(x)) + mlp(norm(x))
//! ```
//! A decoder with an encoder beside it has a second attention between the two, on the encoder's
//! states, placed as the first.

use burn::module::Module;
use burn::tensor::Tensor;

use super::attention::{Attention, Keys, Places};
use super::host::View;
use super::moe::FeedForward;
use super::norm::Norm;
use super::source::Source;
use super::spec::{self, Place, Span, Spec};
use crate::error::Result;

/// Attention, MLP and their norms.
#[derive(Module, Debug)]
pub struct Block {
    /// Norm before the attention, or after its residual with [`Place::After`]; none with
    /// [`Place::Inside`], or where the embeddings' norm stands for it.
    pub attn_norm: Option<Norm>,
    /// The attention.
    pub attn: Attention,
    /// Norm between the attention and its residual, with [`Place::Around`] and [`Place::Inside`].
    pub attn_post_norm: Option<Norm>,
    /// Norm of the attention to a source, as `attn_norm`.
    pub cross_norm: Option<Norm>,
    /// The attention to a source, where there is an encoder.
    pub cross: Option<Attention>,
    /// Norm before the MLP, or after its residual with [`Place::After`]; none with
    /// [`Place::Inside`], or where the MLP reads the attention's.
    pub mlp_norm: Option<Norm>,
    /// The MLP, or the experts that stand for it.
    pub mlp: FeedForward,
    /// Norm between the MLP and its residual, with [`Place::Around`] and [`Place::Inside`].
    pub mlp_post_norm: Option<Norm>,
    #[module(skip)]
    place: Place,
    #[module(skip)]
    scale: Option<f64>,
    /// Whether something is added to scores.
    #[module(skip)]
    biased: bool,
}

impl Block {
    pub(crate) fn build(source: &mut dyn Source, i: usize, spec: &Spec) -> Result<Self> {
        let (name, width) = (format!("blocks.{i}"), spec.width);
        let mut layers = spec.layers.iter().enumerate();
        let layer = layers.find(|(j, layer)| layer.weights.unwrap_or(*j) == i);
        let own = layer.and_then(|(_, layer)| layer.scale);
        let mlp = layer.and_then(|(_, layer)| layer.mlp.as_ref()).unwrap_or(&spec.mlp);
        let bare = layer.is_some_and(|(_, layer)| layer.bare);
        let attention = spec::Attention {
            scale: own.unwrap_or(spec.attention.scale),
            ..spec.attention.clone()
        };
        let mut norm = |wanted: bool, part: &str| match wanted {
            true => Norm::build(source, &format!("{name}.{part}"), width, spec.norm).map(Some),
            false => Ok(None),
        };
        let post = matches!(spec.place, Place::Around | Place::Inside);
        let attn_norm = norm(spec.place != Place::Inside && !bare, "attn_norm")?;
        let attn_post_norm = norm(post, "attn_post_norm")?;
        let cross_norm = norm(spec.encoder.is_some(), "cross_norm")?;
        let none = matches!(spec.place, Place::Inside | Place::Parallel { shared: true });
        let mlp_norm = norm(!none, "mlp_norm")?;
        let mlp_post_norm = norm(post, "mlp_post_norm")?;
        // A source has no place beside the target's: distances mean nothing across.
        let across = spec::Attention { relative: None, latent: None, ..attention.clone() };
        let cross = match spec.encoder {
            Some(_) => Some(Attention::build(source, &format!("{name}.cross"), width, &across)?),
            None => None,
        };
        Ok(Block {
            attn_norm,
            attn: Attention::build(source, &format!("{name}.attn"), width, &attention)?,
            attn_post_norm,
            cross_norm,
            cross,
            mlp_norm,
            mlp: FeedForward::build(source, &format!("{name}.mlp"), width, mlp)?,
            mlp_post_norm,
            place: spec.place,
            scale: spec.scales.residual,
            biased: matches!(spec.position, spec::Position::Alibi { .. })
                || spec.attention.relative.is_some(),
        })
    }

    /// Whether the attention can do without a mask and a bias in kernels of ours.
    pub(crate) fn on_host(&self) -> bool {
        use spec::QkNorm::{PerHead, Rotated};
        let spec = self.attn.spec();
        !(matches!(spec.qk_norm, Some(PerHead(_) | Rotated { .. }))
            || spec.sinks
            || spec.latent.is_some()
            || self.biased)
    }

    /// The same on a GPU.
    pub(crate) fn on_gpu(&self) -> bool {
        self.on_host() && self.attn.known_to_gpu()
    }

    /// Whether there are norms before attention and MLP, if after them then too, and residuals as
    /// they are.
    #[cfg_attr(not(any(feature = "wgpu", feature = "cuda")), expect(dead_code))]
    pub(crate) fn is_simple(&self) -> bool {
        matches!(self.place, Place::Before | Place::Around) && self.is_bare()
    }

    /// Where norms are.
    #[cfg_attr(not(any(feature = "wgpu", feature = "cuda")), expect(dead_code))]
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Whether residuals are as they are, and no source is looked at.
    pub(crate) fn is_bare(&self) -> bool {
        self.scale.is_none() && self.cross.is_none()
    }

    /// # Shapes
    /// `x: [B, T, D]` -> `[B, T, D]`; the rest as in [`Attention`].
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        places: Places<'_>,
        mut keys: Keys<'_>,
    ) -> Tensor<3> {
        if let Some(y) = self.rows_on_gpu(&x, &places, &mut keys) {
            return y;
        }
        let load = places.load;
        let norm = |norm: &Option<Norm>, y: Tensor<3>| match norm {
            Some(norm) => norm.forward(y),
            None => y,
        };
        let scaled = |y: Tensor<3>| match self.scale {
            Some(scale) => y * scale,
            None => y,
        };
        match self.place {
            Place::After => {
                let joined = |norm: &Option<Norm>, x: Tensor<3>, y: Tensor<3>| match norm {
                    Some(norm) => match norm.on_host(&[&x, &y]) {
                        Some(norm) => norm.of_sum(x, y),
                        None => norm.forward(x + y),
                    },
                    None => x + y,
                };
                let y = self.attn.forward(x.clone(), places, keys);
                let x = joined(&self.attn_norm, x, scaled(y));
                let x = match self.across(&x, places) {
                    Some(y) => joined(&self.cross_norm, x, scaled(y)),
                    None => x,
                };
                let y = self.mlp.counted(x.clone(), load);
                joined(&self.mlp_norm, x, scaled(y))
            }
            Place::Parallel { shared } => {
                let y = norm(&self.attn_norm, x.clone());
                let z = if shared { y.clone() } else { norm(&self.mlp_norm, x.clone()) };
                let y = self.attn.forward(y, places, keys) + self.mlp.counted(z, load);
                x + scaled(y)
            }
            Place::Before | Place::Around | Place::Inside => {
                let y = self.attn.forward(norm(&self.attn_norm, x.clone()), places, keys);
                let x = x + scaled(norm(&self.attn_post_norm, y));
                let x = match self.across(&norm(&self.cross_norm, x.clone()), places) {
                    Some(y) => x + scaled(y),
                    None => x,
                };
                let y = self.mlp.counted(norm(&self.mlp_norm, x.clone()), load);
                x + scaled(norm(&self.mlp_post_norm, y))
            }
        }
    }

    /// What tokens see of the sources; `None` without a source.
    ///
    /// Queries of all rows that look at one source stand in one row: its keys are never repeated.
    ///
    /// # Shapes
    /// `x: [R, T, D]`, B sources -> `[R, T, D]`, R a multiple of B
    fn across(&self, x: &Tensor<3>, places: Places<'_>) -> Option<Tensor<3>> {
        let (cross, across) = (self.cross.as_ref()?, places.across?);
        let ([r, t, d], b) = (x.dims(), across.parts.len().max(1));
        let view = Some(View { span: Span::Bidirectional, parts: across.parts, memo: None });
        let places = Places { hidden: across.hidden, view, ..Places::default() };
        let y =
            cross.forward(x.clone().reshape([b, r / b * t, d]), places, Keys::Across(across.seen));
        Some(y.reshape([r, t, d]))
    }
}
