//! Files to a [`Checkpoint`]: config, tokenizer and named tensors, none of them copied.
//!
//! A Hugging Face folder and a GGUF file come out alike: the config in one vocabulary of keys, the
//! tensors in one vocabulary of names, so that nothing after this file asks where they came from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::chat::Prompter;
use crate::embed::Recipe;
use crate::error::{Error, Result};
use crate::family::config::Config;
use crate::family::revert::StoredShapes;
use crate::family::{self, Family, names};
use crate::generate::Defaults;
use crate::load::gguf::Gguf;
use crate::load::{Stored, Tensors, json, safetensors};
use crate::nn::Spec;
use crate::nn::spec::{Head, Task};
use crate::task::Labels;
use crate::text::{self, Tokenizer};

/// All that the files of a model say.
pub(crate) struct Checkpoint {
    /// The folder or file.
    pub path: PathBuf,
    pub family: &'static Family,
    pub spec: Spec,
    pub tensors: Tensors,
    /// The checkpoint's own name of each tensor.
    pub theirs: BTreeMap<String, String>,
    /// The shape that each had before the family's fix-ups.
    pub found: StoredShapes,
    /// What the checkpoint puts before its names.
    prefix: &'static str,
    /// The checkpoint's names that its family does not know.
    pub unknown: Vec<String>,
    pub gguf: bool,
    pub tokenizer: Option<Tokenizer>,
    pub defaults: Defaults,
    pub recipe: Recipe,
    pub chat: Prompter,
    pub labels: Labels,
}

impl Checkpoint {
    /// Opens a Hugging Face folder or a GGUF file.
    pub(crate) fn open(path: &Path) -> Result<Checkpoint> {
        let metadata = std::fs::metadata(path).map_err(Error::io(path))?;
        if metadata.is_dir() {
            return folder(path);
        }
        if path.extension().is_some_and(|ending| ending == "safetensors") {
            let problem = "it holds weights alone; open the folder that it stands in";
            return Err(Error::format(path, "a model", problem));
        }
        file(path)
    }

    /// The checkpoint's name of our tensor, there or not.
    pub(crate) fn original(&self, ours: &str) -> String {
        if let Some(theirs) = self.theirs.get(ours) {
            return theirs.clone();
        }
        let two_stacks = || self.theirs.values().any(|name| name.starts_with("enc."));
        let theirs = match self.gguf {
            true => family::gguf::theirs(ours, two_stacks()),
            false => names::theirs(self.family.tensors, ours),
        };
        match theirs {
            // A head stands beside the prefixed model, not in it.
            Some(theirs) if ours.starts_with("head") => theirs,
            Some(theirs) => format!("{}{theirs}", self.prefix),
            None => ours.to_string(),
        }
    }

    /// Whether a tensor that no module asked for may stand in the checkpoint all the same.
    pub(crate) fn unneeded(&self, ours: &str) -> bool {
        match ours {
            // The embedding's twin, written out by some exports.
            "head.weight" => matches!(self.spec.head, Head::Tied { .. }),
            // Of a head for a task that the config does not name, or the embedding's twin.
            _ if ours.starts_with("heads.") => {
                let own = |task: &&Task| ours.starts_with(&format!("heads.{}.", task.kind.name()));
                let tied = ours.ends_with(".out.weight");
                self.spec.tasks().iter().find(own).is_none_or(|task| task.tied && tied)
            }
            "rope.factors.weight" | "rope.short.weight" | "rope.long.weight" => true,
            _ => false,
        }
    }

    /// Puts names and weights in our terms and makes the spec.
    fn build(
        path: &Path,
        family: &'static Family,
        config: Config,
        stored: BTreeMap<String, Stored>,
        gguf: bool,
    ) -> Result<Checkpoint> {
        let (tables, prefixes, ignored) = match gguf {
            true => (family::gguf::TENSORS, &[][..], family::gguf::IGNORED),
            false => (family.tensors, family.prefixes, family.ignored),
        };
        let mut tensors = Tensors::new();
        let mut theirs = BTreeMap::new();
        let mut unknown = Vec::new();
        for (name, tensor) in stored {
            if names::listed(ignored, prefixes, &name) {
                continue;
            }
            match names::ours(tables, prefixes, &name) {
                Some(ours) if !tensors.contains_key(&ours) => {
                    theirs.insert(ours.clone(), name);
                    tensors.insert(ours, tensor);
                }
                _ => unknown.push(name),
            }
        }
        let used = |prefix: &&&str| theirs.values().any(|name: &String| name.starts_with(**prefix));
        let prefix = prefixes.iter().find(used).copied().unwrap_or_default();
        let shape = |(name, stored): (&String, &Stored)| (name.clone(), stored.shape.clone());
        let found: StoredShapes = tensors.iter().map(shape).collect();
        let config = config.with_tensors(&tensors);
        let spec = (family.spec)(&config)?;
        spec.validate()?;
        for fixup in family.fixups {
            fixup.apply(&mut tensors, &spec, gguf)?;
        }
        Ok(Checkpoint {
            path: path.to_path_buf(),
            family,
            spec,
            tensors,
            theirs,
            found,
            prefix,
            unknown,
            gguf,
            tokenizer: None,
            defaults: Defaults::default(),
            recipe: Recipe::default(),
            chat: Prompter::default(),
            labels: Labels::default(),
        })
    }
}

