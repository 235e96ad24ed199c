//! KV caches of the sequences of a pass.

use super::cache::{Cache, LayerCache};

/// What the sequences of a pass hold of the tokens before, of all blocks.
#[derive(Debug, Default)]
pub(crate) enum States<'a> {
    /// Nothing: all their tokens are in the pass.
    #[default]
    None,
    /// Of all sequences, which are equally long, together.
    One(&'a mut Cache),
    /// Of each sequence by itself.
    Each(Vec<&'a mut Cache>),
}

/// The same of one block.
pub(crate) enum LayerStates<'a> {
    /// No cache: the pass reads whole sequences.
    None,
    /// Of all sequences together.
    One(&'a mut LayerCache),
    /// Of each by itself.
    Each(Vec<&'a mut LayerCache>),
}

impl States<'_> {
    /// Those of layer `i`.
    pub(crate) fn layer(&mut self, i: usize) -> LayerStates<'_> {
        match self {
            States::None => LayerStates::None,
            States::One(cache) => LayerStates::One(&mut cache.layers[i]),
            States::Each(caches) => {
                let own = caches.iter_mut().map(|cache| &mut cache.layers[i]);
                LayerStates::Each(own.collect())
            }
        }
    }

    /// Counts the tokens that every layer has taken in, as many of each sequence.
    pub(crate) fn advance(&mut self, tokens: usize) {
        match self {
            States::None => {}
            States::One(cache) => cache.advance(tokens),
            States::Each(caches) => caches.iter_mut().for_each(|cache| cache.advance(1)),
        }
    }
}
