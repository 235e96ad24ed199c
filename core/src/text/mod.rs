//! Step 1, TEXT -> TOKENS -> TEXT: one [`Tokenizer`] for `tokenizer.json` files and for the
//! vocabularies inside GGUF files.

mod file;
mod guard;
mod json;
mod merge;
mod normal;
mod open;
mod pair;
mod parts;
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
pub(crate) use open::of_metadata;
pub(crate) use pair::{Cut, Words};
pub use stream::DecodeStream;
pub use tokenizer::{Encoding, Tokenizer};

#[cfg(test)]
mod tests;
