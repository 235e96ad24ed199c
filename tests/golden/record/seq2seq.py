"""Tiny encoder-decoders, the Transformer of 2017, and what beam search gives. Part of record.py."""
import json
import shutil

import record as base

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file

T5 = dict(model_type="t5", vocab_size=47, d_model=20, d_kv=6, d_ff=27, num_layers=2, num_decoder_layers=3, num_heads=3,
          relative_attention_num_buckets=8, relative_attention_max_distance=10, dropout_rate=0.1, layer_norm_epsilon=1e-6,
          feed_forward_proj="relu", is_encoder_decoder=True, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, n_positions=512)
BART = dict(model_type="bart", vocab_size=47, d_model=20, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
            decoder_attention_heads=5, encoder_ffn_dim=27, decoder_ffn_dim=23, activation_function="gelu", max_position_embeddings=24,
            scale_embedding=False, is_encoder_decoder=True, pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2,
            forced_eos_token_id=2)
MBART = dict(BART, model_type="mbart", scale_embedding=True, encoder_layers=1, decoder_layers=2)
MARIAN = dict(BART, model_type="marian", activation_function="swish", scale_embedding=True, d_model=22, encoder_attention_heads=2,
              decoder_attention_heads=2, pad_token_id=46, bos_token_id=None, eos_token_id=0, decoder_start_token_id=46, forced_eos_token_id=0,
              bad_words_ids=[[46]], share_encoder_decoder_embeddings=True, static_position_embeddings=True)
POSITIONS = ["model.encoder.embed_positions.", "model.decoder.embed_positions."]

# `own` are matrices that transformers takes for copies and the file has apart; `twins` writes all copies out.
SEQ2SEQ = {
    # decoder and encoder of two depths, for which the reference's cache has no room
    "t5": dict(cls="T5ForConditionalGeneration", cache=False, config=T5),
    # version 1.1: gated, a head of its own; files that hold the table three times
    "t5-gated": dict(cls="T5ForConditionalGeneration", own=["lm_head.weight"], twins=True,
                     config=dict(T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False, num_decoder_layers=None, d_model=18, num_heads=5)),
    # what GGUF can say: distances up to 128. Two depths (llama.cpp wants the longer first), one table, and one that nothing reads
    "t5-gguf": dict(cls="T5ForConditionalGeneration", cache=False, gguf="t5",
                    config=dict(T5, relative_attention_max_distance=128, num_layers=3, num_decoder_layers=2)),
    "t5-gated-gguf": dict(cls="T5ForConditionalGeneration", own=["lm_head.weight"], gguf="t5",
                          config=dict(T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False, num_decoder_layers=2, d_model=18, num_heads=5,
                                      relative_attention_max_distance=128)),
    "t5-encoder-gguf": dict(cls="T5EncoderModel", gguf="t5encoder",
                            config=dict(T5, feed_forward_proj="gated-gelu", num_decoder_layers=None, relative_attention_max_distance=128)),
    "t5-encoder-f16": dict(cls="T5EncoderModel", dtype=torch.float16, config=dict(T5, feed_forward_proj="gated-gelu", num_layers=3)),
    "bart": dict(cls="BartForConditionalGeneration", config=BART),
    "bart-scaled-bf16": dict(cls="BartForConditionalGeneration", dtype=torch.bfloat16, twins=True,
                             config=dict(BART, scale_embedding=True, activation_function="relu", forced_bos_token_id=0)),
    "mbart": dict(cls="MBartForConditionalGeneration", config=MBART),
    "marian": dict(cls="MarianMTModel", drop=POSITIONS, config=MARIAN),
    # a vocabulary for each side, places written out
    "marian-apart": dict(cls="MarianMTModel", config=dict(MARIAN, share_encoder_decoder_embeddings=False, vocab_size=43, decoder_vocab_size=47, pad_token_id=40,
                                                          decoder_start_token_id=40, bad_words_ids=[[40]],
                                                          tie_word_embeddings=True, d_model=20)),
}
TARGETS = [9, 4, 1]

