//! Transformers inside your program: embed and generate text on any vendor's GPU or on the CPU.
//!
//! ```text
//! text -> tokens [T] -> Transformer -> hidden states [T, D] -> pool -> embedding [D]
//!                                            |-> head -> logits [V] -> sample -> token -> text
//! ```
//! The folders follow the data: `text` (1), `nn` (2), `embed` (3a), `generate` (3b); `load` and
//! `family` bring files to modules, `quant` and `kernels` keep weights packed while they are
//! multiplied. `task` (3c) is what heads of encoders answer. `words` is the step before: a vector a
//! word, whatever stands around it.
//!
//! ```no_run
//! use emberform::{GenerateOptions, Model};
//!
//! let model = Model::open("models/minilm")?;
//! let vectors = model.embed(&["a cat sat", "a dog lay"])?;
//! println!("{model}: {:.2}", vectors.cosine(0, 1));
//!
//! let model = Model::open("models/gemma3-270m-q4_k_m.gguf")?;
//! for piece in model.generate("The sky is", &GenerateOptions::default().max_tokens(32))? {
//!     print!("{}", piece?.text);
//! }
//! # Ok::<(), emberform::Error>(())
//! ```
//!
//! A [`Model`] opens a Hugging Face folder or a GGUF file and is shared between threads as it is.
//! [`WordVectors`] opens static word vectors: word2vec, GloVe, fastText, model2vec.
//! A [`Session`] holds what changes while text is made. The modules in [`nn`] stand by themselves:
//! build one from a [`nn::Spec`] and train it with burn.
#![recursion_limit = "256"]

mod cancel;
mod chat;
mod checkpoint;
mod device;
mod embed;
mod error;
mod family;
mod forward;
mod generate;
mod inside;
#[doc(hidden)]
pub mod kernels;
mod load;
mod memory;
mod model;
pub mod nn;
mod output;
mod precision;
pub mod quant;
mod quote;
mod report;
mod reserve;
mod run;
mod save;
#[cfg(test)]
mod scratch;
mod task;
mod text;
mod verify;
mod warmup;
mod weights;
mod words;

pub use cancel::CancelToken;
pub use chat::{Chat, ChatStream, Message, Role, Variable};
pub use device::{Device, DeviceInfo, DeviceKind, GpuChoice};
pub use embed::{EmbedOptions, Embeddings, Pooling};
pub use error::{Code, Error, Result};
pub use forward::ForwardOptions;
pub use generate::{
    Batch, Beam, BeamOptions, EarlyStopping, FinishReason, GenerateOptions, Generation, Piece,
    Session, Stats, Stream, Token,
};
pub use memory::{Memory, TensorInfo};
pub use model::{Model, OpenOptions};
pub use output::{AttentionMaps, Output};
pub use precision::Precision;
pub use report::LoadReport;
pub use run::{Progress, RunOptions};
pub use task::{
    Aggregation, Answer, AnswerOptions, Class, Classes, ClassifyOptions, Entity, Fill, FillOptions,
    Ranked, Scoring, Sparse, TextRole, TokenOptions, TokenVectors, ZeroShotOptions, char_range,
};
pub use text::{DecodeStream, Encoding, Tokenizer};
pub use verify::{Step, Verification};
pub use words::{Neighbor, Unknown, WordOptions, WordVectors};
