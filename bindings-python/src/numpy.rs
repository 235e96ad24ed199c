//! Arguments in, arrays out: what the methods take and give, with its types for the stubs.

use std::any::Any;
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::inspect::{PyStaticConstant, PyStaticExpr};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyInt, PyList, PyString, PyTuple};
use pyo3::{type_hint_identifier, type_hint_subscript, type_hint_union};

use crate::error;

/// A word of a `Literal` in the stubs.
pub const fn word(value: &'static str) -> PyStaticExpr {
    PyStaticExpr::Constant { value: PyStaticConstant::Str(value) }
}

pub const STR: PyStaticExpr = type_hint_identifier!("builtins", "str");
const INT: PyStaticExpr = type_hint_identifier!("builtins", "int");
const SEQUENCE: PyStaticExpr = type_hint_identifier!("collections.abc", "Sequence");

/// A number type of numpy.
pub trait Number: Send + Sync + 'static {
    /// Its name there, for the stubs.
    const NAME: &'static str;
    /// Its code in the array interface, without the sign for the order of bytes.
    const CODE: &'static str;
}

macro_rules! numbers {
    ($($kind:ty: $name:literal, $code:literal;)*) => {
        $(impl Number for $kind {
            const NAME: &'static str = $name;
            const CODE: &'static str = $code;
        })*
    };
}

numbers! {
    f32: "float32", "f4";
    u32: "uint32", "u4";
    bool: "bool_", "b1";
    i64: "int64", "i8";
}

/// What owns the numbers of an array: its `base`. numpy reads and writes them where they are, by
/// the array interface, and lets this go with the last array that looks at them.
#[pyclass(frozen, module = "emberform")]
pub struct Buffer {
    shape: Vec<usize>,
    code: String,
    address: usize,
    /// Whether others look at the numbers too, so that none may write to them.
    read_only: bool,
    /// What owns the numbers, whatever they are.
    _values: Box<dyn Any + Send + Sync>,
}

#[pymethods]
impl Buffer {
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let interface = PyDict::new(py);
        interface.set_item(intern!(py, "version"), 3)?;
        interface.set_item(intern!(py, "shape"), PyTuple::new(py, &self.shape)?)?;
        interface.set_item(intern!(py, "typestr"), &self.code)?;
        interface.set_item(intern!(py, "data"), (self.address, self.read_only))?;
        Ok(interface)
    }
}

/// Numbers of the core on their way to an array, row-major; numpy takes them over without a copy.
pub struct Array<T> {
    pub values: Vec<T>,
    pub shape: Vec<usize>,
}

impl<T> Array<T> {
    /// An array of one dimension.
    pub fn flat(values: Vec<T>) -> Self {
        Array { shape: vec![values.len()], values }
    }
}

impl<'py, T: Number> IntoPyObject<'py> for Array<T> {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    const OUTPUT_TYPE: PyStaticExpr = type_hint_subscript!(
        type_hint_identifier!("numpy.typing", "NDArray"),
        type_hint_identifier!("numpy", T::NAME)
    );

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let mut values = self.values;
        let address = values.as_mut_ptr() as usize;
        let (shape, _values) = (self.shape, Box::new(values));
        let buffer = Buffer { shape, code: code::<T>(), address, read_only: false, _values };
        as_array(py)?.call1((buffer,))
    }
}

/// The code of a number type in the array interface, on this machine.
fn code<T: Number>() -> String {
    let order = if cfg!(target_endian = "big") { '>' } else { '<' };
    format!("{order}{}", T::CODE)
}

/// Numbers that an object of ours keeps, row-major, on their way to an array that only reads them.
pub struct View<O> {
    owner: Arc<O>,
    address: usize,
    shape: Vec<usize>,
}

impl<O> View<O> {
    /// `values` are the owner's, which has them in one place as long as it lives.
    pub fn new(owner: Arc<O>, values: &[f32], shape: Vec<usize>) -> Self {
        View { address: values.as_ptr() as usize, owner, shape }
    }
}

impl<'py, O: Send + Sync + 'static> IntoPyObject<'py> for View<O> {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    const OUTPUT_TYPE: PyStaticExpr = Array::<f32>::OUTPUT_TYPE;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let View { owner, address, shape } = self;
        let _values = Box::new(owner);
        let buffer = Buffer { shape, code: code::<f32>(), address, read_only: true, _values };
        as_array(py)?.call1((buffer,))
    }
}

/// An array that is kept to be given out more than once.
pub struct Held(Py<PyAny>);

