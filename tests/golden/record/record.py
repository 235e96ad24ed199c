#!/usr/bin/env python3
"""Record the tiny checkpoints of tests/golden, their GGUF twins, the block formats and the tiny embedders.

Run by hand, never by the tests; `python record.py --help` says how.

Everything is deterministic: weights come from numpy generators seeded by the checkpoint's name, and the expected
numbers from the reference implementations pinned below, in float32 on the CPU with eager attention. A checkpoint's
config.json is written first and the reference reads that very file, so the keys are those of real checkpoints.
The layout of what is written is described in README.md beside this file.
"""
import argparse
import contextlib
import io
import json
import math
import os
import pathlib
import shutil
import sys
import tempfile
import zlib
from importlib.metadata import PackageNotFoundError, version

VERSIONS = {
    "transformers": "5.23.0",
    "torch": "2.15.0",
    "tokenizers": "0.23.3",
    "sentence-transformers": "6.2.0",
    "sentencepiece": "0.2.3",
    "safetensors": "0.8.0",
    "gguf": "0.19.0",
    "numpy": "2.4.6",
}

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

PACKAGES = "pip install " + " ".join(f"{name}=={want}" for name, want in VERSIONS.items())

try:
    import gguf
    import numpy as np
    import torch
    from gguf import GGMLQuantizationType as Q
    from safetensors.torch import load_file, save_file
except ImportError as error:
    print(f"{error.name} is missing; to record and to check, run: {PACKAGES}", file=sys.stderr)
    sys.exit(2)

torch.set_num_threads(1)
HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE.parent
CHECKPOINTS = GOLDEN / "checkpoints"


def need_versions():
    """Refuse other versions than the pinned ones."""
    for name, want in VERSIONS.items():
        try:
            have = version(name).split("+")[0]
        except PackageNotFoundError:
            have = "missing"
        if have != want:
            print(f"{name} is {have}, recordings are of {want}; run: {PACKAGES}", file=sys.stderr)
            sys.exit(2)


def check_versions():
    """Refuse to record with other versions than the pinned ones, and write down which they were."""
    need_versions()
    (HERE / "versions.json").write_text(json.dumps(VERSIONS, indent=2) + "\n")


def generator(name):
    return np.random.default_rng(zlib.crc32(name.encode()))


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


# --- the checkpoints -------------------------------------------------------------------------------------------------
# `config` is config.json, word for word. `cls` is the class that real checkpoints of this layout were saved from.
# `strip` removes a prefix from every name; `extra` adds leftovers; `rename` maps old names; `shards` splits the file.
# `gguf` says in what type the twin's matrices are stored (None: no twin: GGUF cannot say what this model needs, such as its activation).

BERT = dict(model_type="bert", vocab_size=131, hidden_size=30, num_attention_heads=5, num_hidden_layers=2, intermediate_size=53,
            max_position_embeddings=24, type_vocab_size=2, layer_norm_eps=1e-12, pad_token_id=0, hidden_dropout_prob=0.1,
            attention_probs_dropout_prob=0.1, position_embedding_type="absolute", initializer_range=0.02)
GPT2 = dict(model_type="gpt2", vocab_size=131, n_embd=30, n_head=5, n_layer=2, n_positions=24, n_ctx=24, layer_norm_epsilon=1e-5,
            activation_function="gelu_new", bos_token_id=130, eos_token_id=130, attn_pdrop=0.1, embd_pdrop=0.1, resid_pdrop=0.1)
LLAMA = dict(model_type="llama", vocab_size=83, hidden_act="silu", rms_norm_eps=1e-5, num_hidden_layers=2, bos_token_id=1,
             eos_token_id=2, initializer_range=0.02, use_cache=True)
QWEN2 = dict(model_type="qwen2", vocab_size=83, hidden_act="silu", rms_norm_eps=1e-6, bos_token_id=1, eos_token_id=2)
GEMMA3 = dict(model_type="gemma3_text", vocab_size=83, hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6, bos_token_id=2,
              eos_token_id=1, pad_token_id=0, attention_bias=False, attn_logit_softcapping=None)

TINY = {
    # BertModel, names without a prefix, with pooler and the position_ids buffer of older files
    "bert-plain": dict(cls="BertModel", extra=["position_ids"], gguf=Q.F32,
                       config=dict(BERT, architectures=["BertModel"], hidden_act="gelu", torch_dtype="float32")),
    # a masked-language-model checkpoint: `bert.` prefix, no pooler, head leftovers
    "bert-mlm": dict(cls="BertForMaskedLM", extra=["decoder"],
                     config=dict(BERT, architectures=["BertForMaskedLM"], hidden_act="gelu_new", intermediate_size=41, dtype="float32")),
    # the oldest layout: pre-training heads, pooler, LayerNorm.gamma and .beta
    "bert-pretraining": dict(cls="BertForPreTraining", rename=[("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")],
                             config=dict(BERT, architectures=["BertForPreTraining"], hidden_act="gelu", hidden_size=27,
                                         num_attention_heads=3, num_hidden_layers=1, model_type="bert")),
    # half precision, relu, no pooler, one head
    "bert-relu-f16": dict(cls="BertModel", drop=["pooler."], dtype=torch.float16,
                          config=dict(BERT, architectures=["BertModel"], hidden_act="relu", hidden_size=20, num_attention_heads=1,
                                      type_vocab_size=1, layer_norm_eps=1e-3, torch_dtype="float16")),
    # the original layout: no prefix, no head, causal-mask buffers
    "gpt2-bare": dict(cls="GPT2LMHeadModel", strip="transformer.", extra=["attn.bias", "attn.masked_bias"], gguf=Q.F32,
                      config=dict(GPT2, architectures=["GPT2LMHeadModel"])),
    # prefixed, own head, another width of the MLP, exact gelu
    "gpt2-untied": dict(cls="GPT2LMHeadModel",
                        config=dict(GPT2, architectures=["GPT2LMHeadModel"], n_inner=37, n_head=3, n_embd=27,
                                    activation_function="gelu", tie_word_embeddings=False, dtype="float32")),
    # attention also divided by the layer's number
    "gpt2-inverse-layer": dict(cls="GPT2LMHeadModel", dtype=torch.bfloat16,
                               config=dict(GPT2, architectures=["GPT2LMHeadModel"], n_layer=3, n_embd=18, n_head=3,
                                           scale_attn_by_inverse_layer_idx=True, activation_function="relu", torch_dtype="bfloat16")),
    # one key-value head, head_dim that is not width / heads, own head; keys as written before transformers 5
    "llama-mqa": dict(cls="LlamaForCausalLM", gguf=Q.F32,
                      config=dict(LLAMA, architectures=["LlamaForCausalLM"], hidden_size=24, num_attention_heads=3, num_key_value_heads=1,
                                  head_dim=10, intermediate_size=43, max_position_embeddings=64, rope_theta=10000.0, rope_scaling=None,
                                  torch_dtype="float32", tie_word_embeddings=False, pretraining_tp=1, attention_bias=False, mlp_bias=False)),
    # every bias, tied head, 9 heads on 3; keys as transformers 5 writes them
    "llama-bias": dict(cls="LlamaForCausalLM", gguf=Q.F32,
                       config=dict(LLAMA, architectures=["LlamaForCausalLM"], hidden_size=27, num_attention_heads=9, num_key_value_heads=3,
                                   head_dim=4, intermediate_size=35, max_position_embeddings=64, attention_bias=True, mlp_bias=True,
                                   rope_parameters=dict(rope_type="default", rope_theta=500.0), dtype="float32", tie_word_embeddings=True)),
    # linear scaling under its old name `type`; no num_key_value_heads, no head_dim, no tie_word_embeddings, no rope_theta: defaults
    "llama-linear-f16": dict(cls="LlamaForCausalLM", dtype=torch.float16, gguf=Q.F16,
                             config=dict(LLAMA, architectures=["LlamaForCausalLM"], hidden_size=30, num_attention_heads=5,
                                         intermediate_size=33, max_position_embeddings=64, rope_scaling=dict(type="linear", factor=4.0),
                                         torch_dtype="float16")),
    # llama3 scaling, old keys, bfloat16
    "llama-llama3-bf16": dict(cls="LlamaForCausalLM", dtype=torch.bfloat16, gguf=Q.BF16,
                              config=dict(LLAMA, architectures=["LlamaForCausalLM"], hidden_size=24, num_attention_heads=6,
                                          num_key_value_heads=2, head_dim=12, intermediate_size=31, max_position_embeddings=256,
                                          rope_theta=100.0, torch_dtype="bfloat16", tie_word_embeddings=True,
                                          rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                                            original_max_position_embeddings=32))),
    # llama3 scaling, new keys, three shards with an index
    "llama-sharded": dict(cls="LlamaForCausalLM", shards=3,
                          config=dict(LLAMA, architectures=["LlamaForCausalLM"], hidden_size=20, num_attention_heads=5, num_key_value_heads=5,
                                      intermediate_size=29, max_position_embeddings=256, dtype="float32", tie_word_embeddings=False,
                                      rope_parameters=dict(rope_type="llama3", rope_theta=100.0, factor=4.0, low_freq_factor=1.0,
                                                           high_freq_factor=4.0, original_max_position_embeddings=32))),
    # seven heads on one, tied; the sliding keys are there but switched off, as in the released checkpoints
    "qwen2-tied": dict(cls="Qwen2ForCausalLM", gguf=Q.F32,
                       config=dict(QWEN2, architectures=["Qwen2ForCausalLM"], hidden_size=28, num_attention_heads=7, num_key_value_heads=1,
                                   num_hidden_layers=2, intermediate_size=37, max_position_embeddings=64, rope_theta=1000000.0,
                                   use_sliding_window=False, sliding_window=4, max_window_layers=1, torch_dtype="float32", tie_word_embeddings=True)),
    # the sliding keys switched on: layers from max_window_layers on see 6 tokens
    "qwen2-sliding-bf16": dict(cls="Qwen2ForCausalLM", dtype=torch.bfloat16,
                               config=dict(QWEN2, architectures=["Qwen2ForCausalLM"], hidden_size=24, num_attention_heads=6,
                                           num_key_value_heads=3, num_hidden_layers=3, intermediate_size=29, max_position_embeddings=64,
                                           rope_parameters=dict(rope_type="default", rope_theta=10000.0), use_sliding_window=True,
                                           sliding_window=6, max_window_layers=1, dtype="bfloat16", tie_word_embeddings=False)),
    # five sliding layers, one full, one sliding: the released pattern; keys of the released 1B checkpoint
    "gemma3-pattern": dict(cls="Gemma3ForCausalLM", gguf=Q.F32,
                           config=dict(GEMMA3, architectures=["Gemma3ForCausalLM"], hidden_size=20, num_attention_heads=5,
                                       num_key_value_heads=1, head_dim=6, num_hidden_layers=7, intermediate_size=27,
                                       max_position_embeddings=64, sliding_window=5, sliding_window_pattern=6, rope_theta=1000000,
                                       rope_local_base_freq=10000, rope_scaling=None, query_pre_attn_scalar=6,
                                       final_logit_softcapping=None, torch_dtype="float32")),
    # layer kinds by name, new rope keys, odd score scale, logits capped, own head
    "gemma3-layers-bf16": dict(cls="Gemma3ForCausalLM", dtype=torch.bfloat16,
                               config=dict(GEMMA3, architectures=["Gemma3ForCausalLM"], hidden_size=24, num_attention_heads=6,
                                           num_key_value_heads=2, head_dim=8, num_hidden_layers=4, intermediate_size=27,
                                           max_position_embeddings=64, sliding_window=5, query_pre_attn_scalar=23,
                                           layer_types=["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
                                           rope_parameters=dict(full_attention=dict(rope_type="linear", factor=8.0, rope_theta=100000.0),
                                                                sliding_attention=dict(rope_type="default", rope_theta=100.0)),
                                           final_logit_softcapping=3.0, dtype="bfloat16", tie_word_embeddings=False)),
    # linear scaling of the full layers only, by the old keys; every other layer full
    "gemma3-linear": dict(cls="Gemma3ForCausalLM", gguf=Q.F32,
                          config=dict(GEMMA3, architectures=["Gemma3ForCausalLM"], hidden_size=18, num_attention_heads=3,
                                      num_key_value_heads=3, head_dim=10, num_hidden_layers=3, intermediate_size=31,
                                      max_position_embeddings=64, sliding_window=5, sliding_window_pattern=2, rope_theta=1000.0,
                                      rope_local_base_freq=100.0, rope_scaling=dict(factor=8.0, rope_type="linear"),
                                      query_pre_attn_scalar=10, final_logit_softcapping=4.0, torch_dtype="float32")),
}