# (options of `generate`, the number of a prompt)
PLAIN = [dict(num_beams=1), dict(num_beams=3, num_return_sequences=3), dict(num_beams=4, num_return_sequences=2, length_penalty=0.0),
         dict(num_beams=4, num_return_sequences=4, length_penalty=2.0, early_stopping=True),
         dict(num_beams=3, num_return_sequences=3, length_penalty=1.3, early_stopping="never", no_repeat_ngram_size=2),
         dict(num_beams=3, num_return_sequences=2, repetition_penalty=1.4, min_new_tokens=5, length_penalty=-0.5, early_stopping="never"),
         dict(num_beams=1, repetition_penalty=1.3, no_repeat_ngram_size=2, min_new_tokens=4),
         dict(num_beams=3, num_return_sequences=3, bad_words_ids=[[7], [3, 4], [11, 12, 13]], suppress_tokens=[5, 6])]
DECODERS = {"llama-mqa": "LlamaForCausalLM", "gpt2-bare": "GPT2LMHeadModel", "mistral-window": "MistralForCausalLM",
            "gemma3-pattern": "Gemma3ForCausalLM", "bloom": "BloomForCausalLM"}
NEW = 11


def weights(name, spec):
    import transformers

    config, folder, rng = spec["config"], base.CHECKPOINTS / name, base.generator(name)
    shutil.rmtree(folder, ignore_errors=True)
    base.write_json(folder / "config.json", dict(config, architectures=[spec["cls"]]))
    shell = getattr(transformers, spec["cls"])(transformers.AutoConfig.from_pretrained(folder))
    tied = dict(getattr(shell, "all_tied_weights_keys", {}) or {})
    tensors, dtype = {}, spec.get("dtype", torch.float32)
    for key, value in shell.state_dict().items():
        if key in tied and key not in spec.get("own", []) or any(key.startswith(d) for d in spec.get("drop", [])):
            continue
        if "embed_positions" in key and config["model_type"] == "marian":
            tensors[key] = value.clone()
            continue
        x = base.random_weight(rng, key, tuple(value.shape), config["model_type"])
        if key.endswith("shared.weight") or "embed_tokens" in key:
            x = x * (0.5 / 0.25 if "embed_tokens" not in key else 1)
        tensors[key] = torch.from_numpy(x).to(dtype)
    if spec.get("twins"):
        for copy, original in tied.items():
            tensors.setdefault(copy, tensors[original].clone())
    base.save_checkpoint(folder, tensors)
    allowed = tuple(spec.get("drop", [])) + ("final_logits_bias",)
    model, _ = base.load_reference(spec["cls"], folder, allowed)
    for key in spec.get("own", []):
        assert torch.equal(model.state_dict()[key], tensors[key].float()), key
    return model, folder


