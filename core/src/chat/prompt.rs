//! Messages -> the text of a prompt, by the template of a model's files.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use emberform_jinja::{self as jinja, Budget, Clock, Input, Problem, Template};
use serde_json::{Map, Value as Json};

use super::message::Message;
use crate::error::{Error, Result};
use crate::load::file::read_limited;
use crate::load::gguf::Metadata;
use crate::text::Tokenizer;

/// Largest file of a template, in bytes.
const MAX_FILE: u64 = 8 << 20;

/// What templates call the special tokens, and what GGUF files do.
const SPECIAL: [(&str, &str); 7] = [
    ("bos_token", "bos_token_id"),
    ("eos_token", "eos_token_id"),
    ("unk_token", "unknown_token_id"),
    ("sep_token", "seperator_token_id"),
    ("pad_token", "padding_token_id"),
    ("cls_token", "cls_token_id"),
    ("mask_token", "mask_token_id"),
];

/// The chat template of a model's files and what it is filled in with beside messages.
#[derive(Debug, Default)]
pub(crate) struct Prompter {
    /// The file that the template is from, for messages.
    path: PathBuf,
    source: Option<String>,
    /// Name and text of each special token.
    special: Vec<(&'static str, String)>,
    /// The template, read when it is first needed: a model may well embed or continue texts
    /// although its template is broken.
    template: OnceLock<Result<Template, jinja::Error>>,
}

impl Prompter {
    /// Reads what a Hugging Face folder has: `chat_template.jinja`, else the `chat_template` of
    /// `tokenizer_config.json`, of several the one named `default`.
    pub(crate) fn of_folder(folder: &Path, tokenizer_config: &Map<String, Json>) -> Result<Self> {
        let mut path = folder.join("chat_template.jinja");
        let source = if std::fs::symlink_metadata(&path).is_ok() {
            let text = String::from_utf8(read_limited(&path, MAX_FILE)?);
            let text = text.map_err(|_| Error::format(&path, "a template", "it is not UTF-8"))?;
            Some(text)
        } else {
            path = folder.join("tokenizer_config.json");
            template_of(tokenizer_config).map(str::to_string)
        };
        let token = |(name, _): (&'static str, &str)| {
            let text = tokenizer_config.get(name)?;
            let text = text.as_str().or_else(|| text.get("content")?.as_str())?;
            Some((name, text.to_string()))
        };
        let special = SPECIAL.into_iter().filter_map(token).collect();
        Ok(Prompter { path, source, special, template: OnceLock::new() })
    }

    /// Reads what a GGUF file has.
    pub(crate) fn of_gguf(
        path: &Path,
        metadata: &Metadata,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<Self> {
        let source = metadata.string("tokenizer.chat_template")?.map(str::to_string);
        let mut special = Vec::new();
        for (name, key) in SPECIAL {
            let id = metadata.u32(&format!("tokenizer.ggml.{key}"))?;
            if let (Some(id), Some(tokenizer)) = (id, tokenizer)
                && let Some(text) = tokenizer.token(id)
            {
                special.push((name, text));
            }
        }
        Ok(Prompter { path: path.to_path_buf(), source, special, template: OnceLock::new() })
    }

    /// The template as the files have it.
    pub(crate) fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// The template, read.
    pub(crate) fn template(&self, call: &'static str) -> Result<&Template> {
        let Some(source) = &self.source else {
            return Err(Error::Missing {
                call,
                what: "a chat template: the model's files have none".to_string(),
            });
        };
        let template = self.template.get_or_init(|| Template::parse(source));
        template.as_ref().map_err(|error| self.error(error))
    }

    /// Fills the template in; `extra` are variables beside those that every template gets.
    pub(crate) fn render(
        &self,
        call: &'static str,
        messages: &[Message],
        extra: &[(String, Variable)],
    ) -> Result<String> {
        let template = self.template(call)?;
        let mut list = Vec::with_capacity(messages.len());
        for message in messages {
            let (role, content) = (message.role.as_str(), message.content.as_str());
            let entries = [("role", Input::Text(role)), ("content", Input::Text(content))];
            list.push(Input::Dict(entries.into()));
        }
        // As transformers gives them when its caller names no tools and no documents.
        let mut variables = vec![
            ("messages", Input::List(list)),
            ("tools", Input::None),
            ("documents", Input::None),
            ("add_generation_prompt", Input::Bool(true)),
        ];
        variables.extend(self.special.iter().map(|(name, text)| (*name, Input::Text(text))));
        for (name, variable) in extra {
            let input = match variable {
                Variable::Bool(value) => Input::Bool(*value),
                Variable::Number(value) => Input::Whole(*value),
                Variable::Text(text) => Input::Text(text),
            };
            variables.push((name, input));
        }
        let text = template.render(&variables, Budget::new(), Clock::now());
        text.map_err(|error| self.error(&error))
    }

    fn error(&self, error: &jinja::Error) -> Error {
        let jinja::Error { line, problem } = error;
        match problem {
            Problem::Wrong(problem) => {
                Error::format(&self.path, "a chat template", format!("line {line} {problem}"))
            }
            Problem::Unknown { what, known } => Error::Unsupported {
                what: format!(
                    "{what} in line {line} of the chat template of `{}`",
                    self.path.display()
                ),
                known: known.clone(),
            },
            Problem::Raised(message) => {
                let problem = format!("are refused by the chat template: {message}");
                Error::argument("messages", problem)
            }
        }
    }
}

/// The template of a `tokenizer_config.json`.
fn template_of(tokenizer_config: &Map<String, Json>) -> Option<&str> {
    match tokenizer_config.get("chat_template")? {
        Json::String(template) => Some(template),
        Json::Array(templates) => {
            let named = |template: &&Json| template["name"] == "default";
            templates.iter().find(named)?.get("template")?.as_str()
        }
        _ => None,
    }
}

/// A value that a caller gives a template; made `from` a boolean, a whole number or a text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Variable {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
}

impl From<bool> for Variable {
    fn from(value: bool) -> Self {
        Variable::Bool(value)
    }
}

impl From<i64> for Variable {
    fn from(value: i64) -> Self {
        Variable::Number(value)
    }
}

impl From<&str> for Variable {
    fn from(text: &str) -> Self {
        Variable::Text(text.to_string())
    }
}

impl From<String> for Variable {
    fn from(text: String) -> Self {
        Variable::Text(text)
    }
}
