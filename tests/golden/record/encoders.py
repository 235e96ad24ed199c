"""Tiny encoders of every family, with the hidden states and the logits of each head. Part of record.py."""
import shutil

import record as base

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Q
from safetensors.torch import save_file

BERT = dict(base.BERT, vocab_size=61, hidden_size=20, num_attention_heads=4, intermediate_size=27, layer_norm_eps=1e-5, hidden_act="gelu")
ROBERTA = dict(BERT, model_type="roberta", type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2, max_position_embeddings=26)
XLMR = dict(ROBERTA, model_type="xlm-roberta", hidden_size=18, num_attention_heads=3)
CAMEMBERT = dict(ROBERTA, model_type="camembert", hidden_size=24, intermediate_size=19)
DISTILBERT = dict(model_type="distilbert", vocab_size=61, dim=20, n_heads=5, n_layers=2, hidden_dim=29, activation="gelu",
                  max_position_embeddings=24, pad_token_id=0, dropout=0.1, attention_dropout=0.1, qa_dropout=0.1, seq_classif_dropout=0.2,
                  sinusoidal_pos_embds=False, initializer_range=0.02)
ELECTRA = dict(BERT, model_type="electra", embedding_size=12)
MPNET = dict(model_type="mpnet", vocab_size=61, hidden_size=20, num_attention_heads=4, num_hidden_layers=2, intermediate_size=27,
             hidden_act="gelu", max_position_embeddings=26, relative_attention_num_buckets=32, layer_norm_eps=1e-5, pad_token_id=1,
             bos_token_id=0, eos_token_id=2, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, initializer_range=0.02)
ALBERT = dict(model_type="albert", vocab_size=61, embedding_size=10, hidden_size=20, num_hidden_layers=3, num_hidden_groups=2,
              num_attention_heads=4, intermediate_size=27, inner_group_num=1, hidden_act="gelu_new", hidden_dropout_prob=0,
              attention_probs_dropout_prob=0, max_position_embeddings=24, type_vocab_size=2, layer_norm_eps=1e-12, pad_token_id=0,
              bos_token_id=2, eos_token_id=3, initializer_range=0.02)
MODERNBERT = dict(model_type="modernbert", vocab_size=61, hidden_size=24, intermediate_size=17, num_hidden_layers=4, num_attention_heads=4,
                  hidden_activation="gelu", max_position_embeddings=32, norm_eps=1e-5, norm_bias=False, pad_token_id=0, cls_token_id=1,
                  sep_token_id=2, bos_token_id=1, eos_token_id=2, global_rope_theta=160000.0, local_rope_theta=100.0, attention_bias=False,
                  attention_dropout=0.0, global_attn_every_n_layers=3, local_attention=6, embedding_dropout=0.0, mlp_bias=False,
                  mlp_dropout=0.0, decoder_bias=True, classifier_pooling="cls", classifier_bias=False, classifier_activation="gelu")
NOMIC = dict(model_type="nomic_bert", vocab_size=61, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=26,
             hidden_act="silu", max_position_embeddings=32, type_vocab_size=2, layer_norm_eps=1e-12, pad_token_id=0,
             rope_parameters=dict(rope_type="default", rope_theta=1000.0))
GTE = dict(model_type="gte", vocab_size=61, hidden_size=24, num_hidden_layers=2, num_attention_heads=6, intermediate_size=26,
           hidden_act="gelu", max_position_embeddings=32, type_vocab_size=2, layer_norm_eps=1e-12, pad_token_id=0,
           rope_parameters=dict(rope_type="default", rope_theta=160000.0))
DEBERTA = dict(model_type="deberta-v2", vocab_size=61, hidden_size=20, num_hidden_layers=2, num_attention_heads=4, intermediate_size=27,
               hidden_act="gelu", hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, max_position_embeddings=32, type_vocab_size=0,
               initializer_range=0.02, layer_norm_eps=1e-7, relative_attention=True, max_relative_positions=-1, position_buckets=8,
               norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type="p2c|c2p", pad_token_id=0, position_biased_input=False,
               pooler_dropout=0, pooler_hidden_act="gelu")
LABELS = dict(id2label={"0": "no", "1": "maybe", "2": "yes"}, label2id={"no": 0, "maybe": 1, "yes": 2})
BIO = dict(id2label={str(i): x for i, x in enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])},
           label2id={x: i for i, x in enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])})

