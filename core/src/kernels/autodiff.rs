//! [`PackedOps`] under automatic differentiation: the gradient of the input; weights have none.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend, Slice, TensorMetadata, get_device_settings};

use super::PackedOps;
use crate::quant::Format;

/// Floats that the backward pass dequantizes at a time (64 MiB).
const CHUNK: usize = 16 << 20;

#[derive(Debug)]
struct MatmulBackward;

#[derive(Clone, Debug)]
struct Saved<W> {
    weights: W,
    format: Format,
    rows: usize,
    width: usize,
}

impl<B: PackedOps> Backward<B, 1> for MatmulBackward {
    type State = Saved<IntTensor<B>>;

    /// `dx [M, K] = dy [M, N] w [N, K]`, a run of rows of `w` at a time.
    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [node] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let Some(node) = node else { return };
        let Saved { weights, format, rows, width } = ops.state;
        let device = grad.device();
        let int = get_device_settings::<B>(&device).int_dtype;
        let step = (CHUNK / width.max(1)).max(1);
        let mut sum: Option<FloatTensor<B>> = None;
        let mut start = 0;
        while start < rows {
            let end = rows.min(start + step);
            let ids = B::int_arange(start as i64..end as i64, &device, int);
            let part = B::packed_rows(weights.clone(), ids, format, width, 0, rows);
            let columns = Slice::from(start as isize..end as isize);
            let dy = B::float_slice(grad.clone(), &[Slice::full(), columns]);
            let dx = B::float_matmul(dy, part);
            sum = Some(match sum {
                Some(sum) => B::float_add(sum, dx),
                None => dx,
            });
            start = end;
        }
        if let Some(sum) = sum {
            grads.register::<B>(node.id, sum);
        }
    }
}

impl<B: PackedOps, C: CheckpointStrategy> PackedOps for Autodiff<B, C> {
    fn packed_matmul(
        x: FloatTensor<Self>,
        weights: IntTensor<Self>,
        format: Format,
        rows: usize,
    ) -> FloatTensor<Self> {
        match MatmulBackward.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let width = x.primitive().shape()[1];
                let out = B::packed_matmul(x.primitive().clone(), weights.clone(), format, rows);
                prepared.finish(Saved { weights, format, rows, width }, out)
            }
            OpsKind::UnTracked(prepared) => {
                prepared.finish(B::packed_matmul(x.into_primitive(), weights, format, rows))
            }
        }
    }

    fn packed_rows(
        weights: IntTensor<Self>,
        ids: IntTensor<Self>,
        format: Format,
        width: usize,
        first: usize,
        rows: usize,
    ) -> FloatTensor<Self> {
        Self::from_inner(B::packed_rows(weights, ids, format, width, first, rows))
    }
}
