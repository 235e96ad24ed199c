//! mBART (arXiv:2001.08210): BART with its norms before, and one after each stack.

use super::*;

pub(super) static FAMILY: Family = Family {
    names: &["mbart"],
    gguf: &[],
    spec,
    prefixes: &["model."],
    tensors: &[bart::NAMES],
    fixups: bart::FIXUPS,
    ignored: &[],
};

fn spec(config: &Config) -> Result<Spec> {
    let before = |spec: Spec| Spec { place: Place::Before, last_norm: true, ..spec };
    let base = before(bart::stacks(config, Activation::Gelu)?);
    Ok(Spec { encoder: base.encoder.map(|encoder| Box::new(before(*encoder))), ..base })
}
