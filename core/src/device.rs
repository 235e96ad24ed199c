//! Where a model computes: the choice a caller makes, what there is, and opening it.
//!
//! [`Device`] is what every binding takes as text (`auto`, `cpu`, `gpu:0`); [`Device::list`] says
//! what a machine has and what `auto` takes. The front door of the crate opens a device with
//! [`open`] and keeps panics of the layers below with [`guard`].

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Error, Result};

/// Which device to compute on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// A real GPU where there is one (discrete before integrated before virtual), the CPU
    /// otherwise; never a software adapter. Written `auto`; the default.
    #[default]
    Auto,
    /// The CPU. Written `cpu`.
    Cpu,
    /// A GPU. Written `gpu`, `gpu:1` or `gpu:<part of its name>`.
    Gpu(GpuChoice),
}

/// Which GPU to compute on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum GpuChoice {
    /// The one that `auto` would take; an error where there is only a software adapter.
    #[default]
    Any,
    /// The one with this number in [`Device::list`].
    Index(usize),
    /// The first whose name holds this text, upper or lower case; the only way to a software
    /// adapter beside its number.
    Name(String),
}

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceKind {
    /// The processor, through the crate's own kernels.
    Cpu,
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A GPU that a virtual machine passes on.
    Virtual,
    /// A GPU interface computed by the processor, such as llvmpipe: for tests.
    Software,
    /// An adapter whose driver does not say what it is.
    Other,
}

/// A device of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// The name its driver gives; `cpu` for the CPU.
    pub name: String,
    /// What it is.
    pub kind: DeviceKind,
    /// The interface it is driven by: `Vulkan`, `Metal`, `DX12`, or `native` for the CPU.
    pub api: &'static str,
    /// The driver's name and version, as far as it gives them.
    pub driver: String,
    /// The number in `gpu:<number>`; none for the CPU.
    pub index: Option<usize>,
    /// Bytes of memory, where the driver tells.
    pub memory: Option<u64>,
    /// Whether `auto` takes it.
    pub auto: bool,
    /// Why `auto` takes it or passes it over.
    pub why: String,
}

const ASKED: &str = "it was asked for";
const NO_GPU: &str = "there is no real GPU";

/// A device that has computed something.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    /// Where tensors are made.
    pub device: burn::tensor::Device,
    /// What it is.
    pub info: DeviceInfo,
}

impl Device {
    /// The devices of this machine: the GPUs in the order of their numbers, then the CPU.
    ///
    /// Never fails: a machine without a graphics driver has only its CPU.
    pub fn list() -> Vec<DeviceInfo> {
        let mut found: Vec<DeviceInfo> = gpus().into_iter().map(|(info, _)| info).collect();
        let why = match found.iter().find(|info| info.auto) {
            None => NO_GPU.to_string(),
            Some(info) => format!("`{}` is faster", info.id()),
        };
        let auto = found.iter().all(|info| !info.auto);
        found.push(DeviceInfo { auto, why, ..DeviceInfo::cpu() });
        found
    }
}

impl FromStr for Device {
    type Err = Error;

    /// Reads `auto`, `cpu`, `gpu`, `gpu:<number>` or `gpu:<part of a name>`.
    fn from_str(text: &str) -> Result<Device> {
        let refused = || {
            let problem = format!(
                "is `{text}`; it must be `auto`, `cpu`, `gpu`, `gpu:<number>` or `gpu:<part of a name>`"
            );
            Error::argument("device", problem)
        };
        let (word, rest) = match text.trim().split_once(':') {
            Some((word, rest)) => (word.trim_end(), Some(rest.trim())),
            None => (text.trim(), None),
        };
        match (word.to_ascii_lowercase().as_str(), rest) {
            ("auto", None) => Ok(Device::Auto),
            ("cpu", None) => Ok(Device::Cpu),
            ("gpu", None) => Ok(Device::Gpu(GpuChoice::Any)),
            ("gpu", Some("")) => Err(refused()),
            ("gpu", Some(rest)) if rest.bytes().all(|byte| byte.is_ascii_digit()) => {
                let index = rest.parse().map_err(|_| refused())?;
                Ok(Device::Gpu(GpuChoice::Index(index)))
            }
            ("gpu", Some(rest)) => Ok(Device::Gpu(GpuChoice::Name(rest.to_string()))),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            Device::Cpu => f.write_str("cpu"),
            Device::Gpu(GpuChoice::Any) => f.write_str("gpu"),
            Device::Gpu(GpuChoice::Index(index)) => write!(f, "gpu:{index}"),
            Device::Gpu(GpuChoice::Name(name)) => write!(f, "gpu:{name}"),
        }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeviceKind::Cpu => "cpu",
            DeviceKind::Discrete => "discrete",
            DeviceKind::Integrated => "integrated",
            DeviceKind::Virtual => "virtual",
            DeviceKind::Software => "software",
            DeviceKind::Other => "unknown",
        })
    }
}

