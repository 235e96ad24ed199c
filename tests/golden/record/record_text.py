#!/usr/bin/env python3
"""Record the token ids of corpus.txt by three reference tokenizers.

  python record_text.py MODELS WORK

MODELS as examples/models/fetch.py gets them; WORK holds the tokenizers that record_real.py saved from the GGUF files (or
receives them). Writes ids-minilm.safetensors, ids-gemma3-270m.safetensors and ids-qwen25-coder-0.5b.safetensors.
"""
import pathlib
import sys

import corpus
import record  # pins the versions

import numpy as np
from gguf import GGUFReader
from safetensors.numpy import save_file

FULL = 300
GGUF = {"gemma3-270m": "gemma3-270m-q4_k_m.gguf", "qwen25-coder-0.5b": "qwen25-coder-0.5b-q4_k_m.gguf"}


def fnv1a(ids):
    """64-bit FNV-1a over the ids as little-endian u32."""
    h = 0xCBF29CE484222325
    for b in np.asarray(ids, "<u4").tobytes():
        h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def save(name, ids):
    first = ids[:FULL]
    save_file({"hash": np.array([fnv1a(i) for i in ids], np.uint64), "count": np.array([len(i) for i in ids], np.uint32),
               "first_offsets": np.cumsum([0] + [len(i) for i in first]).astype(np.uint32),
               "first_ids": np.array([t for i in first for t in i], np.uint32)}, record.GOLDEN / "text" / f"ids-{name}.safetensors")


def from_gguf(models, work, name):
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    folder = work / f"{name}-f32"
    if not (folder / "tokenizer.json").exists():
        AutoTokenizer.from_pretrained(models, gguf_file=GGUF[name]).save_pretrained(folder)
    t = Tokenizer.from_file(str(folder / "tokenizer.json"))
    t.no_truncation()
    t.no_padding()
    return t


def sentencepiece_from_gguf(path):
    """sentencepiece itself over the vocabulary of the file. Its control pieces never match text; here they shall, as they do
    in the other reference, so they are declared user-defined. The unknown piece it insists on is one more, at the end."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as pb

    fields = GGUFReader(path).fields
    pieces, scores, types = (fields[f"tokenizer.ggml.{k}"].contents() for k in ("tokens", "scores", "token_type"))
    m = pb.ModelProto()
    m.trainer_spec.model_type = pb.TrainerSpec.BPE
    m.trainer_spec.byte_fallback = True
    m.trainer_spec.vocab_size = len(pieces) + 1
    m.trainer_spec.unk_id = len(pieces)
    m.trainer_spec.unk_piece = "<no such piece>"
    m.trainer_spec.bos_id = m.trainer_spec.eos_id = m.trainer_spec.pad_id = -1
    m.normalizer_spec.name = "identity"
    m.normalizer_spec.add_dummy_prefix = False
    m.normalizer_spec.remove_extra_whitespaces = False
    m.normalizer_spec.escape_whitespaces = True
    for piece, score, kind in zip(pieces, scores, types):
        if kind == 4:  # the converter writes the spaces of user-defined pieces as they look in text
            piece = piece.replace(" ", "\u2581")
        m.pieces.add(piece=piece, score=score, type=4 if kind in (2, 3) else kind)
    m.pieces.add(piece="<no such piece>", score=0.0, type=2)
    return sentencepiece.SentencePieceProcessor(model_proto=m.SerializeToString())


def main():
    from tokenizers import Tokenizer, normalizers

    record.check_versions()
    models, work = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    with open(record.GOLDEN / "text" / "corpus.txt", encoding="utf-8", newline="\n") as f:
        texts = [corpus.unescape(line) for line in f.read().split("\n")[:-1]]

    t = Tokenizer.from_file(str(models / "minilm" / "tokenizer.json"))
    t.no_truncation()
    t.no_padding()
    ids = [t.encode(x).ids for x in texts]
    save("minilm", ids)
    print("minilm", sum(map(len, ids)), "tokens")

    t = from_gguf(models, work, "qwen25-coder-0.5b")
    plain = [t.encode(x).ids for x in texts]
    # The family's own tokenizer (transformers' Qwen2Tokenizer, the published tokenizer.json) puts text in NFC first. GGUF does
    # not say so and transformers' conversion of it leaves it out; the model was trained with it.
    t.normalizer = normalizers.NFC()
    ids = [t.encode(x).ids for x in texts]
    save("qwen25-coder-0.5b", ids)
    print("qwen2", sum(map(len, ids)), "tokens;", sum(a != b for a, b in zip(plain, ids)), "lines that NFC changes")

    t, sp = from_gguf(models, work, "gemma3-270m"), sentencepiece_from_gguf(models / GGUF["gemma3-270m"])
    ids = [t.encode(x).ids for x in texts]
    truth = [[2] + sp.encode(x) for x in texts]
    wrong = [k for k in range(len(texts)) if ids[k] != truth[k]]
    print("gemma3", sum(map(len, truth)), "tokens;", len(wrong), "lines where transformers differs from sentencepiece, which is what is saved")
    for k in wrong[:40]:
        a, b = ids[k], truth[k]
        at = next((i for i in range(min(len(a), len(b))) if a[i] != b[i]), min(len(a), len(b)))
        print("  line", k + 1, ascii(texts[k][:60]), [t.id_to_token(i) for i in a[at : at + 4]], [t.id_to_token(i) for i in b[at : at + 4]])
    save("gemma3-270m", truth)


if __name__ == "__main__":
    main()
