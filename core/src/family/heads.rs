//! Which heads a checkpoint has: its tensors say, and `architectures` says what `classifier` is for.

use super::*;
use crate::nn::spec::Dense;

/// What the heads of a family look like, for the checkpoints that have them.
pub(super) struct Heads {
    /// What follows the dense layer over the first token.
    pub pooler: Activation,
    /// What stands before the logits of words.
    pub words: Option<Dense>,
    /// What a head that classes a text reads.
    pub read: Read,
    /// What stands before the logits of a text's classes.
    pub classes: Option<Dense>,
    /// What stands before the logits of a token's classes.
    pub tokens: Option<Dense>,
}

impl Heads {
    /// A pooler with tanh, and a head over words of dense layer, activation and norm.
    pub(super) fn new(spec: &Spec, activation: Activation) -> Heads {
        Heads {
            pooler: Activation::Tanh,
            words: Some(Dense { norm: Some(spec.norm), ..dense(spec.embed_width(), activation) }),
            read: Read::Pooler,
            classes: None,
            tokens: None,
        }
    }

    /// A dense layer over the first token instead of the pooler.
    pub(super) fn first(self, spec: &Spec, activation: Activation) -> Heads {
        Heads { read: Read::First, classes: Some(dense(spec.width, activation)), ..self }
    }

    /// The heads that the checkpoint of `config` has.
    pub(super) fn of(self, config: &Config, spec: &Spec) -> Result<Head> {
        let has_bias = |name: &str| config.has(&format!("heads.{name}.out.bias"));
        let mut tasks = Vec::new();
        let kind = kind(config)?;
        let task = kind.zip(config.rows("heads.task.out.weight"));
        // A dense layer that belongs to the other task when both are called alike.
        if task.is_none() && config.has("heads.words.dense.weight") {
            tasks.push(Task {
                kind: TaskKind::Words,
                read: Read::Each,
                dense: self.words,
                outputs: spec.vocab,
                tied: config.bool("tie_word_embeddings")?.unwrap_or(true),
                bias: has_bias("words") || config.has("heads.words.own.bias"),
            });
        }
        if let Some(outputs) = config.rows("heads.order.out.weight") {
            let (kind, read, bias) = (TaskKind::Order, Read::Pooler, has_bias("order"));
            tasks.push(Task { kind, read, dense: None, outputs, tied: false, bias });
        }
        if let Some((kind, outputs)) = task {
            let (read, dense) = match kind {
                TaskKind::Classes => (self.read, self.classes),
                _ => (Read::Each, self.tokens),
            };
            let bias = has_bias("task");
            tasks.push(Task { kind, read, dense, outputs, tied: false, bias });
        }
        let pooled = tasks.iter().any(|task| task.read == Read::Pooler);
        let pooler = pooled || config.has("pooler.weight");
        Ok(match (pooler, tasks.is_empty()) {
            (false, true) => Head::None,
            _ => Head::Encoder { pooler: pooler.then_some(self.pooler), tasks },
        })
    }
}

/// A dense layer with bias.
pub(super) fn dense(width: usize, activation: Activation) -> Dense {
    Dense { width, bias: true, activation, norm: None }
}

/// What the head called `classifier` is for; `None` when the config does not say.
pub(super) fn kind(config: &Config) -> Result<Option<TaskKind>> {
    let names = config.strings("architectures")?.unwrap_or_default();
    Ok(names.iter().find_map(|name| {
        Some(match name.split_once("For")?.1 {
            "SequenceClassification" => TaskKind::Classes,
            "TokenClassification" => TaskKind::Tokens,
            "QuestionAnswering" | "QuestionAnsweringSimple" => TaskKind::Bounds,
            _ => return None,
        })
    }))
}