impl DeviceInfo {
    /// How the device is asked for: `cpu` or `gpu:<number>`.
    pub fn id(&self) -> String {
        match self.index {
            None => "cpu".to_string(),
            Some(index) => format!("gpu:{index}"),
        }
    }

    fn cpu() -> DeviceInfo {
        DeviceInfo {
            name: "cpu".to_string(),
            kind: DeviceKind::Cpu,
            api: "native",
            driver: std::env::consts::ARCH.to_string(),
            index: None,
            memory: None,
            auto: false,
            why: ASKED.to_string(),
        }
    }
}

impl fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id())?;
        if self.index.is_some() {
            write!(f, " {} ({}, {})", self.name, self.kind, self.api)?;
        }
        Ok(())
    }
}

/// Opens the device and computes three numbers on it, so that one that is not there, or does not
/// work, is an error here and not a panic later. `auto` falls back to the CPU.
///
/// # Errors
/// [`Error::Device`]: no such device, or it does not work.
pub(crate) fn open(choice: &Device) -> Result<Opened> {
    let cpu = |auto, why| {
        opened(burn::tensor::Device::flex(), DeviceInfo { auto, why, ..DeviceInfo::cpu() })
    };
    match choice {
        Device::Cpu => cpu(false, ASKED.to_string()),
        Device::Gpu(gpu) => {
            let (info, adapter) = pick(gpus(), gpu)?;
            open_gpu(DeviceInfo { why: ASKED.to_string(), ..info }, adapter)
        }
        Device::Auto => match gpus().into_iter().find(|(info, _)| info.auto) {
            None => cpu(true, NO_GPU.to_string()),
            Some((info, adapter)) => {
                open_gpu(info, adapter).or_else(|error| cpu(true, error.to_string()))
            }
        },
    }
}

/// Whether this process is a fork of one that had computed: the threads that compute stayed
/// there, and who waits for them waits for ever.
pub(crate) fn forked() -> bool {
    /// The process that computed first; 0 before.
    static FIRST: AtomicU32 = AtomicU32::new(0);
    let own = std::process::id();
    match FIRST.compare_exchange(0, own, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => false,
        Err(first) => first != own,
    }
}

/// Runs `f` and turns a panic of the layers below into [`Error::Device`] with the panic's text.
///
/// What `f` was changing must not be used again after that error.
pub(crate) fn guard<T>(device: &str, f: impl FnOnce() -> Result<T>) -> Result<T> {
    if forked() {
        let problem = "this process was forked from one that had computed, whose threads it does \
                       not have; start processes with `spawn`, or fork before the first model";
        return Err(Error::Device { device: device.to_string(), problem: problem.to_string() });
    }
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        let problem = match (payload.downcast_ref::<String>(), payload.downcast_ref::<&str>()) {
            (Some(text), _) => text.clone(),
            (None, Some(text)) => text.to_string(),
            (None, None) => "stopped for a reason it did not give".to_string(),
        };
        Err(Error::Device { device: device.to_string(), problem })
    })
}