impl Array<f32> {
    /// Gives the numbers to numpy now.
    pub fn held(self, py: Python<'_>) -> PyResult<Held> {
        Ok(Held(self.into_pyobject(py)?.unbind()))
    }
}

impl<'py> IntoPyObject<'py> for &Held {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = std::convert::Infallible;

    const OUTPUT_TYPE: PyStaticExpr = Array::<f32>::OUTPUT_TYPE;

    fn into_pyobject(self, py: Python<'py>) -> Result<Bound<'py, PyAny>, Self::Error> {
        Ok(self.0.bind(py).clone())
    }
}

/// `numpy.asarray`; numpy is imported when it is first needed, not with this package.
fn as_array<'py>(py: Python<'py>) -> PyResult<&'py Bound<'py, PyAny>> {
    static FUNCTION: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    FUNCTION.import(py, "numpy", "asarray")
}

/// One text or several.
pub struct Texts {
    pub texts: Vec<PyBackedStr>,
    /// Whether a single text was given rather than a list of one.
    pub single: bool,
}

impl Texts {
    /// The texts as the core takes them.
    pub fn all(&self) -> Vec<&str> {
        self.texts.iter().map(|text| &**text).collect()
    }
}

impl<'py> FromPyObject<'_, 'py> for Texts {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr = type_hint_union!(
        STR,
        type_hint_subscript!(type_hint_identifier!("collections.abc", "Iterable"), STR)
    );

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if given.is_instance_of::<PyString>() {
            return Ok(Texts { texts: vec![given.extract()?], single: true });
        }
        if given.is_instance_of::<PyBytes>() || given.is_instance_of::<PyByteArray>() {
            return Err(PyTypeError::new_err("bytes are no text; decode them first"));
        }
        let mut texts = Vec::with_capacity(given.len().unwrap_or(0).min(1 << 20));
        for (i, item) in given.try_iter()?.enumerate() {
            let item = item?;
            if !item.is_instance_of::<PyString>() {
                let kind = item.get_type().name()?;
                return Err(PyTypeError::new_err(format!("item {i} is {kind}, not str")));
            }
            texts.push(item.extract()?);
        }
        Ok(Texts { texts, single: false })
    }
}

/// Pairs of texts.
pub struct Pairs(Vec<(PyBackedStr, PyBackedStr)>);

impl Pairs {
    /// The pairs as the core takes them.
    pub fn all(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(first, second)| (&**first, &**second)).collect()
    }
}

impl<'py> FromPyObject<'_, 'py> for Pairs {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr = type_hint_subscript!(
        type_hint_identifier!("collections.abc", "Iterable"),
        type_hint_subscript!(type_hint_identifier!("builtins", "tuple"), STR, STR)
    );

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let mut pairs = Vec::new();
        for (i, item) in given.try_iter()?.enumerate() {
            let item = item?;
            let text = |item: &Bound<'py, PyAny>| item.is_instance_of::<PyString>();
            match item.cast::<PyTuple>().map(|pair| pair.iter().collect::<Vec<_>>()) {
                Ok(pair) if pair.len() == 2 && pair.iter().all(text) => {
                    pairs.push((pair[0].extract()?, pair[1].extract()?));
                }
                _ => {
                    let problem = format!("item {i} is {}, not a tuple of two str", item.repr()?);
                    return Err(PyTypeError::new_err(problem));
                }
            }
        }
        Ok(Pairs(pairs))
    }
}

/// A count, or another whole number from 0; what it cannot hold is named with its argument later,
/// by [`Given`].
pub struct Count(Result<u64, String>);

impl<'py> FromPyObject<'_, 'py> for Count {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr = type_hint_identifier!("typing", "SupportsIndex");

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        // What is no number at all is a `TypeError` that pyo3 words.
        static INDEX: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let number = INDEX.import(given.py(), "operator", "index")?.call1((given,))?;
        Ok(Count(number.extract::<u64>().map_err(|_| number.to_string())))
    }
}

impl From<u64> for Count {
    fn from(number: u64) -> Self {
        Count(Ok(number))
    }
}

/// Several values, as anything that gives one after another.
pub struct Several<T>(pub Vec<T>);

impl<'py, T> FromPyObject<'_, 'py> for Several<T>
where
    T: for<'a> FromPyObject<'a, 'py, Error = PyErr>,
{
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr =
        type_hint_subscript!(type_hint_identifier!("collections.abc", "Iterable"), T::INPUT_TYPE);

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        given.try_iter()?.map(|item| item?.extract()).collect::<PyResult<_>>().map(Several)
    }
}

