//! A [`Spec`] on one page: each step of its [`Plan`] with its shape.

use std::fmt;

use super::plan::{Attend, AttentionAt, Bias, MatrixAt, NormAt, Plan, Slot, Step};
use super::spec::{Factor, Head, Layer, Mlp, Position, QkNorm, Spec, Temper};

/// Where the second column begins.
const COLUMN: usize = 37;

/// A line of two columns.
fn line(f: &mut fmt::Formatter<'_>, name: &str, what: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{name:<COLUMN$}{what}")
}

/// `x`, or `x + bias`.
fn biased(on: bool) -> &'static str {
    if on { " + bias" } else { "" }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(encoder) = &self.encoder {
            writeln!(f, "encoder, of the source")?;
            for line in encoder.to_string().lines() {
                writeln!(f, "  {line}")?;
            }
            writeln!(f, "decoder, of the target")?;
        }
        let ids = format!("[B, T], vocabulary {}, window {}", self.vocab, self.window);
        line(f, "ids", ids)?;
        embeddings(self, f)?;
        let plan = Plan::of(self);
        let mut start = 0;
        while start < self.layers.len() {
            let own = (&self.layers[start], &plan.layers[start]);
            let others = self.layers.iter().zip(&plan.layers).skip(start);
            let end = start + others.take_while(|other| *other == own).count();
            match end - start {
                1 => writeln!(f, "blocks.{start}")?,
                _ => writeln!(f, "blocks.{start} to {}", end - 1)?,
            }
            block(self, &plan, start, f)?;
            start = end;
        }
        if self.last_norm {
            line(f, "norm", self.norm)?;
        }
        head(self, f)
    }
}

fn embeddings(spec: &Spec, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (d, e) = (spec.width, spec.embed_width());
    line(f, "embed.tokens", format!("[B, T, {e}]"))?;
    if let Some(scale) = spec.embed.scale {
        writeln!(f, "  * {scale:.4}")?;
    }
    if let Some(Factor::Tokens { .. }) = spec.embed.factor {
        line(f, "embed.proj", format!("[{d}, {e}]"))?;
    }
    let e = spec.sum_width();
    match &spec.position {
        Position::Learned { count } => line(f, "  + embed.positions", format!("[{count}, {e}]"))?,
        Position::Sinusoidal { .. } => writeln!(f, "  + sines and cosines of the place")?,
        Position::None | Position::Rope(_) | Position::Alibi { .. } => {}
    }
    if spec.embed.types > 0 {
        line(f, "  + embed.types", format!("[{}, {e}]", spec.embed.types))?;
    }
    if spec.embed.norm {
        line(f, "  embed.norm", spec.norm)?;
    }
    if let Some(Factor::Sum { .. }) = spec.embed.factor {
        line(f, "embed.proj", format!("[{d}, {e}] + bias"))?;
    }
    if let Some(relative) = &spec.attention.relative {
        line(f, "relative", relative)?;
    }
    Ok(())
}

/// The steps of layer `i`.
fn block(spec: &Spec, plan: &Plan, i: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (layer, d): (&Layer, _) = (&spec.layers[i], spec.width);
    let a = spec.attention_of(i);
    if let Some(block) = layer.weights {
        line(f, "  the weights of", format!("blocks.{block}"))?;
    }
    // Which norm a slot holds.
    let mut held: Option<NormAt> = None;
    for step in &plan.layers[i] {
        match step {
            Step::Norm { norm, kind, to, .. } => {
                if *to == Slot::N {
                    held = Some(*norm);
                }
                line(f, &format!("  {}", norm.name()), kind)?;
            }
            Step::Latent { latent, .. } => {
                let from = latent.query_rank.unwrap_or(d);
                let name = format!("  attn.q from {from}");
                line(f, &name, format!("last {} rotated", latent.rotated))?;
                let name = format!("  attn.k, v from {}", latent.rank);
                line(f, &name, format!("{}, values of {}", latent.norm, latent.value_dim))?;
                heads(spec, i, f)?;
            }
            Step::Project { from, to } => match to.first().map(|(at, _)| *at) {
                Some(MatrixAt::Q) => heads(spec, i, f)?,
                Some(MatrixAt::CrossQ) => {
                    line(f, "  cross.q, k, v, out", "k and v of the encoder's states")?;
                }
                Some(MatrixAt::Out) => {
                    let shape = format!("[{d}, {}]{}", a.heads * a.value_dim(), biased(a.out_bias));
                    line(f, "  attn.out", shape)?;
                }
                Some(MatrixAt::Gate | MatrixAt::Up)
                    if *from == Slot::N && held == Some(NormAt::Attn) =>
                {
                    writeln!(f, "  beside it, of the same norm")?;
                }
                _ => {}
            },
            Step::Attend(attend) if attend.of == AttentionAt::Own => {
                attention(plan, attend, rope_of(plan, i), f)?;
            }
            Step::Attend(_) => {}
            Step::Open { gate, heads } => {
                let rows = gate.rows(*heads, a.value_dim());
                line(f, "  * sigmoid(attn.gate)", format!("[{rows}, {d}]"))?;
            }
            Step::Gate { .. } => mlp(spec, i, f)?,
            Step::Experts { spec, .. } => line(f, "  mlp", spec)?,
            Step::Join { to: Slot::X, scale: Some(scale), .. } => {
                writeln!(f, "  * {scale:.4} + residual")?;
            }
            Step::Join { to: Slot::X, scale: None, .. } => writeln!(f, "  + residual")?,
            // Two parts that are added before they join.
            Step::Join { .. } => {}
        }
    }
    Ok(())
}

