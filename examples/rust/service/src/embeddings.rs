//! `/v1/embeddings`

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use emberform::{CancelToken, EmbedOptions, Model};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::Shared;
use crate::error::Failure;
use crate::queue::Cancelling;
use crate::shape::{Body, json_response, parse};

/// Most texts of one request, as OpenAI has it.
const MAX_TEXTS: usize = 2048;

#[derive(Deserialize)]
struct Request {
    model: String,
    input: Input,
    encoding_format: Option<Format>,
    dimensions: Option<usize>,
}

/// Texts, or tokens of the model's own vocabulary, which are read as the text that they stand for.
#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    ManyTokens(Vec<Vec<u32>>),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Float,
    Base64,
}

impl Input {
    fn texts(self, model: &Model) -> Result<Vec<String>, Failure> {
        let decoded = |ids: &Vec<u32>| -> Result<String, Failure> {
            let tokenizer = model.tokenizer().ok_or_else(|| {
                Failure::wrong("input", "holds tokens, and the model has no tokenizer for them")
            })?;
            Ok(tokenizer.decode(ids, true)?)
        };
        let texts = match self {
            Input::Text(text) => vec![text],
            Input::Texts(texts) => texts,
            Input::Tokens(ids) if ids.is_empty() => vec![],
            Input::Tokens(ids) => vec![decoded(&ids)?],
            Input::ManyTokens(rows) => rows.iter().map(decoded).collect::<Result<_, _>>()?,
        };
        match texts.len() {
            0 => Err(Failure::wrong("input", "is empty; at least one text is needed")),
            1..=MAX_TEXTS => Ok(texts),
            more => Err(Failure::wrong("input", format!("holds {more} texts, not {MAX_TEXTS}"))),
        }
    }
}

/// Embeds texts.
pub async fn answer(State(service): Shared, body: Body) -> Result<Response, Failure> {
    let request: Request = parse(body)?;
    let model = service.model(&request.model)?;
    let place = service.queue.place()?;
    let cancel = CancelToken::new();
    let _cancelling = Cancelling(cancel.clone());
    let mut options = EmbedOptions::default().cancel(cancel.clone());
    options.dimensions = request.dimensions;
    let format = request.encoding_format.unwrap_or(Format::Float);
    let (sender, result) = oneshot::channel();
    place.put(cancel, move || {
        let _ = sender.send(embed(&model, request.input, &options, format));
    });
    let (rows, tokens) = result.await.map_err(|_| Failure::lost())??;
    let answer = json!({
        "object": "list",
        "data": rows,
        "model": request.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    });
    Ok(json_response(StatusCode::OK, &answer))
}

/// The rows of the answer and how many tokens were read.
fn embed(
    model: &Model,
    input: Input,
    options: &EmbedOptions,
    format: Format,
) -> Result<(Vec<Value>, usize), Failure> {
    let texts = input.texts(model)?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let embeddings = model.embed_with(&texts, options)?;
    let mut tokens = 0;
    if let Some(tokenizer) = model.tokenizer() {
        for (text, cut) in texts.iter().zip(embeddings.cut()) {
            tokens += tokenizer.count(text, true)?.saturating_sub(*cut);
        }
    }
    let row = |(index, row): (usize, &[f32])| {
        let embedding = match format {
            Format::Float => json!(row),
            Format::Base64 => {
                let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
                json!(BASE64_STANDARD.encode(bytes))
            }
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    };
    Ok((embeddings.rows().enumerate().map(row).collect(), tokens))
}
