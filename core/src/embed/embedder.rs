//! What a folder says of embedding, with its weights on a device: texts to rows of tokens, hidden
//! states to vectors.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData, activation};

use super::late::Late;
use super::options::EmbedOptions;
use super::pooling::{PooledRow, Pooling};
use super::recipe::{DenseActivation, DenseFile, Recipe, Splade, Stage};
use crate::cancel::CancelToken;
use crate::error::{Error, Result};
use crate::load::{Dtype, aligned_copy};
use crate::nn::gpu;
use crate::nn::source::frozen;
use crate::nn::{Proj, Weight};
use crate::quant::weights::Packed;
use crate::reserve::reserved;
use crate::text::{Encoding, Tokenizer};

/// Bytes of text that are tokenized between two looks at the cancel token: some milliseconds.
const RUN_BYTES: usize = 256 << 10;

/// Texts in runs of about `RUN_BYTES`, with `extra` bytes more for each.
fn runs<'a>(mut texts: &'a [&'a str], extra: usize) -> impl Iterator<Item = &'a [&'a str]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |text: &&&str| {
            let fits = bytes < RUN_BYTES;
            bytes += text.len() + extra;
            fits
        };
        let count = texts.iter().take_while(fits).count();
        let (run, rest) = texts.split_at(count);
        texts = rest;
        (count > 0).then_some(run)
    })
}

/// Added to the length that vectors are divided by, as PyTorch's `normalize` bounds it.
const TINY: f32 = 1e-12;

/// A [`Recipe`] with its weights on a device.
#[derive(Debug)]
pub(crate) struct Embedder {
    recipe: Recipe,
    steps: Vec<Layer>,
    /// Size of an embedding.
    pub width: usize,
}

/// A step after pooling, on a device.
#[derive(Module, Debug)]
struct Dense {
    proj: Proj,
    #[module(skip)]
    activation: DenseActivation,
}

#[derive(Debug)]
enum Layer {
    Dense(Dense),
    Normalize,
}

/// A text ready for the network.
pub(crate) struct Prepared {
    pub encoding: Encoding,
    pub row: PooledRow,
}

impl Embedder {
    /// Puts the dense layers on the device; `width` is the size of a hidden state.
    pub(crate) fn new(recipe: Recipe, width: usize, device: &burn::tensor::Device) -> Result<Self> {
        let mut size = width * recipe.pooling.len();
        let mut steps = Vec::new();
        for step in &recipe.steps {
            steps.push(match step {
                Stage::Normalize => Layer::Normalize,
                Stage::Dense(file) => {
                    if file.inputs != size {
                        let problem = format!("takes {} numbers where {size} come", file.inputs);
                        return Err(Error::format(&file.path, "a Dense module", problem));
                    }
                    size = file.outputs;
                    Layer::Dense(Dense { proj: dense(file, device)?, activation: file.activation })
                }
            });
        }
        Ok(Embedder { recipe, steps, width: size })
    }

