"""Models of the Hugging Face Hub by ``ORG/NAME``: from the local cache, or downloaded.

The cache is huggingface_hub's (https://huggingface.co/docs/huggingface_hub/guides/manage-cache), and so are its
variables: ``HF_HOME``, ``HF_HUB_CACHE``, ``HF_HUB_OFFLINE``, ``HF_TOKEN``. Neither pickles nor code are downloaded.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

from certify.core.errors import MissingExtra, ModelError
from certify.core.progress import Progress

ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
WEIGHTS, SHARDS = "model.safetensors", "model.safetensors.index.json"
OTHERS = ["config.json", "tokenizer.json", "preprocessor_config.json", "1_Pooling/config.json"]
FILES = ["model*.safetensors", SHARDS, *OTHERS]


def fetched(name: str, progress: Progress) -> Path:
    """Return the cache folder with the files of a model.

    Args:
        name: ``ORG/NAME``.
        progress: where to report a download.

    Raises:
        MissingExtra: huggingface_hub is not installed.
        ModelError: it is not cached and cannot be downloaded, or has no safetensors file.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise MissingExtra(f"Model '{name}' of the Hugging Face Hub", "transformers")
    from huggingface_hub import constants, errors, snapshot_download

    try:
        # Try the cache first, because a cached model needs no network.
        folder = Path(snapshot_download(name, allow_patterns=FILES, local_files_only=True))
        if has_weights(folder):
            return folder
    except errors.LocalEntryNotFoundError:
        pass
    progress.say(f"Downloading {name} from the Hugging Face Hub into {constants.HF_HUB_CACHE}.")
    unreachable = (OSError, ValueError, RuntimeError, getattr(errors, "HTTPError", OSError))
    try:
        folder = Path(snapshot_download(name, allow_patterns=FILES))
    except unreachable as error:
        raise ModelError(
            f"{name} is not in the cache {constants.HF_HUB_CACHE} and cannot be downloaded ({_line(error)}). Download "
            f"it on a machine with a network (hf download {name}), or give a folder: hf:FOLDER."
        ) from error
    if not has_weights(folder):
        raise ModelError(
            f"{name} has no complete {WEIGHTS} in the cache or on the Hub, and pickles are not read. Give a model that "
            "has one, or save it as one (with save_pretrained) and give hf:FOLDER."
        )
    return folder


def has_weights(folder: Path) -> bool:
    """Return whether a folder holds safetensors, including all shards."""
    if not (folder / SHARDS).is_file():
        return (folder / WEIGHTS).is_file()
    try:
        parts = set(json.loads((folder / SHARDS).read_bytes())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    return all((folder / str(part)).is_file() for part in parts)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
