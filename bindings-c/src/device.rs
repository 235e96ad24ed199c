//! Devices
//!
//! Where a model computes is chosen by a word: `auto` (a real GPU where there is one, else the
//! CPU), `cpu`, `gpu`, `gpu:1`, or `gpu:<part of its name>`.

use std::sync::Arc;

use emberform::{Device, DeviceInfo};

use crate::handle::{self, Object};
use crate::raw;
use crate::status::{Outcome, argument, call, ember_error, ember_status, ember_text};

/// The devices of this machine.
pub struct ember_devices {
    _opaque: (),
}

/// A device.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_device_info {
    /// How it is asked for: `cpu` or `gpu:<number>`.
    pub id: ember_text,
    /// The name its driver gives; `cpu` for the CPU.
    pub name: ember_text,
    /// `cpu`, `discrete`, `integrated`, `virtual`, `software` or `unknown`.
    pub kind: ember_text,
    /// The interface it is driven by, such as `Vulkan`; `native` for the CPU.
    pub api: ember_text,
    /// The driver's name and version, as far as it gives them.
    pub driver: ember_text,
    /// Why `auto` takes it or passes it over.
    pub why: ember_text,
    /// Bytes of memory; 0 where the driver does not tell.
    pub memory: u64,
    /// Whether `auto` takes it.
    pub is_auto: bool,
}

/// A device with the words that a caller may borrow.
pub(crate) struct Entry {
    info: DeviceInfo,
    id: String,
    kind: String,
}

impl Entry {
    pub(crate) fn new(info: DeviceInfo) -> Entry {
        Entry { id: info.id(), kind: info.kind.to_string(), info }
    }

    pub(crate) fn as_c(&self) -> ember_device_info {
        ember_device_info {
            id: ember_text::of(&self.id),
            name: ember_text::of(&self.info.name),
            kind: ember_text::of(&self.kind),
            api: ember_text::of(self.info.api),
            driver: ember_text::of(&self.info.driver),
            why: ember_text::of(&self.info.why),
            memory: self.info.memory.unwrap_or(0),
            is_auto: self.info.auto,
        }
    }
}

struct Devices(Vec<Entry>);

impl Object for Devices {
    type C = ember_devices;
    const NAME: &'static str = "ember_devices";
    const ARGUMENT: &'static str = "devices";
}

/// Lists the devices of this machine: the GPUs in the order of their numbers, then the CPU.
#[unsafe(no_mangle)]
pub extern "C" fn ember_devices_list(
    devices_out: *mut *mut ember_devices,
    error: *mut ember_error,
) -> ember_status {
    call(error, || {
        let out = raw::out("devices_out", devices_out)?;
        handle::give(out, Devices(Device::list().into_iter().map(Entry::new).collect()))
    })
}

/// How many there are; 0 for a handle that is none.
#[unsafe(no_mangle)]
pub extern "C" fn ember_devices_count(devices: *const ember_devices) -> usize {
    handle::ask(devices, 0, |devices: Arc<Devices>| devices.0.len())
}

/// Device number `index`; its texts live as long as `devices`. `info_size` is
/// `sizeof(ember_device_info)`.
///
/// Errors: EMBER_ERROR_ARGUMENT when there is no such device.
#[unsafe(no_mangle)]
pub extern "C" fn ember_devices_get(
    devices: *const ember_devices,
    index: usize,
    info_out: *mut ember_device_info,
    info_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(devices, error, |devices: Arc<Devices>| {
        let out = raw::sized_out("info_out", info_out, info_size)?;
        out.set(at("index", &devices.0, index)?.as_c());
        Ok(())
    })
}

/// Frees the list.
#[unsafe(no_mangle)]
pub extern "C" fn ember_devices_free(devices: *mut ember_devices) {
    handle::free::<Devices>(devices)
}

/// Item `index`, or a fault that says how many there are.
pub(crate) fn at<'a, T>(name: &str, items: &'a [T], index: usize) -> Outcome<&'a T> {
    items.get(index).ok_or_else(|| argument(name, format!("is {index} of {}", items.len())))
}
