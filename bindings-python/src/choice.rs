//! Choices by their names: a `Literal` in the stubs, read by the core.

use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::{type_hint_identifier, type_hint_subscript};

use crate::error::raise;
use crate::numpy::{Given, word};

/// A type for each choice of the core that has names.
macro_rules! choices {
    ($($name:ident: $kind:ty = $($word:literal)|+;)*) => {$(
        #[doc = concat!("The name of an [`", stringify!($kind), "`].")]
        pub struct $name(pub String);

        impl<'py> FromPyObject<'_, 'py> for $name {
            type Error = PyErr;

            const INPUT_TYPE: PyStaticExpr =
                type_hint_subscript!(type_hint_identifier!("typing", "Literal"), $(word($word)),+);

            fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
                Ok($name(given.extract()?))
            }
        }

        impl Given<$kind> for $name {
            fn given(self, py: Python<'_>, _name: &'static str) -> PyResult<$kind> {
                self.0.parse().map_err(|error| raise(py, error))
            }
        }
    )*};
}

choices! {
    AggregationName: emberform::Aggregation = "none" | "simple" | "first" | "average" | "max";
    EarlyStoppingName: emberform::EarlyStopping = "full" | "likely" | "never";
    PoolingName: emberform::Pooling =
        "mean" | "cls" | "lasttoken" | "max" | "mean_sqrt_len_tokens" | "weightedmean";
    PrecisionName: emberform::Precision = "stored" | "f32" | "f16" | "bf16" | "int8";
    RoleName: emberform::TextRole = "query" | "document";
    ScoringName: emberform::Scoring = "softmax" | "sigmoid" | "none";
    UnknownName: emberform::Unknown = "error" | "skip" | "zero" | "subwords";
}
