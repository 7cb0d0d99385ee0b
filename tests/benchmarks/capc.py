"""Cost of confidential and private collaborative learning (CaPC), end to end with three local parties.

    pip install '.[encrypted]'
    python tests/benchmarks/capc.py [--queries N] [--noise SIGMA] [--quick]

Choquette-Choo et al. 2021 (arXiv 2102.05188). Party 0 has few labelled images of mnist5k and many without labels; two
others have models of their own. Party 0 sends its images under CKKS (TenSEAL); each other party computes its logits on
them and adds a mask before it sends them back. Three processes then turn masked logits and masks into votes under
Shamir's secret sharing (MPyC), add noise of which each knows a third, and open the winner to party 0 alone, whose model
learns from the answers. Each party reads its own part of the data and no other.

Two separate guarantees. Confidentiality: parties are honest but curious and no two collude; party 0 learns the answers,
the others learn nothing about its images. Differential privacy: epsilon follows from the noise on the vote, and is
useful only with many voters; three cannot hide one. The argmax is computed on shares instead of in a garbled circuit,
for which we found no maintained library. A mask of 28 bits hides a logit of about 8, and CKKS answers may reveal
something about the weights to party 0.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _bench import LeftOut, options
from _bench import run as run_script

from certify.core.accounting import GnMax, spent
from certify.data import load
from certify.data.split import Split
from compress.private.entropy import gaussian
from compress.private.teachers import train_teacher

PARTIES, CLASSES, SIDE = 3, 10, 14
OWN, OTHERS, POOL = 40, 1000, 500
"""Numbers of labelled images of party 0 and of each other party, and of unlabelled images of party 0."""
RING = 8192
MODULI = (60, 30, 30, 60)
SCALE = 2**30
LOGIT_STEPS, NOISE_STEPS = 8, 256
"""Integer steps per unit of a logit, and of noise."""
MASK_BITS = 28
DELTA = 1e-5
Floats = np.ndarray[Any, np.dtype[np.float64]]


def inputs(split: Split, rows: range) -> Floats:
    """Return images as means of 2 x 2 pixels, grey levels from 0 to 1, (n, 196)."""
    pixels = np.stack([split.image(row)[..., 0] for row in rows]).astype(np.float64) / 255
    means: Floats = pixels.reshape(len(rows), SIDE, 2, SIDE, 2).mean((2, 4)).reshape(len(rows), -1)
    return means


def deal(folder: Path, queries: int) -> tuple[Floats, np.ndarray[Any, np.dtype[np.int64]]]:
    """Write one file per party, and return the test images with their labels."""
    dataset = load("mnist5k")
    train, test = dataset.train, dataset.test
    if train is None:
        raise ValueError("mnist5k has a train part")
    order = np.random.default_rng(0).permutation(len(train))
    mixed = train.subset(order)
    sizes = np.cumsum([0, OWN, POOL, OTHERS, OTHERS])
    parts = [range(start, stop) for start, stop in zip(sizes, sizes[1:], strict=False)]
    own, pool, *others = ((inputs(mixed, rows), mixed.labels[list(rows)]) for rows in parts)
    np.savez(folder / "party0.npz", x=own[0], y=own[1], queries=pool[0][:queries])
    for number, (x, y) in enumerate(others, start=1):
        np.savez(folder / f"party{number}.npz", x=x, y=y)
    np.savez(folder / "truth.npz", y=pool[1][:queries])
    return inputs(test, range(len(test))), test.labels


def fitted(x: Floats, y: np.ndarray[Any, np.dtype[np.int64]]) -> Floats:
    """Train a linear model, (classes, inputs + 1), with the bias last."""
    return train_teacher(x, y, CLASSES, 150, 1e-2, 0.02)


def logits(weights: Floats, x: Floats) -> Floats:
    """Return the outputs of a linear model, (n, classes)."""
    found: Floats = x @ weights[:, :-1].T + weights[:, -1]
    return found


def cpu() -> float:
    """Return the processor time of this process, in seconds."""
    return sum(os.times()[:2])


def encrypted_logits(tenseal: Any, context: Any, query: bytes, weights: Floats, mask: Floats) -> bytes:
    """Return one party's scaled logits on an encrypted image, less a mask that only that party knows."""
    vector = tenseal.ckks_vector_from(context, query)
    made = vector.mm((weights[:, :-1].T * LOGIT_STEPS).tolist()) + (weights[:, -1] * LOGIT_STEPS - mask).tolist()
    answer: bytes = made.serialize()
    return answer


