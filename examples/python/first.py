"""The first program of README.md, which quotes this file: an embedding, then a text continued."""

import emberform

with emberform.open("models/minilm") as model:
    vectors = model.embed(["a cat sat", "a kitten slept", "bond yields rose"])  # numpy, float32, [3, 384]
    print(f"{vectors[0] @ vectors[1]:.2f} and {vectors[0] @ vectors[2]:.2f}")

with emberform.open("models/gemma3-270m-q4_k_m.gguf") as model:
    for piece in model.generate("The sky is", max_tokens=16):
        print(piece.text, end="", flush=True)
print()