    /// The prompts of the folder.
    pub(crate) fn prompts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.recipe.prompts.iter().map(|(name, prompt)| (name.as_str(), prompt.as_str()))
    }

    /// How a vector a token is made.
    pub(crate) fn late(&self) -> Option<&Late> {
        self.recipe.late.as_ref()
    }

    /// A text in the case that the model takes.
    pub(crate) fn case(&self, text: &str) -> String {
        match self.recipe.lowercase {
            true => text.to_lowercase(),
            false => text.to_string(),
        }
    }

    /// How sparse vectors are made.
    pub(crate) fn splade(&self) -> Splade {
        self.recipe.splade
    }

    /// The most tokens of a text unless the caller says otherwise.
    pub(crate) fn max_tokens(&self) -> usize {
        self.recipe.max_tokens.unwrap_or(usize::MAX)
    }

    /// Tokens of all texts, prompts put before them, cut at the limit.
    pub(crate) fn prepare(
        &self,
        tokenizer: &Tokenizer,
        texts: &[&str],
        options: &EmbedOptions,
        window: usize,
    ) -> Result<Vec<Prepared>> {
        let limit = match options.run.max_tokens {
            Some(0) => return Err(Error::argument("max_tokens", "is 0; a text needs at least 1")),
            Some(limit) if limit > window => {
                let problem = format!("is {limit}; the model holds {window}");
                return Err(Error::argument("max_tokens", problem));
            }
            Some(limit) => limit,
            None => self.max_tokens().min(window),
        };
        let prompt = self.prompt(options)?;
        let case = |text: &str| self.case(text);
        let skipped = if prompt.is_empty() || self.recipe.include_prompt {
            0
        } else {
            // The closing special token stands after the text, not after the prompt.
            let alone = tokenizer.encode(&case(&prompt), true)?;
            alone.ids.len() - usize::from(alone.special.last() == Some(&true))
        };
        let mut prepared = reserved("texts", &[texts.len()])?;
        for run in runs(texts, prompt.len()) {
            if options.run.cancel.as_ref().is_some_and(CancelToken::is_cancelled) {
                return Err(Error::Cancelled);
            }
            let changed: Vec<String>;
            let encodings = if self.recipe.lowercase || !prompt.is_empty() {
                changed = run.iter().map(|text| case(&format!("{prompt}{text}"))).collect();
                let run: Vec<&str> = changed.iter().map(String::as_str).collect();
                tokenizer.encode_batch(&run, true, Some(limit))?
            } else {
                tokenizer.encode_batch(run, true, Some(limit))?
            };
            prepared.extend(encodings.into_iter().map(|encoding| {
                let row = PooledRow { tokens: encoding.ids.len(), skipped };
                Prepared { encoding, row }
            }));
        }
        Ok(prepared)
    }

    /// The text to put before each text.
    fn prompt(&self, options: &EmbedOptions) -> Result<String> {
        if let Some(prompt) = &options.prompt {
            return Ok(prompt.clone());
        }
        let Some(name) = options.prompt_name.as_ref().or(self.recipe.default_prompt.as_ref())
        else {
            return Ok(String::new());
        };
        self.recipe.prompts.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.recipe.prompts.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "there are none".into() } else { known.join(", ") };
            Error::argument("prompt_name", format!("is `{name}`, not one of this model's: {known}"))
        })
    }

    /// Hidden states of a batch to embeddings.
    ///
    /// # Shapes
    /// `hidden: [B, T, D]`, B rows -> `[B, width]`
    pub(crate) fn finish(
        &self,
        hidden: Tensor<3>,
        rows: &[PooledRow],
        options: &EmbedOptions,
    ) -> Tensor<2> {
        let pooled: Vec<Tensor<2>> = self
            .poolings(options)
            .iter()
            .map(|pooling| pooling.forward(hidden.clone(), rows))
            .collect();
        self.after_pooling(Tensor::cat(pooled, 1), options)
    }

    /// How tokens become a vector.
    fn poolings<'a>(&'a self, options: &'a EmbedOptions) -> &'a [Pooling] {
        match &options.pooling {
            Some(pooling) => std::slice::from_ref(pooling),
            None => &self.recipe.pooling,
        }
    }

    /// Whether [`finish_packed`](Self::finish_packed) knows this device.
    pub(crate) fn packs(&self, device: &burn::tensor::Device, options: &EmbedOptions) -> bool {
        self.poolings(options).iter().all(|pooling| pooling.packs(device))
    }

    /// As [`finish`](Self::finish), of sequences that stand one after another.
    ///
    /// # Shapes
    /// `hidden: [1, N, D]`, the tokens of B rows -> `[B, width]`
    pub(crate) fn finish_packed(
        &self,
        hidden: &Tensor<3>,
        rows: &[PooledRow],
        options: &EmbedOptions,
    ) -> Option<Tensor<2>> {
        let pooled = self.poolings(options).iter().map(|pooling| pooling.packed(hidden, rows));
        let mut pooled = pooled.collect::<Option<Vec<_>>>()?;
        // One alone would be copied.
        let pooled = match pooled.len() {
            1 => pooled.swap_remove(0),
            _ => Tensor::cat(pooled, 1),
        };
        Some(self.after_pooling(pooled, options))
    }

    /// The dense layers and norms: `[B, D]` -> `[B, width]`
    pub(crate) fn after_pooling(&self, mut x: Tensor<2>, options: &EmbedOptions) -> Tensor<2> {
        for step in &self.steps {
            x = match step {
                Layer::Normalize if options.normalize == Some(false) => x,
                Layer::Normalize => normalize(x),
                Layer::Dense(dense) => {
                    let [b, d] = x.dims();
                    let y = dense.proj.forward(x.reshape([b, 1, d]));
                    let [_, _, d] = y.dims();
                    activate(dense.activation, y.reshape([b, d]))
                }
            };
        }
        let cut = options.dimensions.is_some_and(|dimensions| dimensions < self.width);
        if let (true, Some(dimensions)) = (cut, options.dimensions) {
            x = x.narrow(1, 0, dimensions);
        }
        match options.normalize {
            Some(true) => normalize(x),
            _ => x,
        }
    }

    /// Refuses options that do not fit this model.
    pub(crate) fn check(&self, options: &EmbedOptions) -> Result<()> {
        if options.dimensions.is_some_and(|dimensions| dimensions == 0 || dimensions > self.width) {
            let problem = format!("is {:?}, not from 1 to {}", options.dimensions, self.width);
            return Err(Error::argument("dimensions", problem));
        }
        let dense = self.steps.iter().any(|step| matches!(step, Layer::Dense(_)));
        if dense && options.pooling.is_some() && self.recipe.pooling.len() != 1 {
            let problem =
                "cannot be chosen: a dense layer takes the folder's poolings side by side";
            return Err(Error::argument("pooling", problem));
        }
        Ok(())
    }

    /// Size of an embedding with these options.
    pub(crate) fn width_with(&self, options: &EmbedOptions) -> usize {
        let dense = self.steps.iter().any(|step| matches!(step, Layer::Dense(_)));
        let full = match options.pooling {
            Some(_) if !dense => self.width / self.recipe.pooling.len().max(1),
            _ => self.width,
        };
        options.dimensions.map_or(full, |dimensions| dimensions.min(full))
    }
}