async def party(mpc: Any, folder: Path, sigma: float) -> dict[str, Any]:
    """Carry out one party's part of the protocol; parties communicate only over sockets."""
    import tenseal

    me, told = mpc.pid, {}
    await mpc.start()
    given = np.load(folder / f"party{me}.npz")
    weights = fitted(given["x"], given["y"])
    begun = cpu()
    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, RING, coeff_mod_bit_sizes=list(MODULI))
    context.global_scale = SCALE
    context.generate_galois_keys()
    shown = context.serialize(save_secret_key=False) if me == 0 else None
    asked = [tenseal.ckks_vector(context, row).serialize() for row in given["queries"]] if me == 0 else None
    public, sent = await mpc.transfer(shown, senders=0), await mpc.transfer(asked, senders=0)
    told["setup_bytes"], told["query_bytes"] = len(public), len(sent[0])
    limit = 1 << MASK_BITS
    masks = np.random.default_rng(int.from_bytes(os.urandom(32), "big")).integers(-limit, limit, (len(sent), CLASSES))
    answers = None
    if me:
        theirs = tenseal.context_from(public)
        answers = [encrypted_logits(tenseal, theirs, one, weights, mask) for one, mask in zip(sent, masks, strict=True)]
        told["answer_bytes"] = len(answers[0])
    received = await mpc.transfer(answers, senders=[1, 2], receivers=[0])
    told["he_cpu_s"], begun = cpu() - begun, cpu()
    secint = mpc.SecInt(48)
    mine = masks[None].repeat(PARTIES, 0)
    if me == 0:
        own = np.rint(logits(weights, given["queries"]) * LOGIT_STEPS).astype(np.int64)
        opened = [np.array([tenseal.ckks_vector_from(context, one).decrypt() for one in each]) for each in received]
        mine = np.stack([own, *(np.rint(one).astype(np.int64) for one in opened)])
    # Party 0 holds its own logits and the others' masked ones; each other party holds its mask.
    shares = mpc.input(secint.array(mine.astype(object)))
    votes = _votes(mpc, shares)
    third = np.rint(sigma / np.sqrt(PARTIES) * NOISE_STEPS * gaussian(len(sent), CLASSES)).astype(np.int64)
    noises = mpc.input(secint.array(third.astype(object)))
    total = votes * NOISE_STEPS + noises[0] + noises[1] + noises[2]
    winners = await mpc.output(mpc.np_argmax(total, axis=-1), receivers=[0])
    told["mpc_cpu_s"] = cpu() - begun
    await mpc.shutdown()
    if me == 0:
        told["answers"] = [int(one) for one in winners]
    told["weights"] = weights.tolist()
    return told


def _votes(mpc: Any, shares: Any) -> Any:
    """Return the summed votes of the three parties, on shares, (queries, classes)."""
    held, first, second = shares
    own, *masked = (held[k] for k in range(PARTIES))
    found = [own, masked[0] + first[1], masked[1] + second[2]]
    unit = [mpc.np_argmax(one, axis=-1, arg_unary=True) for one in found]
    return unit[0] + unit[1] + unit[2]


def free_port() -> int:
    """Return a free port, from which the parties count their own."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def run(queries: int, sigma: float) -> dict[str, Any]:
    """Run the three parties, and compare their answers with plain votes.

    Args:
        queries: number of images that party 0 asks about.
        sigma: standard deviation of the noise on the vote, in votes.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        test, labels = deal(folder, queries)
        began, base = time.monotonic(), free_port()
        parties = [
            subprocess.Popen(
                [sys.executable, __file__, "--party", str(folder), "--noise", str(sigma), "--", f"-M{PARTIES}",
                 f"-I{number}", "-B", str(base), "--no-log"],
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parents[2]),
                                                                 os.environ.get("PYTHONPATH", "")])},
            )
            for number in range(PARTIES)
        ]  # fmt: skip
        if any(one.wait() for one in parties):
            raise RuntimeError("a party failed; its error is printed above")
        wall = time.monotonic() - began
        told = [json.loads((folder / f"told{number}.json").read_text()) for number in range(PARTIES)]
        asked, own = np.load(folder / "party0.npz"), np.load(folder / "truth.npz")["y"]
    return {**_compared(told, asked, own, test, labels, queries, sigma), "wall_s": wall}


