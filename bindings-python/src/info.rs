//! What models and machines say of themselves: plain values.

use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::{type_hint_identifier, type_hint_subscript};

use crate::error::raise;
use crate::numpy::word;

/// What a device is, as its word.
#[derive(Clone, Copy, PartialEq)]
pub struct DeviceKind(emberform::DeviceKind);

impl<'py> IntoPyObject<'py> for DeviceKind {
    type Target = pyo3::types::PyString;
    type Output = Bound<'py, Self::Target>;
    type Error = std::convert::Infallible;

    const OUTPUT_TYPE: PyStaticExpr = type_hint_subscript!(
        type_hint_identifier!("typing", "Literal"),
        word("cpu"),
        word("discrete"),
        word("integrated"),
        word("virtual"),
        word("software"),
        word("unknown")
    );

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        self.0.to_string().into_pyobject(py)
    }
}

/// A device of this machine.
#[pyclass(frozen, eq, module = "emberform")]
#[derive(Clone, PartialEq)]
pub struct DeviceInfo {
    /// How it is asked for: "cpu" or "gpu:<number>".
    #[pyo3(get)]
    id: String,
    /// The name its driver gives; "cpu" for the CPU.
    #[pyo3(get)]
    name: String,
    /// What it is; "software" is a GPU interface computed by the processor.
    #[pyo3(get)]
    kind: DeviceKind,
    /// The interface it is driven by: "Vulkan", "Metal", "DX12", or "native" for the CPU.
    #[pyo3(get)]
    api: &'static str,
    /// The driver's name and version, as far as it gives them.
    #[pyo3(get)]
    driver: String,
    /// The number in "gpu:<number>"; None for the CPU.
    #[pyo3(get)]
    index: Option<usize>,
    /// Bytes of memory, where the driver tells.
    #[pyo3(get)]
    memory: Option<u64>,
    /// Whether "auto" takes it.
    #[pyo3(get)]
    auto: bool,
    /// Why "auto" takes it or passes it over.
    #[pyo3(get)]
    why: String,
    /// What `str` gives.
    shown: String,
}

#[pymethods]
impl DeviceInfo {
    fn __str__(&self) -> &str {
        &self.shown
    }

    fn __repr__(&self) -> String {
        let auto = if self.auto { "auto: " } else { "" };
        format!("<DeviceInfo {}; {auto}{}>", self.shown, self.why)
    }
}

impl From<&emberform::DeviceInfo> for DeviceInfo {
    fn from(info: &emberform::DeviceInfo) -> Self {
        DeviceInfo {
            id: info.id(),
            name: info.name.clone(),
            kind: DeviceKind(info.kind),
            api: info.api,
            driver: info.driver.clone(),
            index: info.index,
            memory: info.memory,
            auto: info.auto,
            why: info.why.clone(),
            shown: info.to_string(),
        }
    }
}

/// A tensor of a model's files.
#[pyclass(frozen, get_all, eq, module = "emberform")]
#[derive(PartialEq)]
pub struct TensorInfo {
    /// Its name in emberform, which is where it stands in the network.
    name: String,
    /// Its shape, output size first.
    shape: Vec<usize>,
    /// How its numbers are stored, such as "F32" or "Q4_K".
    format: String,
    /// Bytes that it takes.
    bytes: usize,
}

#[pymethods]
impl TensorInfo {
    fn __repr__(&self) -> String {
        format!("<TensorInfo {} {} {:?}, {} bytes>", self.name, self.format, self.shape, self.bytes)
    }
}

impl From<&emberform::TensorInfo> for TensorInfo {
    fn from(info: &emberform::TensorInfo) -> Self {
        TensorInfo {
            name: info.name.clone(),
            shape: info.shape.clone(),
            format: info.format.clone(),
            bytes: info.bytes,
        }
    }
}