/// A vector of numbers, as a list or an array.
pub struct Vector(pub Vec<f32>);

impl<'py> FromPyObject<'_, 'py> for Vector {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr = type_hint_identifier!("numpy.typing", "ArrayLike");

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(Vector(given.extract()?))
    }
}

/// What a caller gave for an option, on its way to the core's type. `name` is for the message.
pub trait Given<T> {
    fn given(self, py: Python<'_>, name: &'static str) -> PyResult<T>;
}

impl Given<u64> for Count {
    fn given(self, py: Python<'_>, name: &'static str) -> PyResult<u64> {
        let refused =
            |number| error::argument(py, name, format!("is {number}, not from 0 to 2^64 - 1"));
        self.0.map_err(refused)
    }
}

impl Given<usize> for Count {
    fn given(self, py: Python<'_>, name: &'static str) -> PyResult<usize> {
        let number: u64 = self.given(py, name)?;
        usize::try_from(number)
            .map_err(|_| error::argument(py, name, format!("is {number}: too large")))
    }
}

impl Given<u32> for Count {
    fn given(self, py: Python<'_>, name: &'static str) -> PyResult<u32> {
        let number: u64 = self.given(py, name)?;
        u32::try_from(number)
            .map_err(|_| error::argument(py, name, format!("is {number}, not below 2^32")))
    }
}

impl<T, G: Given<T>> Given<Option<T>> for Option<G> {
    fn given(self, py: Python<'_>, name: &'static str) -> PyResult<Option<T>> {
        self.map(|value| value.given(py, name)).transpose()
    }
}

impl<T, G: Given<T>> Given<Vec<T>> for Several<G> {
    fn given(self, py: Python<'_>, name: &'static str) -> PyResult<Vec<T>> {
        self.0.into_iter().map(|value| value.given(py, name)).collect()
    }
}

impl Given<Vec<String>> for Option<Texts> {
    fn given(self, _py: Python<'_>, _name: &'static str) -> PyResult<Vec<String>> {
        Ok(self.map_or(vec![], |texts| texts.all().into_iter().map(String::from).collect()))
    }
}

impl Given<Vec<u32>> for Option<Ids> {
    fn given(self, _py: Python<'_>, _name: &'static str) -> PyResult<Vec<u32>> {
        Ok(self.map_or(vec![], |ids| ids.0))
    }
}

impl Given<f32> for f32 {
    fn given(self, _py: Python<'_>, _name: &'static str) -> PyResult<f32> {
        Ok(self)
    }
}

impl Given<bool> for Option<bool> {
    fn given(self, _py: Python<'_>, _name: &'static str) -> PyResult<bool> {
        Ok(self.unwrap_or(false))
    }
}

impl Given<Vec<u32>> for Ids {
    fn given(self, _py: Python<'_>, _name: &'static str) -> PyResult<Vec<u32>> {
        Ok(self.0)
    }
}

/// What Python gives for an option of this type of the core; nothing leaves it as it is.
pub trait Keyword {
    type Given;
}

macro_rules! keywords {
    ($($core:ty: $given:ty;)*) => {
        $(impl Keyword for $core {
            type Given = $given;
        })*
    };
}

keywords! {
    bool: bool;
    Option<f32>: f32;
    Option<u32>: Count;
    Option<u64>: Count;
    Option<usize>: Count;
    Vec<String>: Texts;
    Vec<u32>: Ids;
    Option<Vec<u32>>: Ids;
    Option<Vec<Vec<u32>>>: Several<Ids>;
}

/// One row of token ids: whole numbers in a sequence, or in anything with `__array__`.
pub struct Ids(pub Vec<u32>);

/// What a row of ids may be.
const ROW: PyStaticExpr = type_hint_union!(
    type_hint_subscript!(SEQUENCE, INT),
    type_hint_subscript!(
        type_hint_identifier!("numpy.typing", "NDArray"),
        type_hint_subscript!(
            type_hint_identifier!("numpy", "integer"),
            type_hint_identifier!("typing", "Any")
        )
    )
);

