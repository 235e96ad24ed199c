//! Step 1, TEXT -> TOKENS -> TEXT: one [`Tokenizer`] for `tokenizer.json` files and for the
//! vocabularies inside GGUF files.

mod file;
mod guard;
mod merge;
mod normal;
mod pair;
mod pieces;
mod pre;
mod spelling;
mod split;
mod stream;
mod tokenizer;
mod unicode;
mod unigram;
mod vocabulary;
mod wordpiece;

pub(crate) use file::MAX_FILE;
pub(crate) use pair::{Cut, Words};
pub use stream::DecodeStream;
pub use tokenizer::{Encoding, Tokenizer};
pub(crate) use vocabulary::Vocabulary;

#[cfg(test)]
mod tests;
