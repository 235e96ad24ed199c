//! Hidden states to text: a cached loop of one token after the other.
//!
//! ```text
//! prompt -> prefill in chunks -> logits of the last token [V] -> penalties, sample -> token
//!                ^                                                                    |
//!                '---------------------------- cache <-------------------------------'
//! ```

mod ahead;
mod batch;
mod beam;
mod options;
mod rules;
mod sampler;
mod session;
mod stop;

pub use batch::Batch;
pub use beam::{Beam, BeamOptions, EarlyStopping};
pub use options::GenerateOptions;
pub(crate) use options::{Defaults, PREFILL_CHUNK};
pub use session::{Generation, Piece, Session, Stats, Stream, Token};
pub use stop::FinishReason;