impl<'py> FromPyObject<'_, 'py> for Ids {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr = ROW;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if !is_list(&given) {
            return match integers(&given)? {
                (ids, shape) if shape.len() == 1 => Ok(Ids(ids)),
                (_, shape) => {
                    let problem = format!("has {} dimensions, not 1", shape.len());
                    Err(error::argument(given.py(), "ids", problem))
                }
            };
        }
        let mut ids = Vec::with_capacity(given.len()?);
        for (i, item) in given.try_iter()?.enumerate() {
            let item = item?;
            let number = match item.cast::<PyInt>() {
                Ok(number) => number.clone().into_any(),
                // Numbers of numpy are no `int`.
                Err(_) if item.hasattr("__index__")? => item.call_method0("__index__")?,
                Err(_) => {
                    let kind = item.get_type().name()?;
                    return Err(PyTypeError::new_err(format!("item {i} is {kind}, not int")));
                }
            };
            ids.push(number.extract().map_err(|_| not_an_id(given.py(), &number))?);
        }
        Ok(Ids(ids))
    }
}

/// One row of token ids or several, which may differ in length.
pub enum Rows {
    One(Vec<u32>),
    Many(Vec<Vec<u32>>),
}

impl Rows {
    /// The rows, and whether a single one was given rather than a list of one.
    pub fn all(self) -> (Vec<Vec<u32>>, bool) {
        match self {
            Rows::One(row) => (vec![row], true),
            Rows::Many(rows) => (rows, false),
        }
    }
}

impl<'py> FromPyObject<'_, 'py> for Rows {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr = type_hint_union!(ROW, type_hint_subscript!(SEQUENCE, ROW));

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let nested =
            |item: Bound<'_, PyAny>| is_list(&item) || item.hasattr("__array__").unwrap_or(false);
        if is_list(&given) {
            // Scalars of numpy have `__array__` and no length.
            let first = given.get_item(0).ok().filter(|item| item.len().is_ok());
            return match first.is_some_and(nested) {
                false => Ok(Rows::One(given.extract::<Ids>()?.0)),
                true => {
                    let row = |item: PyResult<Bound<'py, PyAny>>| Ok(item?.extract::<Ids>()?.0);
                    Ok(Rows::Many(given.try_iter()?.map(row).collect::<PyResult<_>>()?))
                }
            };
        }
        match integers(&given)? {
            (ids, shape) if shape.len() == 1 => Ok(Rows::One(ids)),
            (ids, shape) if shape.len() == 2 => {
                let row = |b: usize| ids[b * shape[1]..(b + 1) * shape[1]].to_vec();
                Ok(Rows::Many((0..shape[0]).map(row).collect()))
            }
            (_, shape) => {
                let problem = format!("has {} dimensions, not 1 or 2", shape.len());
                Err(error::argument(given.py(), "ids", problem))
            }
        }
    }
}

fn is_list(given: &Bound<'_, PyAny>) -> bool {
    given.is_instance_of::<PyList>() || given.is_instance_of::<PyTuple>()
}

fn not_an_id(py: Python<'_>, number: &dyn std::fmt::Display) -> PyErr {
    let problem = format!("hold {number}, which is no id: ids are from 0 to 2^32 - 1");
    error::argument(py, "ids", problem)
}

/// The numbers of an array of whole numbers, or of what numpy makes one of, and its shape.
fn integers(given: &Bound<'_, PyAny>) -> PyResult<(Vec<u32>, Vec<usize>)> {
    let py = given.py();
    if given.is_instance_of::<PyString>() || given.is_instance_of::<PyBytes>() {
        return Err(PyTypeError::new_err("text is no sequence of ids; a tokenizer makes them"));
    }
    let array = as_array(py)?.call1((given,))?;
    let dtype = array.getattr("dtype")?;
    // The widest type of the same sign first, so that nothing wraps before it is looked at.
    let ids = match dtype.getattr("kind")?.extract::<char>()? {
        'u' => ids_of(&array, "<u8", u64::from_le_bytes)?,
        'i' => ids_of(&array, "<i8", i64::from_le_bytes)?,
        _ => {
            let problem = format!("an array of {dtype} holds no ids; it must be of whole numbers");
            return Err(PyTypeError::new_err(problem));
        }
    };
    Ok((ids, array.getattr("shape")?.extract()?))
}

/// The numbers of an array, row-major, read as `wide`.
fn ids_of<T>(array: &Bound<'_, PyAny>, wide: &str, read: fn([u8; 8]) -> T) -> PyResult<Vec<u32>>
where
    T: Copy + std::fmt::Display,
    u32: TryFrom<T>,
{
    let bytes = array.call_method1("astype", (wide,))?.call_method0("tobytes")?;
    let (numbers, _) = bytes.cast::<PyBytes>()?.as_bytes().as_chunks::<8>();
    let id = |bytes: &[u8; 8]| {
        let number = read(*bytes);
        u32::try_from(number).map_err(|_| not_an_id(array.py(), &number))
    };
    numbers.iter().map(id).collect()
}
