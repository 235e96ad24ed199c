//! Conversations: messages in, the model's reply out as a stream.

use std::sync::{Arc, Mutex};

use emberform::{CancelToken, GenerateOptions, Message, Role, Variable};
use pyo3::exceptions::PyTypeError;
use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBool, PyDict, PyInt, PyList, PyMapping, PyString};
use pyo3::{type_hint_identifier, type_hint_subscript, type_hint_union};

use crate::error::{argument, raise};
use crate::generate::{Stream, claim};
use crate::numpy::{Array, STR};

const MAPPING: PyStaticExpr = type_hint_identifier!("collections.abc", "Mapping");

/// Messages of a conversation, each a mapping with `role` and `content`.
pub struct Messages(pub Vec<Message>);

impl<'py> FromPyObject<'_, 'py> for Messages {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr = type_hint_subscript!(
        type_hint_identifier!("collections.abc", "Iterable"),
        type_hint_subscript!(MAPPING, STR, STR)
    );

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let message = |(i, item): (usize, PyResult<Bound<'py, PyAny>>)| message(i, &item?);
        Ok(Messages(given.try_iter()?.enumerate().map(message).collect::<PyResult<_>>()?))
    }
}

impl<'py> IntoPyObject<'py> for Messages {
    type Target = PyList;
    type Output = Bound<'py, PyList>;
    type Error = PyErr;

    const OUTPUT_TYPE: PyStaticExpr = type_hint_subscript!(
        type_hint_identifier!("builtins", "list"),
        type_hint_subscript!(type_hint_identifier!("builtins", "dict"), STR, STR)
    );

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        let dict = |message: &Message| {
            let dict = PyDict::new(py);
            dict.set_item("role", message.role.as_str())?;
            dict.set_item("content", &message.content)?;
            PyResult::Ok(dict)
        };
        PyList::new(py, self.0.iter().map(dict).collect::<PyResult<Vec<_>>>()?)
    }
}

/// The message at place `i`.
fn message(i: usize, given: &Bound<'_, PyAny>) -> PyResult<Message> {
    let py = given.py();
    let Ok(given) = given.cast::<PyMapping>() else {
        let kind = given.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "item {i} is {kind}, not a mapping with `role` and `content`"
        )));
    };
    let wrong = |problem: String| argument(py, "messages", problem);
    let (mut role, mut content) = (None, None);
    for entry in given.items()?.try_iter()? {
        let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = entry?.extract()?;
        let place = match key.extract::<PyBackedStr>() {
            Ok(key) if &*key == "role" => &mut role,
            Ok(key) if &*key == "content" => &mut content,
            _ => {
                let problem =
                    format!("hold {} in item {i}; it has `role` and `content`", key.repr()?);
                return Err(wrong(problem));
            }
        };
        if !value.is_instance_of::<PyString>() {
            let kind = value.get_type().name()?;
            return Err(PyTypeError::new_err(format!("`{key}` of item {i} is {kind}, not str")));
        }
        *place = Some(value.extract::<String>()?);
    }
    let missing = |key: &str| wrong(format!("lack `{key}` in item {i}"));
    let role: String = role.ok_or_else(|| missing("role"))?;
    let role: Role = role.parse().map_err(|error| raise(py, error))?;
    Ok(Message::new(role, content.ok_or_else(|| missing("content"))?))
}

/// Variables of a chat template, by name.
#[derive(Default)]
pub struct Variables(pub Vec<(String, Variable)>);

impl<'py> FromPyObject<'_, 'py> for Variables {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr = type_hint_subscript!(MAPPING, STR, Value::INPUT_TYPE);

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let given = given.cast::<PyMapping>()?;
        let mut variables = Vec::new();
        for entry in given.items()?.try_iter()? {
            let (name, value): (String, Value) = entry?.extract()?;
            variables.push((name, value.0));
        }
        Ok(Variables(variables))
    }
}

/// The value of a variable.
pub struct Value(Variable);

