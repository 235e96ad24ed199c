//! Heads that answer tasks, as data.

use std::fmt;

use super::{Activation, Norm};

/// A head that answers a task: `out(norm(activation(dense(x))))`.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// What it answers.
    pub kind: TaskKind,
    /// What it reads.
    pub read: Read,
    /// What stands before the last product.
    pub dense: Option<Dense>,
    /// Numbers that come out (O). Where words are predicted it is the vocabulary's size.
    pub outputs: usize,
    /// Whether the last matrix is the token embedding's.
    pub tied: bool,
    /// Whether the last product has a bias.
    pub bias: bool,
}

/// What a head answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// Which token stands behind a mask: logits over the vocabulary, at each token.
    Words,
    /// What class a text or pair is of: logits over labels.
    Classes,
    /// What class each token is of: logits over labels, at each token.
    Tokens,
    /// Where an answer begins and ends: two logits at each token.
    Bounds,
    /// Whether the second of two texts follows the first (next sentence, sentence order).
    Order,
}

/// What a head reads of the hidden states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Each token's state.
    Each,
    /// The first token's.
    First,
    /// The last token's.
    Last,
    /// The mean over tokens.
    Mean,
    /// The pooler's vector.
    Pooler,
}

/// A dense layer within a head.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// Numbers that come out.
    pub width: usize,
    /// Whether it has a bias.
    pub bias: bool,
    /// What follows it.
    pub activation: Activation,
    /// Norm after the activation.
    pub norm: Option<Norm>,
}

impl TaskKind {
    /// Its name among modules: `heads.{name}`.
    pub fn name(self) -> &'static str {
        match self {
            TaskKind::Words => "words",
            // One name: a checkpoint calls all three `classifier`, and has one of them.
            TaskKind::Classes | TaskKind::Tokens | TaskKind::Bounds => "task",
            TaskKind::Order => "order",
        }
    }
}

/// `words`, `classes`, `tokens`, `bounds` or `order`
impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TaskKind::Words => "words",
            TaskKind::Classes => "classes",
            TaskKind::Tokens => "tokens",
            TaskKind::Bounds => "bounds",
            TaskKind::Order => "order",
        })
    }
}

/// `first token -> dense tanh 32 -> 3 classes`
impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.read {
            Read::Each => "each token",
            Read::First => "first token",
            Read::Last => "last token",
            Read::Mean => "mean over tokens",
            Read::Pooler => "pooler",
        })?;
        if let Some(dense) = &self.dense {
            write!(f, " -> dense {} {}", dense.width, dense.activation)?;
            dense.norm.map_or(Ok(()), |norm| write!(f, " -> {norm}"))?;
        }
        let what = match self.kind {
            TaskKind::Words if self.tied => "logits of words by embed.tokens",
            TaskKind::Words => "logits of words",
            TaskKind::Classes => "logits of classes",
            TaskKind::Tokens => "logits of classes, at each token",
            TaskKind::Bounds => "logits of an answer's first and last token",
            TaskKind::Order => "logits of following and not",
        };
        write!(f, " -> {} {what}", self.outputs)
    }
}