# `hub` are the names of the published checkpoints where transformers renames them, `hub_config` their config's keys, and
# `drop` the keys that they have not.
NOMIC_HUB = [("layers.", "encoder.layers."), ("embeddings.LayerNorm", "emb_ln"), ("self_attn.o_proj", "attn.out_proj"), ("up_proj", "fc11"),
             ("gate_proj", "fc12"), ("down_proj", "fc2"), ("post_attention_layernorm", "norm1"), ("post_mlp_layernorm", "norm2")]
GTE_HUB = [("layers.", "encoder.layer."), ("self_attn.o_proj", "attention.o_proj"), ("post_attention_layernorm", "attn_ln"),
           ("post_mlp_layernorm", "mlp_ln"), ("lm_head.layer_norm", "lm_head.norm"), ("gte.", "new.")]

ENCODERS = {
    # every head of BERT that is not among the tiny checkpoints of record.py
    "bert-classes": dict(cls="BertForSequenceClassification", config=dict(BERT, **LABELS)),
    "bert-tokens-f16": dict(cls="BertForTokenClassification", dtype=torch.float16, config=dict(BERT, **BIO)),
    "bert-bounds": dict(cls="BertForQuestionAnswering", config=BERT),
    "bert-order": dict(cls="BertForNextSentencePrediction", config=BERT),
    # places from the padding id + 1; the bare model has a twin, which GGUF calls `bert`
    "roberta-words": dict(cls="RobertaForMaskedLM", gguf="bert", config=ROBERTA),
    "roberta-classes": dict(cls="RobertaForSequenceClassification", config=dict(ROBERTA, **LABELS)),
    "roberta-own-words": dict(cls="RobertaForMaskedLM", config=dict(ROBERTA, tie_word_embeddings=False, hidden_size=12, hidden_act="relu")),
    "xlm-roberta-tokens": dict(cls="XLMRobertaForTokenClassification", config=dict(XLMR, **BIO)),
    "xlm-roberta-classes-bf16": dict(cls="XLMRobertaForSequenceClassification", dtype=torch.bfloat16, config=dict(XLMR, num_labels=1)),
    "camembert-bounds": dict(cls="CamembertForQuestionAnswering", gguf="bert", config=CAMEMBERT),
    "distilbert-words": dict(cls="DistilBertForMaskedLM", gguf="bert", config=DISTILBERT),
    "distilbert-classes": dict(cls="DistilBertForSequenceClassification", config=dict(DISTILBERT, activation="relu", **LABELS)),
    # small embeddings, or as wide as the hidden states: then without a projection
    "electra-words": dict(cls="ElectraForMaskedLM", config=ELECTRA),
    "electra-classes": dict(cls="ElectraForSequenceClassification", config=dict(ELECTRA, embedding_size=20, **LABELS)),
    "electra-discriminator": dict(cls="ElectraForPreTraining", config=dict(ELECTRA, hidden_act="gelu_new")),
    "mpnet-words": dict(cls="MPNetForMaskedLM", config=MPNET),
    "mpnet-classes": dict(cls="MPNetForSequenceClassification", config=dict(MPNET, hidden_act="relu", **LABELS)),
    # three layers on two groups of weights; one group
    "albert-order": dict(cls="AlbertForPreTraining", config=ALBERT),
    "albert-classes": dict(cls="AlbertForSequenceClassification", config=dict(ALBERT, num_hidden_groups=1, hidden_act="gelu", **LABELS)),
    "modernbert-words": dict(cls="ModernBertForMaskedLM", gguf="modern-bert", config=MODERNBERT),
    "modernbert-classes": dict(cls="ModernBertForSequenceClassification",
                               config=dict(MODERNBERT, classifier_pooling="mean", classifier_bias=True, norm_bias=True, attention_bias=True,
                                           mlp_bias=True, classifier_activation="relu", **LABELS)),
    # the keys that transformers 5 writes
    "modernbert-tokens": dict(cls="ModernBertForTokenClassification", without=["global_rope_theta", "local_rope_theta", "global_attn_every_n_layers"],
                              config=dict(MODERNBERT, layer_types=["sliding_attention", "full_attention", "full_attention", "sliding_attention"],
                                          rope_parameters=dict(full_attention=dict(rope_type="default", rope_theta=5000.0),
                                                               sliding_attention=dict(rope_type="default", rope_theta=50.0)), **BIO)),
    "nomic-words": dict(cls="NomicBertForMaskedLM", gguf="nomic-bert", config=NOMIC),
    "nomic-published": dict(cls="NomicBertForMaskedLM", hub=NOMIC_HUB, fuse=("self_attn.{}_proj", ["q", "k", "v"], "attn.Wqkv"),
                            config=NOMIC, hub_config=dict(n_embd=24, n_head=4, n_layer=2, n_inner=26, n_positions=32, activation_function="swiglu",
                                                          layer_norm_epsilon=1e-12, rotary_emb_base=1000, rotary_emb_fraction=1.0,
                                                          rotary_emb_interleaved=False, qkv_proj_bias=False, mlp_fc1_bias=False,
                                                          mlp_fc2_bias=False, prenorm=False, causal=False),
                            hub_without=["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
                                         "max_position_embeddings", "layer_norm_eps", "rope_parameters"]),
    "gte-words": dict(cls="GteForMaskedLM", config=GTE),
    "gte-published-classes": dict(cls="GteForSequenceClassification", hub=GTE_HUB,
                                  fuse=("self_attn.{}_proj", ["q", "k", "v"], "attention.qkv_proj"),
                                  fuse2=("mlp.{}_proj", ["up", "gate"], "mlp.up_gate_proj"), config=dict(GTE, type_vocab_size=1, **LABELS),
                                  hub_config=dict(model_type="new", rope_theta=160000.0, rope_scaling=None, position_embedding_type="rope",
                                                  pack_qkv=True, layer_norm_type="layer_norm", logn_attention_scale=False),
                                  hub_without=["rope_parameters"]),
    "deberta-words": dict(cls="DebertaV2ForMaskedLM", config=DEBERTA),
    # distances without logarithm and norm, by projections of their own, one way only; positions added as well
    "deberta-classes": dict(cls="DebertaV2ForSequenceClassification",
                            config=dict(DEBERTA, position_buckets=-1, max_relative_positions=9, share_att_key=False, norm_rel_ebd="none",
                                        pos_att_type="c2p", position_biased_input=True, type_vocab_size=2, hidden_size=24, **LABELS)),
    "deberta-tokens": dict(cls="DebertaV2ForTokenClassification",
                           config=dict(DEBERTA, share_att_key=False, pos_att_type=["p2c", "c2p"], position_buckets=6, max_relative_positions=17, **BIO)),
    # a decoder's blocks whose tokens see both sides; the window is shared out
    "gemma3-embedding": dict(cls="Gemma3TextModel", gguf="gemma-embedding",
                             config=dict(base.GEMMA3, hidden_size=20, num_attention_heads=5, num_key_value_heads=1, head_dim=6, num_hidden_layers=7,
                                         intermediate_size=11, max_position_embeddings=64, sliding_window=6, sliding_window_pattern=6,
                                         rope_theta=1000000, rope_local_base_freq=10000, query_pre_attn_scalar=6, vocab_size=61,
                                         use_bidirectional_attention=True)),
    # decoders that class a text by its last token
    "qwen2-classes": dict(cls="Qwen2ForSequenceClassification",
                          config=dict(base.QWEN2, hidden_size=24, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2, intermediate_size=23,
                                      max_position_embeddings=48, rope_theta=10000.0, pad_token_id=0, vocab_size=61, tie_word_embeddings=False, num_labels=1)),
    "llama-classes": dict(cls="LlamaForSequenceClassification",
                          config=dict(base.LLAMA, hidden_size=24, num_attention_heads=4, num_key_value_heads=2, intermediate_size=23,
                                      max_position_embeddings=48, rope_theta=10000.0, pad_token_id=0, vocab_size=61, **LABELS)),
}


