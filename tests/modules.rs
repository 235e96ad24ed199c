//! The modules by themselves: built from a spec, run, and trained, without any file.

use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use emberform::Error;
use emberform::nn::spec::{
    Activation, Clamp, Experts, Groups, Head, HeadShape, Latent, Layer, LayerRope, Mlp, Norm,
    OutputGate, Pairing, Place, Position, QkNorm, Rope, Routing, Scales, Scaling, Shared, Span,
    Stretch, Temper,
};
use emberform::nn::{
    BertEncoder, Cache, FeedForward, GptDecoder, Seq2Seq, Spec, Transformer, Weight,
};
use emberform_tests::difference;

fn ids(rows: &[&[i32]], device: &Device) -> Tensor<2, Int> {
    let values: Vec<i32> = rows.concat();
    Tensor::from_data(TensorData::new(values, [rows.len(), rows[0].len()]), device)
}

fn values<const N: usize>(tensor: Tensor<N>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("floats")
}

fn mixture(routing: Routing, shared: Option<Shared>) -> Mlp {
    let activation = Activation::Silu;
    Mlp::Experts(Experts {
        count: 5,
        used: 2,
        ffn: 9,
        activation,
        clamp: None,
        bias: false,
        router_bias: false,
        routing,
        groups: None,
        scale: None,
        weighs_input: false,
        shared,
    })
}

