"""Says what a model is: the expanded spec, the files' tensors, memory; and what devices there are.

python examples/python/inspect_model.py [--device auto|cpu|gpu] [--verify] [MODEL]

Not called inspect.py, as it is in Rust and C: a script's folder comes first on Python's path, and
numpy would import this file in place of the standard library's `inspect`.
"""

import argparse

import emberform


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--verify", action="store_true", help="compare the device with the CPU")
    parser.add_argument("model", nargs="?", default="models/minilm")
    arguments = parser.parse_args()

    print("devices")
    for device in emberform.devices():
        print(f"  {device}: {'auto: ' if device.auto else ''}{device.why}")
    model = emberform.open(arguments.model, device=arguments.device)
    print(f"\n{model}\n\n{model.spec}\n")
    for tensor in model.tensors:
        print(f"{tensor.name:32} {tensor.format:>5} {tensor.shape!s:16} {tensor.bytes:>11} bytes")
    print(f"\n{len(model.tensors)} tensors, {sum(tensor.bytes for tensor in model.tensors) / 1e6:.1f} MB")
    print(f"vocabulary of {len(model.tokenizer)} tokens")
    print(model.memory)
    if arguments.verify:
        print(model.verify())


if __name__ == "__main__":
    main()