def inputs(name, config):
    """Rows as in record.py, without the padding's id: where it stands, some of these families count no place."""
    ids, mask = base.inputs(name, config["vocab_size"])
    pad = config["pad_token_id"]
    ids[(ids == pad) & (mask == 1)] = pad + 7
    return torch.where(mask == 1, ids, torch.tensor(pad)), mask


def outputs(cls, model, **kw):
    """{name: tensor} of hidden states and of each head's logits."""
    out = model(**kw)
    found = {"hidden": getattr(model, model.base_model_prefix, model)(**kw).last_hidden_state}
    if "QuestionAnswering" in cls:
        found["bounds"] = torch.stack([out.start_logits, out.end_logits], -1)
    elif "SequenceClassification" in cls:
        found["classes"] = out.logits
    elif "TokenClassification" in cls:
        found["tokens"] = out.logits
    elif "MaskedLM" in cls:
        found["words"] = out.logits
    elif "NextSentence" in cls:
        found["order"] = out.logits
    elif cls == "AlbertForPreTraining":
        found["words"], found["order"] = out.prediction_logits, out.sop_logits
    return found


@torch.no_grad()
def expected(name, spec, config, model, folder):
    ids, mask = inputs(name, config)
    cls = spec["cls"]
    out = {"ids": ids, "mask": mask, **outputs(cls, model, input_ids=ids, attention_mask=mask)}
    if config.get("type_vocab_size", 0) > 1:
        out["type_ids"] = torch.from_numpy(base.generator(name + "/types").integers(0, config["type_vocab_size"], tuple(ids.shape)))
        out["hidden_typed"] = outputs(cls, model, input_ids=ids, attention_mask=mask, token_type_ids=out["type_ids"])["hidden"]
    for i, n in enumerate(base.LENGTHS):  # what the reference says of a padded row must be what it says of the row alone
        alone = outputs(cls, model, input_ids=ids[i : i + 1, :n])
        for key, value in alone.items():
            whole = out[key][i, :n] if key in ("hidden", "words", "tokens", "bounds") else out[key][i]
            gap = (whole - value[0]).abs().max().item()
            assert gap < 2e-5, (name, key, i, gap)
        if n > 1:
            spread = alone["hidden"][0].std(0).mean().item()
            assert spread > 0.05, (name, "the positions hardly differ", spread)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in out.items()}, folder / "expected.safetensors")


