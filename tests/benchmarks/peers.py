"""Files of leanmark and of other toolkits side by side: accuracy, agreement, time, energy, bytes, and cost of making.

    make peers [MODELS='resnet20 efficientnet_lite0'] [OUT=build/peers] [OPTIONS=--quick]

It prints figures and is not a test. All makers start from the same float file and get the same calibration arrays, each
alone in its process; all files answer the same held-out samples and take turns in isolated workers, forward and back,
in ONNX Runtime and in OpenVINO with float32 and bfloat16 pinned. Times are refused while other processes use more than
a tenth of a core; all other figures are printed anyway. ``--out`` also keeps them as Markdown, JSON and SVG. Data and
weights are those of ``cifar.py``, ``efficientnet_lite.py`` and ``minilm.py``; ``resnet18``, ``resnet50``,
``mobilenet_v2``, ``mobilenet_v3_large`` and ``vit_b_16`` have random weights, so only their times mean anything.
``--jobs build/resnet50=mnist5k`` compares the two files of a finished job, pruned or not, in the same way.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import fast_kernels
from _bench import options, run
from peer_bench import finished, limit, models, page
from peer_bench.compare import Comparison
from peer_bench.job import Job
from peer_bench.makers import MAKERS
from peer_bench.making import Artifact, float_artifact, make
from peer_bench.scores import ORT, RUNTIMES, Score, outputs, runs, score, usable
from peer_bench.times import Plan, group

LIBRARIES = ("onnxruntime", "openvino", "nncf", "aimet-onnx", "onnx-neural-compressor", "onnx", "torch")
QUICK = Plan(blocks=1, window_s=0.2)


def compare(
    job: Job, names: list[str], given: argparse.Namespace, limits: Mapping[int, Mapping[str, float]]
) -> Comparison:
    """Make all files of a model, score them, and time them."""
    artifacts = []
    for name in names:
        artifacts.append(made := make(name, job))
        print(f"{job.model}: {made.title}: {made.why_not or f'{made.bytes:,} bytes'}", flush=True)
    return measure(job, artifacts, given, limits)


def measure(
    job: Job, made: list[Artifact], given: argparse.Namespace, limits: Mapping[int, Mapping[str, float]]
) -> Comparison:
    """Score the files of a model beside its float file, and time them."""
    artifacts, absent = [float_artifact(job), *made], usable()
    scores = _scores(job, artifacts, absent) if job.trained else {}
    plan = _plan(given)
    groups = [
        group(job, artifacts, runtime, threads, batch, plan)
        for runtime in RUNTIMES if absent[runtime] is None
        for threads in given.threads
        for batch in given.batches
    ]  # fmt: skip
    return Comparison(job, tuple(artifacts), scores, groups, limits)


def _scores(
    job: Job, artifacts: list[Artifact], absent: Mapping[str, str | None]
) -> dict[tuple[str, str], Score | str]:
    threads, labels = len(os.sched_getaffinity(0)), job.labels("test")
    wanted = outputs(job, artifacts[0], ORT, threads)
    if isinstance(wanted, str):
        raise SystemExit(f"The float file of {job.model} cannot be run: {wanted}")
    found: dict[tuple[str, str], Score | str] = {}
    for runtime, why in absent.items():
        for one in artifacts:
            if why is not None:
                found[runtime, "every file"] = why
            elif runs(one, runtime):
                told = wanted if (runtime, one.name) == (ORT, "float") else outputs(job, one, runtime, threads)
                found[runtime, one.name] = told if isinstance(told, str) else score(told, wanted, labels)
    return found


def _plan(given: argparse.Namespace) -> Plan:
    return QUICK if given.quick else Plan(blocks=given.blocks, wait_s=given.wait)


def head(given: argparse.Namespace) -> dict[str, str]:
    """Return what the figures depend on: command, processor, versions, date."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES if _installed(name)]
    return {
        "command": " ".join(["python tests/benchmarks/peers.py", *sys.argv[1:]]),
        "processor": f"{fast_kernels.processor()}, {len(os.sched_getaffinity(0))} allowed",
        "versions": ", ".join([f"Python {platform.python_version()}", *versions]),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _limits(given: argparse.Namespace, folder: Path) -> tuple[dict[int, dict[str, float]], dict[str, str]]:
    """Measure the arithmetic limit; return it by number of threads and precision, and in words."""
    names = [name for name, why in usable().items() if why is None]
    found, told = {}, {}
    for threads in given.threads:
        measured = limit.measure(folder, names, threads, _plan(given))
        rates = found[threads] = limit.best(measured)
        whys = sorted({one.refused for groups in measured.values() for one in groups if one.refused})
        cells = [
            f"{name} {rates[name]:.0f} GOPS" if name in rates else f"{name} not measured" for name in limit.PRECISIONS
        ]
        refused = f" ({whys[-1]})" if whys else ""
        told[f"arithmetic limit, threads {threads}"] = ", ".join(cells) + refused
    return found, told


def main() -> None:
    """Compare the named models, by default ResNet-20 and EfficientNet-Lite0."""
    parser = options(__doc__, "one block of short windows, one thread, batch 1")
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--jobs", nargs="+", default=[], metavar="FOLDER=DATA", help="folders of finished jobs")
    parser.add_argument("--makers", nargs="+", choices=MAKERS, default=list(MAKERS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--blocks", type=int, default=3, help="blocks, each with two windows of every file")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds to wait for a quiet machine, for each group")
    parser.add_argument("--out", type=Path, help="folder for peers.md, peers.json and a plot for each model")
    given = parser.parse_args()
    if not (given.models or given.jobs):
        given.models = ["resnet20", "efficientnet_lite0"]
    try:
        jobs = [finished.parse(text) for text in given.jobs]
    except ValueError as error:
        parser.error(str(error))
    if unknown := set(given.models) - set(models.NAMES):
        parser.error(f"unknown models: {', '.join(sorted(unknown))}; known: {', '.join(models.NAMES)}")
    if all(importlib.util.find_spec(name) is None for name in ("nncf", "openvino")):
        print("Left out: the extra 'peers' is not installed; run make peers, which has an environment of its own.")
        return
    if given.quick:
        given.threads, given.batches = [1], [1]
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        limits, told = _limits(given, Path(scratch, "limit"))
        for name in given.models:
            if (sentence := models.missing(name)) is not None:
                print(sentence)
                continue
            found.append(compare(models.prepare(name, Path(scratch, name)), given.makers, given, limits))
        for place, (done, spec) in enumerate(jobs):
            job, made = finished.prepare(done, spec, Path(scratch, f"job.{place}"))
            found.append(measure(job, [made], given, limits))
    about = {**head(given), **told}
    text = page.markdown(about, found)
    print(text)
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "peers.md").write_text(text)
        (given.out / "peers.json").write_text(json.dumps(page.as_json(about, found), indent=1))
        for one in found:
            if (drawn := page.svg(one, ORT)) is not None:
                (given.out / f"{one.job.model}.svg").write_text(drawn)


if __name__ == "__main__":
    run(main)
