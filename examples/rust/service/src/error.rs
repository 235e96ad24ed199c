//! What goes wrong, in OpenAI's words.

use std::fmt::Display;

use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use emberform::Error;
use serde_json::{Value, json};

use crate::shape::json_response;

/// An answer that is an error.
#[derive(Debug)]
pub struct Failure {
    status: StatusCode,
    message: String,
    /// The parameter that is wrong.
    param: Option<String>,
    code: Option<&'static str>,
}

impl Failure {
    fn new(status: StatusCode, message: impl Into<String>, code: Option<&'static str>) -> Failure {
        Failure { status, message: message.into(), param: None, code }
    }

    /// A request whose parameter `param` makes no sense.
    pub fn wrong(param: &str, problem: impl Display) -> Failure {
        Failure::about(param, format!("`{param}` {problem}"))
    }

    fn about(param: &str, message: String) -> Failure {
        let mut failure = Failure::new(StatusCode::BAD_REQUEST, message, None);
        failure.param = Some(param.to_string());
        failure
    }

    /// A request that cannot be read.
    pub fn unreadable(status: StatusCode, problem: impl Display) -> Failure {
        Failure::new(status, format!("the request cannot be read: {problem}"), None)
    }

    /// A model that was not opened.
    pub fn no_model(name: &str) -> Failure {
        let message = format!("the model `{name}` does not exist");
        let mut failure = Failure::new(StatusCode::NOT_FOUND, message, Some("model_not_found"));
        failure.param = Some("model".to_string());
        failure
    }

    /// A path that is not served.
    pub fn no_route() -> Failure {
        Failure::new(StatusCode::NOT_FOUND, "there is nothing at this path", Some("unknown_url"))
    }

    /// A method that a path does not have.
    pub fn wrong_method() -> Failure {
        Failure::new(StatusCode::METHOD_NOT_ALLOWED, "this path has no such method", None)
    }

    /// More requests than may wait.
    pub fn busy() -> Failure {
        let message = "all places in the queue are taken; try again later";
        Failure::new(StatusCode::TOO_MANY_REQUESTS, message, Some("queue_full"))
    }

    /// Work that ended without a result.
    pub fn lost() -> Failure {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the work broke off", None)
    }

    /// The body that clients expect.
    pub fn body(&self) -> Value {
        let kind = match self.status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        json!({"error": {
            "message": self.message, "type": kind, "param": self.param, "code": self.code,
        }})
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let message = error.to_string();
        match error {
            Error::Argument { argument, .. } => Failure::about(argument, message),
            Error::TooLong { .. } => {
                let code = Some("context_length_exceeded");
                Failure::new(StatusCode::BAD_REQUEST, message, code)
            }
            // What this model cannot do, such as chat without a template.
            Error::Missing { .. } => Failure::about("model", message),
            _ => Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message, None),
        }
    }
}

impl From<BytesRejection> for Failure {
    fn from(rejection: BytesRejection) -> Failure {
        Failure::unreadable(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for Failure {
    fn from(rejection: PathRejection) -> Failure {
        Failure::unreadable(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, &self.body());
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