def weights(name, model, config, dtype):
    rng, tied = base.generator(name), set(getattr(model, "all_tied_weights_keys", {}) or {})
    return {key: torch.from_numpy(base.random_weight(rng, key, tuple(value.shape), config["model_type"])).to(dtype)
            for key, value in model.state_dict().items() if key not in tied}


def fuse(tensors, pattern, sides, new):
    """Several projections as one matrix, as the published checkpoints have them."""
    out = {}
    for key, value in tensors.items():
        first, last = pattern.format(sides[0]), [pattern.format(s) for s in sides[1:]]
        if first in key:
            out[key.replace(first, new)] = torch.cat([tensors[key.replace(first, pattern.format(s))] for s in sides])
        elif not any(s in key for s in last):
            out[key] = value
    return out


def published(spec, tensors):
    for key in ("fuse", "fuse2"):
        if key in spec:
            tensors = fuse(tensors, *spec[key])
    out = {}
    for key, value in tensors.items():
        for old, new in spec["hub"]:
            key = key.replace(old, new) if not (old == "layers." and "encoder." in key) else key
        out[key] = value
    return out


def record(only=None):
    import transformers

    for name, spec in ENCODERS.items():
        if only not in (None, name):
            continue
        config = dict(spec["config"], architectures=[spec["cls"]])
        for key in spec.get("without", []):
            config.pop(key)
        if "num_labels" in config:  # configs say it by the labels alone
            count = config.pop("num_labels")
            config["id2label"] = {str(i): f"LABEL_{i}" for i in range(count)}
            config["label2id"] = {f"LABEL_{i}": i for i in range(count)}
        folder = base.CHECKPOINTS / name
        shutil.rmtree(folder, ignore_errors=True)
        base.write_json(folder / "config.json", config)
        shell = getattr(transformers, spec["cls"])(transformers.AutoConfig.from_pretrained(folder))
        tensors = weights(name, shell, config, spec.get("dtype", torch.float32))
        base.save_checkpoint(folder, tensors)
        model, _ = base.load_reference(spec["cls"], folder)
        expected(name, spec, config, model, folder)
        if "hub" in spec:
            config = {k: v for k, v in config.items() if k not in spec["hub_without"]} | spec["hub_config"]
            base.write_json(folder / "config.json", config)
            base.save_checkpoint(folder, published(spec, tensors))
        if "gguf" in spec:
            write_gguf(base.CHECKPOINTS / f"{name}.gguf", config, tensors, spec["gguf"])
        print(name, sum(p.numel() for p in model.parameters()), "parameters")