/// Every sum type of the spec in turn.
fn variants() -> Vec<(&'static str, Spec)> {
    let base = Spec::decoder(50, 24, 3, 4, 40);
    let with = |change: &dyn Fn(&mut Spec)| {
        let mut spec = base.clone();
        change(&mut spec);
        spec
    };
    let rope = |scaling: Scaling, pairing: Pairing, dims: usize| {
        Position::Rope(Rope { theta: 100.0, dims, pairing, scaling })
    };
    vec![
        ("plain decoder", base.clone()),
        ("grouped queries", with(&|s| s.attention.kv_heads = 2)),
        ("one key head", with(&|s| s.attention.kv_heads = 1)),
        ("no positions", with(&|s| s.position = Position::None)),
        ("learned positions", with(&|s| s.position = Position::Learned { count: 2048 })),
        (
            "sinusoidal positions",
            with(&|s| s.position = Position::Sinusoidal { pairing: Pairing::Adjacent }),
        ),
        ("partial rotation", with(&|s| s.position = rope(Scaling::None, Pairing::Halves, 4))),
        ("adjacent pairs", with(&|s| s.position = rope(Scaling::None, Pairing::Adjacent, 6))),
        (
            "linear scaling",
            with(&|s| s.position = rope(Scaling::Linear { factor: 4.0 }, Pairing::Halves, 6)),
        ),
        (
            "llama3 scaling",
            with(&|s| {
                let scaling = Scaling::Llama3 { factor: 4.0, low: 1.0, high: 4.0, original: 16.0 };
                s.position = rope(scaling, Pairing::Halves, 6);
            }),
        ),
        (
            "YaRN",
            with(&|s| {
                let scaling = Scaling::Yarn {
                    factor: 4.0,
                    fast: 4.0,
                    slow: 0.5,
                    original: 16.0,
                    truncate: true,
                    magnitude: 1.2,
                };
                s.position = rope(scaling, Pairing::Halves, 6);
            }),
        ),
        ("norms after", with(&|s| s.place = Place::After)),
        ("norms around", with(&|s| s.place = Place::Around)),
        ("norms inside", with(&|s| s.place = Place::Inside)),
        ("side by side, one norm", with(&|s| s.place = Place::Parallel { shared: true })),
        ("side by side, two norms", with(&|s| s.place = Place::Parallel { shared: false })),
        ("biases by distance", with(&|s| s.position = Position::Alibi { scale: 1.0 })),
        ("a block that is not rotated", with(&|s| s.layers[1].rope = LayerRope::None)),
        (
            "scaled residuals and logits",
            with(&|s| s.scales = Scales { residual: Some(0.5), logits: Some(2.0) }),
        ),
        ("experts", with(&|s| s.mlp = mixture(Routing::SoftmaxAll, None))),
        (
            "experts weighed among the chosen, one shared by a gate",
            with(&|s| {
                let shared = Shared { ffn: 7, gated: true };
                s.mlp = mixture(Routing::SoftmaxChosen, Some(shared));
            }),
        ),
        (
            "two experts weighed among the near, a block without, one shared",
            with(&|s| {
                s.layers[1].mlp = Some(s.mlp.clone());
                let shared = Shared { ffn: 7, gated: false };
                s.mlp = mixture(Routing::SparseMixer { jitter: 0.3 }, Some(shared));
            }),
        ),
        (
            "experts of some groups, chosen with a correction, clamped gates",
            with(&|s| {
                let routing = Routing::Sigmoid { corrected: true, divided: true };
                let Mlp::Experts(experts) = mixture(routing, None) else { panic!("experts") };
                s.mlp = Mlp::Experts(Experts {
                    count: 6,
                    clamp: Some(Clamp { alpha: 1.7, limit: 0.02 }),
                    bias: true,
                    router_bias: true,
                    groups: Some(Groups { count: 3, used: 2, best: 2 }),
                    scale: Some(2.5),
                    ..experts
                });
            }),
        ),
        (
            "weights on the way into an expert",
            with(&|s| {
                let routing = Routing::Sigmoid { corrected: false, divided: false };
                let Mlp::Experts(experts) = mixture(routing, None) else { panic!("experts") };
                s.mlp = Mlp::Experts(Experts { weighs_input: true, ..experts });
            }),
        ),
        ("scores of no token", with(&|s| s.attention.sinks = true)),
        ("a gate of what attention gives", with(&|s| s.attention.gate = Some(OutputGate::Full))),
        (
            "a head of another size in every second block",
            with(&|s| {
                s.layers[1].heads = Some(HeadShape { kv_heads: 2, head_dim: 10 });
                s.layers[1].rope = LayerRope::Own(Rope {
                    theta: 10.0,
                    dims: 10,
                    pairing: Pairing::Halves,
                    scaling: Scaling::None,
                });
            }),
        ),
        ("norms without a scale", with(&|s| s.norm = Norm::Plain { eps: 1e-5, centered: true })),
        (
            "norms of queries and keys without a scale",
            with(&|s| {
                let norm = Norm::Plain { eps: 1e-5, centered: false };
                s.attention.qk_norm = Some(QkNorm::Shared(norm));
            }),
        ),
        ("a gate a head", with(&|s| s.attention.gate = Some(OutputGate::Heads))),
        (
            "latent attention",
            with(&|s| {
                s.position = rope(Scaling::None, Pairing::Adjacent, 4);
                s.attention.latent = Some(Latent {
                    rank: 7,
                    query_rank: Some(9),
                    rotated: 4,
                    value_dim: 5,
                    norm: s.norm,
                });
            }),
        ),
        (
            "runs of places, norms after the rotation, tempered queries",
            with(&|s| {
                s.attention.qk_norm = Some(QkNorm::Rotated { eps: 1e-5 });
                s.layers[0] = Layer::new(Span::Chunked { size: 4 });
                s.layers[1].rope = LayerRope::None;
                s.layers[1].temper = Some(Temper { floor: 3.0, scale: 0.5 });
            }),
        ),
        ("layer norm without bias", with(&|s| s.norm = Norm::Layer { eps: 1e-5, bias: false })),
        (
            "a norm on each head of queries and keys",
            with(&|s| {
                s.attention.kv_heads = 2;
                s.attention.qk_norm = Some(QkNorm::PerHead(Norm::Layer { eps: 1e-5, bias: true }));
            }),
        ),
        (
            "a norm on whole queries and keys",
            with(&|s| {
                s.attention.kv_heads = 2;
                s.attention.qk_norm = Some(QkNorm::Whole(s.norm));
            }),
        ),
        ("layer norm", with(&|s| s.norm = Norm::Layer { eps: 1e-5, bias: true })),
        ("norm on queries and keys", with(&|s| s.attention.qk_norm = Some(QkNorm::Shared(s.norm)))),
        ("capped scores", with(&|s| s.attention.softcap = Some(5.0))),
        (
            "a head of its own, capped",
            with(&|s| s.head = Head::Own { bias: true, softcap: Some(3.0) }),
        ),
        (
            "plain MLP with biases",
            with(&|s| {
                s.mlp = Mlp::Plain { ffn: 40, activation: Activation::Relu, bias: true };
                (s.attention.qkv_bias, s.attention.out_bias) = (true, true);
            }),
        ),
        (
            "sliding blocks",
            with(&|s| {
                s.layers[0] = Layer::new(Span::Sliding { window: 3 });
                s.layers[2] = Layer::new(Span::Sliding { window: 1 });
            }),
        ),
        (
            "scaled and normed embeddings",
            with(&|s| (s.embed.scale, s.embed.norm) = (Some(4.0), true)),
        ),
    ]
}