/// The rotation of layer `i`, by whichever step.
fn rope_of(plan: &Plan, i: usize) -> Option<usize> {
    plan.layers[i].iter().find_map(|step| match step {
        Step::Latent { rope, .. } => *rope,
        Step::Attend(attend) => attend.rope,
        _ => None,
    })
}

fn heads(spec: &Spec, i: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let a = spec.attention_of(i);
    let (heads, kv, dim) = (a.heads, a.kv_heads, a.head_dim);
    let what = format!("{heads} / {kv} / {kv} heads of {dim}{}", biased(a.qkv_bias));
    line(f, "  attn.q, k, v", what)
}

fn attention(
    plan: &Plan,
    attend: &Attend,
    rope: Option<usize>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    if let Some(kind) = attend.qk_norm {
        let over = match kind {
            QkNorm::Shared(_) => "each head",
            QkNorm::PerHead(_) => "each head with a scale of its own",
            QkNorm::Whole(_) => "all heads as one",
            QkNorm::Rotated { .. } => "each head after its rotation, without a scale",
        };
        line(f, "  attn.q_norm, k_norm", format!("{}, {over}", kind.norm()))?;
    }
    if let Some(rope) = rope.and_then(|rope| plan.ropes.get(rope)) {
        line(f, "  attn", rope)?;
    }
    if let Some(Bias::Alibi { scale }) = attend.bias {
        line(f, "  attn", format!("- distance by head (ALiBi) * {scale:.4}"))?;
    }
    let mut sees = format!("sees {}, scale {:.4}", attend.span, attend.scale);
    if let Some(Temper { floor, scale }) = attend.temper {
        sees += &format!(", queries growing by {scale} in steps of {floor}");
    }
    if attend.sinks {
        sees += ", a score of no token beside";
    }
    if let Some(cap) = attend.softcap {
        sees += &format!(", scores capped at {cap}");
    }
    line(f, "  attn", sees)
}

fn mlp(spec: &Spec, i: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (mlp, d) = (spec.layers[i].mlp.as_ref().unwrap_or(&spec.mlp), spec.width);
    let (name, bias) = match mlp {
        Mlp::Experts(_) => return Ok(()),
        Mlp::Plain { activation, bias, .. } => (format!("{activation}(mlp.up)"), *bias),
        Mlp::Clamped { clamp, bias, .. } => (clamp.to_string(), *bias),
        Mlp::Gated { activation, bias, down_bias, .. } => {
            (format!("{activation}(mlp.gate) * mlp.up"), *bias || *down_bias)
        }
    };
    let ffn = mlp.ffn();
    let name = format!("  mlp.down({name})");
    // Two spaces where it is as wide as the column.
    writeln!(f, "{name:<0$}  {d} -> {ffn} -> {d}{1}", COLUMN - 2, biased(bias))
}

fn head(spec: &Spec, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let d = spec.width;
    match &spec.head {
        Head::None => write!(f, "{:<COLUMN$}[B, T, {d}]", "hidden states"),
        Head::Encoder { pooler, tasks } => {
            write!(f, "{:<COLUMN$}[B, T, {d}]", "hidden states")?;
            if let Some(activation) = pooler {
                write!(f, "\n{:<COLUMN$}{activation}, [B, {d}]", "pooler")?;
            }
            for task in tasks {
                let name = format!("heads.{}", task.kind.name());
                write!(f, "\n{name:<COLUMN$}{task}")?;
            }
            Ok(())
        }
        Head::Tied { softcap, .. } | Head::Own { softcap, .. } => {
            let own = matches!(spec.head, Head::Own { .. });
            if let Some(Factor::Tokens { width }) = spec.embed.factor {
                line(f, "out_proj", format!("[{width}, {d}]"))?;
            }
            let name = format!("logits by {}", if own { "head" } else { "embed.tokens" });
            write!(f, "{name:<COLUMN$}[B, T, {}]", spec.vocab)?;
            if let Some(scale) = spec.scales.logits {
                write!(f, ", * {scale:.4}")?;
            }
            softcap.map_or(Ok(()), |cap| write!(f, ", capped at {cap}"))
        }
    }
}