def write_gguf(name, spec, c, tensors):
    """The twin, with names by gguf-py's table and keys as llama.cpp's converter writes them."""
    arch = {"t5": gguf.MODEL_ARCH.T5, "t5encoder": gguf.MODEL_ARCH.T5ENCODER}[spec["gguf"]]
    w = gguf.GGUFWriter(base.CHECKPOINTS / f"{name}.gguf", gguf.MODEL_ARCH_NAMES[arch])
    w.add_type(gguf.GGUFType.MODEL)
    w.add_name(name)
    w.add_context_length(c["n_positions"])
    w.add_embedding_length(c["d_model"])
    w.add_feed_forward_length(c["d_ff"])
    w.add_block_count(c["num_layers"])
    if c["num_decoder_layers"] is not None:
        w.add_decoder_block_count(c["num_decoder_layers"])
    w.add_head_count(c["num_heads"])
    w.add_key_length(c["d_kv"])
    w.add_value_length(c["d_kv"])
    w.add_layer_norm_eps(c["layer_norm_epsilon"])
    w.add_relative_attn_buckets_count(c["relative_attention_num_buckets"])
    w.add_layer_norm_rms_eps(c["layer_norm_epsilon"])
    if arch == gguf.MODEL_ARCH.T5:
        w.add_decoder_start_token_id(c["decoder_start_token_id"])
    w.add_vocab_size(c["vocab_size"])
    w.add_tokenizer_model("none")  # with which llama.cpp takes them
    w.add_eos_token_id(c["eos_token_id"])
    w.add_file_type(0)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    names = gguf.get_tensor_name_map(arch, max(c["num_layers"], c["num_decoder_layers"] or 0))
    if name == "t5-gguf":  # of an early export
        tensors["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = torch.ones(c["relative_attention_num_buckets"], c["num_heads"])
    for key, value in tensors.items():
        new = names.get_name(key, (".weight",))
        assert new is not None, key
        w.add_tensor(new, np.ascontiguousarray(value.float().numpy()))
    base.finish(w)


@torch.no_grad()
def expected(name, model, folder, config):
    ids, mask = base.inputs(name, config["vocab_size"])
    out = {"ids": ids, "mask": mask}
    encoder = model.encoder if config["model_type"] == "t5" else model.get_encoder()
    out["hidden"] = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    if hasattr(model, "generate") and model.config.is_encoder_decoder and hasattr(model, "lm_head"):
        vocab = model.lm_head.weight.shape[0]
        targets, kept = base.inputs(name + "/targets", vocab, TARGETS)
        out |= {"decoder_ids": targets, "decoder_mask": kept}
        out["target_logits"] = model(input_ids=ids, attention_mask=mask, decoder_input_ids=targets, decoder_attention_mask=kept).logits
        for i, (n, t) in enumerate(zip(base.LENGTHS, TARGETS)):
            alone = model(input_ids=ids[i : i + 1, :n], decoder_input_ids=targets[i : i + 1, :t]).logits[0]
            gap = (out["target_logits"][i, :t] - alone).abs().max().item()
            assert gap < 2e-5, (name, i, gap)
        # what the source says must matter
        other = model(input_ids=ids.flip(1), decoder_input_ids=targets).logits
        assert (other - out["target_logits"])[0].abs().max() > 0.05, name
        assert out["target_logits"][0].std(0).mean() > 0.05, name
    assert out["hidden"][0].std(0).mean() > 0.05, name
    save_file({k: v.contiguous() for k, v in out.items()}, folder / "expected.safetensors")


@torch.no_grad()
def beams(model, prompts, name, cache=True):
    """What `generate` gives for each prompt and each set of options."""
    cases = []
    for options in PLAIN:
        for prompt in prompts:
            settings = dict(options, max_new_tokens=NEW, do_sample=False)
            result = model.generate(input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), use_cache=cache,
                                    return_dict_in_generate=True, output_scores=True, **settings)
            given = 1 if model.config.is_encoder_decoder else len(prompt)
            sequences = result.sequences[:, given:].tolist()
            eos = model.generation_config.eos_token_id
            eos = set(eos if isinstance(eos, list) else [eos])
            cut = lambda row: row[: next((i + 1 for i, x in enumerate(row) if x in eos), len(row))]
            scores = result.sequences_scores.tolist() if options["num_beams"] > 1 else None
            cases.append(dict(prompt=prompt, options=dict(options, max_new_tokens=NEW), sequences=[cut(row) for row in sequences], scores=scores))
    lengths = {len(row) for case in cases for row in case["sequences"]}
    print(name, len(cases), "cases, lengths", sorted(lengths))
    return cases


def folder(name, found=None):
    """Record one of SEQ2SEQ; its beams go to `found`."""
    import transformers

    transformers.logging.set_verbosity_error()
    spec = SEQ2SEQ[name]
    model, place = weights(name, spec)
    if hasattr(model, "lm_head"):
        # one of the tokens that random weights like is the end, so that rows do end
        start, source = spec["config"]["decoder_start_token_id"], torch.tensor([[5, 6, 7, 8]])
        with torch.no_grad():
            likely = model(source, decoder_input_ids=torch.tensor([[start, 9, 10]])).logits[0].mean(0)
        likely[[start, 7, *range(11, 14)]] = -1e9
        config = json.loads((place / "config.json").read_text())
        config |= {key: int(likely.argmax()) for key in ("eos_token_id", "forced_eos_token_id") if key in config}
        base.write_json(place / "config.json", config)
        model, _ = base.load_reference(spec["cls"], place, tuple(spec.get("drop", [])) + ("final_logits_bias",))
    expected(name, model, place, spec["config"])
    if "gguf" in spec:
        write_gguf(name, spec, json.loads((place / "config.json").read_text()), load_file(place / "model.safetensors"))
    if found is not None and "gguf" not in spec and hasattr(model, "lm_head"):
        rng = base.generator(name + "/prompts")
        prompts = [rng.integers(3, spec["config"]["vocab_size"] - 1, n).tolist() for n in (7, 2, 15)]
        found[name] = beams(model, prompts, name, spec.get("cache", True))


