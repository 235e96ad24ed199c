//! How hidden states become an embedding, as a sentence-transformers folder says it.
//!
//! Source: the modules of sentence-transformers 6.2 (`Transformer`, `Pooling`, `Dense`,
//! `Normalize`, `MLMTransformer`, `SpladePooling`) and the files they save.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::late::Late;
use super::pooling::Pooling;
use crate::error::{Error, Result};
use crate::load::{Stored, count, flag, json, json_value, kind, safetensors};
use crate::nn::Spec;

/// A dense layer after pooling, as stored.
#[derive(Clone, Debug)]
pub(crate) struct DenseFile {
    pub weight: Stored,
    pub bias: Option<Stored>,
    pub activation: DenseActivation,
    /// The file, for messages.
    pub path: PathBuf,
    pub inputs: usize,
    pub outputs: usize,
}

/// The activation after a dense layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DenseActivation {
    Identity,
    Tanh,
    Relu,
    Gelu,
    Sigmoid,
    Silu,
}

/// What happens to the pooled vector, in order.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    Dense(Box<DenseFile>),
    /// To length 1.
    Normalize,
}

/// How the logits of a text's tokens become one vector, as `SpladePooling` of a folder says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Splade {
    /// The sum over tokens; else the largest.
    pub sum: bool,
    /// The logarithm is taken twice.
    pub twice: bool,
}

/// All that a folder says about embedding.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recipe {
    /// Folder of the transformer inside the folder; empty for the folder itself.
    home: String,
    /// Whether the folder holds a table of token vectors and no transformer.
    pub is_static: bool,
    /// The vectors that are put side by side; empty until [`complete`](Self::complete).
    pub pooling: Vec<Pooling>,
    /// Whether the prompt's tokens are pooled too.
    pub include_prompt: bool,
    pub steps: Vec<Stage>,
    /// Texts put before a text, by name.
    pub prompts: BTreeMap<String, String>,
    pub default_prompt: Option<String>,
    /// Most tokens of a text, special ones included.
    pub max_tokens: Option<usize>,
    /// Whether texts are lowercased first.
    pub lowercase: bool,
    /// How sparse vectors are made.
    pub splade: Splade,
    /// How a vector a token is made.
    pub late: Option<Late>,
}

impl Recipe {
    /// Reads the sentence-transformers files of a folder; a folder without them has the defaults.
    pub(crate) fn read(folder: &Path) -> Result<Recipe> {
        let mut recipe = Recipe { include_prompt: true, ..Recipe::default() };
        let path = folder.join("modules.json");
        let mut mask = None;
        match json_value(&path)? {
            None => {}
            Some(Value::Array(modules)) => {
                for module in &modules {
                    recipe.module(folder, &path, module, &mut mask)?;
                }
            }
            Some(_) => return Err(Error::format(&path, "JSON", "it holds no list of modules")),
        }
        let home = recipe.transformer(folder);
        let path = home.join("sentence_bert_config.json");
        let transformer = json(&path)?.unwrap_or_default();
        recipe.max_tokens = count(&transformer, "max_seq_length")?;
        recipe.lowercase = flag(&transformer, "do_lower_case")?.unwrap_or(false);
        let path = folder.join("config_sentence_transformers.json");
        if let Some(values) = json(&path)? {
            match values.get("prompts") {
                None | Some(Value::Null) => {}
                Some(Value::Object(prompts)) => {
                    for (name, prompt) in prompts {
                        match prompt {
                            Value::String(text) => {
                                recipe.prompts.insert(name.clone(), text.clone());
                            }
                            Value::Null => {}
                            other => {
                                let problem = format!("is {}, not a text", kind(other));
                                return Err(Error::config(format!("prompts.{name}"), problem));
                            }
                        }
                    }
                }
                Some(other) => {
                    let problem = format!("is {}, not an object of texts", kind(other));
                    return Err(Error::config("prompts", problem));
                }
            }
            recipe.default_prompt = match values.get("default_prompt_name") {
                None | Some(Value::Null) => None,
                Some(Value::String(name)) if recipe.prompts.contains_key(name) => {
                    Some(name.clone())
                }
                Some(other) => {
                    let known: Vec<&str> = recipe.prompts.keys().map(String::as_str).collect();
                    let problem = format!("is `{other}`, not one of: {}", known.join(", "));
                    return Err(Error::config("default_prompt_name", problem));
                }
            };
            recipe.late = Late::of_pylate(&values)?;
        }
        if let (None, Some(mask)) = (&recipe.late, &mask) {
            let prompt = |role: &str| recipe.prompts.get(role).map(String::as_str);
            recipe.late = Some(Late::of_modules(mask, &transformer, prompt)?);
        }
        Ok(recipe)
    }