def _compared(
    told: list[dict[str, Any]], asked: Any, truth: Any, test: Floats, labels: Any, queries: int, sigma: float
) -> dict[str, Any]:
    models = [np.array(one["weights"]) for one in told]
    answers = np.array(told[0]["answers"])
    plain = np.stack([logits(weights, asked["queries"]).argmax(1) for weights in models])
    counts = np.stack([np.bincount(votes, minlength=CLASSES) for votes in plain.T])
    sure = counts.max(1) == PARTIES  # noise rarely changes a unanimous vote
    taught = fitted(np.vstack([asked["x"], asked["queries"]]), np.concatenate([asked["y"], answers]))
    before, after = (float((logits(one, test).argmax(1) == labels).mean()) for one in (models[0], taught))
    he, mpc = (sum(one[name] for one in told) for name in ("he_cpu_s", "mpc_cpu_s"))
    return {
        "queries": queries,
        "answers_as_voted": float((answers[sure] == counts.argmax(1)[sure]).mean()) if sure.any() else float("nan"),
        "unanimous": int(sure.sum()),
        "answers_right": float((answers == truth).mean()),
        "accuracy_before": before,
        "accuracy_after": after,
        "he_cpu_s_a_query": he / queries,
        "mpc_cpu_s_a_query": mpc / queries,
        "plain_cpu_s_a_query": plain_seconds(models, asked["queries"]),
        "setup_bytes": told[0]["setup_bytes"],
        "query_bytes": told[0]["query_bytes"],
        "answer_bytes": told[1]["answer_bytes"],
        "epsilon": spent([(GnMax(sigma, queries), 1)], DELTA, "add-remove").epsilon,
    }


def plain_seconds(models: list[Floats], x: Floats) -> float:
    """Return the processor time of the three models' plain votes per image, one image at a time, in seconds."""
    rounds = 200

    def vote() -> None:
        for row in x:
            for weights in models:
                int(logits(weights, row[None]).argmax())

    return _timed(vote, rounds) / len(x)


def _timed(action: Callable[[], None], rounds: int) -> float:
    action()
    begun = time.process_time()
    for _ in range(rounds):
        action()
    return (time.process_time() - begun) / rounds


def joules(cpu_s: float) -> float | None:
    """Return the energy of some processor time, in joules; None unless the meter here models it from that time."""
    from certify.core.errors import MeasureError
    from certify.measure.meters import choose
    from certify.measure.meters.base import Usage

    meter = choose("cpu").meter
    if meter is None or meter.level.value != "modelled":
        return None
    meter.start()
    try:
        return float(meter.stop(Usage(cpu_s, cpu_s)).energy_j)
    except MeasureError:
        return None


def report(found: dict[str, Any], sigma: float) -> str:
    """Return the figures as text."""
    crypto = found["he_cpu_s_a_query"] + found["mpc_cpu_s_a_query"]
    plain = found["plain_cpu_s_a_query"]
    energy = [joules(one) for one in (crypto, plain)]
    told = "no meter here models energy from processor time"
    if energy[0] is not None and energy[1] is not None:
        told = f"{energy[0]:.3g} J against {energy[1]:.3g} J, modelled"
    return "\n".join([
        f"{found['queries']} queries, {found['wall_s']:.0f} s; as the plain vote where all agree "
        f"({found['unanimous']}): {100 * found['answers_as_voted']:.1f} %; right: {100 * found['answers_right']:.1f} %",
        f"Party 0 on the test images: {100 * found['accuracy_before']:.1f} % before, "
        f"{100 * found['accuracy_after']:.1f} % with the answers",
        "Confidentiality: CKKS and Shamir shares; honest but curious, no two of three collude. "
        f"Keys {found['setup_bytes'] / 1e6:.1f} MB once; a query {found['query_bytes'] / 1e3:.0f} kB, an answer "
        f"{found['answer_bytes'] / 1e3:.0f} kB",
        f"Differential privacy: epsilon {found['epsilon']:.0f} at delta {DELTA:g} from noise of {sigma:g} votes: three "
        "voters hide nobody",
        f"Cost of a query, all parties: {found['he_cpu_s_a_query']:.2f} CPU-seconds of encryption, "
        f"{found['mpc_cpu_s_a_query']:.2f} of shares; the same vote in the open {plain:.1e}: {crypto / plain:.1e} "
        f"times ({told})",
    ])  # fmt: skip


def main() -> None:
    """Run one party, or start all of them."""
    parser = options(__doc__, "two queries")
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--noise", type=float, default=0.2)
    parser.add_argument("--party", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if missing := [name for name in ("tenseal", "mpyc") if importlib.util.find_spec(name) is None]:
        raise LeftOut(f"{', '.join(missing)} is not installed; install the extra 'encrypted'.")
    if given.quick:
        given.queries = 2
    if given.party is None:
        if not 1 <= given.queries <= POOL:
            parser.error(f"--queries must be from 1 to {POOL}, got {given.queries}.")
        print(report(run(given.queries, given.noise), given.noise))
        return
    sys.argv = [sys.argv[0], *given.rest]  # MPyC reads its party number from the command line when it is imported
    from mpyc.runtime import mpc

    told = mpc.run(party(mpc, given.party, given.noise))
    (given.party / f"told{mpc.pid}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    run_script(main)