# --- decoder families: as small as shows every part of them -----------------------------------------------------------
SMALLEST = dict(vocab_size=47, num_hidden_layers=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0,
                torch_dtype="float32")


def decoder(kind, cls, **keys):
    return dict(SMALLEST, model_type=kind, architectures=[cls], **keys)


def add(name, cls, kind, keys, **options):
    TINY[name] = dict(cls=cls, config=decoder(kind, cls, **keys), **options)


def without(keys, *names):
    return {k: v for k, v in keys.items() if k not in names}


RMS = dict(rms_norm_eps=1e-5, hidden_act="silu")
LN = dict(layer_norm_eps=1e-5)
# one key head, a head that is not width / heads, a window shorter than the prompt
add("mistral-window", "MistralForCausalLM", "mistral",
    dict(RMS, hidden_size=20, num_attention_heads=5, num_key_value_heads=1, head_dim=6, intermediate_size=29, sliding_window=6,
         rope_theta=100.0, tie_word_embeddings=False))
# no window; its GGUF says llama
add("mistral-full-f16", "MistralForCausalLM", "mistral",
    dict(RMS, hidden_size=24, num_attention_heads=6, num_key_value_heads=2, intermediate_size=31, sliding_window=None,
         rope_theta=1000000.0, tie_word_embeddings=False), dtype=torch.float16, gguf=Q.F16)
add("qwen3-tied", "Qwen3ForCausalLM", "qwen3",
    dict(RMS, hidden_size=18, num_attention_heads=6, num_key_value_heads=3, head_dim=8, intermediate_size=29, rope_theta=1000.0,
         attention_bias=False, use_sliding_window=False, sliding_window=None, max_window_layers=2, tie_word_embeddings=True), gguf=Q.F32)
# biases, sliding from the second layer on
add("qwen3-sliding-bf16", "Qwen3ForCausalLM", "qwen3",
    dict(RMS, hidden_size=16, num_attention_heads=5, num_key_value_heads=1, head_dim=4, intermediate_size=23,
         rope_parameters=dict(rope_type="default", rope_theta=1000.0), attention_bias=True, use_sliding_window=True, sliding_window=5,
         max_window_layers=1, tie_word_embeddings=False), dtype=torch.bfloat16)
# the first release's `gelu`, which means its approximation
add("gemma-gelu", "GemmaForCausalLM", "gemma",
    dict(hidden_size=20, num_attention_heads=5, num_key_value_heads=1, head_dim=6, intermediate_size=29, hidden_act="gelu",
         rms_norm_eps=1e-6, rope_theta=10000.0), gguf=Q.F32)
add("gemma2-capped", "Gemma2ForCausalLM", "gemma2",
    dict(hidden_size=20, num_attention_heads=4, num_key_value_heads=2, head_dim=6, intermediate_size=27, num_hidden_layers=3,
         hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6, sliding_window=5, query_pre_attn_scalar=6, rope_theta=10000.0,
         attn_logit_softcapping=2.0, final_logit_softcapping=3.0), gguf=Q.F32)
# another score scale, no caps
add("gemma2-plain-bf16", "Gemma2ForCausalLM", "gemma2",
    dict(hidden_size=16, num_attention_heads=2, num_key_value_heads=1, head_dim=10, intermediate_size=21,
         hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6, sliding_window=5, query_pre_attn_scalar=17, rope_theta=1000.0,
         attn_logit_softcapping=None, final_logit_softcapping=None), dtype=torch.bfloat16)
add("smollm3-nope", "SmolLM3ForCausalLM", "smollm3",
    dict(RMS, hidden_size=16, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=4, intermediate_size=21,
         rope_theta=1000.0, rope_scaling=None, attention_bias=False, mlp_bias=False, no_rope_layers=[1, 1, 1, 0], no_rope_layer_interval=4,
         use_sliding_window=False, sliding_window=None), gguf=Q.F32)
add("olmo2", "Olmo2ForCausalLM", "olmo2",
    dict(RMS, hidden_size=24, num_attention_heads=6, num_key_value_heads=3, intermediate_size=29, rope_theta=1000.0, attention_bias=False,
         tie_word_embeddings=False), gguf=Q.F32)
add("granite", "GraniteForCausalLM", "granite",
    dict(RMS, hidden_size=20, num_attention_heads=5, num_key_value_heads=1, intermediate_size=27, rope_theta=1000.0, attention_bias=False,
         mlp_bias=False, tie_word_embeddings=True, embedding_multiplier=3.0, attention_multiplier=0.3, residual_multiplier=0.7,
         logits_scaling=1.7), gguf=Q.F32)
# norms on queries and keys with a scale a head
add("cohere-normed", "CohereForCausalLM", "cohere",
    dict(LN, hidden_act="silu", hidden_size=24, num_attention_heads=6, num_key_value_heads=3, intermediate_size=29, rope_theta=1000.0,
         use_qk_norm=True, logit_scale=0.6), gguf=Q.F32)
add("cohere-plain-f16", "CohereForCausalLM", "cohere",
    dict(LN, hidden_act="silu", hidden_size=20, num_attention_heads=5, num_key_value_heads=1, intermediate_size=27, rope_theta=1000.0,
         attention_bias=True, logit_scale=0.6), dtype=torch.float16)
add("cohere2", "Cohere2ForCausalLM", "cohere2",
    dict(LN, hidden_act="silu", hidden_size=16, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=4, intermediate_size=21,
         rope_theta=1000.0, rotary_pct=1.0, sliding_window=5, sliding_window_pattern=4, logit_scale=0.6), gguf=Q.F32)
add("stablelm", "StableLmForCausalLM", "stablelm",
    dict(LN, hidden_act="silu", hidden_size=20, num_attention_heads=2, num_key_value_heads=2, intermediate_size=27, rope_theta=1000.0,
         partial_rotary_factor=0.4, use_qkv_bias=True, tie_word_embeddings=False), gguf=Q.F32)
add("stablelm-parallel", "StableLmForCausalLM", "stablelm",
    dict(LN, hidden_act="silu", hidden_size=24, num_attention_heads=4, num_key_value_heads=2, intermediate_size=27, rope_theta=1000.0,
         partial_rotary_factor=0.75, qk_layernorm=True, use_parallel_residual=True, tie_word_embeddings=False), gguf=Q.F32)
add("starcoder2", "Starcoder2ForCausalLM", "starcoder2",
    dict(norm_epsilon=1e-5, hidden_act="gelu_pytorch_tanh", hidden_size=20, num_attention_heads=5, num_key_value_heads=1,
         intermediate_size=41, rope_theta=1000.0, use_bias=True, sliding_window=None), gguf=Q.F32)
