//! Which tokens a token sees, as a boolean tensor: `true` hides a key from a query.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use crate::nn::rows::Rows;
use crate::nn::spec::Span;

/// Places in ascending order as a tensor, `[N]`.
fn places(values: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.map(|place| place as i32).collect();
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

/// Hides what `span` does not let queries at `queries` see among keys at `keys`.
///
/// `None` when nothing is hidden, which saves the work of applying it.
///
/// # Shapes
/// T queries, S keys -> `[1, 1, T, S]`
pub(crate) fn span(
    span: Span,
    queries: &[usize],
    keys: &[usize],
    device: &Device,
) -> Option<Tensor<4, Bool>> {
    let newest = keys.iter().copied().max()?;
    let oldest = keys.iter().copied().min()?;
    let (first, last) = (*queries.first()?, *queries.last()?);
    let all_before = newest <= first;
    let hides = match span {
        Span::Bidirectional => false,
        Span::Causal => !all_before,
        Span::Local { reach } => newest.abs_diff(oldest) > reach,
        Span::Chunked { size } => !all_before || oldest / size != last / size,
        Span::Sliding { window } => !all_before || oldest + window <= last,
    };
    if !hides {
        return None;
    }
    let (t, s) = (queries.len(), keys.len());
    let runs = match span {
        Span::Chunked { size } => {
            let run = |place: usize| place / size;
            let queries: Tensor<4, Int> =
                places(queries.iter().copied().map(run), device).reshape([1, 1, t, 1]);
            let keys: Tensor<4, Int> =
                places(keys.iter().copied().map(run), device).reshape([1, 1, 1, s]);
            Some(keys.expand([1, 1, t, s]).not_equal(queries.expand([1, 1, t, s])))
        }
        _ => None,
    };
    let queries: Tensor<4, Int> = places(queries.iter().copied(), device).reshape([1, 1, t, 1]);
    let keys: Tensor<4, Int> = places(keys.iter().copied(), device).reshape([1, 1, 1, s]);
    let queries = queries.expand([1, 1, t, s]);
    let keys = keys.expand([1, 1, t, s]);
    if let Span::Local { reach } = span {
        let reach = i32::try_from(reach).unwrap_or(i32::MAX);
        return Some((keys - queries).abs().greater_elem(reach));
    }
    let mut hidden = keys.clone().greater(queries.clone());
    if let Some(runs) = runs {
        hidden = hidden.bool_or(runs);
    }
    if let Span::Sliding { window } = span {
        let window = i32::try_from(window).unwrap_or(i32::MAX);
        hidden = hidden.bool_or(keys.lower_equal(queries - window));
    }
    Some(hidden)
}

/// Hides what is of another sequence, or what `span` does not let a token see of its own, where
/// sequences stand one after another in a row and bring all their keys.
///
/// # Shapes
/// N tokens -> `[1, 1, N, N]`
pub(crate) fn together(span: Span, rows: &Rows, device: &Device) -> Tensor<4, Bool> {
    let (n, places) = (rows.count(), rows.places());
    let mut hidden = vec![true; n * n];
    for own in rows.sequences() {
        for query in own.rows.clone() {
            for key in own.rows.clone() {
                hidden[query * n + key] = !span.sees(places[query], places[key]);
            }
        }
    }
    Tensor::from_data(TensorData::new(hidden, [1, 1, n, n]), device)
}

/// Hides the padding of a batch from every query.
///
/// # Shapes
/// `kept: [B, S]`, `true` for real tokens -> `[B, 1, 1, S]`
pub(crate) fn padding(kept: Tensor<2, Bool>) -> Tensor<4, Bool> {
    let [b, s] = kept.dims();
    kept.bool_not().reshape([b, 1, 1, s])
}

/// What either hides.
///
/// # Shapes
/// `span: [1, 1, T, S]`, `padding: [B, 1, 1, S]` -> `[B, 1, T, S]`
pub(crate) fn either(
    span: Option<Tensor<4, Bool>>,
    padding: Option<Tensor<4, Bool>>,
) -> Option<Tensor<4, Bool>> {
    match (span, padding) {
        (Some(span), Some(padding)) => {
            let ([_, _, t, s], [b, ..]) = (span.dims(), padding.dims());
            let shape = [b, 1, t, s];
            Some(span.expand(shape).bool_or(padding.expand(shape)))
        }
        (one, other) => one.or(other),
    }
}