# JinaBERT is not in transformers; candle has an implementation of its own, which the program in jina/ runs. Six heads: no power of two.
JINA = {
    "jina-bert": dict(model_type="bert", architectures=["JinaBertModel"], vocab_size=61, hidden_size=24, num_hidden_layers=2, num_attention_heads=6,
                      intermediate_size=19, hidden_act="gelu", max_position_embeddings=32, type_vocab_size=2, initializer_range=0.02,
                      layer_norm_eps=1e-12, pad_token_id=0, position_embedding_type="alibi", feed_forward_type="geglu", emb_pooler="mean"),
}


def jina():
    import json
    import subprocess

    for name, c in JINA.items():
        folder, d, f = base.CHECKPOINTS / name, c["hidden_size"], c["intermediate_size"]
        shapes = {"embeddings.word_embeddings.weight": (c["vocab_size"], d), "embeddings.token_type_embeddings.weight": (2, d)}
        norms, linears = ["embeddings.LayerNorm"], []
        for i in range(c["num_hidden_layers"]):
            at = f"encoder.layer.{i}."
            linears += [(at + f"attention.self.{side}", (d, d)) for side in ("query", "key", "value")]
            linears += [(at + "attention.output.dense", (d, d)), (at + "mlp.wo", (d, f))]
            norms += [at + "attention.output.LayerNorm", at + "mlp.layernorm"]
            shapes[at + "mlp.gated_layers.weight"] = (2 * f, d)
        shapes |= {f"{n}.{part}": (d,) for n in norms for part in ("weight", "bias")}
        shapes |= {f"{n}.weight": shape for n, shape in linears} | {f"{n}.bias": shape[:1] for n, shape in linears}
        rng = base.generator(name)
        tensors = {key: torch.from_numpy(base.random_weight(rng, key, shape, "bert")).float() for key, shape in sorted(shapes.items())}
        shutil.rmtree(folder, ignore_errors=True)
        base.write_json(folder / "config.json", c)
        base.save_checkpoint(folder, tensors)
        ids, mask = inputs(name, c)
        lines = "".join(json.dumps(ids[i, :n].tolist()) + "\n" for i, n in enumerate(base.LENGTHS))
        done = subprocess.run(["cargo", "run", "-q", "--manifest-path", str(base.HERE / "jina" / "Cargo.toml"), "--", str(folder)],
                              input=lines, capture_output=True, text=True, check=True)
        hidden = torch.zeros(*ids.shape, d)
        for i, line in enumerate(done.stdout.splitlines()):
            hidden[i, : base.LENGTHS[i]] = torch.tensor(json.loads(line))
        spread = hidden[0].std(0).mean().item()
        assert spread > 0.05, (name, "the positions hardly differ", spread)
        save_file({"ids": ids, "mask": mask, "hidden": hidden}, folder / "expected.safetensors")
        write_gguf(base.CHECKPOINTS / f"{name}.gguf", c, tensors, "jina-bert-v2")
        print(name, sum(v.numel() for v in tensors.values()), "parameters")


# Every layer's hidden states and attention weights, of one checkpoint of each kind of attention.
LAYERS = {"bert-mlm": "BertForMaskedLM", "deberta-words": "DebertaV2ForMaskedLM", "deberta-classes": "DebertaV2ForSequenceClassification",
          "albert-classes": "AlbertForSequenceClassification", "modernbert-tokens": "ModernBertForTokenClassification",
          "gpt2-untied": "GPT2LMHeadModel", "llama-bias": "LlamaForCausalLM", "qwen3-tied": "Qwen3ForCausalLM",
          "gemma3-pattern": "Gemma3ForCausalLM", "gemma2-capped": "Gemma2ForCausalLM"}


@torch.no_grad()
def layers(only=None):
    """layers.safetensors: `states` [L + 1, B, T, D] and `maps` [L, B, H, T, T] of all rows in expected.safetensors but the first."""
    from safetensors.torch import load_file

    for name, cls in LAYERS.items():
        if only not in (None, name):
            continue
        folder = base.CHECKPOINTS / name
        model, _ = base.load_reference(cls, folder)
        n = base.LENGTHS[2]  # the shorter rows: maps grow with the square
        rows = {key: value[1:, :n] for key, value in load_file(folder / "expected.safetensors").items() if key in ("ids", "mask")}
        out = model(input_ids=rows["ids"], attention_mask=rows["mask"], output_hidden_states=True, output_attentions=True)
        states, maps = torch.stack(out.hidden_states), torch.stack(out.attentions)
        assert len(states) == len(maps) + 1 == model.config.num_hidden_layers + 1
        real = rows["mask"].bool()
        sums = maps.sum(-1).transpose(2, 3)[:, real]
        assert (sums - 1).abs().max() < 1e-5, (name, "weights do not sum to 1")
        save_file({"states": states.contiguous(), "maps": maps.contiguous()}, folder / "layers.safetensors")
        print(name, tuple(states.shape), tuple(maps.shape))


