//! An HTTP service in the shape of OpenAI's: any client of that can use the models.
//!
//! ```text
//! request -> checked -> a place in the queue, or 429 -> tokenized -> compute thread -> answer
//!           shape.rs    queue.rs                       embeddings.rs, texts.rs
//! ```
//! A request whose client goes away is cancelled. SIGTERM or Ctrl-C ends the service once what was
//! accepted is answered, and a second one at once.

mod embeddings;
mod error;
mod queue;
mod shape;
mod texts;

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use emberform::Model;
use emberform_examples::Arguments;
use error::Failure;
use queue::Queue;
use serde_json::{Value, json};
use shape::json_response;
use tokio::sync::oneshot;

const USAGE: &str = "service [--host 127.0.0.1] [--port 8080] [--device auto|cpu|gpu] \
                     [--queue 16] [--threads 1] MODEL ...";

/// Largest body of a request, in bytes.
const MAX_BODY: usize = 16 << 20;

/// What all requests share.
struct Service {
    /// Each model by its name: that of its file or folder.
    models: Vec<(String, Model)>,
    queue: Queue,
    started: u64,
}

impl Service {
    fn model(&self, name: &str) -> Result<Model, Failure> {
        let found = self.models.iter().find(|(known, _)| known == name);
        found.map(|(_, model)| model.clone()).ok_or_else(|| Failure::no_model(name))
    }
}

type Shared = State<Arc<Service>>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let known = ["host", "port", "device", "queue", "threads"];
    let arguments = Arguments::read(USAGE, &known);
    let mut models = Vec::new();
    for path in arguments.from(0) {
        let model = Model::options().device(arguments.device()?).open(path)?;
        let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
        let name = name.strip_suffix(".gguf").unwrap_or(&name).to_string();
        if models.iter().any(|(known, _)| *known == name) {
            return Err(format!("two models have the name `{name}`").into());
        }
        println!("{name}: {model}");
        models.push((name, model));
    }
    if models.is_empty() {
        return Err(USAGE.into());
    }
    let queue = Queue::new(arguments.number("queue", 16), arguments.number("threads", 1))?;
    let service = Arc::new(Service { models, queue, started: now() });
    let host = arguments.option("host").unwrap_or("127.0.0.1");
    let port = u16::try_from(arguments.number("port", 8080))?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().build()?.block_on(serve(service, host, port))?;
    Ok(())
}

async fn serve(service: Arc<Service>, host: &str, port: u16) -> std::io::Result<()> {
    let router = Router::new()
        .route("/v1/embeddings", post(embeddings::answer))
        .route("/v1/chat/completions", post(texts::chat))
        .route("/v1/completions", post(texts::completion))
        .route("/v1/models", get(models))
        .route("/v1/models/{name}", get(model))
        .route("/health", get(health))
        .fallback(|| async { Failure::no_route() })
        .method_not_allowed_fallback(|| async { Failure::wrong_method() })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(service);
    let listener = tokio::net::TcpListener::bind((host, port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    // One signal ends the service gently, a second one while it ends does so at once.
    let (asked, gently) = oneshot::channel::<()>();
    let signals = async {
        asked_to_stop().await;
        let _ = asked.send(());
        asked_to_stop().await;
    };
    let ended = axum::serve(listener, router).with_graceful_shutdown(async {
        gently.await.ok();
    });
    tokio::select! {
        ended = ended => ended,
        () = signals => std::process::exit(130),
    }
}

/// Ends at SIGTERM or Ctrl-C.
async fn asked_to_stop() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    tokio::signal::ctrl_c().await.ok();
}

async fn models(State(service): Shared) -> Response {
    let list: Vec<Value> =
        service.models.iter().map(|(name, _)| described(name, &service)).collect();
    json_response(StatusCode::OK, &json!({"object": "list", "data": list}))
}

async fn model(
    State(service): Shared,
    name: Result<axum::extract::Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let axum::extract::Path(name) = name?;
    service.model(&name)?;
    Ok(json_response(StatusCode::OK, &described(&name, &service)))
}

fn described(name: &str, service: &Service) -> Value {
    json!({"id": name, "object": "model", "created": service.started, "owned_by": "emberform"})
}

/// How much there is to do.
async fn health(State(service): Shared) -> Response {
    let (running, waiting) = service.queue.load();
    let load = json!({"status": "ok", "running": running, "waiting": waiting});
    json_response(StatusCode::OK, &load)
}

/// Seconds since the beginning of 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