add("starcoder2-window-bf16", "Starcoder2ForCausalLM", "starcoder2",
    dict(norm_epsilon=1e-5, hidden_act="gelu_pytorch_tanh", hidden_size=16, num_attention_heads=4, num_key_value_heads=2,
         intermediate_size=29, rope_theta=1000.0, use_bias=False, sliding_window=5, tie_word_embeddings=False), dtype=torch.bfloat16)
add("phi", "PhiForCausalLM", "phi",
    dict(LN, hidden_act="gelu_new", hidden_size=20, num_attention_heads=2, intermediate_size=80, num_hidden_layers=1, rope_theta=10000.0,
         partial_rotary_factor=0.4, tie_word_embeddings=False), gguf=Q.F32)
add("phi-normed", "PhiForCausalLM", "phi",
    dict(LN, hidden_act="gelu_new", hidden_size=16, num_attention_heads=2, num_key_value_heads=1, intermediate_size=29, rope_theta=1000.0,
         partial_rotary_factor=0.5, qk_layernorm=True, tie_word_embeddings=False))
add("phi3-window", "Phi3ForCausalLM", "phi3",
    dict(RMS, hidden_size=24, num_attention_heads=4, num_key_value_heads=2, intermediate_size=27, original_max_position_embeddings=64,
         rope_theta=1000.0, rope_scaling=None, sliding_window=7, tie_word_embeddings=False), gguf=Q.F32)
add("gpt-neox", "GPTNeoXForCausalLM", "gpt_neox",
    dict(LN, hidden_act="gelu", hidden_size=24, num_attention_heads=3, intermediate_size=41, rotary_pct=0.25, rotary_emb_base=10000,
         use_parallel_residual=True, tie_word_embeddings=False), rename=[("lm_head.", "embed_out.")], gguf=Q.F32)
# its head under the name that transformers 5 writes
add("gpt-neox-sequential", "GPTNeoXForCausalLM", "gpt_neox",
    dict(LN, hidden_act="gelu_new", hidden_size=20, num_attention_heads=5, intermediate_size=29, rotary_pct=1.0, rotary_emb_base=10000,
         use_parallel_residual=False, attention_bias=False, tie_word_embeddings=False))
GPTJ = dict(n_embd=20, n_head=2, n_layer=2, n_positions=64, layer_norm_epsilon=1e-5)
TINY["gptj"] = dict(cls="GPTJForCausalLM", config=dict(
    without(SMALLEST, "num_hidden_layers", "max_position_embeddings"), model_type="gptj", architectures=["GPTJForCausalLM"], **GPTJ,
    n_inner=None, rotary_dim=4, activation_function="gelu_new", tie_word_embeddings=False))
TINY["gpt-neo"] = dict(cls="GPTNeoForCausalLM", config=dict(
    without(SMALLEST, "num_hidden_layers"), model_type="gpt_neo", architectures=["GPTNeoForCausalLM"], hidden_size=20, num_heads=4,
    num_layers=3, intermediate_size=None, attention_types=[[["global", "local"], 1], [["local"], 1]], window_size=5,
    activation_function="gelu_new", layer_norm_epsilon=1e-5))
OPT = dict(hidden_size=20, num_attention_heads=4, ffn_dim=29, activation_function="relu", word_embed_proj_dim=20)
add("opt", "OPTForCausalLM", "opt", dict(OPT, do_layer_norm_before=True))
add("opt-after", "OPTForCausalLM", "opt", dict(OPT, do_layer_norm_before=False, activation_function="gelu"), dtype=torch.float16)
# the 350M's shape: norms after, vectors of tokens that are projected to hidden states, and these back
add("opt-350m", "OPTForCausalLM", "opt", dict(OPT, do_layer_norm_before=False, word_embed_proj_dim=11))
add("opt-projected-f16", "OPTForCausalLM", "opt",
    dict(OPT, do_layer_norm_before=True, _remove_final_layer_norm=True, enable_bias=False, word_embed_proj_dim=27, tie_word_embeddings=False),
    dtype=torch.float16)
# six heads: not a power of two
TINY["bloom"] = dict(cls="BloomForCausalLM", gguf=Q.F32, config=dict(
    without(SMALLEST, "num_hidden_layers", "max_position_embeddings"), model_type="bloom", architectures=["BloomForCausalLM"],
    n_embed=24, n_layer=2, num_attention_heads=6, seq_length=64, layer_norm_epsilon=1e-5, apply_residual_connection_post_layernorm=False))
FALCON = dict(hidden_size=20, layer_norm_epsilon=1e-5)
add("falcon-7b", "FalconForCausalLM", "falcon",
    dict(FALCON, num_attention_heads=5, alibi=False, bias=False, multi_query=True, new_decoder_architecture=False, parallel_attn=True), gguf=Q.F32)
add("falcon-40b", "FalconForCausalLM", "falcon",
    dict(FALCON, hidden_size=24, num_attention_heads=6, num_kv_heads=2, alibi=False, bias=False, new_decoder_architecture=True), gguf=Q.F32)
# not eager: this version of transformers adds the distance twice there, in the scores and in the mask
add("falcon-rw", "FalconForCausalLM", "falcon",
    dict(FALCON, num_attention_heads=5, alibi=True, bias=True, multi_query=False, new_decoder_architecture=False, parallel_attn=False,
         num_hidden_layers=1), attention="sdpa")
TINY["openai-gpt"] = dict(cls="OpenAIGPTLMHeadModel", config=dict(
    without(SMALLEST, "num_hidden_layers", "max_position_embeddings"), model_type="openai-gpt", architectures=["OpenAIGPTLMHeadModel"],
    **dict(GPTJ, n_head=4), afn="gelu"))
# mixtures of experts; `experts` says how the file names them: as published, one by one, or stacked as in memory
MIXED = dict(RMS, hidden_size=16, num_attention_heads=4, num_key_value_heads=2, rope_theta=1000.0, tie_word_embeddings=False)
add("mixtral", "MixtralForCausalLM", "mixtral",
    dict(MIXED, intermediate_size=11, num_local_experts=5, num_experts_per_tok=2, sliding_window=None), experts="w", gguf=Q.F32)
add("mixtral-stacked-f16", "MixtralForCausalLM", "mixtral",
    dict(MIXED, intermediate_size=9, num_local_experts=3, num_experts_per_tok=1, sliding_window=6), dtype=torch.float16)
# a dense layer between
add("qwen2-moe", "Qwen2MoeForCausalLM", "qwen2_moe",
    dict(MIXED, intermediate_size=21, moe_intermediate_size=9, shared_expert_intermediate_size=13, num_experts=6, num_experts_per_tok=3,
         norm_topk_prob=False, decoder_sparse_step=1, mlp_only_layers=[1], num_hidden_layers=3, use_sliding_window=False, sliding_window=None,
         max_window_layers=3), experts="proj")
add("qwen2-moe-gguf", "Qwen2MoeForCausalLM", "qwen2_moe",
    dict(MIXED, intermediate_size=21, moe_intermediate_size=9, shared_expert_intermediate_size=13, num_experts=6, num_experts_per_tok=3,
         norm_topk_prob=False, decoder_sparse_step=1, num_hidden_layers=2, use_sliding_window=False, sliding_window=None,
         max_window_layers=2), experts="proj", gguf=Q.F32)
add("qwen3-moe", "Qwen3MoeForCausalLM", "qwen3_moe",
    dict(MIXED, head_dim=6, intermediate_size=21, moe_intermediate_size=7, num_experts=7, num_experts_per_tok=4, norm_topk_prob=True,
         decoder_sparse_step=1, mlp_only_layers=[], use_sliding_window=False, sliding_window=None), experts="proj", gguf=Q.F32)
# every second layer has experts; weights not divided
add("qwen3-moe-steps-bf16", "Qwen3MoeForCausalLM", "qwen3_moe",
    dict(MIXED, head_dim=4, intermediate_size=15, moe_intermediate_size=7, num_experts=4, num_experts_per_tok=2, norm_topk_prob=False,
         decoder_sparse_step=2, attention_bias=True, use_sliding_window=False, sliding_window=None), dtype=torch.bfloat16)
# routers with many logits near each other, so that the weights differ from a plain softmax
add("phimoe", "PhimoeForCausalLM", "phimoe",
    dict(MIXED, intermediate_size=9, num_local_experts=6, num_experts_per_tok=2, router_jitter_noise=0.4, attention_bias=True,
         lm_head_bias=True, sliding_window=None, rope_scaling=None), experts="w")
add("phimoe-gguf", "PhimoeForCausalLM", "phimoe",
    dict(MIXED, intermediate_size=9, num_local_experts=4, num_experts_per_tok=2, router_jitter_noise=0.01, attention_bias=True,
         lm_head_bias=True, sliding_window=None, rope_scaling=None, original_max_position_embeddings=64, num_hidden_layers=1,
         rope_theta=10000.0), experts="w", gguf=Q.F32)
# rotations stretched for long sequences; `by_length`: the rotation goes by a row's length, so each row runs alone
add("qwen2-yarn", "Qwen2ForCausalLM", "qwen2",
    dict(RMS, hidden_size=24, num_attention_heads=2, num_key_value_heads=1, intermediate_size=19, rope_theta=100.0,
         rope_scaling=dict(type="yarn", factor=4.0, original_max_position_embeddings=16), use_sliding_window=False, sliding_window=None,
         max_window_layers=2, tie_word_embeddings=True), gguf=Q.F32)
add("llama-yarn-mscale-f16", "LlamaForCausalLM", "llama",
    dict(RMS, hidden_size=20, num_attention_heads=2, num_key_value_heads=1, intermediate_size=19, attention_bias=False,
         rope_parameters=dict(rope_type="yarn", rope_theta=50.0, factor=8.0, original_max_position_embeddings=8, beta_fast=4.0,
                              beta_slow=0.5, mscale=0.8, mscale_all_dim=0.3, truncate=False), tie_word_embeddings=True), dtype=torch.float16)