def record():
    import transformers

    transformers.logging.set_verbosity_error()
    found = {}
    for name in SEQ2SEQ:
        folder(name, found)
    for name, cls in DECODERS.items():
        model, _ = base.load_reference(cls, base.CHECKPOINTS / name)
        vocab = model.config.vocab_size
        rng = base.generator(name + "/prompts")
        # one of the tokens that random weights like is the end
        prompts = [rng.integers(3, vocab, n).tolist() for n in (5, 1, 9)]
        with torch.no_grad():
            likely = model(torch.tensor([prompts[0]])).logits[0, -1].topk(3).indices
        model.generation_config.eos_token_id = int(likely[-1])
        model.generation_config.pad_token_id = int(likely[-1])
        cases = beams(model, prompts, name)
        found[name] = [dict(case, eos=model.generation_config.eos_token_id) for case in cases]
    text = json.dumps(found, separators=(",", ":")).replace('{"prompt"', '\n{"prompt"')
    (base.CHECKPOINTS / "beams.json").write_text(text + "\n")
    transformer_2017()


@torch.no_grad()
def transformer_2017():
    """The Transformer of the paper: torch's layers, DistilBERT's sines and cosines, one table scaled by sqrt(d)."""
    from torch import nn
    from transformers.models.distilbert.modeling_distilbert import create_sinusoidal_embeddings

    vocab, d, heads, ffn, layers = 41, 20, 5, 27, 2
    rng, tensors = base.generator("transformer-2017"), {}
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(d, heads, ffn, 0.0, batch_first=True), layers, enable_nested_tensor=False)
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(d, heads, ffn, 0.0, batch_first=True), layers)
    parts = {"in_proj_": None, "linear1": "mlp.up", "linear2": "mlp.down"}
    for side, stack in (("encoder.", encoder), ("", decoder)):
        norms = {"norm1": "attn_norm", "norm2": "mlp_norm" if side else "cross_norm", "norm3": "mlp_norm"}
        for i, layer in enumerate(stack.layers):
            for key, value in layer.named_parameters():
                value.copy_(torch.from_numpy(base.random_weight(rng, key, tuple(value.shape), "")))
                stem, _, last = key.rpartition(".")
                block = f"{side}blocks.{i}"
                if last.startswith("in_proj_"):
                    attn = "cross" if stem == "multihead_attn" else "attn"
                    for part, rows in zip("qkv", value.chunk(3)):
                        tensors[f"{block}.{attn}.{part}.{last.removeprefix('in_proj_')}"] = rows.clone()
                elif "out_proj" in stem:
                    attn = "cross" if "multihead" in stem else "attn"
                    tensors[f"{block}.{attn}.out.{last}"] = value.clone()
                else:
                    tensors[f"{block}.{(parts | norms)[stem]}.{last}"] = value.clone()
    table = torch.from_numpy(rng.standard_normal((vocab, d)).astype(np.float32)) * 0.25
    tensors["embed.tokens.weight"] = table
    places = torch.zeros(32, d)
    create_sinusoidal_embeddings(32, d, places)
    embed = lambda ids: table[ids] * d**0.5 + places[: ids.shape[1]]
    ids, mask = base.inputs("transformer-2017", vocab)
    targets, _ = base.inputs("transformer-2017/targets", vocab, TARGETS)
    hidden_keys = mask == 0
    states = encoder.eval()(embed(ids), src_key_padding_mask=hidden_keys)
    later = nn.Transformer.generate_square_subsequent_mask(targets.shape[1])
    out = decoder.eval()(embed(targets), states, tgt_mask=later, memory_key_padding_mask=hidden_keys)
    tensors |= {"ids": ids, "mask": mask, "decoder_ids": targets, "states": states, "logits": out @ table.T}
    save_file({k: v.contiguous() for k, v in tensors.items()}, base.CHECKPOINTS / "transformer-2017.safetensors")


if __name__ == "__main__":
    base.check_versions()
    record()