#[test]
fn a_decoder_of_every_kind_steps_as_it_runs() {
    let device = Device::flex();
    for (name, spec) in variants() {
        let model =
            GptDecoder::new(&spec, &device).unwrap_or_else(|error| panic!("{name}: {error}"));
        let tokens: Vec<i32> = (0..13).map(|i| (i * 17 + 3) % 50).collect();
        let whole = values(model.forward(ids(&[&tokens], &device), None));
        assert!(whole.iter().all(|value| value.is_finite()), "{name}");
        // What comes later changes nothing before it.
        let shorter = values(model.forward(ids(&[&tokens[..7]], &device), None));
        assert!(difference(&shorter, &whole[..7 * 50]) < 1e-5, "{name} sees what comes");
        let mut cache = Cache::new(&spec);
        let mut stepped = values(model.step(ids(&[&tokens[..4]], &device), &mut cache));
        for token in tokens[4..].chunks(3) {
            stepped.extend(values(model.step(ids(&[token], &device), &mut cache)));
        }
        assert_eq!(cache.len(), 13);
        let worst = difference(&stepped, &whole);
        assert!(worst < 1e-5, "{name}: {worst}");
        assert!(!spec.to_string().is_empty());
    }
}

#[test]
fn a_sliding_block_forgets() {
    let device = Device::flex();
    let mut spec = Spec::decoder(50, 24, 1, 4, 40);
    spec.layers[0] = Layer::new(Span::Sliding { window: 3 });
    spec.position = Position::None;
    let model = GptDecoder::new(&spec, &device).expect("a decoder");
    let last = |tokens: &[i32]| {
        let logits = values(model.forward(ids(&[tokens], &device), None));
        logits[logits.len() - 50..].to_vec()
    };
    let here = last(&[1, 2, 3, 4, 5]);
    assert!(difference(&here, &last(&[9, 8, 3, 4, 5])) < 1e-6, "beyond the window");
    assert!(difference(&here, &last(&[1, 2, 9, 4, 5])) > 1e-5, "the window's first token");
}

#[test]
fn a_run_of_places_begins_anew() {
    let device = Device::flex();
    let mut spec = Spec::decoder(50, 24, 1, 4, 40);
    spec.layers[0] = Layer::new(Span::Chunked { size: 3 });
    spec.position = Position::None;
    let model = GptDecoder::new(&spec, &device).expect("a decoder");
    let last = |tokens: &[i32]| {
        let logits = values(model.forward(ids(&[tokens], &device), None));
        logits[logits.len() - 50..].to_vec()
    };
    let here = last(&[1, 2, 3, 4, 5]);
    assert!(difference(&here, &last(&[9, 8, 7, 4, 5])) < 1e-6, "the run before");
    assert!(difference(&here, &last(&[1, 2, 3, 9, 5])) > 1e-5, "the run's first token");
}

#[test]
fn padding_of_a_batch_changes_nothing() {
    let device = Device::flex();
    let model = BertEncoder::new(&Spec::encoder(50, 24, 2, 4, 40), &device).expect("an encoder");
    let kept = Tensor::from_data(
        TensorData::new(vec![true, true, true, true, true, false], [2, 3]),
        &device,
    );
    let both = values(model.forward(ids(&[&[5, 6, 7], &[8, 9, 0]], &device), None, Some(kept)));
    let alone = values(model.forward(ids(&[&[8, 9]], &device), None, None));
    assert!(difference(&both[3 * 24..5 * 24], &alone) < 1e-5);
}

