"""A student of a quarter of the size, distilled, beside the same student trained on labels alone.

python tests/benchmarks/learn/distilled.py [--seeds 5] [--train 6000] [--teacher-train 60000] [--epochs 15] [--threads 1]

The teacher is trained on the labels of all training pictures first; the students see a part of them, as whoever compresses a
network seldom has all that it was trained on. Both students begin with the same weights, see the same pictures in the same order and
are judged by the 10,000 test pictures, of which nothing was seen before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fashion import accuracy, material, network, parameters, pictures

from edgekit.graph.signature import signature_of
from edgekit.graph.trainable import trained
from edgekit.passes.learn import Teacher, TrainOptions, fit


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--seeds", type=int, default=5)
    asked.add_argument("--train", type=int, default=6000)
    asked.add_argument("--teacher-train", type=int, default=60000)
    asked.add_argument("--epochs", type=int, default=15)
    asked.add_argument("--teacher-epochs", type=int, default=6)
    asked.add_argument("--threads", type=int, default=1)
    asked.add_argument("--temperature", type=float, default=4.0)
    asked.add_argument("--labels", type=float, default=0.1)
    told = asked.parse_args()
    seen, labels = pictures("train", told.teacher_train)
    judged = pictures("t10k")
    common = {"rate": 2e-3, "batch": 64, "held_out": 0.05, "threads": told.threads}

    def learn(proto, epochs, seed, teachers=(), count=None, **more):
        began = time.process_time()
        options = TrainOptions(**common, epochs=epochs, seed=seed, **more)
        fitted = fit(proto, material(proto, seen[:count], labels[:count], teachers), options)
        made = trained(proto, fitted.values)
        return made, accuracy(made, *judged), time.process_time() - began

    big, of_teacher, took = learn(network(16, 64, 100), told.teacher_epochs, 100, average="ema", decay=0.998)
    say(what="teacher", parameters=parameters(big), accuracy=of_teacher, cpu_s=round(took, 1))
    teacher = Teacher(big, signature_of(big), threads=told.threads)
    found: dict[str, list[float]] = {"labels": [], "distilled": []}
    for seed in range(told.seeds):
        student = network(8, 30, seed)
        for how, teachers in (("labels", ()), ("distilled", (teacher,))):
            more = {"temperature": told.temperature, "labels": told.labels} if teachers else {}
            _, right, took = learn(student, told.epochs, seed, teachers, told.train, **more)
            found[how].append(right)
            say(what=how, seed=seed, parameters=parameters(student), accuracy=right, cpu_s=round(took, 1))
    for how, values in found.items():
        say(what=how, mean=statistics.mean(values), spread=statistics.stdev(values) if len(values) > 1 else None, seeds=len(values))
    differences = [one - other for one, other in zip(found["distilled"], found["labels"], strict=True)]
    say(what="difference", mean=statistics.mean(differences), spread=statistics.stdev(differences) if len(differences) > 1 else None)


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
