//! The products alone: each matrix of some blocks by few and many rows, on the device's own clock.

use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::{Distribution, Tensor};
use cubecl::client::Client;
use cubecl::future::block_on;
use emberform::nn::{FeedForward, Proj};
use emberform::{Model, Result};
use serde_json::{Value, json};

use crate::checkpoints::Shape;

/// Rows of `x`: a step of one sequence, of some, and a prompt.
const ROWS: [usize; 4] = [1, 4, 8, 512];

/// How long work goes on before it is timed.
const WARM: Duration = Duration::from_millis(200);

/// Each kind of matrix of the model by [`ROWS`]; every measurement goes over the matrices of all
/// blocks, so that they come out of the device's memory and not of its cache.
pub fn measure(model: &Model, client: &Client, shape: &Shape, read: f64) -> Result<Vec<Value>> {
    let Some(decoder) = model.decoder() else { return Ok(vec![]) };
    let blocks = &decoder.transformer.blocks;
    let of = |pick: fn(&emberform::nn::Block) -> Option<&Proj>| -> Vec<&Proj> {
        blocks.iter().filter_map(pick).collect()
    };
    let kinds: [(&str, Vec<&Proj>); 4] = [
        ("q", of(|block| Some(&block.attn.q))),
        ("k", of(|block| Some(&block.attn.k))),
        (
            "up",
            of(|block| match &block.mlp {
                FeedForward::Dense(mlp) => Some(&mlp.up),
                FeedForward::Experts(_) => None,
            }),
        ),
        (
            "down",
            of(|block| match &block.mlp {
                FeedForward::Dense(mlp) => Some(&mlp.down),
                FeedForward::Experts(_) => None,
            }),
        ),
    ];
    let mut lines = vec![];
    for (kind, matrices) in kinds {
        let Some(first) = matrices.first() else { continue };
        let [rows, width] = first.weight.dims();
        let bytes: usize = matrices.iter().map(|proj| proj.weight.bytes()).sum();
        let Some(device) = decoder.devices().into_iter().next() else { continue };
        for m in ROWS {
            let x = Tensor::<2>::random([m, width], Distribution::Uniform(-1.0, 1.0), &device);
            let turns = if m > 8 { 1 } else { 8 };
            let work = || {
                for _ in 0..turns {
                    for proj in &matrices {
                        proj.weight.matmul(x.clone());
                    }
                }
            };
            let [device, wall, issue] = time(client, &work);
            let count = (turns * matrices.len()) as f64;
            let flops = 2.0 * (m * rows * width) as f64;
            lines.push(json!({
                "kernel": kind, "format": first.weight.format().to_string(), "of": shape.name,
                "m": m, "rows": rows, "width": width,
                "us": device / count * 1e6, "wall_us": wall / count * 1e6,
                "issue_us": issue / count * 1e6,
                "gb_s": bytes as f64 * turns as f64 / device / 1e9,
                "of_read": bytes as f64 * turns as f64 / device / read,
                "gflop_s": flops * count / device / 1e9,
            }));
        }
    }
    Ok(lines)
}

/// Seconds of the device, of the clock and until all is issued; the least of some runs.
///
/// The device's are those of recorded launches where they can be recorded: issued one by one they
/// would be seconds of waiting for the next.
pub fn time(client: &Client, work: &(impl Fn() + Sync)) -> [f64; 3] {
    let mut least = [f64::INFINITY; 3];
    let taped = client
        .exclusive(|| {
            client.graph_prepare().ok()?;
            work();
            client.start_capture().ok()?;
            work();
            client.stop_capture().ok()
        })
        .ok()
        .flatten();
    let play = || match &taped {
        // SAFETY: nothing else is computed meanwhile, and results are not looked at.
        Some(graph) => unsafe { graph.replay() }.unwrap_or(()),
        None => work(),
    };
    // A GPU that has had nothing to do is at a fifth of its clock.
    let start = Instant::now();
    while start.elapsed() < WARM {
        play();
        let _ = block_on(client.sync());
    }
    for run in 0..4 {
        let start = Instant::now();
        work();
        let issue = start.elapsed().as_secs_f64();
        let _ = block_on(client.sync());
        let wall = start.elapsed().as_secs_f64();
        let device = client
            .profile(play, "work")
            .ok()
            .and_then(|(_, time)| block_on(time.resolve()))
            .map_or(f64::NAN, |ticks| ticks.duration().as_secs_f64());
        if run > 0 {
            for (least, found) in least.iter_mut().zip([device, wall, issue]) {
                *least = least.min(found);
            }
        }
    }
    least
}
