//! Attention: multi-head, grouped-query and multi-query, with rotary positions or a bias on
//! scores, a norm on queries and keys, soft-capped scores, and keys and values from a cache.
//!
//! ```text
//! x [B, T, D] -> q [B, H, T, C], k and v [B, K, T, C] -> norm, rotate -> cache [B, K, S, C]
//!             -> softmax(scale q k^T) v [B, H, T, C] -> out [B, T, D]
//! ```
//! Here are its parameters; the steps are [`plan`](super::plan)'s, and who computes them is in
//! [`run`](super::run).

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::cross::SourceKv;
use super::linear::Proj;
use super::norm::Norm;
use super::source::Source;
use super::spec::{self, QkNorm, Relative};
use crate::error::Result;

/// The projections of one attention.
#[derive(Module, Debug)]
pub struct Attention {
    /// `[H C, D]`
    pub q: Proj,
    /// `[K C, D]`; with `latent`, `[H (C - rotated), rank]`.
    pub k: Proj,
    /// `[K C, D]`; with `latent`, `[H V, rank]`.
    pub v: Proj,
    /// `[D, H C]`; with `latent`, `[D, H V]`.
    pub out: Proj,
    /// What stands before queries, keys and values that come from short vectors.
    pub latent: Option<Latent>,
    /// A score of no token for each head, `[H]`.
    pub sinks: Option<Param<Tensor<1>>>,
    /// The gate of what attention gives, `[H V, D]` or `[H, D]`.
    pub gate: Option<Proj>,
    /// Norm over queries: `[C]`, or `[H C]` where it spans more than a head or differs by head.
    pub q_norm: Option<Norm>,
    /// Norm over keys: `[C]`, or `[K C]`.
    pub k_norm: Option<Norm>,
    /// Distances as keys, `[H C, D]`, where they have a projection of their own.
    pub pos_k: Option<Proj>,
    /// Distances as queries, `[H C, D]`, where they have a projection of their own.
    pub pos_q: Option<Proj>,
    #[module(skip)]
    spec: spec::Attention,
}

/// From hidden states to the short vectors that queries, keys and values are made from.
#[derive(Module, Debug)]
pub struct Latent {
    /// `[query rank, D]`, where queries have a vector of their own.
    pub q: Option<Proj>,
    /// Its norm, `[query rank]`.
    pub q_norm: Option<Norm>,
    /// The vector of keys and values, then what is rotated of a key: `[rank + rotated, D]`.
    pub kv: Proj,
    /// The norm of the vector, `[rank]`.
    pub kv_norm: Norm,
}

impl Latent {
    fn build(
        source: &mut dyn Source,
        name: &str,
        width: usize,
        spec: &spec::Latent,
        bias: bool,
    ) -> Result<Self> {
        let (q, q_norm) = match spec.query_rank {
            Some(rank) => (
                Some(Proj::build(source, &format!("{name}.q"), [rank, width], bias)?),
                Some(Norm::build(source, &format!("{name}.q_norm"), rank, spec.norm)?),
            ),
            None => (None, None),
        };
        let kv = [spec.rank + spec.rotated, width];
        Ok(Latent {
            q,
            q_norm,
            kv: Proj::build(source, &format!("{name}.kv"), kv, bias)?,
            kv_norm: Norm::build(source, &format!("{name}.kv_norm"), spec.rank, spec.norm)?,
        })
    }
}

impl Attention {
    pub(crate) fn build(
        source: &mut dyn Source,
        name: &str,
        width: usize,
        spec: &spec::Attention,
    ) -> Result<Self> {
        let (inner, kv) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
        let mut norm = |side: &str, inner: usize| match spec.qk_norm {
            Some(QkNorm::Rotated { .. }) | None => Ok(None),
            Some(kind) => {
                let size = match kind {
                    QkNorm::Shared(_) => spec.head_dim,
                    _ => inner,
                };
                Norm::build(source, &format!("{name}.{side}_norm"), size, kind.norm()).map(Some)
            }
        };
        let (q_norm, k_norm) = (norm("q", inner)?, norm("k", kv)?);
        let own = match spec.relative {
            Some(Relative::Disentangled { shared: false, to_position, to_content, .. }) => {
                [to_position, to_content]
            }
            _ => [false; 2],
        };
        let mut proj = |wanted: bool, side: &str| match wanted {
            true => Proj::build(source, &format!("{name}.{side}"), [inner, width], true).map(Some),
            false => Ok(None),
        };
        let (pos_k, pos_q) = (proj(own[0], "pos_k")?, proj(own[1], "pos_q")?);
        let values = spec.kv_heads * spec.value_dim();
        // With short vectors, the biases stand on the way to them.
        let (shapes, bias) = match spec.latent {
            Some(own) => {
                let k = spec.heads * (spec.head_dim - own.rotated);
                ([own.query_rank.unwrap_or(width), k, own.rank], false)
            }
            None => ([width, kv, width], spec.qkv_bias),
        };
        let [from_q, k_rows, from_kv] = shapes;
        let latent = match &spec.latent {
            Some(own) => {
                let name = format!("{name}.latent");
                Some(Latent::build(source, &name, width, own, spec.qkv_bias)?)
            }
            None => None,
        };
        let sinks = source.optional(spec.sinks, &format!("{name}.sinks.weight"), spec.heads)?;
        let gate = match spec.gate {
            Some(gate) => {
                let rows = gate.rows(spec.heads, spec.value_dim());
                Some(Proj::build(source, &format!("{name}.gate"), [rows, width], false)?)
            }
            None => None,
        };
        let out = [width, spec.heads * spec.value_dim()];
        Ok(Attention {
            q: Proj::build(source, &format!("{name}.q"), [inner, from_q], bias)?,
            k: Proj::build(source, &format!("{name}.k"), [k_rows, from_kv], bias)?,
            v: Proj::build(source, &format!("{name}.v"), [values, from_kv], bias)?,
            out: Proj::build(source, &format!("{name}.out"), out, spec.out_bias)?,
            latent,
            sinks,
            gate,
            q_norm,
            k_norm,
            pos_k,
            pos_q,
            spec: spec.clone(),
        })
    }

    /// What it was built from.
    pub(crate) fn spec(&self) -> &spec::Attention {
        &self.spec
    }

    /// The keys and values of a source that others will look at.
    ///
    /// # Shapes
    /// `source: [B, S, D]`
    pub(crate) fn look(&self, source: Tensor<3>) -> SourceKv {
        SourceKv::new(self.k.forward(source.clone()), self.v.forward(source), self.spec.head_dim)
    }
}