impl<'py> FromPyObject<'_, 'py> for Value {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr = type_hint_union!(
        type_hint_identifier!("builtins", "bool"),
        type_hint_identifier!("builtins", "int"),
        STR
    );

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        // A bool is an int, too.
        if let Ok(value) = given.cast::<PyBool>() {
            Ok(Value(value.is_true().into()))
        } else if given.is_instance_of::<PyInt>() {
            let number: i64 = given.extract().map_err(|_| {
                let problem = format!("hold {}, not from -2^63 to 2^63 - 1", given.as_any());
                argument(given.py(), "variables", problem)
            })?;
            Ok(Value(number.into()))
        } else if given.is_instance_of::<PyString>() {
            Ok(Value(given.extract::<String>()?.into()))
        } else {
            let kind = given.get_type().name()?;
            let problem = format!("a variable is {kind}, not bool, int or str");
            Err(PyTypeError::new_err(problem))
        }
    }
}

/// A conversation with a model: its messages, and the cache of what the model has read; from
/// `Model.chat()`.
///
/// A turn reads only what is new since the last one. Special tokens that are spelled out in a
/// message's text count as such, as in every chat template: keep them out of texts that are not to
/// be trusted.
///
/// Conversations of one model are independent and may run on different threads; one takes one
/// thread at a time, and a second one gets ValueError. A conversation keeps its model's weights
/// until it goes, also after `Model.close()`.
#[pyclass(frozen, module = "emberform")]
pub struct Chat {
    inner: Arc<Mutex<emberform::Chat>>,
    cancel: CancelToken,
}

impl Chat {
    pub fn new(chat: emberform::Chat) -> Self {
        Chat { cancel: chat.cancel_token(), inner: Arc::new(Mutex::new(chat)) }
    }

    /// Does what takes no time.
    fn with<T>(&self, py: Python<'_>, f: impl FnOnce(&mut emberform::Chat) -> T) -> PyResult<T> {
        let mut chat = claim("chat", &self.inner).map_err(|error| raise(py, error))?;
        Ok(f(&mut chat))
    }

    pub fn speak(
        &self,
        py: Python<'_>,
        text: PyBackedStr,
        options: &GenerateOptions,
    ) -> PyResult<Stream> {
        let begun = py.detach(|| claim("chat", &self.inner)?.start(&*text, options));
        let generation = begun.map_err(|error| raise(py, error))?;
        Ok(Stream::of_chat(self.inner.clone(), generation, self.cancel.clone()))
    }
}

#[pymethods]
impl Chat {
    /// Sets the message that stands before all others and says how to answer; an earlier one
    /// gives way to it.
    fn system(&self, py: Python<'_>, text: String) -> PyResult<()> {
        self.with(py, |chat| chat.system(text))
    }

    /// Adds a message without asking for a reply, such as one of an earlier conversation.
    ///
    /// `role`: "system", "user", "assistant", "tool", or another that the template knows.
    ///
    /// Raises ValueError for an empty role.
    fn push(&self, py: Python<'_>, role: &str, content: String) -> PyResult<()> {
        let role: Role = role.parse().map_err(|error| raise(py, error))?;
        self.with(py, |chat| chat.push(Message::new(role, content)))
    }

    /// Sets a variable of the model's chat template, such as `enable_thinking`.
    fn set(&self, py: Python<'_>, name: String, value: Value) -> PyResult<()> {
        self.with(py, |chat| chat.set(name, value.0))
    }

    /// The text that the model would be asked to go on from now: the messages through the
    /// template.
    ///
    /// Raises as `Model.chat_prompt`.
    fn prompt(&self, py: Python<'_>) -> PyResult<String> {
        let prompt = py.detach(|| claim("chat", &self.inner)?.prompt());
        prompt.map_err(|error| raise(py, error))
    }

    /// Stops the reply that is being made, from any thread; its stream's `finish_reason` is then
    /// "cancelled". The next one begins unhindered.
    fn cancel(&self) {
        self.cancel.cancel();
    }

    /// The messages so far, each with `role` and `content`. A reply is among them once it has
    /// ended.
    #[getter]
    fn messages(&self, py: Python<'_>) -> PyResult<Messages> {
        self.with(py, |chat| Messages(chat.messages().to_vec()))
    }

    /// The tokens that the model has read, whose keys and values are cached: uint32 [T].
    #[getter]
    fn ids(&self, py: Python<'_>) -> PyResult<Array<u32>> {
        self.with(py, |chat| Array::flat(chat.ids().to_vec()))
    }

    fn __repr__(&self) -> String {
        match claim("chat", &self.inner) {
            Ok(chat) => {
                let (messages, tokens) = (chat.messages().len(), chat.ids().len());
                format!("<Chat {messages} messages, {tokens} tokens read>")
            }
            Err(_) => "<Chat at work>".to_string(),
        }
    }
}