/// A Hugging Face folder.
fn folder(path: &Path) -> Result<Checkpoint> {
    let recipe = Recipe::read(path)?;
    if recipe.is_static {
        return Err(Error::Unsupported {
            what: format!("`{}`, a table of token vectors without a network,", path.display()),
            known: "transformers; `WordVectors::open` opens this folder".to_string(),
        });
    }
    let home = recipe.transformer(path);
    let config_path = home.join("config.json");
    let Some(values) = json(&config_path)? else {
        return Err(Error::Io {
            path: config_path,
            source: std::io::Error::from(std::io::ErrorKind::NotFound),
        });
    };
    let model_type = match values.get("model_type").and_then(Value::as_str) {
        Some(model_type) => model_type.to_string(),
        None => return Err(Error::config("model_type", "is missing")),
    };
    let positions = values.get("position_embedding_type").and_then(Value::as_str);
    let family = family::by_model_type(&model_type, positions)?;
    let stored = safetensors::open_folder(&home)?;
    let said = Value::Object(values.clone());
    let window_key = values.get("max_position_embeddings").and_then(Value::as_u64);
    let labels = Labels::from_config(&values)?;
    let mut checkpoint =
        Checkpoint::build(path, family, Config::new(values, false), stored, false)?;
    checkpoint.labels = labels;
    let tokenizer_path = home.join("tokenizer.json");
    if std::fs::symlink_metadata(&tokenizer_path).is_ok() {
        checkpoint.tokenizer = Some(Tokenizer::open(&tokenizer_path)?);
    }
    let tokenizer_config = json(&home.join("tokenizer_config.json"))?.unwrap_or_default();
    if let Some(tokenizer) = &checkpoint.tokenizer {
        checkpoint.labels.find_tokens(&home, &tokenizer_config, tokenizer)?;
    }
    checkpoint.chat = Prompter::of_folder(&home, &tokenizer_config)?;
    let generation_path = home.join("generation_config.json");
    if let Some(values) = json(&generation_path)? {
        checkpoint.defaults = Defaults::from_json(&Value::Object(values))?;
    } else if checkpoint.spec.encoder.is_some() {
        // Older files of encoder-decoders say it in the config.
        checkpoint.defaults = Defaults::from_json(&said)?;
    }
    if checkpoint.spec.encoder.is_some() {
        checkpoint.defaults = checkpoint.defaults.of_target();
    }
    checkpoint.recipe = recipe;
    // sentence-transformers takes what the tokenizer says, and never more than the model holds.
    let said = tokenizer_config.get("model_max_length").and_then(Value::as_f64);
    let said = said.filter(|said| (1.0..1e9).contains(said)).map(|said| said as u64);
    let limit = [said, window_key].into_iter().flatten().min();
    checkpoint.recipe.complete(limit.map(|limit| limit as usize), &checkpoint.spec);
    Ok(checkpoint)
}

/// A GGUF file.
fn file(path: &Path) -> Result<Checkpoint> {
    let gguf = Gguf::open(path)?;
    let metadata = &gguf.metadata;
    let Some(architecture) = metadata.string("general.architecture")? else {
        return Err(Error::config("general.architecture", "is missing"));
    };
    let family = family::by_architecture(architecture)?;
    let values = family::gguf::config(metadata, architecture)?;
    let pooling = values.get("pooling_type").and_then(Value::as_u64);
    let mut checkpoint =
        Checkpoint::build(path, family, Config::new(values, true), gguf.tensors, true)?;
    checkpoint.recipe = Recipe::from_pooling_type(pooling)?;
    checkpoint.recipe.complete(Some(checkpoint.spec.window), &checkpoint.spec);
    checkpoint.tokenizer = text::of_metadata(metadata, &gguf.head, path)?;
    checkpoint.chat = Prompter::of_gguf(path, metadata, checkpoint.tokenizer.as_ref())?;
    let mut ends = Vec::new();
    for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
        if let Some(id) = metadata.u32(&format!("tokenizer.ggml.{key}"))?
            && !ends.contains(&id)
        {
            ends.push(id);
        }
    }
    if checkpoint.spec.encoder.is_some() {
        checkpoint.defaults.start =
            metadata.u32(&format!("{architecture}.decoder_start_token_id"))?;
    }
    checkpoint.defaults.eos_ids = ends;
    Ok(checkpoint)
}
