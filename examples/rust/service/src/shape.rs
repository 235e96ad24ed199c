//! Requests for text, in OpenAI's shape, and what they mean here.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use emberform::{GenerateOptions, Message, Role};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Failure;

/// Most stop strings and most alternatives of a token, as OpenAI has it.
const MAX_STOPS: usize = 4;
const MAX_LOGPROBS: usize = 20;

/// A request's body, or why it could not be received.
pub type Body = Result<Bytes, BytesRejection>;

/// Reads the body of a request.
pub fn parse<T: DeserializeOwned>(body: Body) -> Result<T, Failure> {
    serde_json::from_slice(&body?)
        .map_err(|error| Failure::unreadable(StatusCode::BAD_REQUEST, error))
}

/// An answer of JSON.
pub fn json_response(status: StatusCode, value: &Value) -> Response {
    let kind = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, kind, value.to_string()).into_response()
}

/// A request for a chat's answer or for the continuation of a text.
#[derive(Deserialize)]
pub struct Request {
    pub model: String,
    pub messages: Option<Vec<Said>>,
    pub prompt: Option<String>,
    pub stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    stop: Option<Stop>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    seed: Option<i64>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    /// A boolean for chats, the number of alternatives for texts.
    logprobs: Option<Value>,
    top_logprobs: Option<usize>,
    // What is not done here is refused rather than passed over.
    n: Option<usize>,
    tools: Option<Value>,
    functions: Option<Value>,
    logit_bias: Option<Value>,
    response_format: Option<Value>,
    echo: Option<bool>,
    suffix: Option<Value>,
    best_of: Option<usize>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Many(Vec<String>),
}

/// A message of a request.
#[derive(Deserialize)]
pub struct Said {
    role: String,
    content: Option<Content>,
    tool_calls: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

impl Request {
    /// Whether the last event tells how many tokens there were.
    pub fn wants_usage(&self) -> bool {
        self.stream_options.as_ref().is_some_and(|options| options.include_usage == Some(true))
    }

    /// What the request asks of a generation.
    pub fn options(&self) -> Result<GenerateOptions, Failure> {
        self.refuse()?;
        let mut options = GenerateOptions::default();
        options.max_tokens = self.max_completion_tokens.or(self.max_tokens);
        options.temperature = self.temperature;
        options.top_p = self.top_p;
        options.seed = self.seed.map(i64::cast_unsigned);
        options.presence_penalty = self.presence_penalty;
        options.frequency_penalty = self.frequency_penalty;
        options.stop = match &self.stop {
            None => vec![],
            Some(Stop::One(stop)) => vec![stop.clone()],
            Some(Stop::Many(stops)) if stops.len() <= MAX_STOPS => stops.clone(),
            Some(Stop::Many(_)) => {
                return Err(Failure::wrong("stop", format!("holds more than {MAX_STOPS} texts")));
            }
        };
        options.logprobs = match &self.logprobs {
            None | Some(Value::Null | Value::Bool(false)) => None,
            Some(Value::Bool(true)) => Some(self.top_logprobs.unwrap_or(0)),
            Some(number) => match number.as_u64() {
                Some(number) => Some(number as usize),
                None => return Err(Failure::wrong("logprobs", "is not true, false or a number")),
            },
        };
        if options.logprobs.is_some_and(|alternatives| alternatives > MAX_LOGPROBS) {
            return Err(Failure::wrong("top_logprobs", format!("is above {MAX_LOGPROBS}")));
        }
        if options.logprobs.is_none() && self.top_logprobs.is_some_and(|count| count > 0) {
            return Err(Failure::wrong("top_logprobs", "needs `logprobs` to be true"));
        }
        Ok(options)
    }

    fn refuse(&self) -> Result<(), Failure> {
        let plain = |format: &Value| format["type"] == "text";
        let formatted =
            asks(&self.response_format) && !self.response_format.as_ref().is_some_and(plain);
        let refused = [
            ("n", self.n.is_some_and(|n| n != 1)),
            ("best_of", self.best_of.is_some_and(|n| n != 1)),
            ("tools", asks(&self.tools)),
            ("functions", asks(&self.functions)),
            ("logit_bias", asks(&self.logit_bias)),
            ("response_format", formatted),
            ("echo", self.echo == Some(true)),
            ("suffix", asks(&self.suffix)),
        ];
        match refused.iter().find(|(_, asked)| *asked) {
            Some((name, _)) => Err(Failure::wrong(name, "is not supported")),
            None => Ok(()),
        }
    }

    /// The messages of a chat.
    pub fn messages(&self) -> Result<Vec<Message>, Failure> {
        let messages = self.messages.as_deref().unwrap_or_default();
        if messages.is_empty() {
            return Err(Failure::wrong("messages", "are missing; at least one is needed"));
        }
        messages.iter().map(Said::message).collect()
    }
}

/// Whether a value asks for anything.
fn asks(value: &Option<Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(entries)) => !entries.is_empty(),
        Some(_) => true,
    }
}

impl Said {
    fn message(&self) -> Result<Message, Failure> {
        if asks(&self.tool_calls) {
            return Err(Failure::wrong("messages", "hold `tool_calls`, which are not supported"));
        }
        // The newer name of those who set the rules; templates know the older.
        let role = match self.role.as_str() {
            "developer" => Role::System,
            role => role.parse()?,
        };
        let mut text = String::new();
        match &self.content {
            None => {}
            Some(Content::Text(content)) => text.push_str(content),
            Some(Content::Parts(parts)) => {
                for part in parts {
                    match (&*part.kind, &part.text) {
                        ("text", Some(part)) => text.push_str(part),
                        (kind, _) => {
                            let problem = format!("hold a part of type `{kind}`, not `text`");
                            return Err(Failure::wrong("messages", problem));
                        }
                    }
                }
            }
        }
        Ok(Message::new(role, text))
    }
}
