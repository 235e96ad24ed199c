//! Attention: multi-head, grouped-query and multi-query, with rotary positions or a bias on
//! scores, a norm on queries and keys, soft-capped scores, and keys and values from a cache.
//!
//! ```text
//! x [B, T, D] -> q [B, H, T, C], k and v [B, K, T, C] -> norm, rotate -> cache [B, K, S, C]
//!             -> softmax(scale q k^T) v [B, H, T, C] -> out [B, T, D]
//! ```

use std::cell::OnceCell;

use burn::module::{Module, Param};
use burn::tensor::{Bool, Tensor, activation};

use super::cache::LayerCache;
use super::cross::{Across, Seen};
use super::host::{self, View};
use super::linear::Proj;
use super::moe::Load;
use super::norm::Norm;
use super::position::Angles;
use super::relative::Vectors;
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

/// What a pass knows of the places of its tokens, made once for all blocks that share it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Places<'a> {
    /// The rotation of queries and keys.
    pub angles: Option<&'a Angles>,
    /// Added to scores, `[1, H, T or 1, S]`.
    pub bias: Option<&'a Tensor<4>>,
    /// Vectors of distances that meet queries and keys.
    pub vectors: Option<&'a Vectors>,
    /// What queries are multiplied by, `[1, 1, T, 1]`.
    pub temper: Option<&'a Tensor<4>>,
    /// `true` hides a key from a query, `[B or 1, 1, T or 1, S]`.
    pub hidden: Option<&'a Tensor<4, Bool>>,
    /// The same in numbers, where the pass is in kernels of ours.
    pub view: Option<View<'a>>,
    /// Where a block's experts are counted.
    pub load: Option<&'a Load>,
    /// Where the weights of the attention are put, `[B, H, T, S]`, if they are wanted.
    pub map: Option<&'a OnceCell<Tensor<4>>>,
    /// What there is of a source.
    pub across: Option<Across<'a>>,
}