add("llama-dynamic", "LlamaForCausalLM", "llama",
    dict(RMS, hidden_size=20, num_attention_heads=2, num_key_value_heads=1, intermediate_size=19, attention_bias=False,
         max_position_embeddings=12, rope_theta=100.0, rope_scaling=dict(rope_type="dynamic", factor=2.0), tie_word_embeddings=True),
    dtype=torch.float16, by_length=True)
LONG = dict(type="longrope", short_factor=[1.0, 1.1, 1.3], long_factor=[1.2, 2.5, 4.0])
add("phi3-long", "Phi3ForCausalLM", "phi3",
    dict(RMS, hidden_size=24, num_attention_heads=3, num_key_value_heads=1, intermediate_size=19, partial_rotary_factor=0.75,
         max_position_embeddings=48, original_max_position_embeddings=13, rope_theta=100.0, rope_scaling=LONG, sliding_window=None,
         tie_word_embeddings=True), gguf=Q.F32, by_length=True)
# transformers takes the short factors at any length here, so only sequences that they are for are compared
add("phimoe-long-f16", "PhimoeForCausalLM", "phimoe",
    dict(MIXED, hidden_size=24, intermediate_size=7, num_local_experts=3, num_experts_per_tok=2, attention_bias=True, lm_head_bias=True,
         router_jitter_noise=0.1, max_position_embeddings=128, original_max_position_embeddings=64, sliding_window=None,
         rope_scaling=dict(LONG, short_mscale=1.2, long_mscale=1.3)), experts="w", dtype=torch.float16)
# experts turned, gate and up taking turns; biases everywhere; a window shorter than the prompt
OSS = dict(RMS, num_attention_heads=6, num_key_value_heads=2, head_dim=6, num_local_experts=5, num_experts_per_tok=3, sliding_window=7,
           swiglu_limit=0.6, attention_bias=True, rope_theta=150.0, tie_word_embeddings=False, initial_context_length=16,
           rope_scaling=dict(rope_type="yarn", factor=4.0, beta_fast=4.0, beta_slow=0.5, original_max_position_embeddings=16, truncate=False))
add("gpt-oss-bf16", "GptOssForCausalLM", "gpt_oss",
    dict(OSS, hidden_size=20, intermediate_size=9, layer_types=["full_attention", "sliding_attention"]), dtype=torch.bfloat16)
# as published: experts in 4-bit floats
add("gpt-oss-mxfp4", "GptOssForCausalLM", "gpt_oss",
    dict(OSS, hidden_size=32, num_attention_heads=4, intermediate_size=32, num_local_experts=3, num_experts_per_tok=2, swiglu_limit=7.0,
         rope_scaling=dict(OSS["rope_scaling"], beta_fast=32.0, beta_slow=1.0),
         quantization_config=dict(quant_method="mxfp4", modules_to_not_convert=["lm_head"])), dtype=torch.bfloat16, mxfp4=True, gguf=Q.F32)
# keys and values from short vectors; `experts`: one by one, as published
MLA = dict(RMS, hidden_size=20, num_attention_heads=3, num_key_value_heads=3, kv_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=6, v_head_dim=5,
           intermediate_size=19, moe_intermediate_size=7, rope_theta=100.0, first_k_dense_replace=1, moe_layer_freq=1, num_hidden_layers=3,
           tie_word_embeddings=False, attention_bias=False)
# V2-Lite: no vector for queries, one group
add("deepseek-v2-lite", "DeepseekV2ForCausalLM", "deepseek_v2",
    dict(MLA, hidden_size=21, q_lora_rank=None, n_routed_experts=5, n_shared_experts=2, num_experts_per_tok=2, topk_method="greedy", n_group=1,
         topk_group=1, routed_scaling_factor=1.0, scoring_func="softmax", norm_topk_prob=False, rope_scaling=None), experts="proj", gguf=Q.F32)
# V2: groups, and a rotation stretched by YaRN that also scales scores
add("deepseek-v2-bf16", "DeepseekV2ForCausalLM", "deepseek_v2",
    dict(MLA, hidden_size=24, q_lora_rank=11, n_routed_experts=6, n_shared_experts=1, num_experts_per_tok=3, topk_method="group_limited_greedy",
         n_group=3, topk_group=2, routed_scaling_factor=4.0, scoring_func="softmax", norm_topk_prob=False, num_hidden_layers=2,
         rope_scaling=dict(type="yarn", factor=8.0, beta_fast=32, beta_slow=1, mscale=0.707, mscale_all_dim=0.9,
                           original_max_position_embeddings=8)), experts="proj", dtype=torch.bfloat16)
# V3: sigmoids with a correction; its own names, stacked
add("deepseek-v3", "DeepseekV3ForCausalLM", "deepseek_v3",
    dict(MLA, hidden_size=21, q_lora_rank=9, n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=3, topk_method="noaux_tc", n_group=4,
         topk_group=2, routed_scaling_factor=2.5, scoring_func="sigmoid", norm_topk_prob=True, num_hidden_layers=2,
         rope_scaling=dict(type="yarn", factor=4.0, beta_fast=32, beta_slow=1, mscale=1.0, mscale_all_dim=1.0,
                           original_max_position_embeddings=16)), experts="proj", gguf=Q.F32)
# V2 as older GGUF files have it: keys and values in one matrix. `mscale` is both, since GGUF has one number for the two
add("deepseek-v2-gguf", "DeepseekV2ForCausalLM", "deepseek_v2",
    dict(MLA, hidden_size=21, q_lora_rank=9, n_routed_experts=4, n_shared_experts=1, num_experts_per_tok=2, topk_method="greedy", n_group=1, topk_group=1,
         routed_scaling_factor=3.0, scoring_func="softmax", norm_topk_prob=False, num_hidden_layers=2, rms_norm_eps=1e-6,
         rope_scaling=dict(type="yarn", factor=8.0, beta_fast=32, beta_slow=1, mscale=0.707, mscale_all_dim=0.707,
                           original_max_position_embeddings=8)), experts="proj", gguf=Q.F32, older=True)
add("deepseek-v3-plain-bf16", "DeepseekV3ForCausalLM", "deepseek_v3",
    dict(MLA, q_lora_rank=None, n_routed_experts=4, n_shared_experts=1, num_experts_per_tok=2, n_group=1, topk_group=1, attention_bias=True,
         routed_scaling_factor=1.3, norm_topk_prob=False, first_k_dense_replace=0, num_hidden_layers=1, rope_scaling=None, rope_interleave=False),
    dtype=torch.bfloat16)
# runs of 5 places, the second and fourth block without a rotation, experts in every second
LLAMA4 = dict(RMS, hidden_size=20, num_attention_heads=6, num_key_value_heads=2, head_dim=6, intermediate_size=7, intermediate_size_mlp=13,
              num_local_experts=3, attention_bias=False, attention_chunk_size=5, attn_temperature_tuning=True, floor_scale=4, attn_scale=0.3,
              tie_word_embeddings=False)
add("llama4", "Llama4ForCausalLM", "llama4_text",
    dict(LLAMA4, num_hidden_layers=4, num_experts_per_tok=1, interleave_moe_layer_step=2, no_rope_layers=[1, 0, 1, 0], use_qk_norm=True,
         rope_theta=100.0, rope_scaling=dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                             original_max_position_embeddings=16)))
# no norms on queries and keys, two experts a token
add("llama4-plain-bf16", "Llama4ForCausalLM", "llama4_text",
    dict(LLAMA4, num_hidden_layers=2, num_experts_per_tok=2, interleave_moe_layer_step=1, no_rope_layer_interval=2, use_qk_norm=False,
         attn_temperature_tuning=False, rope_theta=500.0, rope_scaling=None), dtype=torch.bfloat16)
# runs and growth as all published ones have them: GGUF has no keys for these
add("llama4-gguf", "Llama4ForCausalLM", "llama4_text",
    dict(LLAMA4, num_hidden_layers=4, num_experts_per_tok=1, interleave_moe_layer_step=2, no_rope_layers=[1, 1, 1, 0], use_qk_norm=True,
         attention_chunk_size=8192, floor_scale=8192, attn_scale=0.1, rope_theta=100.0,
         rope_scaling=dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                           original_max_position_embeddings=16)), gguf=Q.F32)
LENGTHS = [21, 1, 13]
GEMMAS = ("gemma", "gemma2", "gemma3_text")


def random_weight(rng, name, shape, family):
    """Weights wide enough that every part of the model moves the result."""
    x = rng.standard_normal(shape).astype(np.float32)
    norm = "norm" in name.lower() or ".ln_" in name or name.startswith("ln_")
    if norm and name.endswith(("weight", "gamma")):
        return x * 0.3 if family in GEMMAS else 1.0 + x * 0.3
    if name.endswith("bias") or norm:
        return x * 0.2
    if "embed_tokens" in name or "wte" in name or "word_embeddings" in name:
        return x * 0.5
    return x * 0.25


def load_reference(cls, folder, allowed=(), attention="eager"):
    import transformers

    model, info = getattr(transformers, cls).from_pretrained(folder, dtype=torch.float32, attn_implementation=attention,
                                                                  experts_implementation="eager", output_loading_info=True)
    missing = [k for k in info["missing_keys"] if not k.startswith(allowed)]
    assert not missing and not info["mismatched_keys"], (folder, missing, info["mismatched_keys"])
    return model.eval(), info


def inputs(name, vocab, lengths=LENGTHS):
    rng = generator(name + "/ids")
    ids = torch.from_numpy(rng.integers(0, vocab, (len(lengths), max(lengths))))
    mask = torch.tensor([[int(t < n) for t in range(max(lengths))] for n in lengths])
    return ids, mask


