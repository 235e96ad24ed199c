//! A matrix of 32-bit floats, and its panels, which the CPU repacks once.

use std::ops::Deref;

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
    Param,
};
use burn::tensor::{Device, Tensor};

use crate::quant::repacked::Repacked;

/// A matrix `[rows, width]` of 32-bit floats, output size first: its parameter, by [`Deref`].
///
/// An encoder multiplies nearly always with many rows. So the matrices of one that was opened on
/// the CPU are repacked once, at the first such product, into panels in the order in which the
/// processor reads them: that doubles their memory, of which the mapped half is the system's to
/// take back.
#[derive(Clone, Debug)]
pub struct Full {
    values: Param<Tensor<2>>,
    repack: Repacked,
}

impl Full {
    /// The same, repacked so at its first product with many rows.
    pub(crate) fn repacked(self, repack: Repacked) -> Full {
        Full { repack, ..self }
    }

    /// How it is repacked.
    pub(crate) fn repack(&self) -> &Repacked {
        &self.repack
    }

    fn with(self, change: impl FnOnce(Param<Tensor<2>>) -> Param<Tensor<2>>) -> Full {
        change(self.values).into()
    }
}

impl From<Param<Tensor<2>>> for Full {
    fn from(values: Param<Tensor<2>>) -> Full {
        Full { values, repack: Repacked::Never }
    }
}

impl Deref for Full {
    type Target = Param<Tensor<2>>;

    fn deref(&self) -> &Param<Tensor<2>> {
        &self.values
    }
}

// By hand: whatever may change the numbers or their place forgets the panels.
impl Module for Full {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.values.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        self.with(|values| values.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.with(|values| values.to_device(device))
    }

    fn train(self) -> Self {
        self.with(Module::train)
    }

    fn valid(&self) -> Self {
        self.values.valid().into()
    }

    fn materialize(self) -> Self {
        Full { values: self.values.materialize(), repack: self.repack }
    }

    fn num_params(&self) -> usize {
        Module::num_params(&self.values)
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.values.visit(visitor);
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        self.with(|values| Module::map(values, mapper))
    }
}

impl ModuleDisplayDefault for Full {
    fn content(&self, content: Content) -> Option<Content> {
        self.values.content(content)
    }

    fn num_params(&self) -> usize {
        Module::num_params(self)
    }
}

impl ModuleDisplay for Full {}