#[test]
fn a_decoder_learns_a_rule() {
    let device = Device::flex().autodiff();
    let spec = Spec::decoder(12, 32, 2, 4, 64);
    let mut model = GptDecoder::new(&spec, &device).expect("a decoder");
    let mut optimizer = AdamWConfig::new().init();
    // Each token is the one before plus 5, modulo 12.
    let rows: Vec<Vec<i32>> =
        (0..12).map(|row| (0..9).map(|i| (row + 5 * i) % 12).collect()).collect();
    let loss = |model: &GptDecoder| {
        let rows: Vec<&[i32]> = rows.iter().map(Vec::as_slice).collect();
        let all = ids(&rows, &device);
        let (input, target) = (all.clone().narrow(1, 0, 8), all.narrow(1, 1, 8).reshape([96, 1]));
        let logits = model.forward(input, None).reshape([96, 12]);
        activation::log_softmax(logits, 1).gather(1, target).mean().neg()
    };
    let before: f32 = loss(&model).into_scalar();
    for _ in 0..60 {
        let gradients = loss(&model).backward();
        let gradients = GradientsParams::from_grads(gradients, &model);
        model = optimizer.step(5e-3, model, gradients);
    }
    let after: f32 = loss(&model).into_scalar();
    println!("loss {before:.3} -> {after:.3}");
    assert!(before > 2.0 && after < 0.2, "{before} -> {after}");
    let _trained: GptDecoder = model.valid();
}

#[test]
fn an_encoder_decoder_learns_to_turn_a_row_around() {
    let device = Device::flex().autodiff();
    let spec = Spec::seq2seq(12, 32, 2, 4, 64);
    let mut model = Seq2Seq::new(&spec, &device).expect("a model");
    let mut optimizer = AdamWConfig::new().init();
    let source =
        |row: i32| -> Vec<i32> { (0..5).map(|i| 1 + (row * 7 + i * i * 3) % 11).collect() };
    let rows: Vec<Vec<i32>> = (0..12).map(source).collect();
    // 0 begins the target.
    let turned = |row: &Vec<i32>| [0].into_iter().chain(row.iter().rev().copied()).collect();
    let targets: Vec<Vec<i32>> = rows.iter().map(turned).collect();
    let loss = |model: &Seq2Seq| {
        let all =
            |rows: &[Vec<i32>]| ids(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>(), &device);
        let (source, target) = (all(&rows), all(&targets));
        let wanted = target.clone().narrow(1, 1, 5).reshape([60, 1]);
        let logits = model.forward(source, None, target.narrow(1, 0, 5)).reshape([60, 12]);
        activation::log_softmax(logits, 1).gather(1, wanted).mean().neg()
    };
    let before: f32 = loss(&model).into_scalar();
    for _ in 0..120 {
        let gradients = loss(&model).backward();
        let gradients = GradientsParams::from_grads(gradients, &model);
        model = optimizer.step(5e-3, model, gradients);
    }
    let after: f32 = loss(&model).into_scalar();
    println!("loss {before:.3} -> {after:.3}");
    assert!(before > 2.0 && after < 0.2, "{before} -> {after}");
}

#[test]
fn a_gradient_reaches_routers_and_the_experts_they_choose() {
    let device = Device::flex().autodiff();
    let two = Routing::SparseMixer { jitter: 0.3 };
    let sigmoid = Routing::Sigmoid { corrected: false, divided: true };
    for routing in [Routing::SoftmaxAll, Routing::SoftmaxChosen, two, sigmoid] {
        let mut spec = Spec::decoder(50, 24, 1, 4, 40);
        spec.mlp = mixture(routing, Some(Shared { ffn: 7, gated: true }));
        let model = GptDecoder::new(&spec, &device).expect("a decoder");
        let tokens: Vec<i32> = (0..13).map(|i| (i * 17 + 3) % 50).collect();
        let gradients = model.forward(ids(&[&tokens], &device), None).square().mean().backward();
        let FeedForward::Experts(moe) = &model.transformer.blocks[0].mlp else { panic!("experts") };
        let size = |weight: &Weight| {
            let Weight::Full(weight) = weight else { panic!("floats") };
            let gradient = weight.val().grad(&gradients);
            gradient.map_or(0.0, |gradient| gradient.abs().max().into_scalar::<f32>())
        };
        assert!(size(&moe.router.weight) > 0.0, "{routing:?}");
        let used = moe.experts.iter().filter(|expert| size(&expert.down.weight) > 0.0).count();
        assert!(used >= 2, "{routing:?}: {used}");
    }
}