/// Whose keys and values queries meet.
pub(crate) enum Keys<'a> {
    /// Those of the same tokens, and of earlier ones where there is a cache.
    Own(Option<&'a mut LayerCache>),
    /// Of sequences that have one token each, those of the same token and of earlier ones, which
    /// the caches hold. Known on the CPU alone, see [`Transformer::joins`].
    ///
    /// [`Transformer::joins`]: super::Transformer::joins
    Each(Vec<&'a mut LayerCache>),
    /// Those of a source.
    Across(&'a Seen),
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
        let out = [width, spec.heads * spec.value_dim()];
        Ok(Attention {
            q: Proj::build(source, &format!("{name}.q"), [inner, from_q], bias)?,
            k: Proj::build(source, &format!("{name}.k"), [k_rows, from_kv], bias)?,
            v: Proj::build(source, &format!("{name}.v"), [values, from_kv], bias)?,
            out: Proj::build(source, &format!("{name}.out"), out, spec.out_bias)?,
            latent,
            sinks,
            q_norm,
            k_norm,
            pos_k,
            pos_q,
            spec: spec.clone(),
        })
    }

    /// Whether kernels of ours know all that goes into the scores: one answer for the CPU and GPUs.
    pub(crate) fn plain(&self, places: &Places<'_>) -> bool {
        places.map.is_none()
            && places.bias.is_none()
            && places.vectors.is_none()
            && places.temper.is_none()
            && self.sinks.is_none()
            && self.latent.is_none()
            && !matches!(self.spec.qk_norm, Some(QkNorm::PerHead(_) | QkNorm::Rotated { .. }))
    }

    /// What it was built from.
    pub(crate) fn spec(&self) -> &spec::Attention {
        &self.spec
    }

    /// The keys and values of a source that others will look at.
    ///
    /// # Shapes
    /// `source: [B, S, D]`
    pub(crate) fn look(&self, source: Tensor<3>) -> Seen {
        Seen::new(self.k.forward(source.clone()), self.v.forward(source), self.spec.head_dim)
    }

    /// Lets every token look at those that `places.hidden` does not hide.
    ///
    /// With a cache, the new keys and values join those it holds, and `places` covers both.
    ///
    /// # Shapes
    /// `x: [B, T, D]` -> `[B, T, D]`
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        places: Places<'_>,
        mut keys: Keys<'_>,
    ) -> Tensor<3> {
        let [b, t, _] = x.dims();
        if let Some(values) = host::floats(&x)
            && let Some(y) = self.on_host(&values, places, &mut keys)
        {
            return host::tensor(y, [b, t, self.out.weight.dims()[0]]);
        }
        if let Some(y) = self.on_gpu(&x, places, &mut keys) {
            return y;
        }
        if let (Some(latent), Keys::Own(cache)) = (&self.latent, &mut keys) {
            return self.through_latent(latent, x, places, cache.as_deref_mut());
        }
        let c = self.spec.head_dim;
        let split = |y: Tensor<3>| {
            let [_, _, inner] = y.dims();
            y.reshape([b, t, inner / c, c]).swap_dims(1, 2) // [B, H or K, T, C]
        };
        let place = |y: Tensor<3>, norm: &Option<Norm>| {
            let y = match (norm, self.spec.qk_norm) {
                (Some(norm), Some(QkNorm::Shared(_))) => norm.forward(split(y)),
                (Some(norm), Some(QkNorm::PerHead(_))) => norm.forward_heads(split(y)),
                (Some(norm), _) => split(norm.forward(y)),
                (None, _) => split(y),
            };
            match (places.angles, self.spec.qk_norm) {
                (Some(angles), Some(QkNorm::Rotated { eps })) => {
                    let y = angles.rotate(y);
                    let mean = y.clone().square().mean_dim(3); // [B, H, T, 1]
                    y * (mean + eps).sqrt().recip()
                }
                (Some(angles), _) => angles.rotate(y),
                (None, _) => y,
            }
        };
        let q = place(self.q.forward(x.clone()), &self.q_norm);
        let q = match places.temper {
            Some(temper) => q * temper.clone(),
            None => q,
        };
        let own = |x: Tensor<3>| {
            (place(self.k.forward(x.clone()), &self.k_norm), split(self.v.forward(x)))
        };
        let (k, v) = match keys {
            Keys::Own(None) => own(x),
            Keys::Own(Some(cache)) => {
                let (k, v) = own(x);
                cache.extend(k, v) // [B, K, S, C]
            }
            Keys::Across(seen) => seen.heads(c),
            Keys::Each(..) => unreachable!("`joins` said that the CPU's own way knows all of it"),
        };
        let own = places.vectors.map(|vectors| self.disentangled(&q, &k, vectors));
        let places = Places { bias: own.as_ref().or(places.bias), ..places };
        self.ends(q, k, v, places)
    }

    /// From queries, keys and values to what joins the residual.
    ///
    /// # Shapes
    /// `q: [B, H, T, C]`, `k: [B, K, S, C]`, `v: [B, K, S, V]` -> `[B, T, D]`
    fn ends(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, places: Places<'_>) -> Tensor<3> {
        let sinks = self.sinks.as_ref().map(|sinks| sinks.val());
        let y = attend(q, k, v, places, self.spec.scale, self.spec.softcap, sinks);
        let [b, h, t, c] = y.dims();
        self.out.forward(y.swap_dims(1, 2).reshape([b, t, h * c]))
    }

    /// As [`forward`](Self::forward), with keys and values from short vectors. The cache holds
    /// them as made: longer rows than the vectors, and nothing to be done again for each token.
    fn through_latent(
        &self,
        latent: &Latent,
        x: Tensor<3>,
        places: Places<'_>,
        cache: Option<&mut LayerCache>,
    ) -> Tensor<3> {
        let [b, t, _] = x.dims();
        let heads = self.spec.heads;
        let rotated = self.spec.latent.map_or(0, |latent| latent.rotated);
        let plain = self.spec.head_dim - rotated;
        let split = |y: Tensor<3>, heads: usize| {
            let [_, _, inner] = y.dims();
            y.reshape([b, t, heads, inner / heads]).swap_dims(1, 2) // [B, H, T, C]
        };
        let turn = |y: Tensor<4>| match places.angles {
            Some(angles) => angles.rotate(y),
            None => y,
        };
        let from = match (&latent.q, &latent.q_norm) {
            (Some(q), Some(norm)) => norm.forward(q.forward(x.clone())),
            _ => x.clone(),
        };
        let q = split(self.q.forward(from), heads);
        let turned = turn(q.clone().narrow(3, plain, rotated));
        let q = Tensor::cat(vec![q.narrow(3, 0, plain), turned], 3);
        let kv = latent.kv.forward(x); // [B, T, rank + rotated]
        let rank = kv.dims()[2] - rotated;
        let turned = turn(split(kv.clone().narrow(2, rank, rotated), 1)); // [B, 1, T, rotated]
        let kv = latent.kv_norm.forward(kv.narrow(2, 0, rank));
        let k = split(self.k.forward(kv.clone()), heads);
        let k = Tensor::cat(vec![k, turned.expand([b, heads, t, rotated])], 3);
        let v = split(self.v.forward(kv), heads);
        let (k, v) = match cache {
            Some(cache) => cache.extend(k, v),
            None => (k, v),
        };
        self.ends(q, k, v, places)
    }

    /// What vectors of distances add to scores (arXiv:2006.03654, equation 4).
    ///
    /// # Shapes
    /// `q: [B, H, T, C]`, `k: [B, H, S, C]` -> `[B, H, T, S]`
    fn disentangled(&self, q: &Tensor<4>, k: &Tensor<4>, vectors: &Vectors) -> Tensor<4> {
        let ([b, h, t, c], [_, _, s, _]) = (q.dims(), k.dims());
        let (to_position, to_content) = match self.spec.relative {
            Some(Relative::Disentangled { to_position, to_content, .. }) => {
                (to_position, to_content)
            }
            _ => (false, false),
        };
        let [_, reach, _] = vectors.table.dims();
        let project = |proj: &Proj| {
            let y = proj.forward(vectors.table.clone()).reshape([1, reach, h, c]);
            y.permute([0, 2, 3, 1]).expand([b, h, c, reach]) // [B, H, C, 2 reach]
        };
        let mut scores = Tensor::zeros([b, h, t, s], &q.device());
        if to_position {
            let met = q.clone().matmul(project(self.pos_k.as_ref().unwrap_or(&self.k)));
            scores = scores + met.gather(3, vectors.rows.clone().expand([b, h, t, s]));
        }
        if to_content {
            let met = k.clone().matmul(project(self.pos_q.as_ref().unwrap_or(&self.q)));
            let rows = vectors.rows.clone().swap_dims(2, 3).expand([b, h, s, t]);
            scores = scores + met.gather(3, rows).swap_dims(2, 3);
        }
        scores * self.spec.scale
    }
}