/// Tries the device.
fn opened(device: burn::tensor::Device, info: DeviceInfo) -> Result<Opened> {
    let id = info.id();
    guard(&id, || {
        let data = burn::tensor::Tensor::<1>::from_floats([1.0, 2.0, 3.0], &device)
            .mul_scalar(2.0)
            .into_data();
        match data.try_to_vec::<f32>() {
            Ok(values) if values == [2.0, 4.0, 6.0] => Ok(()),
            _ => Err(Error::Device {
                device: id.clone(),
                problem: "it gives wrong answers to the simplest computation".to_string(),
            }),
        }
    })?;
    Ok(Opened { device, info })
}

/// The GPU of the list that is meant.
fn pick(found: Vec<(DeviceInfo, Adapter)>, choice: &GpuChoice) -> Result<(DeviceInfo, Adapter)> {
    let there = found
        .iter()
        .map(|(info, _)| format!("`{}` is {}", info.id(), info.name))
        .collect::<Vec<_>>()
        .join(", ");
    let chosen = found.into_iter().find(|(info, _)| match choice {
        GpuChoice::Any => info.auto,
        GpuChoice::Index(index) => info.index == Some(*index),
        GpuChoice::Name(name) => info.name.to_lowercase().contains(&name.to_lowercase()),
    });
    chosen.ok_or_else(|| {
        let problem = match choice {
            _ if cfg!(not(feature = "wgpu")) => {
                "this build has no GPU support; the feature `wgpu` adds it".to_string()
            }
            _ if there.is_empty() => "this machine has no GPU with a working driver".to_string(),
            GpuChoice::Any => format!("{NO_GPU}; by number or name: {there}"),
            _ => format!("there is no such GPU; there is: {there}"),
        };
        Error::Device { device: Device::Gpu(choice.clone()).to_string(), problem }
    })
}

#[cfg(feature = "wgpu")]
use adapters::{Adapter, gpus, open_gpu};

/// How an adapter is opened: there is none in this build.
#[cfg(not(feature = "wgpu"))]
type Adapter = std::convert::Infallible;

#[cfg(not(feature = "wgpu"))]
fn gpus() -> Vec<(DeviceInfo, Adapter)> {
    Vec::new()
}

#[cfg(not(feature = "wgpu"))]
fn open_gpu(_info: DeviceInfo, adapter: Adapter) -> Result<Opened> {
    match adapter {}
}

/// The adapters that wgpu sees, and how each is named to cubecl.
#[cfg(feature = "wgpu")]
mod adapters {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use cubecl::wgpu::wgpu::{AdapterInfo, Backend, DeviceType, Instance, InstanceDescriptor};
    use cubecl::wgpu::{
        AutoGraphicsApi, RuntimeOptions, WgpuBackend, WgpuDevice, WgpuDeviceKind, WgpuInitError,
        try_init_setup,
    };

    use super::{DeviceInfo, DeviceKind, Opened, opened};
    use crate::error::{Error, Result};

    /// Instances are made once and kept: Vulkan loaders crash when they come and go on several
    /// threads. The lock is also held while cubecl makes its own.
    static INSTANCES: Mutex<Vec<(Backend, Instance)>> = Mutex::new(Vec::new());

    /// The devices that were opened before: cubecl takes each once.
    static OPENED: Mutex<Vec<WgpuDevice>> = Mutex::new(Vec::new());

    /// The APIs to ask, best first; a later one is asked only where those before have no GPU.
    /// OpenGL is left out: its drivers do not say which adapters are real.
    const APIS: &[Backend] = if cfg!(target_os = "macos") {
        &[Backend::Metal]
    } else if cfg!(windows) {
        &[Backend::Vulkan, Backend::Dx12]
    } else {
        &[Backend::Vulkan]
    };