#[test]
fn a_spec_that_does_not_fit_names_its_key() {
    let device = Device::flex();
    let refused = |change: &dyn Fn(&mut Spec), key: &str| {
        let mut spec = Spec::decoder(50, 24, 2, 4, 40);
        change(&mut spec);
        match Transformer::new(&spec, &device) {
            Err(Error::Config { key: found, .. }) => assert_eq!(found, key),
            other => panic!("{key}: {other:?}"),
        }
    };
    refused(&|s| s.vocab = 0, "vocab_size");
    refused(&|s| s.width = usize::MAX, "hidden_size");
    refused(&|s| s.layers.clear(), "num_hidden_layers");
    refused(&|s| s.attention.kv_heads = 3, "num_key_value_heads");
    refused(&|s| s.attention.heads = 0, "num_attention_heads");
    refused(&|s| s.attention.scale = f64::NAN, "query_pre_attn_scalar");
    refused(&|s| s.norm = Norm::Rms { eps: -1.0 }, "rms_norm_eps");
    refused(&|s| s.norm = Norm::Layer { eps: f64::NAN, bias: true }, "layer_norm_eps");
    let experts = |count, used, routing| {
        let Mlp::Experts(experts) = mixture(routing, None) else { panic!("experts") };
        Mlp::Experts(Experts { count, used, ..experts })
    };
    refused(&|s| s.mlp = experts(0, 1, Routing::SoftmaxAll), "num_experts");
    refused(&|s| s.mlp = experts(4, 5, Routing::SoftmaxAll), "num_experts_per_tok");
    let three = experts(4, 3, Routing::SparseMixer { jitter: 0.1 });
    refused(&|s| s.layers[0].mlp = Some(three.clone()), "num_experts_per_tok");
    let groups = |count, used, best| {
        let Mlp::Experts(experts) = experts(6, 4, Routing::SoftmaxAll) else { panic!("experts") };
        Mlp::Experts(Experts { groups: Some(Groups { count, used, best }), ..experts })
    };
    refused(&|s| s.mlp = groups(4, 1, 1), "n_group");
    refused(&|s| s.mlp = groups(3, 1, 1), "topk_group");
    refused(&|s| s.mlp = groups(6, 4, 2), "n_group");
    let latent = |rotated| {
        let norm = Norm::Rms { eps: 1e-6 };
        Some(Latent { rank: 7, query_rank: None, rotated, value_dim: 5, norm })
    };
    refused(&|s| s.attention.latent = latent(6), "qk_rope_head_dim");
    refused(&|s| s.attention.latent = latent(4), "kv_lora_rank");
    refused(&|s| s.layers[0] = Layer::new(Span::Chunked { size: 0 }), "attention_chunk_size");
    refused(&|s| s.layers[0] = Layer::new(Span::Sliding { window: 0 }), "sliding_window");
    refused(&|s| s.position = Position::Learned { count: 0 }, "max_position_embeddings");
    refused(
        &|s| {
            let stretch = |n| Stretch { factors: vec![1.0; n], magnitude: 1.0 };
            let scaling = Scaling::Long { short: stretch(3), long: stretch(2), original: 8 };
            s.position =
                Position::Rope(Rope { theta: 1e4, dims: 6, pairing: Pairing::Halves, scaling });
        },
        "rope_scaling",
    );
    refused(
        &|s| {
            let scaling = Scaling::Factors(vec![1.0]);
            s.position =
                Position::Rope(Rope { theta: 1e4, dims: 6, pairing: Pairing::Halves, scaling });
        },
        "rope_scaling",
    );
    let two = Spec::seq2seq(50, 24, 2, 4, 40);
    assert!(GptDecoder::new(&two, &device).is_err() && Transformer::new(&two, &device).is_err());
    assert!(Seq2Seq::new(&Spec::decoder(50, 24, 2, 4, 40), &device).is_err());
    let wide = Spec { place: Place::Around, ..two };
    assert!(Seq2Seq::new(&wide, &device).is_err());
    assert!(GptDecoder::new(&Spec::encoder(50, 24, 2, 4, 40), &device).is_err());
    assert!(BertEncoder::new(&Spec::decoder(50, 24, 2, 4, 40), &device).is_err());
}

#[test]
fn the_published_sizes_of_gpt3_have_their_numbers_of_parameters() {
    // Table 2.1 of arXiv:2005.14165, in millions.
    let sizes = [
        ("125M", 125.0),
        ("350M", 350.0),
        ("760M", 760.0),
        ("1.3B", 1300.0),
        ("2.7B", 2700.0),
        ("6.7B", 6700.0),
        ("13B", 13_000.0),
        ("175B", 175_000.0),
    ];
    for (size, millions) in sizes {
        let spec = Spec::gpt3(size, 256).expect("a size");
        let found = spec.parameters().expect("a spec") as f64 / 1e6;
        println!("{size}: {found:.1} million");
        assert!((found / millions - 1.0).abs() < 0.025, "{size}: {found}");
    }
    // What is counted is what is built.
    let spec = Spec { layers: vec![Layer::new(Span::Causal); 2], ..small_gpt3() };
    let model = GptDecoder::new(&spec, &Device::flex()).expect("a decoder");
    assert_eq!(spec.parameters().expect("a spec"), model.num_params() as u64);
    assert!(matches!(Spec::gpt3("3B", 256), Err(Error::Argument { .. })));
    assert!(matches!(Spec::gpt3("125M", 0), Err(Error::Argument { .. })));
}

