//! `/v1/chat/completions` and `/v1/completions`

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use emberform::{FinishReason, GenerateOptions, Piece, Stream, Tokenizer};
use futures_util::stream::unfold;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::error::Failure;
use crate::queue::{Cancelling, Place};
use crate::shape::{Body, Request, json_response, parse};
use crate::{Shared, now};

/// Answers the messages of a chat.
pub async fn chat(State(service): Shared, body: Body) -> Result<Response, Failure> {
    let request: Request = parse(body)?;
    let model = service.model(&request.model)?;
    let (messages, options) = (request.messages()?, request.options()?);
    let run = Run::new(true, &request, model.tokenizer(), &options);
    let place = service.queue.place()?;
    let stream = aside(move || model.generate_chat(&messages, &options)).await?;
    respond(place, run, stream, &request).await
}

/// Continues a text.
pub async fn completion(State(service): Shared, body: Body) -> Result<Response, Failure> {
    let mut request: Request = parse(body)?;
    let model = service.model(&request.model)?;
    let options = request.options()?;
    let Some(prompt) = request.prompt.take() else {
        return Err(Failure::wrong("prompt", "is missing; it is one text"));
    };
    let run = Run::new(false, &request, model.tokenizer(), &options);
    let place = service.queue.place()?;
    let stream = aside(move || model.generate(&prompt, &options)).await?;
    respond(place, run, stream, &request).await
}

/// Renders and tokenizes, which takes a while for a long conversation, away from the thread that
/// listens. Whoever does it has a place in the queue.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> emberform::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(|_| Failure::lost())??)
}