    /// How cubecl finds the adapter again; `None` for those it cannot.
    pub(super) type Adapter = Option<WgpuDevice>;

    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The adapters in the order of their numbers: by kind, then as the driver lists them.
    pub(super) fn gpus() -> Vec<(DeviceInfo, Adapter)> {
        let mut found = Vec::new();
        for &api in APIS {
            let adapters = enumerate(api);
            if adapters.iter().any(|adapter| adapter.device_type != DeviceType::Cpu) {
                found = adapters;
                break;
            }
            if found.is_empty() {
                found = adapters;
            }
        }
        let with_kind = |adapter: AdapterInfo| {
            let kind = kind(adapter.device_type);
            (adapter, kind)
        };
        let mut found: Vec<(AdapterInfo, DeviceKind)> = found.into_iter().map(with_kind).collect();
        found.sort_by_key(|(_, kind)| *kind as usize);
        let best = found.iter().position(|(_, kind)| {
            matches!(kind, DeviceKind::Discrete | DeviceKind::Integrated | DeviceKind::Virtual)
        });
        let mut within = 0;
        let mut before = None;
        let mut all = Vec::with_capacity(found.len());
        for (index, (adapter, kind)) in found.into_iter().enumerate() {
            within = if before == Some(kind) { within + 1 } else { 0 };
            before = Some(kind);
            let auto = best == Some(index);
            let why = match kind {
                _ if auto => format!("it is the best GPU there is: {kind}"),
                DeviceKind::Software => "it is no GPU but software on the CPU".to_string(),
                DeviceKind::Other => "its driver does not say what it is".to_string(),
                _ => "another GPU comes first".to_string(),
            };
            let driver = format!("{} {}", adapter.driver, adapter.driver_info);
            let selector = selector(adapter.backend, kind, within);
            let info = DeviceInfo {
                name: adapter.name,
                kind,
                api: api_name(adapter.backend),
                driver: driver.trim().to_string(),
                index: Some(index),
                memory: None,
                auto,
                why,
            };
            all.push((info, selector));
        }
        all
    }

    fn kind(of: DeviceType) -> DeviceKind {
        match of {
            DeviceType::DiscreteGpu => DeviceKind::Discrete,
            DeviceType::IntegratedGpu => DeviceKind::Integrated,
            DeviceType::VirtualGpu => DeviceKind::Virtual,
            DeviceType::Cpu => DeviceKind::Software,
            DeviceType::Other => DeviceKind::Other,
        }
    }

    /// cubecl counts adapters within their kind, and software has no count.
    fn selector(api: Backend, kind: DeviceKind, within: usize) -> Adapter {
        let kind = match kind {
            DeviceKind::Discrete => WgpuDeviceKind::DiscreteGpu(within),
            DeviceKind::Integrated => WgpuDeviceKind::IntegratedGpu(within),
            DeviceKind::Virtual => WgpuDeviceKind::VirtualGpu(within),
            DeviceKind::Other => WgpuDeviceKind::Other(within),
            DeviceKind::Software if within == 0 => WgpuDeviceKind::Cpu,
            DeviceKind::Software | DeviceKind::Cpu => return None,
        };
        let device = WgpuDevice::new(kind);
        Some(match api {
            Backend::Vulkan => device.on(WgpuBackend::Vulkan),
            Backend::Dx12 => device.on(WgpuBackend::Dx12),
            // Not pinned: Metal may then fall back from its own shading language to WGSL.
            _ => device,
        })
    }

    /// The adapters of one API; none where the platform or the machine lacks it.
    fn enumerate(api: Backend) -> Vec<AdapterInfo> {
        if !Instance::enabled_backend_features().contains(api.into()) {
            return Vec::new();
        }
        let asked = super::guard(api_name(api), || {
            let mut instances = lock(&INSTANCES);
            let known = instances.iter().find(|(of, _)| *of == api).map(|(_, it)| it.clone());
            let instance = known.unwrap_or_else(|| {
                let made = Instance::new(InstanceDescriptor {
                    backends: api.into(),
                    ..InstanceDescriptor::new_without_display_handle()
                });
                instances.push((api, made.clone()));
                made
            });
            let adapters = cubecl::future::block_on(instance.enumerate_adapters(api.into()));
            Ok(adapters.iter().map(|adapter| adapter.get_info()).collect())
        });
        asked.unwrap_or_default()
    }