/// The memory that a model takes; `print` it for a line of text.
#[pyclass(frozen, module = "emberform")]
pub struct Memory {
    inner: emberform::Memory,
}

impl From<emberform::Memory> for Memory {
    fn from(inner: emberform::Memory) -> Self {
        Memory { inner }
    }
}

#[pymethods]
impl Memory {
    /// Bytes of the weights, as they are stored.
    #[getter]
    fn weights(&self) -> usize {
        self.inner.weights
    }

    /// Whether the weights are pages of the files, which other processes share and which are read
    /// when they are used: so it is on the CPU.
    #[getter]
    fn mapped(&self) -> bool {
        self.inner.mapped
    }

    /// Most tokens that a session can hold.
    #[getter]
    fn window(&self) -> usize {
        self.inner.window
    }

    /// Bytes that the keys and values of a session with so many tokens take; 0 for an encoder.
    fn cache(&self, tokens: usize) -> usize {
        self.inner.cache(tokens)
    }

    fn __str__(&self) -> String {
        self.inner.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<Memory {}>", self.inner)
    }
}

/// What a network is made of; `print` it for the whole network, expanded on one page, and who
/// computes each block on the model's device.
#[pyclass(frozen, module = "emberform")]
pub struct Spec {
    inner: emberform::nn::Spec,
    /// Who computes each block, as lines under it; empty where nobody asked.
    ways: String,
}

impl From<&emberform::nn::Spec> for Spec {
    fn from(inner: &emberform::nn::Spec) -> Self {
        Spec { inner: inner.clone(), ways: String::new() }
    }
}

impl From<&emberform::Model> for Spec {
    fn from(model: &emberform::Model) -> Self {
        let ways: Vec<String> = model.ways().iter().map(ToString::to_string).collect();
        Spec { ways: ways.join("\n"), ..Spec::from(model.spec()) }
    }
}

#[pymethods]
impl Spec {
    /// Tokens of the vocabulary (V).
    #[getter]
    fn vocab(&self) -> usize {
        self.inner.vocab
    }

    /// Size of a hidden state (D).
    #[getter]
    fn width(&self) -> usize {
        self.inner.width
    }

    /// Most tokens of a sequence.
    #[getter]
    fn window(&self) -> usize {
        self.inner.window
    }

    /// Number of blocks.
    #[getter]
    fn layers(&self) -> usize {
        self.inner.layers.len()
    }

    /// Heads of queries.
    #[getter]
    fn heads(&self) -> usize {
        self.inner.attention.heads
    }

    /// Heads of keys and values.
    #[getter]
    fn kv_heads(&self) -> usize {
        self.inner.attention.kv_heads
    }

    /// Size of a head.
    #[getter]
    fn head_dim(&self) -> usize {
        self.inner.attention.head_dim
    }

    /// Whether it gives logits, as a decoder does, rather than hidden states.
    #[getter]
    fn has_logits(&self) -> bool {
        self.inner.has_logits()
    }

    /// The encoder whose states an encoder-decoder's blocks also look at; None for a model of one
    /// stack. The other numbers are then the decoder's.
    #[getter]
    fn encoder(&self) -> Option<Spec> {
        self.inner.encoder.as_deref().map(Spec::from)
    }

    /// The heads that answer tasks, at most one a kind; none for a decoder.
    #[getter]
    fn tasks(&self) -> Vec<Task> {
        self.inner.tasks().iter().map(|task| Task(task.clone())).collect()
    }

    /// How many numbers a model of this spec has: weights, biases and norms, each once.
    #[getter]
    fn parameters(&self, py: Python<'_>) -> PyResult<u64> {
        self.inner.parameters().map_err(|error| raise(py, error))
    }

    fn __str__(&self) -> String {
        match self.ways.as_str() {
            "" => self.inner.to_string(),
            ways => format!("{}\n{ways}", self.inner),
        }
    }