# --- GGUF: names by gguf-py's table, keys and changes as llama.cpp's converter makes them -----------------------------

ARCH = {"gemma-embedding": gguf.MODEL_ARCH.GEMMA_EMBEDDING, "bert": gguf.MODEL_ARCH.BERT, "modern-bert": gguf.MODEL_ARCH.MODERN_BERT, "nomic-bert": gguf.MODEL_ARCH.NOMIC_BERT,
        "jina-bert-v2": gguf.MODEL_ARCH.JINA_BERT_V2}


def write_gguf(path, c, tensors, arch):
    get = lambda *keys, default=None: next((c[k] for k in keys if k in c), default)
    layers = get("num_hidden_layers", "n_layers")
    w = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[ARCH[arch]])
    w.add_type(gguf.GGUFType.MODEL)
    w.add_name(path.stem)
    roberta = c["model_type"] in ("roberta", "camembert")
    drop = c["pad_token_id"] + 1 if roberta else 0
    w.add_block_count(layers)
    w.add_context_length(c["max_position_embeddings"] - drop)
    w.add_embedding_length(get("hidden_size", "dim"))
    w.add_feed_forward_length(get("intermediate_size", "hidden_dim"))
    w.add_head_count(get("num_attention_heads", "n_heads"))
    w.add_pooling_type(gguf.PoolingType.MEAN)
    if arch == "gemma-embedding":
        w.add_head_count_kv(c["num_key_value_heads"])
        w.add_layer_norm_rms_eps(c["rms_norm_eps"])
        w.add_rope_freq_base(c["rope_theta"])
        w.add_key_length(c["head_dim"])
        w.add_value_length(c["head_dim"])
        w.add_sliding_window(c["sliding_window"])
    else:
        w.add_layer_norm_eps(get("layer_norm_eps", "norm_eps", default=1e-12))
        w.add_causal_attention(False)
    if arch in ("bert", "jina-bert-v2"):
        w.add_token_type_count(get("type_vocab_size", default=0))
    if arch == "jina-bert-v2":
        w.add_vocab_size(c["vocab_size"])
        w.add_tokenizer_model("none")  # with which llama.cpp takes it
    if arch == "nomic-bert":
        w.add_token_type_count(c["type_vocab_size"])
        w.add_rope_freq_base(c["rope_parameters"]["rope_theta"])
    if arch == "modern-bert":
        w.add_rope_freq_base(c["global_rope_theta"])
        w.add_rope_freq_base_swa(c["local_rope_theta"])
        w.add_sliding_window(c["local_attention"])
        w.add_sliding_window_pattern(c["global_attn_every_n_layers"])
        w.add_rope_scaling_type(gguf.RopeScalingType.NONE)
        w.add_vocab_size(c["vocab_size"])
    w.add_file_type(0)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    names = gguf.get_tensor_name_map(ARCH[arch], layers)
    if arch == "nomic-bert":
        tensors = published(dict(hub=NOMIC_HUB, fuse=("self_attn.{}_proj", ["q", "k", "v"], "attn.Wqkv")), tensors)
    for key, value in tensors.items():
        for prefix in ("roberta.", "camembert.", "distilbert.", "model.", "nomic_bert."):
            key = key.removeprefix(prefix)
        if key.startswith(("lm_head", "cls.", "qa_outputs", "vocab_", "head.", "decoder")):
            continue
        value = value.float().numpy()
        if arch == "gemma-embedding" and key.endswith("norm.weight"):
            value = value + np.float32(1.0)
        if "position_embeddings" in key and drop:
            value = value[drop:]
        new = names.get_name(key, (".weight", ".bias"))
        assert new is not None, key
        w.add_tensor(new, np.ascontiguousarray(value))
    base.finish(w)
