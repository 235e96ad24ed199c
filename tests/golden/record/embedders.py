"""Tiny embedding models in the folders that sentence-transformers reads, with its embeddings. Part of record.py."""
import json
import os
import pathlib
import shutil
import tempfile

import record as base

import numpy as np
import torch
from safetensors.numpy import save_file

TEXTS = [
    "a cat sat on the mat",
    "The dogs ate 12 red apples, quickly!",
    "",
    "cat",
    "unknowable wörds: naïve café",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z and so on until it is far too long for the window",
    "한국어 日本 ☃",
    "  query:   spaces\tand\nlines ",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["the", "cat", "dog", "sat", "on", "mat", "and", "is", "it", "red", "apple", "query", "passage", "long", "quick", "too", "so",
         "window", "far", "for", "##s", "##ly", "##ing", "##ed", "##le", "##able", "##pp", "un", "know", "word"]
CHARS = list("abcdefghijklmnopqrstuvwxyz0123456789:,.!?日本")
VOCABULARY = SPECIAL + WORDS + CHARS + ["##" + c for c in "abcdefghijklmnopqrstuvwxyz012"]

BERT = dict(base.BERT, architectures=["BertModel"], hidden_act="gelu", vocab_size=len(VOCABULARY), hidden_size=15, num_attention_heads=3,
            intermediate_size=22, max_position_embeddings=40, num_hidden_layers=2)
QWEN2 = dict(base.QWEN2, architectures=["Qwen2ForCausalLM"], hidden_size=16, num_attention_heads=4, num_key_value_heads=2,
             num_hidden_layers=2, intermediate_size=23, max_position_embeddings=48, rope_parameters=dict(rope_type="default", rope_theta=10000.0),
             tie_word_embeddings=True, pad_token_id=0, eos_token_id=0, bos_token_id=0)

# name: what follows the transformer, and how the folder is written ("old": as versions before 5 wrote it)
FOLDERS = {
    "st-mean-old": dict(pooling="mean", normalize=True, max=12, layout="old", lies=True),
    "st-cls": dict(pooling="cls", normalize=True),
    "st-max": dict(pooling="max", max=12),
    "st-sqrt-dense": dict(pooling="mean_sqrt_len_tokens", dense=(13, True, "tanh"), normalize=True, layout="old"),
    "st-weighted-dense": dict(pooling="weightedmean", dense=(10, False, "identity"), max=12),
    "st-last": dict(pooling="lasttoken", normalize=True),
    "st-several-old": dict(pooling=("cls", "max", "mean"), layout="old"),
    "st-prompts": dict(pooling="mean", normalize=True, prompts={"query": "query: ", "passage": "passage: "}, default="query"),
    "st-prompts-left-out": dict(pooling="mean", prompts={"query": "query: ", "long": "for the long word "}, default="long", include_prompt=False, max=12),
    "st-prompts-weighted": dict(pooling="weightedmean", prompts={"query": "query: "}, include_prompt=False),
    "st-decoder": dict(pooling="lasttoken", normalize=True, decoder=True, prompts={"query": "Find: "}),
    "st-decoder-mean": dict(pooling="mean", decoder=True, max=16),
}


def wordpiece(lies, vocabulary=VOCABULARY):
    """A small tokenizer.json; with `lies` it also truncates and pads by itself, which sentence-transformers overrules."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    t = Tokenizer(models.WordPiece({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]", max_input_chars_per_word=100))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    t.add_special_tokens(SPECIAL)
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
                                                     special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    if lies:
        t.enable_truncation(6)
        t.enable_padding(pad_id=0, pad_token="[PAD]", length=6)
    return t


def bytelevel():
    """A byte-level BPE with a few merges and an end token that the tokenizer adds, as decoder embedders do."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("a", "n"), ("an", "d"), ("Ġ", "a"), ("o", "n"), ("c", "a"), ("ca", "t"), ("Ġ", "s")]
    vocab = {w: i for i, w in enumerate(["<|endoftext|>"] + letters + [a + b for a, b in merges])}
    t = Tokenizer(models.BPE(vocab, merges))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens(["<|endoftext|>"])
    t.post_processor = processors.TemplateProcessing(single="$A <|endoftext|>", pair="$A <|endoftext|> $B:1 <|endoftext|>:1",
                                                     special_tokens=[("<|endoftext|>", 0)])
    return t


def transformer_folder(folder, name, spec):
    """The folder of the bare transformer: config.json, weights, tokenizer files."""
    import transformers

    decoder = spec.get("decoder", False)
    tok = bytelevel() if decoder else wordpiece(spec.get("lies", False))
    config = dict(QWEN2, vocab_size=tok.get_vocab_size()) if decoder else BERT
    base.write_json(folder / "config.json", config)
    shell = (transformers.Qwen2Model if decoder else transformers.BertModel)(transformers.AutoConfig.from_pretrained(folder))
    rng = base.generator(name)
    base.save_checkpoint(folder, {("model." + k if decoder else k): torch.from_numpy(base.random_weight(rng, k, tuple(v.shape), config["model_type"]))
                                  for k, v in shell.state_dict().items()})
    if spec.get("lies"):
        tok.save(str(folder / "tokenizer.json"))
    special = dict(pad_token="<|endoftext|>", eos_token="<|endoftext|>") if decoder else dict(
        unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tok, model_max_length=config["max_position_embeddings"], **special)
    fast.save_pretrained(folder)
    if spec.get("lies"):
        tok.save(str(folder / "tokenizer.json"))


def record(names=FOLDERS):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    for name in names:
        spec = FOLDERS[name]
        folder = base.CHECKPOINTS / name
        shutil.rmtree(folder, ignore_errors=True)
        rng = base.generator(name + "/dense")
        with tempfile.TemporaryDirectory() as tmp:
            tmp = pathlib.Path(tmp)
            transformer_folder(tmp, name, spec)
            modules = [Transformer(str(tmp), max_seq_length=spec.get("max"), model_kwargs=dict(attn_implementation="eager", dtype=torch.float32))]
            width = modules[0].model.config.hidden_size
            modules.append(Pooling(width, pooling_mode=spec["pooling"], include_prompt=spec.get("include_prompt", True)))
            if "dense" in spec:
                out, bias, activation = spec["dense"]
                inner = modules[-1].pooling_output_dimension
                modules.append(Dense(inner, out, bias=bias, activation_function=torch.nn.Tanh() if activation == "tanh" else torch.nn.Identity(),
                                     init_weight=torch.from_numpy(rng.standard_normal((out, inner)).astype(np.float32) * 0.2),
                                     init_bias=torch.from_numpy(rng.standard_normal(out).astype(np.float32) * 0.2) if bias else None))
            if spec.get("normalize"):
                modules.append(Normalize())
            model = SentenceTransformer(modules=modules, prompts=spec.get("prompts"), default_prompt_name=spec.get("default"), device="cpu")
            model.save(str(folder), create_model_card=False, safe_serialization=True)
            if spec.get("lies"):
                shutil.copy(tmp / "tokenizer.json", folder / "tokenizer.json")
        if spec.get("layout") == "old":
            old_layout(folder, spec)
        for unused in ("README.md", ".gitattributes"):
            (folder / unused).unlink(missing_ok=True)
        loaded = SentenceTransformer(str(folder), device="cpu", local_files_only=True, model_kwargs=dict(attn_implementation="eager"))
        check_tokenizer(folder, loaded)
        out = {"plain": embed(loaded, prompt=None, prompt_name=None)}
        np.testing.assert_allclose(out["plain"], embed(model, prompt=None, prompt_name=None), atol=2e-6)
        if spec.get("prompts"):
            out["none"] = embed(loaded, prompt="")
            for prompt in spec["prompts"]:
                out[f"prompt.{prompt}"] = embed(loaded, prompt_name=prompt)
        save_file({k: np.ascontiguousarray(v, np.float32) for k, v in out.items()}, folder / "expected.safetensors")
        base.write_json(folder / "expected.json", {"texts": TEXTS, "default_prompt_name": spec.get("default"), "prompts": spec.get("prompts", {}),
                                                   "max_seq_length": loaded.max_seq_length, "modules": [type(m).__name__ for m in loaded],
                                                   "width": int(out["plain"].shape[1]),
                                                   "tokens": [len(loaded.tokenizer(t)["input_ids"]) for t in TEXTS]})
        print(name, {k: v.shape for k, v in out.items()}, "max_seq_length", loaded.max_seq_length,
              "files", sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()))


