//! What the device gives: bytes read a second and products a second, by cubecl's own probes.

use cubecl::client::Client;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::std::throughput::{measure_launch_overhead, measure_peak_throughput};
use cubecl::throughput::{
    CmmaDims, ComputeCmmaConfig, MemoryAccess, MemorySpec, ThroughputKey, ThroughputMode,
};
use serde_json::{Value, json};

/// Rates of a device; NaN where it has no such operation.
pub struct Limits {
    /// Bytes a second that a kernel can read.
    pub read: f64,
    /// Operations a second in f32.
    f32: f64,
    /// Operations a second in f16.
    f16: f64,
    /// Operations a second of the fastest cooperative matrices that add in f32.
    tensor: f64,
    /// Seconds that one launch costs.
    launch: f64,
}

impl Limits {
    /// The fastest product of matrices there is.
    pub fn matrix(&self) -> f64 {
        [self.f32, self.f16, self.tensor].into_iter().fold(f64::NAN, f64::max)
    }

    /// As a line of JSON.
    pub fn line(&self, device: &str, driver: &str) -> Value {
        json!({
            "device": device, "driver": driver,
            "read_gb_s": self.read / 1e9, "f32_gflop_s": self.f32 / 1e9,
            "f16_gflop_s": self.f16 / 1e9, "cooperative_gflop_s": self.tensor / 1e9,
            "launch_us": self.launch * 1e6,
        })
    }
}

/// Measures them; on the CPU there is nothing to ask.
pub fn measure(client: Option<&Client>, quick: bool) -> Limits {
    let unknown = f64::NAN;
    let Some(client) = client else {
        return Limits {
            read: unknown,
            f32: unknown,
            f16: unknown,
            tensor: unknown,
            launch: unknown,
        };
    };
    let rate = |mode| {
        let key = ThroughputKey { mode };
        measure_peak_throughput(client, key).map_or(unknown, |value| match mode {
            ThroughputMode::Memory(_) => value.bytes_per_s(&key),
            _ => value.ops_per_s(),
        })
    };
    let direct = |kind| rate(ThroughputMode::ComputeDirect { dtype: ElemType::Float(kind) });
    let memory = match quick {
        true => ThroughputMode::Memory(MemorySpec::new(MemoryAccess::Read, 64 << 20)),
        false => ThroughputMode::memory(MemoryAccess::Read),
    };
    let sum = ElemType::Float(FloatKind::F32);
    let tensor =
        client.properties().features.matmul.cmma.iter().filter(|config| {
            config.cd_type == sum && config.a_type == ElemType::Float(FloatKind::F16)
        });
    let tensor = tensor.map(|config| {
        rate(ThroughputMode::ComputeCmma {
            dtype: config.a_type,
            config: ComputeCmmaConfig {
                accumulator_type: sum,
                cmma_dims: CmmaDims {
                    m: config.m as usize,
                    n: config.n as usize,
                    k: config.k as usize,
                },
            },
        })
    });
    Limits {
        read: rate(memory),
        f32: direct(FloatKind::F32),
        f16: direct(FloatKind::F16),
        tensor: tensor.fold(unknown, f64::max),
        launch: measure_launch_overhead(client).as_secs_f64(),
    }
}