/// `softmax(scale q k^T) v`, heads of queries sharing those of keys in order.
///
/// # Shapes
/// `q: [B, H, T, C]`, `k: [B, K, S, C]`, `v: [B, K, S, V]`, `sinks: [H]` -> `[B, H, T, V]`
fn attend(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    places: Places<'_>,
    scale: f64,
    softcap: Option<f64>,
    sinks: Option<Tensor<1>>,
) -> Tensor<4> {
    let ([b, h, t, c], [_, kv, s, _]) = (q.dims(), k.dims());
    // The queries that share a key head are rows of one product: keys are never repeated.
    let q = (q * scale).reshape([b, kv, h / kv * t, c]);
    let scores = q.matmul(k.transpose()).reshape([b, h, t, s]);
    let scores = match softcap {
        Some(cap) => activation::tanh(scores / cap) * cap,
        None => scores,
    };
    let scores = match places.bias {
        Some(bias) => scores + bias.clone(),
        None => scores,
    };
    let scores = match places.hidden {
        // A finite bottom: a row that sees nothing (an empty text of a batch) stays a number.
        Some(hidden) => scores.mask_fill(hidden.clone().expand([b, h, t, s]), -1e30),
        None => scores,
    };
    let weights = match sinks {
        Some(sinks) => {
            let sinks = sinks.reshape([1, h, 1, 1]).expand([b, h, t, 1]);
            activation::softmax(Tensor::cat(vec![scores, sinks], 3), 3).narrow(3, 0, s)
        }
        None => activation::softmax(scores, 3),
    };
    if let Some(map) = places.map {
        // A block has one attention: the place is empty.
        let _ = map.set(weights.clone());
    }
    let [.., c] = v.dims();
    weights.reshape([b, kv, h / kv * t, s]).matmul(v).reshape([b, h, t, c])
}