fn dense(file: &DenseFile, device: &burn::tensor::Device) -> Result<Proj> {
    let format = match file.weight.dtype {
        Dtype::Weight(format) => format,
        Dtype::Other(name) => {
            let problem = format!("`linear.weight` is stored as {name}");
            return Err(Error::format(&file.path, "a Dense module", problem));
        }
    };
    let bytes = aligned_copy(&file.weight.bytes);
    let weight = match file.weight.floats() {
        Some(values) => {
            let data = TensorData::new(values, [file.outputs, file.inputs]);
            Weight::Full(frozen(Tensor::from_data(data, device)).into())
        }
        None => Weight::Packed(Packed::new(bytes, format, file.outputs, file.inputs, device)?),
    };
    let bias = match &file.bias {
        None => None,
        Some(stored) => {
            let values = stored.floats().ok_or_else(|| {
                let problem = format!("`linear.bias` is stored as {}", stored.dtype);
                Error::format(&file.path, "a Dense module", problem)
            })?;
            Some(frozen(Tensor::from_data(TensorData::new(values, [file.outputs]), device)))
        }
    };
    Ok(Proj { weight, bias })
}

fn activate(kind: DenseActivation, x: Tensor<2>) -> Tensor<2> {
    match kind {
        DenseActivation::Identity => x,
        DenseActivation::Tanh => activation::tanh(x),
        DenseActivation::Relu => activation::relu(x),
        DenseActivation::Gelu => activation::gelu(x),
        DenseActivation::Sigmoid => activation::sigmoid(x),
        DenseActivation::Silu => activation::silu(x),
    }
}

fn normalize(x: Tensor<2>) -> Tensor<2> {
    if let Some(y) = gpu::unit(&x, TINY) {
        return y;
    }
    let length = x.clone().square().sum_dim(1).sqrt().clamp_min(TINY); // [B, 1]
    x / length
}