    fn api_name(api: Backend) -> &'static str {
        match api {
            Backend::Vulkan => "Vulkan",
            Backend::Metal => "Metal",
            Backend::Dx12 => "DX12",
            Backend::Gl => "OpenGL",
            Backend::BrowserWebGpu => "WebGPU",
            Backend::Noop => "none",
        }
    }

    pub(super) fn open_gpu(info: DeviceInfo, adapter: Adapter) -> Result<Opened> {
        let refused =
            |problem: &str| Error::Device { device: info.id(), problem: problem.to_string() };
        if info.kind == DeviceKind::Software && cfg!(feature = "vulkan") {
            return Err(refused(
                "software adapters crash on the SPIR-V of this build's feature `vulkan`; a \
                 build with `wgpu` alone can use them",
            ));
        }
        let Some(adapter) = adapter else {
            return Err(refused("only the first software adapter can be opened"));
        };
        super::guard(&info.id(), || start(&adapter, &info))?;
        opened(burn::tensor::Device::new(cubecl::Device::Wgpu(adapter)), info)
    }

    /// Registers the adapter with cubecl, once in a process.
    fn start(adapter: &WgpuDevice, info: &DeviceInfo) -> Result<()> {
        let mut known = lock(&OPENED);
        if known.contains(adapter) {
            return Ok(());
        }
        let _instances = lock(&INSTANCES);
        // Spelled out, since the default reads an environment variable.
        let options = RuntimeOptions { tasks_max: 32, memory_config: Default::default() };
        match try_init_setup::<AutoGraphicsApi>(adapter, options) {
            // The host opened it before: as good.
            Ok(_) | Err(WgpuInitError::Registration { .. }) => {
                known.push(adapter.clone());
                Ok(())
            }
            Err(error) => Err(Error::Device { device: info.id(), problem: error.to_string() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_and_written() {
        for text in ["auto", "cpu", "gpu", "gpu:0", "gpu:17", "gpu:llvmpipe", "gpu:RTX 4090"] {
            assert_eq!(text.parse::<Device>().unwrap().to_string(), text);
        }
        assert_eq!(" GPU: llvm ".parse::<Device>().unwrap().to_string(), "gpu:llvm");
        for text in ["", "gpu:", "gpu: ", "cpu:0", "cuda", "gpu:99999999999999999999999", "auto:1"]
        {
            let error = text.parse::<Device>().unwrap_err();
            assert!(matches!(error, Error::Argument { argument: "device", .. }), "{text}: {error}");
        }
    }

    #[cfg(feature = "wgpu")]
    fn gpu(index: usize, name: &str, kind: DeviceKind, auto: bool) -> (DeviceInfo, Adapter) {
        let name = name.to_string();
        let index = Some(index);
        (DeviceInfo { name, kind, index, auto, api: "Vulkan", ..DeviceInfo::cpu() }, None)
    }

    #[cfg(feature = "wgpu")]
    #[test]
    fn software_is_taken_only_by_name_or_number() {
        let only_software = vec![gpu(0, "llvmpipe (LLVM)", DeviceKind::Software, false)];
        let any = pick(only_software.clone(), &GpuChoice::Any).unwrap_err();
        assert!(any.to_string().contains("`gpu:0` is llvmpipe"), "{any}");
        assert!(pick(only_software.clone(), &GpuChoice::Index(0)).is_ok());
        assert!(pick(only_software.clone(), &GpuChoice::Name("LLVMpipe".into())).is_ok());
        assert!(pick(only_software, &GpuChoice::Index(1)).is_err());
        assert!(pick(Vec::new(), &GpuChoice::Any).is_err());
    }

    #[test]
    fn there_is_one_auto_device() {
        let list = Device::list();
        assert_eq!(list.iter().filter(|info| info.auto).count(), 1);
        assert!(list.iter().all(|info| !info.auto || info.kind != DeviceKind::Software));
        assert_eq!(list.last().unwrap().kind, DeviceKind::Cpu);
        assert!(open(&Device::Cpu).is_ok());
        assert_ne!(open(&Device::Auto).unwrap().info.kind, DeviceKind::Software);
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let error = guard::<()>("gpu:0", || panic!("out of {}", "memory")).unwrap_err();
        assert_eq!(error.to_string(), "device `gpu:0`: out of memory");
    }
}
