"""The same small network for Fashion-MNIST from Keras and from PyTorch: trained, half its multiply-adds pruned, int8, side by side.

python tests/benchmarks/learn/frameworks.py [--train 24000] [--epochs 4] [--tune 4] [--seeds 3]

Both begin from the weights that Keras draws and see the same pictures in the same order; all else goes through each framework's own
frontend. Accuracy is of the 10,000 test pictures, in points; latency as pruned.py has it, medians of interleaved runs of one thread.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from fashion import accuracy, pictures
from pruned import latencies_ms, of_keras, of_torch, pruned_by_pass, trained_on, tuned_from

from edgekit.graph.inspect import layers, totals

NETS = {"Keras": of_keras, "PyTorch": of_torch}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--train", type=int, default=24000)
    asked.add_argument("--epochs", type=int, default=4)
    asked.add_argument("--tune", type=int, default=4)
    asked.add_argument("--seeds", type=int, default=3)
    told = asked.parse_args()
    found: dict[tuple[str, str], list[float]] = {}
    for seed in range(told.seeds):
        graphs = {}
        for name, drawn in NETS.items():
            graph = drawn(seed)
            shape = [dim.dim_value for dim in graph.graph.input[0].type.tensor_type.shape.dim]  # Keras has the one channel last
            seen, judged = ((pixels.reshape(-1, *shape), labels) for pixels, labels in (pictures("train", told.train), pictures("t10k")))
            base = trained_on(graph, seen, told.epochs)
            made = pruned_by_pass(base, seen, {"ratio": 0.5, "of": "macs", "importance": "taylor", "steps": 1})
            steps = {"float": base, "pruned": made, "pruned, tuned": tuned_from(made, base, seen, told.tune)}
            for step, proto in steps.items():
                share = 100 * accuracy(proto, *judged)
                found.setdefault((name, step), []).append(share)
                print(f"seed {seed} {name:8} {step:14} {share:6.2f} %  {totals(layers(proto)).macs / 1e6:5.2f} M macs", flush=True)
            graphs |= {f"{name} {step}": proto for step, proto in steps.items()}
        for runtime, taken in latencies_ms(graphs).items():
            ratios = ", ".join(f"{name} {taken[f'{name} float'] / taken[f'{name} pruned, tuned']:.2f}x" for name in NETS)
            print(f"seed {seed} {runtime}: {ratios}", flush=True)
    for (name, step), shares in found.items():
        print(f"{name:8} {step:14} {np.mean(shares):6.2f} % ± {np.std(shares, ddof=1) if len(shares) > 1 else np.nan:.2f}")


if __name__ == "__main__":
    main()