async fn respond(
    place: Place,
    run: Run,
    stream: Stream<'static>,
    request: &Request,
) -> Result<Response, Failure> {
    let cancel = stream.cancel_token();
    let cancelling = Cancelling(cancel.clone());
    if request.stream != Some(true) {
        let (sender, result) = oneshot::channel();
        place.put(cancel, move || {
            let _ = sender.send(run.whole(stream));
        });
        let answer = result.await.map_err(|_| Failure::lost())??;
        drop(cancelling);
        return Ok(json_response(StatusCode::OK, &answer));
    }
    let usage = request.wants_usage();
    // Without a bound, so that a slow reader holds up nobody; `max_tokens` and the window are one.
    let (sender, events) = mpsc::unbounded_channel();
    place.put(cancel, move || {
        run.events(stream, usage, &|data| sender.send(Some(data)).is_ok());
        let _ = sender.send(None);
    });
    // The guard is dropped with the stream: at its end, or when the client goes away.
    let events = unfold(Some((events, cancelling)), |state| async move {
        let (mut events, cancelling) = state?;
        let (data, state) = match events.recv().await {
            Some(Some(data)) => (data, Some((events, cancelling))),
            Some(None) => return None,
            // It broke off without an end.
            None => (Failure::lost().body().to_string(), None),
        };
        Some((Ok::<_, Infallible>(Event::default().data(data)), state))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

/// What is said of each answer.
struct Run {
    chat: bool,
    id: String,
    created: u64,
    model: String,
    tokenizer: Option<Tokenizer>,
    logprobs: bool,
}

/// A token's part of `logprobs`.
struct Logged {
    text: String,
    logprob: f32,
    top: Vec<(String, f32)>,
}

impl Run {
    fn new(
        chat: bool,
        request: &Request,
        tokenizer: Option<&Tokenizer>,
        options: &GenerateOptions,
    ) -> Run {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (kind, count) = (if chat { "chatcmpl" } else { "cmpl" }, &COUNT);
        Run {
            chat,
            id: format!("{kind}-{:x}-{}", now(), count.fetch_add(1, Ordering::Relaxed)),
            created: now(),
            model: request.model.clone(),
            tokenizer: tokenizer.cloned(),
            logprobs: options.logprobs.is_some(),
        }
    }

    /// All of the text as one answer.
    fn whole(&self, mut stream: Stream<'static>) -> Result<Value, Failure> {
        let (mut text, mut logged) = (String::new(), Vec::new());
        while let Some(piece) = stream.next() {
            let piece = piece?;
            logged.extend(self.logged(&piece, stream.finish_reason()));
            text.push_str(&piece.text);
        }
        let mut choice = match self.chat {
            true => json!({"message": {"role": "assistant", "content": text, "refusal": null}}),
            false => json!({"text": text}),
        };
        choice["index"] = json!(0);
        choice["logprobs"] = self.log(&logged);
        choice["finish_reason"] = json!(reason(stream.finish_reason()));
        let mut answer = self.frame(if self.chat { "chat.completion" } else { "text_completion" });
        answer["choices"] = json!([choice]);
        answer["usage"] = usage(&stream);
        Ok(answer)
    }

    /// The text as events; `send` says whether anybody still listens.
    fn events(&self, mut stream: Stream<'static>, with_usage: bool, send: &dyn Fn(String) -> bool) {
        let kind = if self.chat { "chat.completion.chunk" } else { "text_completion" };
        let chunk = |content: Value, logprobs: Value, finish: Value| {
            let mut choice = content;
            choice["index"] = json!(0);
            choice["logprobs"] = logprobs;
            choice["finish_reason"] = finish;
            let mut chunk = self.frame(kind);
            chunk["choices"] = json!([choice]);
            if with_usage {
                chunk["usage"] = Value::Null;
            }
            chunk.to_string()
        };
        let content = |text: &str| match self.chat {
            true => json!({"delta": {"content": text}}),
            false => json!({"text": text}),
        };
        if self.chat {
            let opening = json!({"delta": {"role": "assistant", "content": ""}});
            send(chunk(opening, Value::Null, Value::Null));
        }
        // Tokens whose text is held back are logged with the text that releases them.
        let mut logged = Vec::new();
        while let Some(piece) = stream.next() {
            match piece {
                Ok(piece) => {
                    logged.extend(self.logged(&piece, stream.finish_reason()));
                    if piece.text.is_empty() {
                        continue;
                    }
                    let log = self.log(&std::mem::take(&mut logged));
                    if !send(chunk(content(&piece.text), log, Value::Null)) {
                        return;
                    }
                }
                Err(error) => {
                    send(Failure::from(error).body().to_string());
                    return;
                }
            }
        }
        let last = if self.chat { json!({"delta": {}}) } else { content("") };
        let log = if logged.is_empty() { Value::Null } else { self.log(&logged) };
        send(chunk(last, log, json!(reason(stream.finish_reason()))));
        if with_usage {
            let mut last = self.frame(kind);
            last["choices"] = json!([]);
            last["usage"] = usage(&stream);
            send(last.to_string());
        }
        send("[DONE]".to_string());
    }

    /// What every answer and every event begins with.
    fn frame(&self, kind: &str) -> Value {
        json!({"id": self.id, "object": kind, "created": self.created, "model": self.model})
    }

    /// A piece's token; none for the one that ended the text, which is not part of it.
    fn logged(&self, piece: &Piece, finish: Option<FinishReason>) -> Option<Logged> {
        let token = piece.token.as_ref().filter(|_| self.logprobs)?;
        if finish == Some(FinishReason::Stop) {
            return None;
        }
        let text = |id: u32| {
            let tokenizer = self.tokenizer.as_ref()?;
            tokenizer.decode(&[id], false).ok()
        };
        let text = |id: u32| text(id).unwrap_or_default();
        let top = token.top.iter().map(|(id, logprob)| (text(*id), *logprob)).collect();
        Some(Logged { text: text(token.id), logprob: token.logprob, top })
    }

    /// `logprobs` of a choice.
    fn log(&self, logged: &[Logged]) -> Value {
        if !self.logprobs {
            return Value::Null;
        }
        if !self.chat {
            let texts: Vec<&str> = logged.iter().map(|token| token.text.as_str()).collect();
            let own: Vec<f32> = logged.iter().map(|token| token.logprob).collect();
            let top: Vec<Value> = logged
                .iter()
                .map(|token| token.top.iter().map(|(text, p)| (text.clone(), json!(p))).collect())
                .collect();
            return json!({"tokens": texts, "token_logprobs": own, "top_logprobs": top});
        }
        let entry = |text: &str, logprob: f32| {
            // Part of a character has bytes that are no text; they are not known here.
            let bytes = (!text.contains('\u{fffd}')).then_some(text.as_bytes());
            json!({"token": text, "logprob": logprob, "bytes": bytes})
        };
        let content = logged.iter().map(|token| {
            let mut value = entry(&token.text, token.logprob);
            let top = token.top.iter().map(|(text, logprob)| entry(text, *logprob));
            value["top_logprobs"] = top.collect();
            value
        });
        json!({"content": content.collect::<Vec<_>>(), "refusal": null})
    }
}

fn reason(finish: Option<FinishReason>) -> &'static str {
    match finish {
        Some(FinishReason::Length | FinishReason::Window) => "length",
        _ => "stop",
    }
}

fn usage(stream: &Stream<'static>) -> Value {
    let (prompt, made) = (stream.stats().prompt_tokens, stream.stats().tokens);
    json!({"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made})
}