def check_tokenizer(folder, model):
    """tokenizer.json alone, its own truncation and padding off, must give what the reference's tokenizer gives."""
    from tokenizers import Tokenizer

    alone = Tokenizer.from_file(str(folder / "tokenizer.json"))
    alone.no_truncation()
    alone.no_padding()
    for text in TEXTS:
        assert alone.encode(text).ids == model.tokenizer(text, truncation=False)["input_ids"], (folder, text)


def embed(model, **prompt):
    """One text at a time, and in one batch: the reference must agree with itself."""
    kwargs = dict(normalize_embeddings=False, convert_to_numpy=True, show_progress_bar=False, **prompt)
    alone = np.stack([model.encode([t], **kwargs)[0] for t in TEXTS])
    np.testing.assert_allclose(model.encode(TEXTS, batch_size=8, **kwargs), alone, atol=5e-6)
    return alone


def old_layout(folder, spec):
    """Rewrite the folder's json files as sentence-transformers 2 to 4 wrote them."""
    modules = json.loads((folder / "modules.json").read_text())
    for m in modules:
        m["type"] = "sentence_transformers.models." + m["type"].rsplit(".", 1)[1]
        kind = m["type"].rsplit(".", 1)[1]
        if kind == "Pooling":
            modes = spec["pooling"] if isinstance(spec["pooling"], tuple) else (spec["pooling"],)
            keys = dict(cls_token="cls", mean_tokens="mean", max_tokens="max", mean_sqrt_len_tokens="mean_sqrt_len_tokens")
            base.write_json(folder / m["path"] / "config.json", {"word_embedding_dimension": BERT["hidden_size"],
                            **{f"pooling_mode_{k}": v in modes for k, v in keys.items()}})
        if kind == "Dense":
            out, bias, _ = spec["dense"]
            base.write_json(folder / m["path"] / "config.json", {"in_features": BERT["hidden_size"], "out_features": out, "bias": bias,
                                                                "activation_function": "torch.nn.modules.activation.Tanh"})
    base.write_json(folder / "modules.json", modules)
    base.write_json(folder / "sentence_bert_config.json", {"max_seq_length": spec.get("max", BERT["max_position_embeddings"]), "do_lower_case": False})
    base.write_json(folder / "config_sentence_transformers.json", {"__version__": {"sentence_transformers": "2.0.0", "transformers": "4.6.1",
                                                                                  "pytorch": "1.8.1"}})