    /// Whether embeddings are brought to length 1, where nothing else may happen to them.
    pub(crate) fn normalizes_only(&self) -> Result<bool> {
        let other = |step: &Stage| !matches!(step, Stage::Normalize);
        if self.steps.iter().any(other) || !self.pooling.is_empty() {
            return Err(Error::Unsupported {
                what: "a sentence-transformers module after `StaticEmbedding`".to_string(),
                known: "Normalize".to_string(),
            });
        }
        Ok(!self.steps.is_empty())
    }

    /// The pooling that a GGUF file's `pooling_type` means.
    pub(crate) fn from_pooling_type(number: Option<u64>) -> Result<Recipe> {
        let pooling = match number {
            None | Some(0) => vec![],
            Some(1) => vec![Pooling::Mean],
            Some(2) => vec![Pooling::First],
            Some(3) => vec![Pooling::Last],
            Some(other) => {
                let problem = format!("is `{other}`, not 0 (none), 1 (mean), 2 (cls) or 3 (last)");
                return Err(Error::config("pooling_type", problem));
            }
        };
        // Files with a pooling are made for search by direction: llama.cpp normalizes as well.
        let steps = if pooling.is_empty() { vec![] } else { vec![Stage::Normalize] };
        Ok(Recipe { pooling, steps, include_prompt: true, ..Recipe::default() })
    }

    /// Where the transformer's own files stand.
    pub(crate) fn transformer(&self, folder: &Path) -> PathBuf {
        if self.home.is_empty() { folder.to_path_buf() } else { folder.join(&self.home) }
    }

    /// Fills what no file said: mean pooling for an encoder, the last token for a decoder, and a
    /// limit of tokens.
    pub(crate) fn complete(&mut self, said: Option<usize>, spec: &Spec) {
        if self.pooling.is_empty() {
            let last = spec.has_logits() && spec.encoder.is_none();
            self.pooling = vec![if last { Pooling::Last } else { Pooling::Mean }];
        }
        let window = spec.encoder.as_ref().map_or(spec.window, |encoder| encoder.window);
        let limit = self.max_tokens.or(said).unwrap_or(window);
        self.max_tokens = Some(limit.min(window).max(1));
    }

    /// Takes a module in; the values of a `MultiVectorMask` go to `mask`.
    fn module(
        &mut self,
        folder: &Path,
        file: &Path,
        module: &Value,
        mask: &mut Option<Map<String, Value>>,
    ) -> Result<()> {
        let text = |key: &str| module.get(key).and_then(Value::as_str);
        let Some(kind) = text("type") else {
            return Err(Error::format(file, "modules.json", "a module has no `type`"));
        };
        let place = match module.get("path") {
            None | Some(Value::Null) => "",
            Some(Value::String(place)) if place == "." => "",
            Some(Value::String(place)) => place,
            Some(_) => return Err(Error::format(file, "modules.json", "a `path` is not text")),
        };
        let plain = place.is_empty() || is_plain(place);
        if !plain {
            let problem = format!("path `{place}` is not the name of a folder inside");
            return Err(Error::format(file, "modules.json", problem));
        }
        let inside = folder.join(place);
        match kind.rsplit('.').next().unwrap_or(kind) {
            "StaticEmbedding" => {
                self.home = place.to_string();
                self.is_static = true;
            }
            "MultiVectorMask" => {
                *mask = Some(json(&inside.join("config.json"))?.unwrap_or_default());
            }
            "Transformer" | "MLMTransformer" => self.home = place.to_string(),
            "SpladePooling" => {
                let values = json(&inside.join("config.json"))?.unwrap_or_default();
                let text = |key: &str| values.get(key).and_then(Value::as_str);
                self.splade = Splade {
                    sum: match text("pooling_strategy") {
                        None | Some("max") => false,
                        Some("sum") => true,
                        Some(other) => return Err(unknown("pooling_strategy", other, "max, sum")),
                    },
                    twice: match text("activation_function") {
                        None | Some("relu") => false,
                        Some("log1p_relu") => true,
                        Some(other) => {
                            return Err(unknown("activation_function", other, "relu, log1p_relu"));
                        }
                    },
                };
            }
            "Pooling" => {
                let path = inside.join("config.json");
                let values = json(&path)?.ok_or_else(|| {
                    let source = std::io::Error::from(std::io::ErrorKind::NotFound);
                    Error::Io { path: path.clone(), source }
                })?;
                self.pooling = pooling(&values)?;
                self.include_prompt = flag(&values, "include_prompt")?.unwrap_or(true);
            }
            "Dense" => self.steps.push(Stage::Dense(Box::new(dense(&inside)?))),
            "Normalize" => self.steps.push(Stage::Normalize),
            other => {
                return Err(Error::Unsupported {
                    what: format!("sentence-transformers module `{other}`"),
                    known:
                        "Transformer, StaticEmbedding, Pooling, Dense, Normalize, MLMTransformer, \
                            SpladePooling, MultiVectorMask"
                            .to_string(),
                });
            }
        }
        Ok(())
    }
}