@torch.no_grad()
def by_length(load, ids):
    """Logits of each row alone, by a fresh model each: the reference remembers the longest row that it saw."""
    out = torch.zeros(*ids.shape, load().config.vocab_size)
    for i, n in enumerate(LENGTHS):
        out[i, :n] = load()(input_ids=ids[i : i + 1, :n]).logits[0]
    return out


@torch.no_grad()
def stepwise(model, row, first):
    """Logits of a row whose first tokens are read at once and the others one by one, with the reference's cache."""
    seen = model(input_ids=row[:, :first], use_cache=True)
    out = [seen.logits[0]]
    for t in range(first, row.shape[1]):
        seen = model(input_ids=row[:, t : t + 1], past_key_values=seen.past_key_values, use_cache=True)
        out.append(seen.logits[0])
    return torch.cat(out)


@torch.no_grad()
def expected(name, config, model, folder):
    """Run the reference and write expected.safetensors."""
    ids, mask = inputs(name, config["vocab_size"])
    out = {"ids": ids, "mask": mask}
    if config["model_type"] == "bert":
        model = getattr(model, "bert", model)
        out["hidden"] = model(input_ids=ids, attention_mask=mask).last_hidden_state
        if config["type_vocab_size"] > 1:
            out["type_ids"] = torch.from_numpy(generator(name + "/types").integers(0, config["type_vocab_size"], tuple(ids.shape)))
            out["hidden_typed"] = model(input_ids=ids, attention_mask=mask, token_type_ids=out["type_ids"]).last_hidden_state
        key = "hidden"
        alone = [model(input_ids=ids[i : i + 1, :n]).last_hidden_state[0] for i, n in enumerate(LENGTHS)]
    else:
        key = "logits"
        out[key] = model(input_ids=ids, attention_mask=mask).logits
        alone = [model(input_ids=ids[i : i + 1, :n]).logits[0] for i, n in enumerate(LENGTHS)]
    if config["model_type"] == "mixtral":  # how often each expert of each layer is chosen, padding left out
        runs = [model(input_ids=ids[i : i + 1, :n], output_router_logits=True).router_logits for i, n in enumerate(LENGTHS)]
        chosen = [torch.cat(layer).topk(config["num_experts_per_tok"], -1).indices.flatten() for layer in zip(*runs)]
        out["load"] = torch.stack([layer.bincount(minlength=config["num_local_experts"]) for layer in chosen])
    for i, n in enumerate(LENGTHS):  # what the reference says of a padded row must be what it says of the row alone
        gap = (out[key][i, :n] - alone[i]).abs().max().item()
        assert gap < 2e-5, (name, i, gap)
        if n > 1:
            spread = out[key][i, :n].std(0).mean().item()
            assert spread > 0.05, (name, "the positions hardly differ", spread)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in out.items()}, folder / "expected.safetensors")


