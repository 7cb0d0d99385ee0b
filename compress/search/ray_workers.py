"""Workers on a Ray cluster: training spreads over its nodes, and measuring stays on dedicated machines.

A machine that measures is started with a labelled resource, ``ray start --resources '{"leanmark_meter": 1}'``. A
measurement takes the whole resource, so that a machine runs one at a time, and no worker is placed there while there
are other nodes. The nodes share the folder of the search (a network file system), and a database that several machines
can write to; with a single node, the file in that folder is enough.
"""

from __future__ import annotations

import importlib
import logging
import os
import platform
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from certify.core.errors import LeanmarkError, MeasureError, UsageError
from certify.core.estimate import Estimate
from certify.core.progress import Progress
from certify.measure.machine import allowed_processors
from compress.search.optional import ray
from compress.search.question import Question
from compress.search.study import SQLITE, Study
from compress.search.trial_output import TrialOutput
from compress.search.turns import Turns
from compress.search.worker_pool import plain
from compress.search.workers import objective_of
from compress.search.workshop import Workshop

METER = "leanmark_meter"
NO_METER = f"No node of the cluster can measure; start one with ray start --resources '{{\"{METER}\": 1}}'."
METER_CHECK_S = 30.0
"""Seconds after which a measurement that waits looks whether a node can still measure."""
ADDRESSES = ("ray://", "auto", "local")
POLL_S = 1.0
RESTARTS = 3


def is_address(workers: str) -> bool:
    """Return whether ``workers`` names a cluster: ``ray://HOST:PORT``, ``auto`` (a running one) or ``local`` (a new
    one).

    Example:
        >>> is_address("ray://head:10001"), is_address("4")
        (True, False)
    """
    return workers.startswith(ADDRESSES[0]) or workers in ADDRESSES[1:]


def work_on_ray(question: Question, until_s: float, address: str, study: Study, progress: Progress) -> None:
    """Run trials on a cluster, one worker per node.

    Args:
        question: question of the search; models and data are given by name, so that every node finds them.
        until_s: wall-clock time after which no trial starts.
        address: see :func:`is_address`.
        study: study whose trials are counted.
        progress: where to report progress.

    Raises:
        UsageError: no node has the label, or several nodes would share a database that is a file.
        MeasureError: a worker died too often.
    """
    library = ray()
    # Workers have a different working directory, and a different processor would change the study's name.
    question = replace(question, out=question.out.resolve(), study=study.name)
    started = not library.is_initialized()
    _connect(library, address)
    try:
        nodes = [node for node in library.nodes() if node["Alive"]]
        workers = placed(nodes, question)
        _watch(library, [_start(library, question, until_s, node) for node in workers], study, question, progress)
    finally:
        if started:
            library.shutdown()


def placed(nodes: list[dict[str, Any]], question: Question) -> list[str]:
    """Return the ids of the nodes for workers: those that do not measure, or all if every node does.

    Args:
        nodes: result of ``ray.nodes()``.
        question: question of the search.

    Raises:
        UsageError: see :func:`work_on_ray`.
    """
    meters = [node["NodeID"] for node in nodes if node["Resources"].get(METER)]
    if not meters and question.objective != "bytes":
        raise UsageError(NO_METER)
    if len(nodes) > 1 and question.database.startswith(SQLITE):
        raise UsageError(
            f"The cluster has {len(nodes)} nodes, which cannot share a database in a file; give --storage, such as "
            "postgresql+psycopg://USER@HOST/NAME."
        )
    others = [node["NodeID"] for node in nodes if node["NodeID"] not in meters]
    return others or meters


def work(question: Question, until_s: float, folder: str) -> None:
    """Run trials on a node, and let the labelled machines measure them.

    Args:
        question: question of the search.
        until_s: wall-clock time after which no trial starts.
        folder: where the search was started; relative paths and modules are found from there.
    """
    torch.set_num_threads(len(allowed_processors()))  # Ray sets one for each processor that a task reserves
    try:
        _enter(folder)
        workshop = Workshop(question)
        objective = objective_of(question, workshop, lambda output: _measured_away(question, folder, output))
        Study(question, workshop.space, workshop.job).work(objective, until_s)
    except LeanmarkError as error:
        raise plain(error) from None


def measure(question: Question, folder: str, files: tuple[dict[str, bytes], dict[str, bytes]]) -> dict[str, Any]:
    """Measure two models that were sent as bytes, on a labelled machine, with nothing else running."""
    _enter(folder)
    workshop = Workshop(question)
    with tempfile.TemporaryDirectory() as folder, Turns().measuring():
        paths = []
        for number, parts in enumerate(files):
            beside = Path(folder) / str(number)
            beside.mkdir()
            for name, content in parts.items():
                (beside / name).write_bytes(content)
            paths.append(beside / next(iter(parts)))
        return workshop.cost_of(paths[0], paths[1]).to_json()


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise UsageError(
            f"Node {platform.node()} has no folder {folder}; start the search in a folder that all nodes share."
        ) from error


def _measured_away(question: Question, folder: str, output: TrialOutput) -> Estimate:
    library = ray()
    # Request no processors, because the labelled resource alone decides where and when it runs.
    task = library.remote(measure).options(num_cpus=0, resources={METER: 1}, max_retries=1)
    measuring = task.remote(question, folder, output.contents())
    try:
        while not library.wait([measuring], timeout=METER_CHECK_S)[0]:
            if not any(node["Alive"] and node["Resources"].get(METER) for node in library.nodes()):
                library.cancel(measuring)
                raise MeasureError(NO_METER)
        return Estimate.from_json(library.get(measuring))
    except library.exceptions.RayError as error:
        raise MeasureError(f"The measuring machine failed ({str(error).strip().splitlines()[-1]}).") from error


def _connect(library: Any, address: str) -> None:
    try:
        if not library.is_initialized():
            own = {"resources": {METER: 1}, "include_dashboard": False} if address == "local" else {"address": address}
            library.init(**own, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"The Ray cluster {address} cannot be reached ({error}); check it with ray status, and that RAY_AUTH_MODE "
            "and the token in ~/.ray/auth_token are those of the cluster."
        ) from error


def _start(library: Any, question: Question, until_s: float, node: str) -> Any:
    strategies = importlib.import_module("ray.util.scheduling_strategies")
    # Pin the workers, or Ray could pack all of them onto one node.
    pinned = strategies.NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    task = library.remote(work).options(num_cpus=1, scheduling_strategy=pinned, max_retries=RESTARTS)
    return task.remote(question, until_s, str(Path.cwd()))


def _watch(library: Any, tasks: list[Any], study: Study, question: Question, progress: Progress) -> None:
    """Report progress; the trials of a lost node are left to the others."""
    reported, lost = 0, []
    count = len(tasks)
    with progress.task(f"Searching on {count} node{'' if count == 1 else 's'}", question.trials) as bar:
        while tasks:
            ended, tasks = library.wait(tasks, timeout=POLL_S)
            for each in ended:
                try:
                    library.get(each)
                except library.exceptions.RayTaskError as error:
                    # The worker's own error, of a class that determines the exit code.
                    raise error.cause if isinstance(error.cause, LeanmarkError) else error from None
                except library.exceptions.RayError as error:
                    lost.append(str(error).strip().splitlines()[0])
                    progress.say(f"A node was lost ({lost[-1]}).")
            done = study.count()
            bar.advance(done - reported)
            reported = done
    if len(lost) == count:
        raise MeasureError(f"Every node was lost; the last one: {lost[-1]}")