fn unknown(key: &str, value: &str, known: &str) -> Error {
    Error::Unsupported {
        what: format!("`{key}` `{value}` of a SpladePooling module"),
        known: known.to_string(),
    }
}

/// Whether `name` is one plain component of a path.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let plain = matches!(parts.next(), Some(std::path::Component::Normal(_)));
    plain && parts.next().is_none() && !name.contains(['\\', ':', '\0'])
}

/// The poolings of a `1_Pooling/config.json`, old (a flag each) or new (names).
fn pooling(values: &Map<String, Value>) -> Result<Vec<Pooling>> {
    const FLAGS: [(&str, Pooling); 6] = [
        ("pooling_mode_cls_token", Pooling::First),
        ("pooling_mode_max_tokens", Pooling::Max),
        ("pooling_mode_mean_tokens", Pooling::Mean),
        ("pooling_mode_mean_sqrt_len_tokens", Pooling::MeanSqrt),
        ("pooling_mode_weightedmean_tokens", Pooling::WeightedMean),
        ("pooling_mode_lasttoken", Pooling::Last),
    ];
    let named = match values.get("pooling_mode") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(vec![name.as_str()]),
        Some(Value::Array(names)) if names.iter().all(Value::is_string) => {
            names.iter().map(Value::as_str).collect()
        }
        Some(value) => {
            return Err(Error::config("pooling_mode", format!("is `{value}`, not a name")));
        }
    };
    if let Some(names) = named
        && !names.is_empty()
    {
        return names.into_iter().map(|name| name.parse()).collect();
    }
    let mut found = Vec::new();
    for (key, pooling) in FLAGS {
        if flag(values, key)?.unwrap_or(false) {
            found.push(pooling);
        }
    }
    Ok(if found.is_empty() { vec![Pooling::Mean] } else { found })
}

fn dense(folder: &Path) -> Result<DenseFile> {
    let path = folder.join("config.json");
    let values = json(&path)?.unwrap_or_default();
    let size = |key: &str| count(&values, key)?.ok_or_else(|| Error::config(key, "is missing"));
    let (inputs, outputs) = (size("in_features")?, size("out_features")?);
    let kind = values.get("activation_function").and_then(Value::as_str);
    let activation = match kind.map(|kind| kind.rsplit('.').next().unwrap_or(kind)) {
        None | Some("Tanh") => DenseActivation::Tanh,
        Some("Identity") => DenseActivation::Identity,
        Some("ReLU") => DenseActivation::Relu,
        Some("GELU") => DenseActivation::Gelu,
        Some("Sigmoid") => DenseActivation::Sigmoid,
        Some("SiLU") => DenseActivation::Silu,
        Some(other) => {
            return Err(Error::Unsupported {
                what: format!("activation `{other}` of a Dense module"),
                known: "Identity, Tanh, ReLU, GELU, Sigmoid, SiLU".to_string(),
            });
        }
    };
    if flag(&values, "use_residual")?.unwrap_or(false) {
        return Err(Error::Unsupported {
            what: "`use_residual` of a Dense module".to_string(),
            known: "false".to_string(),
        });
    }
    let path = folder.join(safetensors::SINGLE);
    let mut tensors = safetensors::open(&path)?;
    let mut take = |name: &str, shape: &[usize]| match tensors.remove(name) {
        Some(stored) if stored.shape == shape => Ok(Some(stored)),
        Some(stored) => {
            let problem = format!("`{name}` is {:?}, not {shape:?}", stored.shape);
            Err(Error::format(&path, "a Dense module", problem))
        }
        None => Ok(None),
    };
    let weight = take("linear.weight", &[outputs, inputs])?
        .ok_or_else(|| Error::format(&path, "a Dense module", "`linear.weight` is missing"))?;
    let bias =
        match flag(&values, "bias")?.unwrap_or(true) {
            true => Some(take("linear.bias", &[outputs])?.ok_or_else(|| {
                Error::format(&path, "a Dense module", "`linear.bias` is missing")
            })?),
            false => None,
        };
    Ok(DenseFile { weight, bias, activation, path, inputs, outputs })
}