def record_tiny(names=TINY):
    for name in names:
        import transformers

        spec = TINY[name]
        config, folder, rng = spec["config"], CHECKPOINTS / name, generator(name)
        shutil.rmtree(folder, ignore_errors=True)
        write_json(folder / "config.json", config)
        hf = transformers.AutoConfig.from_pretrained(folder)
        shell = getattr(transformers, spec["cls"])(hf)
        tied = set(getattr(shell, "all_tied_weights_keys", {}) or {})
        tensors, dtype = {}, spec.get("dtype", torch.float32)
        for key, value in shell.state_dict().items():
            if key in tied or any(key.startswith(d) for d in spec.get("drop", [])):
                continue
            tensors[key] = torch.from_numpy(random_weight(rng, key, tuple(value.shape), config["model_type"])).to(dtype)
        extra = spec.get("extra", [])
        if "position_ids" in extra:
            tensors["embeddings.position_ids"] = torch.arange(config["max_position_embeddings"]).unsqueeze(0)
        if "decoder" in extra:  # files from before safetensors' de-duplication carry the tied decoder as well
            tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"].clone()
            tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"].clone()
        if "attn.bias" in extra:
            n = config["n_ctx"]
            for i in range(config["n_layer"]):
                tensors[f"transformer.h.{i}.attn.bias"] = torch.tril(torch.ones(n, n)).view(1, 1, n, n)
                tensors[f"transformer.h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
        if style := spec.get("experts"):
            tensors = unstack(tensors, style)
        for old, new in spec.get("rename", []):
            tensors = {k.replace(old, new): v for k, v in tensors.items()}
        if prefix := spec.get("strip"):
            tensors = {k.removeprefix(prefix): v for k, v in tensors.items()}
        if spec.get("mxfp4"):
            save_checkpoint(folder, mxfp4(rng, tensors))
            model = packed_reference(spec["cls"], config, folder, tensors)
            expected(name, config, model, folder)
            write_gguf(CHECKPOINTS / f"{name}.gguf", config, canonical(tensors, config), spec["gguf"])
            continue
        save_checkpoint(folder, tensors, spec.get("shards", 1))
        model, _ = load_reference(spec["cls"], folder, ("pooler.",) if "drop" in spec else (), spec.get("attention", "eager"))
        if spec.get("by_length"):
            ids, mask = inputs(name, config["vocab_size"])
            load = lambda: load_reference(spec["cls"], folder)[0]  # noqa: E731
            out = {"ids": ids, "mask": mask, "logits": by_length(load, ids), "stepwise": stepwise(load(), ids[:1], 16)}
            save_file({k: v.contiguous() for k, v in out.items()}, folder / "expected.safetensors")
        else:
            expected(name, config, model, folder)
        if spec.get("gguf") is not None:
            write_gguf(CHECKPOINTS / f"{name}.gguf", dict(config, older=spec.get("older", False)), canonical(tensors, config), spec["gguf"])
        print(name, sum(p.numel() for p in model.parameters()), "parameters")


def mxfp4(rng, tensors):
    """Experts as random 4-bit floats, as gpt-oss was published; `tensors` gets what transformers makes of them."""
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    out = {}
    for key, value in tensors.items():
        if not key.endswith(("gate_up_proj", "down_proj")) or value.ndim != 3:
            out[key] = value
            continue
        experts, width, rows = value.shape
        blocks = torch.from_numpy(rng.integers(0, 256, (experts, rows, width // 32, 16), dtype=np.uint8))
        scales = torch.from_numpy(rng.integers(122, 126, (experts, rows, width // 32), dtype=np.uint8))
        out[key + "_blocks"], out[key + "_scales"] = blocks, scales
        tensors[key] = convert_moe_packed_tensors(blocks, scales)
        assert tensors[key].shape == value.shape
    return out


def packed_reference(cls, config, folder, tensors):
    """The reference with what it makes of packed experts; on a CPU it would ask for kernels that are not there."""
    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp)
        write_json(tmp / "config.json", without(config, "quantization_config"))
        save_checkpoint(tmp, tensors)
        return load_reference(cls, tmp)[0]


def unstack(tensors, style):
    """Experts one by one: `w` as Mixtral was published, `proj` as Qwen2-MoE was."""
    gate, down, up = ("w1", "w2", "w3") if style == "w" else ("gate_proj", "down_proj", "up_proj")
    out = {}
    for key, value in tensors.items():
        if style == "w":
            key = key.replace(".mlp.router.", ".mlp.gate.").replace(".mlp.", ".block_sparse_moe.")
        stem, _, last = key.rpartition(".experts.")
        for j in range(len(value) if stem else 0):
            if last == "down_proj":
                out[f"{stem}.experts.{j}.{down}.weight"] = value[j].clone()
            else:
                half = len(value[j]) // 2
                out[f"{stem}.experts.{j}.{gate}.weight"] = value[j][:half].clone()
                out[f"{stem}.experts.{j}.{up}.weight"] = value[j][half:].clone()
        if not stem:
            out[key] = value
    return out


def stack(tensors):
    """The other way: all experts of a layer in one array a side, as GGUF has them."""
    out, lists = {}, {}
    for key, value in tensors.items():
        stem, _, last = key.partition(".experts.")
        number, _, side = last.partition(".")
        if number.isdigit():
            lists.setdefault(f"{stem}.experts.{side}", {})[int(number)] = value
        elif last in ("gate_up_proj_bias", "down_proj_bias") or (last.endswith("_proj") and f"{stem}.experts.down_proj_bias" in tensors):
            # gpt-oss: turned, gate and up taking turns
            value, kind = (value, "bias") if last.endswith("_bias") else (value.swapaxes(1, 2), "weight")
            if last.startswith("down"):
                out[f"{stem}.experts.down_proj.{kind}"] = value
            else:
                out[f"{stem}.experts.gate_proj.{kind}"], out[f"{stem}.experts.up_proj.{kind}"] = value[:, ::2], value[:, 1::2]
        elif last == "gate_up_proj":
            half = value.shape[1] // 2
            out[f"{stem}.experts.gate_proj.weight"] = value[:, :half]
            out[f"{stem}.experts.up_proj.weight"] = value[:, half:]
        else:
            out[key + (".weight" if last == "down_proj" else "")] = value
    return out | {key: np.stack([parts[j] for j in range(len(parts))]) for key, parts in lists.items()}


def save_checkpoint(folder, tensors, shards=1):
    tensors = {k: v.contiguous() for k, v in tensors.items()}
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(tensors)
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": {}}
    for s in range(shards):
        file = f"model-{s + 1:05}-of-{shards:05}.safetensors"
        part = {k: tensors[k] for k in names[s::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        index["weight_map"].update({k: file for k in part})
    index["weight_map"] = dict(sorted(index["weight_map"].items()))
    write_json(folder / "model.safetensors.index.json", index)


# --- GGUF ------------------------------------------------------------------------------------------------------------
# Names by gguf-py's own table; keys, permutations and adjustments as llama.cpp's converter makes them.

ARCH = {"bert": gguf.MODEL_ARCH.BERT, "gpt2": gguf.MODEL_ARCH.GPT2, "llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2,
        "gemma3_text": gguf.MODEL_ARCH.GEMMA3, "mistral": gguf.MODEL_ARCH.LLAMA, "qwen3": gguf.MODEL_ARCH.QWEN3,
        "gemma": gguf.MODEL_ARCH.GEMMA, "gemma2": gguf.MODEL_ARCH.GEMMA2, "smollm3": gguf.MODEL_ARCH.SMOLLM3,
        "olmo2": gguf.MODEL_ARCH.OLMO2, "granite": gguf.MODEL_ARCH.GRANITE, "cohere": gguf.MODEL_ARCH.COMMAND_R,
        "cohere2": gguf.MODEL_ARCH.COHERE2, "stablelm": gguf.MODEL_ARCH.STABLELM, "starcoder2": gguf.MODEL_ARCH.STARCODER2,
        "phi": gguf.MODEL_ARCH.PHI2, "phi3": gguf.MODEL_ARCH.PHI3, "gpt_neox": gguf.MODEL_ARCH.GPTNEOX, "bloom": gguf.MODEL_ARCH.BLOOM,
        "falcon": gguf.MODEL_ARCH.FALCON, "mixtral": gguf.MODEL_ARCH.LLAMA, "qwen2_moe": gguf.MODEL_ARCH.QWEN2MOE,
        "qwen3_moe": gguf.MODEL_ARCH.QWEN3MOE, "phimoe": gguf.MODEL_ARCH.PHIMOE, "gpt_oss": gguf.MODEL_ARCH.GPT_OSS,
        "deepseek_v2": gguf.MODEL_ARCH.DEEPSEEK2, "deepseek_v3": gguf.MODEL_ARCH.DEEPSEEK2, "llama4_text": gguf.MODEL_ARCH.LLAMA4}
DEEPSEEK = ("deepseek_v2", "deepseek_v3")
# llama.cpp rotates neighbours in these, so their queries and keys are permuted
PERMUTED = ("llama", "mistral", "mixtral", "smollm3", "granite")


def canonical(tensors, config):
    """The checkpoint's tensors as float32, under the names that gguf-py's table knows, leftovers gone."""
    out = {}
    for key, value in tensors.items():
        key = key.removeprefix("bert.")
        if key.startswith(("cls.", "pooler.")) or key.endswith((".attn.bias", ".attn.masked_bias", "position_ids")):
            continue
        out[key] = value.float().numpy()
        if config["model_type"] == "llama4_text" and ".experts." in key:  # turned
            out[key] = out[key].swapaxes(1, 2)
    return out


def permute(weight, heads):
    """Rows of each head from halves to pairs: llama.cpp rotates neighbours in this architecture."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def unpermute(weight, heads):
    return weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def ungroup(value, heads, groups):
    """Rows of queries, then keys, then values, from those of each key head with its query heads."""
    rows = value.reshape(groups, heads // groups + 2, -1, *value.shape[1:])
    parts = rows[:, :-2], rows[:, -2], rows[:, -1]
    return np.concatenate([part.reshape(-1, *value.shape[1:]) for part in parts])


def gguf_tensors(config, tensors):
    """{name in the GGUF: float32 array} for a checkpoint."""
    family = config["model_type"]
    names = gguf.get_tensor_name_map(ARCH[family], config.get("num_hidden_layers", config.get("n_layer")))
    heads = config.get("num_attention_heads")
    out, stacked = {}, {}
    for key, value in stack(tensors).items():
        if key.endswith("shared_expert_gate.weight"):
            value = value[0]
        if key.endswith(".sinks"):
            key += ".weight"
        key = key.replace("e_score_correction_bias", "e_score_correction.bias")
        if key.endswith("kv_b_proj.weight") and not config.get("older"):  # keys and values of each head apart, keys turned
            rows = value.reshape(heads, -1, value.shape[1])
            keys, values = np.split(rows, [config["qk_nope_head_dim"]], 1)
            for side, part in (("k_b_proj", keys.swapaxes(1, 2)), ("v_b_proj", values)):
                out[names.get_name(key.replace("kv_b_proj", side), (".weight",))] = np.ascontiguousarray(part)
            continue
        if ".norms." in key:  # one vector a head
            stem, _, number = key.removesuffix(".weight").rpartition(".norms.")
            stacked.setdefault(stem, {})[int(number)] = value
            continue
        if "query_key_value" in key:
            groups = heads if family != "falcon" else config.get("num_kv_heads", 1)
            value = ungroup(value, heads, groups)
        if family == "gpt2" and key.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
            value = value.T
        if family in PERMUTED:
            if key.endswith(("q_proj.weight", "q_proj.bias")):
                value = permute(value, config["num_attention_heads"])
            if key.endswith(("k_proj.weight", "k_proj.bias")):
                value = permute(value, config.get("num_key_value_heads", config["num_attention_heads"]))
        if family in GEMMAS and key.endswith("norm.weight"):
            value = value + np.float32(1.0)
        new = names.get_name(key.removeprefix("transformer.") if family == "bloom" else key, (".weight", ".bias"))
        if new is None and family == "gpt2":  # the bare layout
            new = names.get_name("transformer." + key, (".weight", ".bias"))
        assert new is not None, key
        out[new] = np.ascontiguousarray(value)
    for stem, parts in stacked.items():
        out[names.get_name(stem) + ".weight"] = np.stack([parts[i] for i in range(len(parts))])
    if family == "phi3" and (rope := config["rope_scaling"]):
        out["rope_factors_long.weight"] = np.array(rope["long_factor"], np.float32)
        out["rope_factors_short.weight"] = np.array(rope["short_factor"], np.float32)
    if family in ("llama", "llama4_text") and (factors := llama3_factors(config)) is not None:
        out["rope_freqs.weight"] = factors
    return out


def llama3_factors(config):
    """The divisors of the frequencies that llama.cpp stores for this scaling."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type") != "llama3":
        return None
    dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    base, old = rope.get("rope_theta", config.get("rope_theta")), rope["original_max_position_embeddings"]
    out = []
    for freq in 1.0 / base ** (np.arange(0, dim, 2, dtype=np.float32) / dim):
        wave = 2 * np.pi / freq
        if wave < old / rope["high_freq_factor"]:
            out.append(1.0)
        elif wave > old / rope["low_freq_factor"]:
            out.append(rope["factor"])
        else:
            smooth = (old / wave - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
            out.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(out, np.float32)


def gguf_metadata(w, c):
    """The keys that llama.cpp's converter writes for these families."""
    family = c["model_type"]
    if family == "gpt2":
        w.add_block_count(c["n_layer"])
        w.add_context_length(c["n_ctx"])
        w.add_embedding_length(c["n_embd"])
        w.add_feed_forward_length(c.get("n_inner") or 4 * c["n_embd"])
        w.add_head_count(c["n_head"])
        w.add_layer_norm_eps(c["layer_norm_epsilon"])
        return
    heads = c["num_attention_heads"]
    if family == "llama4_text":  # what is between in a dense block has this name in GGUF
        c = dict(c, intermediate_size=c["intermediate_size_mlp"], moe_intermediate_size=c["intermediate_size"])
    if family in DEEPSEEK:
        rotated, plain = c["qk_rope_head_dim"], c["qk_nope_head_dim"]
        c = dict(c, num_experts=c["n_routed_experts"], num_key_value_heads=heads if c["older"] else 1)
    width = c.get("hidden_size", c.get("n_embed"))
    w.add_block_count(c.get("num_hidden_layers", c.get("n_layer")))
    w.add_context_length(2048 if family == "falcon" else c.get("max_position_embeddings", c.get("seq_length")))
    w.add_embedding_length(width)
    w.add_feed_forward_length(c.get("intermediate_size", 4 * width))
    w.add_head_count(heads)
    if family in ("phi", "bloom", "falcon", "gpt_neox"):
        w.add_layer_norm_eps(c.get("layer_norm_eps", c.get("layer_norm_epsilon")))
        if family == "gpt_neox":
            w.add_rope_dimension_count(int(c["rotary_pct"] * (width // heads)))
            w.add_parallel_residual(c["use_parallel_residual"])
            return  # this one leaves out the base of the rotation and the key heads
        w.add_head_count_kv(c.get("num_kv_heads", 1) if family == "falcon" else heads)
        if family == "phi":
            w.add_rope_dimension_count(int(c["partial_rotary_factor"] * width) // heads)
        return
    if family == "bert":
        w.add_layer_norm_eps(c["layer_norm_eps"])
        w.add_causal_attention(False)
        w.add_pooling_type(gguf.PoolingType.MEAN)
        w.add_token_type_count(c["type_vocab_size"])
        return
    w.add_head_count_kv(c.get("num_key_value_heads", heads))
    if "rms_norm_eps" in c:
        w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    else:
        w.add_layer_norm_eps(c.get("layer_norm_eps", c.get("norm_epsilon")))
    if family in ("cohere", "cohere2"):
        w.add_logit_scale(c["logit_scale"])
        w.add_rope_scaling_type(gguf.RopeScalingType.NONE)
    if family == "granite":
        w.add_attention_scale(c["attention_multiplier"])
        w.add_embedding_scale(c["embedding_multiplier"])
        w.add_residual_scale(c["residual_multiplier"])
        w.add_logit_scale(c["logits_scaling"])
    if family == "stablelm":
        w.add_rope_dimension_count(int(c["partial_rotary_factor"] * (width // heads)))
        w.add_parallel_residual(c.get("use_parallel_residual", True))
    if experts := c.get("num_local_experts", c.get("num_experts")):
        w.add_expert_count(experts)
        w.add_expert_used_count(c["num_experts_per_tok"])
        if size := c.get("moe_intermediate_size", c["intermediate_size"] if family == "gpt_oss" else None):
            w.add_expert_feed_forward_length(size)
        if size := c.get("shared_expert_intermediate_size"):
            w.add_expert_shared_feed_forward_length(size)
    if family == "llama4_text":
        w.add_interleave_moe_layer_step(c["interleave_moe_layer_step"])
        w.add_rope_dimension_count(c["head_dim"])
    if family in DEEPSEEK:
        w.add_leading_dense_block_count(c["first_k_dense_replace"])
        if c["q_lora_rank"]:
            w.add_q_lora_rank(c["q_lora_rank"])
        rank = c["kv_lora_rank"]
        w.add_kv_lora_rank(rank)
        w.add_key_length(plain + rotated if c["older"] else rank + rotated)
        w.add_value_length(c["v_head_dim"] if c["older"] else rank)
        if not c["older"]:
            w.add_key_length_mla(plain + rotated)
            w.add_value_length_mla(c["v_head_dim"])
            w.add_expert_group_count(c["n_group"])
            w.add_expert_group_used_count(c["topk_group"])
            sigmoid = c["scoring_func"] == "sigmoid"
            w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID if sigmoid else gguf.ExpertGatingFuncType.SOFTMAX)
        w.add_expert_shared_count(c["n_shared_experts"])
        w.add_expert_weights_scale(c["routed_scaling_factor"])
        if c["norm_topk_prob"]:
            w.add_expert_weights_norm(True)
        w.add_rope_dimension_count(rotated)
        if scaling := c["rope_scaling"]:
            w.add_rope_scaling_yarn_log_mul(0.1 * scaling["mscale_all_dim"])
    if family in ("phi3", "phimoe"):
        w.add_rope_scaling_orig_ctx_len(c["original_max_position_embeddings"])
        w.add_rope_dimension_count(int(c.get("partial_rotary_factor", 1.0) * width) // heads)
    if family in ("phi3", "phimoe", "cohere2", "gemma2", "gpt_oss"):
        w.add_sliding_window(c["sliding_window"] or 0)
    if family == "cohere2":
        w.add_vocab_size(c["vocab_size"])
        w.add_rope_dimension_count(int(c["rotary_pct"] * (width // heads)))
    if family == "gemma2":
        w.add_attn_logit_softcapping(c["attn_logit_softcapping"])
        w.add_final_logit_softcapping(c["final_logit_softcapping"])
    rope = c.get("rope_parameters") or c.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type"))
    if kind == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(rope["factor"])
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if kind == "longrope":
        scale = c["max_position_embeddings"] / c["original_max_position_embeddings"]
        w.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(c["original_max_position_embeddings"])))
    if (theta := rope.get("rope_theta", c.get("rope_theta"))) is not None and family not in ("gemma", "gemma2"):
        w.add_rope_freq_base(theta)
    if "head_dim" in c:
        w.add_key_length(c["head_dim"])
        w.add_value_length(c["head_dim"])
    if family in ("llama4_text", "gpt_oss", *DEEPSEEK):
        w.add_vocab_size(c["vocab_size"])
        w.add_tokenizer_model("none")  # with which llama.cpp takes them
    if family in PERMUTED:
        w.add_vocab_size(c["vocab_size"])
        w.add_rope_dimension_count(c.get("head_dim") or c["hidden_size"] // heads)
    if family == "gemma3_text":
        w.add_sliding_window(c["sliding_window"])
        # llama.cpp takes these two where they are there and 6 and 10000 where not, as in older files
        if c.get("sliding_window_pattern", 6) != 6:
            w.add_sliding_window_pattern(c["sliding_window_pattern"])
        if c["rope_local_base_freq"] != 10000:
            w.add_rope_freq_base_swa(c["rope_local_base_freq"])
        if c["final_logit_softcapping"]:
            w.add_final_logit_softcapping(c["final_logit_softcapping"])


FILE_TYPE = {Q.F32: 0, Q.F16: 1, Q.BF16: 32}


def write_gguf(path, config, tensors, kind):
    """Write the twin; `kind` is the type of the matrices: vectors, positions and token types stay F32."""
    w = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[ARCH[config["model_type"]]])
    w.add_type(gguf.GGUFType.MODEL)
    w.add_name(path.stem)
    gguf_metadata(w, config)
    w.add_file_type(FILE_TYPE[kind])
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for name, value in gguf_tensors(config, tensors).items():
        plain = value.ndim == 1 or name in ("position_embd.weight", "token_types.weight", "rope_freqs.weight")
        if "quantization_config" in config and "_exps.weight" in name:
            packed = gguf.quants.quantize(value, Q.MXFP4)
            assert (gguf.quants.dequantize(packed, Q.MXFP4) == value).all(), name
            w.add_tensor(name, packed, raw_dtype=Q.MXFP4)
        elif plain or kind == Q.F32:
            w.add_tensor(name, value)
        else:
            w.add_tensor(name, gguf.quants.quantize(value, kind), raw_dtype=kind)
    finish(w)


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


# --- quantized -------------------------------------------------------------------------------------------------------

LEGACY = [Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0]
K = [Q.Q2_K, Q.Q3_K, Q.Q4_K, Q.Q5_K, Q.Q6_K]
# rows that are a multiple of 32 but not of 256, as in small released models
SMALL = dict(LLAMA, architectures=["LlamaForCausalLM"], vocab_size=61, hidden_size=96, num_attention_heads=3, num_key_value_heads=1,
             head_dim=32, intermediate_size=160, num_hidden_layers=1, max_position_embeddings=64, rope_theta=10000.0, tie_word_embeddings=True)
WIDE = dict(LLAMA, architectures=["LlamaForCausalLM"], vocab_size=37, hidden_size=256, num_attention_heads=4, num_key_value_heads=1,
            head_dim=64, intermediate_size=512, num_hidden_layers=1, max_position_embeddings=64, rope_theta=10000.0, tie_word_embeddings=False)
QUANTIZED = {f"llama-{q.name.lower()}": (SMALL, {"": q}) for q in LEGACY}
# all five K formats over the matrices of one layer; the small matrices hold what the large ones do not
QUANTIZED["llama-k-mix"] = (WIDE, {"token_embd": Q.Q6_K, "output": Q.Q3_K, "attn_q": Q.Q2_K, "attn_k": Q.Q5_K, "attn_v": Q.Q6_K,
                                   "attn_output": Q.Q4_K, "ffn_gate": Q.Q3_K, "ffn_up": Q.Q4_K, "ffn_down": Q.Q2_K})
QUANTIZED["llama-k-mix-2"] = (dict(WIDE, intermediate_size=256, num_attention_heads=8, num_key_value_heads=8, head_dim=32,
                                   tie_word_embeddings=True),
                              {"token_embd": Q.Q4_K, "attn_q": Q.Q6_K, "attn_k": Q.Q3_K, "attn_v": Q.Q2_K, "attn_output": Q.Q5_K,
                               "ffn_gate": Q.Q5_K, "ffn_up": Q.Q6_K, "ffn_down": Q.Q5_K})


def random_blocks(rng, kind, count, std=0.06):
    """`count` random valid blocks of a format whose values have about the given spread, [count, bytes]."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    if kind in (Q.F32, Q.F16, Q.BF16):
        return gguf.quants.quantize(rng.standard_normal((count, 1)).astype(np.float32) * std, kind).view(np.uint8).reshape(count, size)
    raw = rng.integers(0, 256, (count, size), dtype=np.uint8)
    scale = std * rng.uniform(0.5, 1.5, count).astype(np.float32)

    def put(at, values):
        raw[:, at : at + 2] = values.astype(np.float16).view(np.uint8).reshape(count, 2)

    sign = np.where(rng.random(count) < 0.5, -1, 1)
    if kind in (Q.Q4_0, Q.Q5_0):
        put(0, sign * scale / {Q.Q4_0: 4.6, Q.Q5_0: 9.2}[kind])
    elif kind in (Q.Q4_1, Q.Q5_1):
        step = scale / {Q.Q4_1: 4.6, Q.Q5_1: 9.2}[kind]
        put(0, step)
        put(2, -step * {Q.Q4_1: 7.5, Q.Q5_1: 15.5}[kind])
    elif kind == Q.Q8_0:
        put(0, scale / 74)
    elif kind == Q.Q2_K:  # scales[16] (4 + 4 bits) qs[64] d dmin
        put(80, scale / 12)
        put(82, scale / 12 * 1.5)
    elif kind == Q.Q3_K:  # hmask[32] qs[64] scales[12] d: 6-bit scales minus 32, 3-bit values minus 4
        put(108, sign * scale / 42)
    elif kind == Q.Q4_K:  # d dmin scales[12] qs[128]
        put(0, scale / 210)
        put(2, scale / 210 * 7.5)
    elif kind == Q.Q5_K:  # d dmin scales[12] qh[32] qs[128]
        put(0, scale / 420)
        put(2, scale / 420 * 15.5)
    elif kind == Q.Q6_K:  # ql[128] qh[64] scales[16] d: 8-bit scales, 6-bit values minus 32
        put(208, sign * scale / 1360)
    return raw


def record_quantized(names=QUANTIZED):
    import transformers

    for name in names:
        config, kinds = QUANTIZED[name]
        rng, folder = generator(name), CHECKPOINTS / name
        shutil.rmtree(folder, ignore_errors=True)
        with tempfile.TemporaryDirectory() as tmp:
            tmp = pathlib.Path(tmp)
            write_json(tmp / "config.json", config)
            shell = transformers.LlamaForCausalLM(transformers.AutoConfig.from_pretrained(tmp))
            w = gguf.GGUFWriter(CHECKPOINTS / f"{name}.gguf", "llama")
            w.add_type(gguf.GGUFType.MODEL)
            w.add_name(name)
            gguf_metadata(w, config)
            w.add_quantization_version(gguf.GGML_QUANT_VERSION)
            names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
            rounded = {}
            for key, value in shell.state_dict().items():
                if key == "lm_head.weight" and config["tie_word_embeddings"]:
                    continue
                new = names.get_name(key, (".weight",))
                x = random_weight(rng, key, tuple(value.shape), "llama")
                if x.ndim == 1:
                    w.add_tensor(new, x)
                    rounded[key] = torch.from_numpy(x)
                    continue
                kind = kinds.get(new.split(".")[-2], kinds.get(""))
                heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}.get(key.split(".")[-2])
                if kind in K:
                    per = gguf.GGML_QUANT_SIZES[kind][0]
                    packed = random_blocks(rng, kind, x.size // per).reshape(x.shape[0], -1)
                else:
                    packed = gguf.quants.quantize(permute(x, heads) if heads else x, kind)
                w.add_tensor(new, packed, raw_dtype=kind)
                back = gguf.quants.dequantize(packed, kind)
                assert np.isfinite(back).all() and back.shape == x.shape
                rounded[key] = torch.from_numpy(np.ascontiguousarray(unpermute(back, heads) if heads else back))
            finish(w)
            save_checkpoint(tmp, rounded)
            model, _ = load_reference("LlamaForCausalLM", tmp)
            expected(name, config, model, folder)
        print(name, {k or "all": v.name for k, v in kinds.items()}, (CHECKPOINTS / f"{name}.gguf").stat().st_size, "bytes")


def record_blocks():
    rng, out = generator("blocks"), {}
    for kind in [Q.F32, Q.F16, Q.BF16] + LEGACY + K:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        count = 64 if block == 1 else 12
        raw = random_blocks(rng, kind, count, std=1.0)
        if block > 1:  # one block of nothing but zeros
            raw[-1] = 0
        values = gguf.quants.dequantize(raw.reshape(1, -1), kind).reshape(-1).astype(np.float32)
        assert np.isfinite(values).all() and values.size == count * block
        out[f"{kind.name}.bytes"] = torch.from_numpy(raw.reshape(-1).copy())
        out[f"{kind.name}.values"] = torch.from_numpy(values.copy())
        print(kind.name, count, "blocks, std", values.std().round(3))
    save_file(out, CHECKPOINTS / "blocks.safetensors")


# --- one by one, and checked ---------------------------------------------------------------------------------------------

TOLERANCE = 1e-5  # of a tensor's largest number, or of 1: another processor sums in another order


def recorders():
    """What records each checkpoint alone, in an order in which what one reads is there before it."""
    import embedders
    import encoders
    import seq2seq
    import tasks

    def layered(name, record):
        record()
        if name in encoders.LAYERS:
            encoders.layers(name)

    def task(name):
        tasks.folders([name])
        # those of questions are answered by an older transformers, see tasks.py
        if "Answering" not in tasks.TASKS[name]["cls"]:
            tasks.record(names=[name])

    found = {name: lambda name=name: layered(name, lambda: record_tiny([name])) for name in TINY}
    found |= {name: lambda name=name: record_quantized([name]) for name in QUANTIZED}
    found |= {name: lambda name=name: layered(name, lambda: encoders.record(name)) for name in encoders.ENCODERS}
    found |= {name: lambda name=name: embedders.record([name]) for name in embedders.FOLDERS}
    found |= {name: lambda name=name: task(name) for name in tasks.TASKS}
    found |= {name: lambda name=name: seq2seq.folder(name) for name in seq2seq.SEQ2SEQ}
    return found | {"blocks.safetensors": record_blocks, "transformer-2017.safetensors": seq2seq.transformer_2017, "jina-bert": encoders.jina}


def same_json(old, new):
    """Whether two values are equal, numbers that are no integers to TOLERANCE."""
    if isinstance(old, float) and isinstance(new, (int, float)) and not isinstance(new, bool):
        return abs(old - new) <= TOLERANCE * max(1, abs(old))
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(same_json(old[key], new[key]) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(same_json, old, new))
    return type(old) is type(new) and old == new


def gguf_difference(old, new):
    """The keys and tensors that differ; their order says nothing."""
    keys = [{name: (field.types, field.contents()) for name, field in file.fields.items()} for file in (old, new)]
    tensors = [{tensor.name: (tensor.tensor_type, tensor.shape.tolist(), tensor.data.tobytes()) for tensor in file.tensors} for file in (old, new)]
    wrong = sorted(name for a, b in (keys, tensors) for name in a.keys() | b.keys() if a.get(name) != b.get(name))
    return f"other {', '.join(wrong)}" if wrong else None


def difference(old, new):
    """What differs between a recorded file and one recorded now (None: nothing), and how far numbers are apart."""
    if old.read_bytes() == new.read_bytes():
        return None, 0
    if old.suffix == ".json":
        return (None if same_json(json.loads(old.read_text()), json.loads(new.read_text())) else "other values"), 0
    if old.suffix == ".gguf":
        return gguf_difference(*map(gguf.GGUFReader, (old, new))), 0
    if old.suffix != ".safetensors":
        return "other bytes", 0
    a, b = load_file(old), load_file(new)
    if a.keys() != b.keys():
        return f"other tensors: {', '.join(sorted(a.keys() ^ b.keys()))}", 0
    worst = 0
    for key, x in a.items():
        y = b[key]
        if x.dtype != y.dtype or x.shape != y.shape:
            return f"{key} is {x.dtype} {list(x.shape)} and would be {y.dtype} {list(y.shape)}", 0
        if torch.equal(x, y):
            continue
        # Inputs and weights come from generators and must be the same; what is computed may be rounded differently.
        if not x.is_floating_point() or not old.name.startswith(("expected", "layers", "transformer-2017")):
            return f"other numbers in {key}", 0
        gap = ((x - y).abs().max() / max(1, x.abs().max())).item()
        if not gap <= TOLERANCE:
            return f"{key} differs by {gap:.1e}", 0
        worst = max(worst, gap)
    return None, worst


def check(names):
    """Record `names` into a folder that is thrown away and say of each whether it is what was recorded; the number of those that are not."""
    global CHECKPOINTS
    recorded, stale, record = CHECKPOINTS, 0, recorders()
    for name in names:
        with tempfile.TemporaryDirectory() as tmp:
            CHECKPOINTS = pathlib.Path(tmp)
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    record[name]()
            finally:
                CHECKPOINTS = recorded
            files = lambda root: {path.relative_to(root) for at in (name, f"{name}.gguf") for path in [root / at, *(root / at).rglob("*")] if path.is_file()}
            old, new = files(recorded), files(pathlib.Path(tmp))
            answers = {path for path in old - new if path.name == "tasks.json"}  # by an older transformers
            wrong = [f"{path} is not recorded any more" for path in sorted(old - new - answers)] + [f"{path} is missing" for path in sorted(new - old)]
            worst = 0
            for path in sorted(old & new):
                what, gap = difference(recorded / path, pathlib.Path(tmp) / path)
                worst = max(worst, gap)
                if what:
                    wrong.append(f"{path}: {what}")
        if wrong:
            stale += 1
            print(f"{name}: stale", *wrong, sep="\n    ")
        else:
            rounded = f", numbers to {worst:.1e}" if worst else ""
            left = f"; not checked: {', '.join(map(str, sorted(answers)))}" if answers else ""
            print(f"{name}: as recorded, {len(old & new)} files{rounded}{left}")
    return stale


HELP = """what --check can tell
  It records each NAME anew, with the pinned packages, into a folder that is thrown away, and compares files: configs, tokenizers, weights,
  inputs and what GGUF files say must be the same, and computed numbers equal to 1e-5 of the largest. So it finds a table or script that was changed
  after the recording, a recording changed by hand, and a checkpoint that was never recorded. It ends with 1 when one is stale, with 2 when
  it cannot tell: the packages are missing or of other versions (it names them).
what it cannot tell
  Whether a newer transformers would say something else: that takes other pins. Answers of task-*-answers (an older transformers,
  `tasks.py answers`), beams.json (`record.py seq2seq` and a diff), and words/, text/ and real/, which have scripts of their own.
  Without a NAME all are checked but jina-bert, whose reference is a Rust program that is built first."""


def main():
    import logging

    groups = ["tiny", "quantized", "blocks", "encoders", "tasks", "embedders", "seq2seq"]
    parser = argparse.ArgumentParser(description="Record the tiny checkpoints of tests/golden, or check them.", epilog=HELP,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing: say of each NAME whether its recording is stale")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"a checkpoint, jina, or a group: {', '.join(groups)} (without any: all groups)")
    args = parser.parse_args()
    logging.getLogger("gguf").setLevel(logging.ERROR)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    need_versions()
    record = recorders()
    known = list(record) if args.check else groups + ["jina", *record]
    for name in args.names:
        if name not in known:
            parser.error(f"there is no checkpoint `{name}` to {'check' if args.check else 'record'}; one of: {', '.join(known)}")
    if args.check:
        sys.exit(1 if check(args.names or [name for name in record if name != "jina-bert"]) else 0)
    check_versions()
    for what in args.names or groups:
        if what == "embedders":
            import embedders

            embedders.record()
        elif what == "seq2seq":
            import seq2seq

            seq2seq.record()
        elif what == "encoders":
            import encoders

            encoders.record()
            encoders.layers()
            encoders.jina()
        elif what == "tasks":
            import tasks

            tasks.folders()
            tasks.record()
        elif what == "jina":
            record["jina-bert"]()
        elif what in record:
            record[what]()
        else:
            {"tiny": record_tiny, "quantized": record_quantized, "blocks": record_blocks}[what]()


if __name__ == "__main__":
    # As the module that the other scripts import: one folder to record into, not two.
    sys.path.insert(0, str(HERE))
    import record

    record.main()