    fn __repr__(&self) -> String {
        let Spec { inner, .. } = self;
        let (layers, heads) = (inner.layers.len(), inner.attention.heads);
        format!(
            "<Spec {layers} layers, width {}, {heads} heads, vocabulary {}, window {}>",
            inner.width, inner.vocab, inner.window
        )
    }
}

/// What a head answers, as its word.
pub struct TaskKind(emberform::nn::spec::TaskKind);

impl<'py> IntoPyObject<'py> for TaskKind {
    type Target = pyo3::types::PyString;
    type Output = Bound<'py, Self::Target>;
    type Error = std::convert::Infallible;

    const OUTPUT_TYPE: PyStaticExpr = type_hint_subscript!(
        type_hint_identifier!("typing", "Literal"),
        word("words"),
        word("classes"),
        word("tokens"),
        word("bounds"),
        word("order")
    );

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        self.0.to_string().into_pyobject(py)
    }
}

/// A head that answers a task; `print` it for what it is made of.
#[pyclass(frozen, eq, module = "emberform")]
#[derive(PartialEq)]
pub struct Task(emberform::nn::spec::Task);

#[pymethods]
impl Task {
    /// What it answers: "words" behind masks (`fill_mask`, `sparse`), "classes" of texts (`classify`,
    /// `zero_shot`, `rerank`), classes of "tokens" (`token_classify`), "bounds" of answers
    /// (`answer`), the "order" of two texts (`follows`).
    #[getter]
    fn kind(&self) -> TaskKind {
        TaskKind(self.0.kind)
    }

    /// Numbers that come out: classes, or the size of the vocabulary.
    #[getter]
    fn outputs(&self) -> usize {
        self.0.outputs
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<Task {}: {}>", self.0.kind, self.0)
    }
}

/// The difference between a device and the CPU after one step of the network.
#[pyclass(frozen, get_all, eq, module = "emberform")]
#[derive(Clone, PartialEq)]
pub struct Step {
    /// "embed", "blocks.0", ..., "norm", "logits".
    name: String,
    /// The largest absolute difference from the CPU.
    difference: f32,
    /// The largest absolute number on the CPU, to judge it by.
    scale: f32,
    /// The difference in units of the step's own numbers.
    relative: f32,
}

#[pymethods]
impl Step {
    fn __repr__(&self) -> String {
        format!("<Step {}: {:e} of {:e}>", self.name, self.difference, self.scale)
    }
}

impl From<&emberform::Step> for Step {
    fn from(step: &emberform::Step) -> Self {
        Step {
            name: step.name.clone(),
            difference: step.difference,
            scale: step.scale,
            relative: step.relative(),
        }
    }
}

/// A device compared with the CPU on the same model and tokens; `print` it for the verdict.
#[pyclass(frozen, module = "emberform")]
pub struct Verification {
    inner: emberform::Verification,
}

impl From<emberform::Verification> for Verification {
    fn from(inner: emberform::Verification) -> Self {
        Verification { inner }
    }
}

#[pymethods]
impl Verification {
    /// The device.
    #[getter]
    fn device(&self) -> &str {
        &self.inner.device
    }

    /// One entry a step of the network, in order.
    #[getter]
    fn steps(&self) -> Vec<Step> {
        self.inner.steps.iter().map(Step::from).collect()
    }

    /// Whether every step is within the tolerance of 32-bit arithmetic.
    #[getter]
    fn passed(&self) -> bool {
        self.inner.passed()
    }

    /// The first step beyond the tolerance: where a difference arose. None when there is none.
    #[getter]
    fn first_wrong(&self) -> Option<Step> {
        self.inner.first_wrong().map(Step::from)
    }

    /// The step with the largest difference relative to its numbers.
    #[getter]
    fn worst(&self) -> Option<Step> {
        self.inner.worst().map(Step::from)
    }

    fn __str__(&self) -> String {
        self.inner.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<Verification {}>", self.inner)
    }
}
