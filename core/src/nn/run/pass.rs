//! A pass through a stack, and one layer of it.

use std::cell::{OnceCell, RefCell};

use burn::tensor::{Bool, Device, Tensor};

use super::params::{Load, Parameters};
use super::way::Way;
use super::why::Why;
use crate::kernels::cpu::attention::Part;
use crate::nn::cross::CrossCache;
use crate::nn::host;
use crate::nn::plan::{Attend, AttentionAt, Plan};
use crate::nn::position::Angles;
use crate::nn::relative::{Distances, Vectors};
use crate::nn::rows::Rows;
use crate::nn::spec::{Span, Spec};

/// Hidden states on their way through the blocks, `[B, T, D]`, as the last executor left them.
#[allow(clippy::large_enum_variant, reason = "there is one a pass")]
#[derive(Debug)]
pub(crate) enum Hidden {
    /// A burn tensor.
    Tensor(Tensor<3>),
    /// Floats in this program's memory.
    Floats(Vec<f32>, [usize; 3]),
}

impl Hidden {
    /// As a tensor, which costs a copy of floats.
    pub(crate) fn tensor(&self) -> Tensor<3> {
        match self {
            Hidden::Tensor(x) => x.clone(),
            Hidden::Floats(values, shape) => host::tensor(values.clone(), *shape),
        }
    }

    /// As a tensor.
    pub(crate) fn into_tensor(self) -> Tensor<3> {
        match self {
            Hidden::Tensor(x) => x,
            Hidden::Floats(values, shape) => host::tensor(values, shape),
        }
    }
}

/// A stack of blocks, as executors take it.
pub(crate) struct Stack<'a> {
    pub spec: &'a Spec,
    pub plan: &'a Plan,
    /// The learned distances.
    pub relative: Option<&'a Distances>,
    /// The blocks that have weights of their own.
    pub blocks: Vec<&'a dyn Parameters>,
}

/// What a pass has that all its blocks share: its rows, and what is made of them once.
pub(crate) struct Pass<'a> {
    pub spec: &'a Spec,
    pub plan: &'a Plan,
    pub rows: &'a Rows,
    pub device: Device,
    /// What there is of a source.
    pub across: Option<&'a CrossCache>,
    /// Which target rows look at which source.
    pub looks: Vec<Part>,
    /// The learned distances of the stack.
    pub relative: Option<&'a Distances>,
    /// The rows as kernels take them.
    pub parts: Vec<Part>,
    angles: Vec<OnceCell<Angles>>,
    pub(super) memo: Memo,
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    pub views: super::views::Views,
}

/// What is hidden from queries, `[B or 1, 1, T, S]`; `None`: nothing.
type Mask = Option<Tensor<4, Bool>>;

/// What tensors make of the rows, by what it depends on.
#[derive(Default)]
pub(super) struct Memo {
    pub masks: RefCell<Vec<(Span, Vec<usize>, Mask)>>,
    pub biases: RefCell<Vec<(Vec<usize>, Tensor<4>)>>,
    pub vectors: RefCell<Vec<(Vec<usize>, Vectors)>>,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(
        stack: &Stack<'a>,
        rows: &'a Rows,
        device: Device,
        across: Option<&'a CrossCache>,
    ) -> Pass<'a> {
        let Stack { spec, plan, relative, .. } = *stack;
        // Rows that continue one source look at it together.
        let [b, t] = rows.shape();
        let looks = across.map(|memory| memory.parts(b / memory.rows().max(1) * t));
        Pass {
            spec,
            plan,
            rows,
            device,
            across,
            looks: looks.unwrap_or_default(),
            relative,
            parts: rows.parts(),
            angles: plan.ropes.iter().map(|_| OnceCell::new()).collect(),
            memo: Memo::default(),
            #[cfg(any(feature = "wgpu", feature = "cuda"))]
            views: super::views::Views::default(),
        }
    }

    /// The angles of the plan's rotation, made once.
    pub(crate) fn angles(&self, rope: Option<usize>) -> Option<&Angles> {
        let i = rope?;
        let (cell, rope) = (self.angles.get(i)?, self.plan.ropes.get(i)?);
        Some(cell.get_or_init(|| {
            let (places, lengths) = (self.rows.places(), self.rows.lengths());
            if self.rows.run_together() {
                let by_token = self.rows.sequences().iter().enumerate().flat_map(|(i, own)| {
                    let length = lengths.get(i).or(lengths.first()).copied().unwrap_or(0);
                    own.rows.clone().map(move |_| length)
                });
                let by_token: Vec<usize> = by_token.collect();
                return Angles::each(rope, places, &by_token, &self.device);
            }
            Angles::new(rope, places, lengths, &self.device)
        }))
    }
}

/// One layer of a pass.
pub(crate) struct LayerPass<'a> {
    pub pass: &'a Pass<'a>,
    pub owner: &'a dyn Parameters,
    /// Which block's weights it has.
    pub number: usize,
    /// The ways that were decided for it, where they hold for this pass.
    pub ways: Option<&'a [Way; 3]>,
    /// Whether tensors compute every step.
    pub reference: bool,
    /// Where experts are counted.
    pub load: Option<&'a Load>,
    /// Where the weights of the attention are put, `[B, H, T, S]`, if they are wanted.
    pub map: Option<&'a OnceCell<Tensor<4>>>,
}

impl<'a> LayerPass<'a> {
    /// Why nothing but tensors may compute an attention of this layer in this pass, if so.
    pub(crate) fn only_tensors(&self, attend: &Attend) -> Option<Why> {
        let rows = self.pass.rows;
        match attend.of {
            AttentionAt::Cross => {
                let right = self.pass.across.is_none_or(CrossCache::is_on_the_right);
                (!right).then_some(Why::Padding)
            }
            AttentionAt::Own if self.map.is_some() => Some(Why::Maps),
            AttentionAt::Own if !rows.is_on_the_right() => Some(Why::Padding),
            // A token beyond the last key may see none of them through a window.
            AttentionAt::Own => {
                let beyond = rows.looks_beyond() && attend.span != Span::Bidirectional;
                beyond.then_some(Why::Beyond)
            }
        }
    }
}

impl LayerPass<'_> {
    /// Says aloud where tensors compute what was promised to a faster way.
    pub(super) fn check(&self, why: Why) {
        let class = self.pass.rows.class() as usize;
        let Some(way) = self.ways.and_then(|ways| ways.get(class)) else { return };
        let promised = !matches!(way, Way::Tensors(_));
        debug_assert!(!promised, "a block was to be computed by {way}, and {why} came between");
        if promised {
            log::error!(
                "a block with the weights of blocks.{} was to be computed by {way}; tensors compute \
                 it, because of {why}",
                self.number
            );
        }
    }
}
