//! Tokens to hidden states: one set of blocks for every family.
//!
//! ```text
//! ids [B, T] -> embed [B, T, D] -> blocks x L -> norm -> [B, T, D]
//!                                    |                     |-> head -> logits [B, T, V]
//!                                    |-> attn: q, k, v -> rotate -> cache -> softmax -> out
//!                                    |-> mlp:  down(act(gate) * up), or that of a few experts
//! ```
//! Letters of shapes: B batch, T tokens, S cached tokens, D width, H heads, K key heads, C head
//! size, F MLP size, V vocabulary, L layers.
//!
//! Built from a [`Spec`], usable without files:
//!
//! ```
//! use burn::tensor::{Device, Int, Tensor};
//! use emberform::nn::{GptDecoder, Spec};
//!
//! let device = Device::flex();
//! let spec = Spec::decoder(100, 32, 2, 4, 64);
//! let model = GptDecoder::new(&spec, &device)?;
//! let ids = Tensor::<2, Int>::from_data([[1, 2, 3]], &device);
//! assert_eq!(model.forward(ids, None).dims(), [1, 3, 100]);
//! # Ok::<(), emberform::Error>(())
//! ```

mod activate;
mod attention;
mod block;
mod cache;
mod count;
mod cross;
mod decoder;
mod encoder;
mod full;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) mod gpu;
#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
#[path = "no_gpu.rs"]
pub(crate) mod gpu;
mod heads;
pub(crate) mod host;
mod linear;
mod mlp;
mod moe;
mod norm;
mod outcome;
mod padded;
mod plan;
mod position;
mod print;
mod relative;
mod rows;
pub(crate) mod run;
mod seq2seq;
pub(crate) mod source;
pub mod spec;
mod states;
mod transformer;
mod weight;

pub use attention::Attention;
pub use block::Block;
pub use cache::Cache;
pub use cross::CrossCache;
pub use decoder::GptDecoder;
pub use encoder::BertEncoder;
pub use full::Full;
pub(crate) use gpu::{Chosen, Reading, is_gpu};
pub use heads::TaskHead;
pub(crate) use host::is_host;
pub use linear::Proj;
pub use mlp::Mlp;
pub use moe::{Experts, FeedForward};
pub use norm::Norm;
pub(crate) use outcome::Outcome;
pub(crate) use padded::{Padded, by_length};
pub use relative::Distances;
pub(crate) use rows::Rows;
pub(crate) use run::Hidden;
pub(crate) use run::params::Load;
pub use run::{Way, Ways, Why};
pub use seq2seq::Seq2Seq;
pub use spec::Spec;
pub(crate) use states::States;
pub use transformer::Transformer;
pub(crate) use transformer::{GoOn, Run};
pub use weight::Weight;