/// Its shape, small: a band of 3 tokens.
fn small_gpt3() -> Spec {
    let spec = Spec::gpt3("125M", 3).expect("a size");
    Spec {
        vocab: 50,
        width: 20,
        window: 16,
        position: Position::Learned { count: 16 },
        mlp: Mlp::Plain { ffn: 80, activation: Activation::GeluTanh, bias: true },
        layers: spec.layers[..4].to_vec(),
        attention: emberform::nn::spec::Attention {
            heads: 4,
            kv_heads: 4,
            head_dim: 6,
            scale: 6f64.powf(-0.5),
            ..spec.attention
        },
        ..spec
    }
}

#[test]
fn gpt3_is_a_masked_plain_transformer() {
    let device = Device::flex();
    let spec = small_gpt3();
    let model = GptDecoder::new(&spec, &device).expect("a decoder");
    let tokens: Vec<i32> = (0..11).map(|i| (i * 17 + 3) % 50).collect();
    let t = tokens.len();
    let found = values(model.forward(ids(&[&tokens], &device), None));

    let body = &model.transformer;
    let full = |weight: &Weight| match weight {
        Weight::Full(values) => values.val(),
        Weight::Packed(_) => panic!("floats"),
    };
    let linear = |proj: &emberform::nn::Proj, x: Tensor<2>| {
        let bias = proj.bias.as_ref().expect("a bias").val();
        x.matmul(full(&proj.weight).transpose()) + bias.unsqueeze()
    };
    let norm = |norm: &Option<emberform::nn::Norm>, x: Tensor<2>| {
        let norm = norm.as_ref().expect("a norm");
        let x = x.clone() - x.mean_dim(1);
        let deviation = (x.clone().square().mean_dim(1) + 1e-5).sqrt();
        let beta = norm.beta.as_ref().expect("a shift").val();
        x / deviation * norm.gamma.as_ref().expect("a scale").val().unsqueeze() + beta.unsqueeze()
    };
    let at = Tensor::<1, Int>::from_data(TensorData::new(tokens.clone(), [t]), &device);
    let places = full(body.positions.as_ref().expect("places")).narrow(0, 0, t);
    let mut x = full(body.tokens.as_ref().expect("a table")).select(0, at) + places;
    for (i, block) in body.blocks.iter().enumerate() {
        let y = norm(&block.attn_norm, x.clone());
        let heads = |y: Tensor<2>| y.reshape([t, 4, 6]).swap_dims(0, 1); // [H, T, C]
        let [q, k, v] = [&block.attn.q, &block.attn.k, &block.attn.v]
            .map(|proj| heads(linear(proj, y.clone())));
        let hidden: Vec<f32> = (0..t * t)
            .map(|at| {
                let (query, key) = (at / t, at % t);
                let far = i % 2 == 1 && query >= key + 3;
                if key > query || far { f32::NEG_INFINITY } else { 0.0 }
            })
            .collect();
        let hidden = Tensor::<3>::from_data(TensorData::new(hidden, [1, t, t]), &device);
        let scores = q.matmul(k.transpose()) / 6f64.sqrt() + hidden;
        let y = activation::softmax(scores, 2).matmul(v).swap_dims(0, 1).reshape([t, 24]);
        x = x + linear(&block.attn.out, y);
        let FeedForward::Dense(mlp) = &block.mlp else { panic!("an MLP") };
        let y = linear(&mlp.up, norm(&block.mlp_norm, x.clone()));
        let inner = (y.clone() + y.clone().powf_scalar(3.0) * 0.044715) * 0.797_884_560_8;
        let y = y * (activation::tanh(inner) + 1.0) * 0.5;
        x = x + linear(&mlp.down, y);
    }
    let wanted = values(
        norm(&body.norm, x).matmul(full(body.tokens.as_ref().expect("a table")).transpose()),
    );
    let worst = difference(&found, &wanted);
    assert!(worst < 1e-5, "{worst}");
}
