//! Which executor computes each block of a model on its device, and why.

use std::fmt;
use std::sync::Arc;

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::tensor::{Device, Tensor};

use super::pass::{Hidden, LayerPass, Pass, Stack};
use super::way::Way;
use super::why::Why;
use super::{cube, knows, slices};
use crate::nn::cache::Cache;
use crate::nn::gpu::is_gpu;
use crate::nn::host::is_host;
use crate::nn::plan::Step;
use crate::nn::rows::{Class, Rows};
use crate::nn::states::LayerStates;

/// The ways of all blocks, decided once when a model is opened: one for each class of rows.
///
/// Prints as lines under a [`Spec`](crate::nn::Spec), blocks that are alike together:
///
/// ```text
/// computed on cpu
///   blocks.0 to 5                      slices
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ways {
    device: String,
    layers: Vec<[Way; 3]>,
    bound: Vec<[String; 3]>,
    unrecorded: Option<Why>,
}

impl Ways {
    /// Who computes block `i` for a token more of a sequence, for up to eight rows and for more;
    /// `None` beyond the last block.
    pub fn block(&self, i: usize) -> Option<&[Way; 3]> {
        self.layers.get(i)
    }

    /// What block `i` computes on its device, operation by operation, for the same classes of rows:
    /// what is one operation in a line is one kernel there. `None` beyond the last block.
    ///
    /// Slots are `X` of the residual stream, `N` of what a part reads, `Q`, `K`, `V`, `A` of attention,
    /// `G` and `U` of an MLP, `Y` and `Z` of what joins.
    pub fn bound(&self, i: usize) -> Option<&[String; 3]> {
        self.bound.get(i)
    }

    /// Why a GPU does not record the step of one token more, where it could but for this.
    pub fn unrecorded(&self) -> Option<Why> {
        self.unrecorded
    }

    /// How many blocks there are.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there is no block.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The ways of a stack whose states are on `device`, which prints as `name`. Each is found by
    /// what a pass does itself: its parameters are bound to its steps.
    pub(crate) fn of(stack: &Stack<'_>, device: &Device, name: &str) -> Ways {
        let classes = Class::ALL.map(|class| by_class(stack, device, class));
        let (mut layers, mut bound) = (Vec::new(), Vec::new());
        for i in 0..stack.plan.layers.len() {
            let own = classes.each_ref().map(|class| class[i].clone());
            layers.push(own.clone().map(|(way, _)| way));
            bound.push(own.map(|(_, bound)| bound));
        }
        let unrecorded = match is_gpu(device) && stack.spec.is_causal() {
            true => recorded(stack).err(),
            false => None,
        };
        Ways { device: name.to_string(), layers, bound, unrecorded }
    }
}

/// Ways that were decided for a module, and that it forgets when its parameters may have changed or
/// moved.
#[derive(Clone, Debug, Default)]
pub struct Decided(Option<Arc<Ways>>);

impl Decided {
    pub(crate) fn of(ways: Ways) -> Decided {
        Decided(Some(Arc::new(ways)))
    }

    pub(crate) fn get(&self) -> Option<&Ways> {
        self.0.as_deref()
    }
}

// By hand, as for `Full`: it has no parameters, and what may change those of others forgets.
impl Module for Decided {
    fn collect_devices(&self, devices: Devices) -> Devices {
        devices
    }

    fn fork(self, _device: &Device) -> Self {
        Decided::default()
    }

    fn to_device(self, _device: &Device) -> Self {
        Decided::default()
    }

    fn train(self) -> Self {
        Decided::default()
    }

    fn valid(&self) -> Self {
        Decided::default()
    }

    fn materialize(self) -> Self {
        self
    }

    fn num_params(&self) -> usize {
        0
    }

    fn visit<V: ModuleVisitor>(&self, _visitor: &mut V) {}

    fn map<M: ModuleMapper>(self, _mapper: &mut M) -> Self {
        Decided::default()
    }
}

impl ModuleDisplayDefault for Decided {
    fn content(&self, content: Content) -> Option<Content> {
        Some(content)
    }
}

impl ModuleDisplay for Decided {}

/// The way of each block for rows of a class; that of one row has a cache, where tokens follow.
fn by_class(stack: &Stack<'_>, device: &Device, class: Class) -> Vec<(Way, String)> {
    let (spec, plan) = (stack.spec, stack.plan);
    let count = match class {
        Class::One => 1,
        Class::Few => Class::FEW,
        Class::Many => Class::FEW + 1,
    };
    let mut cache = (class == Class::One && spec.is_causal()).then(|| Cache::new(spec));
    if is_gpu(device)
        && cache.is_some()
        && let Ok(launches) = recorded(stack)
    {
        return launches.into_iter().map(|launches| (Way::Recorded, launches)).collect();
    }
    let rows = Rows::full([1, count], 0);
    let pass = Pass::new(stack, &rows, device.clone(), None);
    let x = Tensor::<3>::zeros([1, count, spec.width], device);
    let way = |(i, steps): (usize, &Vec<Step>)| {
        let number = spec.layers[i].weights.unwrap_or(i);
        let owner = stack.blocks[number];
        let layer = LayerPass {
            pass: &pass,
            owner,
            number,
            ways: None,
            reference: false,
            load: None,
            map: None,
        };
        let states = match &mut cache {
            Some(cache) => LayerStates::One(&mut cache.layers[i]),
            None => LayerStates::None,
        };
        let hidden = Hidden::Tensor(x.clone());
        let others = |knows: fn(&Step) -> Result<(), Why>| {
            let other = |step: &Step| Some((step.name(), knows(step).err()?));
            steps.iter().filter_map(other).collect()
        };
        let why = match slices::bind(steps, &layer, &hidden, &states) {
            Ok(bound) => return (Way::Slices(others(knows::slices)), bound.to_string()),
            Err(why) => why,
        };
        match cube::bind(steps, &layer, &x, &states) {
            Ok(bound) => (Way::Kernels(others(knows::cube)), bound.to_string()),
            Err(_) if is_host(device) => (Way::Tensors(why), "tensors".to_string()),
            Err(why) => (Way::Tensors(why), "tensors".to_string()),
        }
    };
    plan.layers.iter().enumerate().map(way).collect()
}

/// The launches of one token in each layer, if its step is recorded.
fn recorded(stack: &Stack<'_>) -> Result<Vec<String>, Why> {
    let layers = stack.spec.layers.iter().zip(&stack.plan.layers).enumerate();
    let launches = layers
        .map(|(i, (own, steps))| cube::launches(steps, stack.blocks[own.weights.unwrap_or(i)]));
    launches.collect()
}

impl fmt::Display for Ways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "computed on {}", self.device)?;
        let mut start = 0;
        while let Some(own) = self.layers.get(start) {
            let alike = self.layers[start..].iter().take_while(|other| *other == own).count();
            let name = match alike {
                1 => format!("blocks.{start}"),
                _ => format!("blocks.{start} to {}", start + alike - 1),
            };
            let [one, few, many] = own;
            let name = format!("  {name:<35}");
            match (one == many, few == many) {
                (true, true) => write!(f, "\n{name}{many}")?,
                _ => {
                    write!(f, "\n{name}one token: {one}")?;
                    write!(f, "\n{:<37}more: {many}", "")?;
                    if few != many {
                        write!(f, "\n{:<37}up to {} rows: {few}", "", Class::FEW)?;
                    }
                }
            }
            start += alike;
        }
        match self.unrecorded {
            Some(why) => write!(f, "\n  a step is not recorded, because of {why}"),
            None => Ok(()),
        }
    }
}
