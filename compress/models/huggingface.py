"""Hugging Face's text and image classifiers: ``hf:PATH`` for a folder, or ``ORG/NAME`` on the Hub.

Wolf et al. 2020, "Transformers: State-of-the-Art Natural Language Processing"
(https://huggingface.co/docs/transformers). The folder holds ``config.json`` and ``model.safetensors``; no pickle is
read, and no code from the folder is run. Folders of sentence-transformers (https://sbert.net), which hold an encoder
without a classifier, get a linear one on the pooled sentence.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import nn

from certify.core.errors import MissingExtra, ModelError
from certify.core.files import sha256_file
from certify.core.progress import Progress
from certify.core.suggest import unknown_name
from certify.model_file.suffixes import ONNX
from compress.models import hub, image_input
from compress.models import weights as weight_files
from compress.models.built_model import BuiltModel, ModelSource
from compress.models.factories import WEIGHT_FILES
from compress.models.tokens import SentenceClassifier, TokenClassifier

PREFIX = "hf:"
FILE_SUFFIXES = (ONNX, ".py", *WEIGHT_FILES)
"""Suffixes by which ``a/b`` is a file and not a model on the Hub."""
FACTORY = "compress.models.huggingface:classifier"
CONFIG = "config.json"
TOKENIZER, IMAGES, POOLING = "tokenizer.json", "preprocessor_config.json", "1_Pooling/config.json"
POOLED = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first"}
"""Supported pooling of sentence-transformers."""
LEFT_OUT = ("_name_or_path", "auto_map", "dtype", "id2label", "label2id", "torch_dtype", "transformers_version")
"""Keys of a config that do not affect the architecture: origin, code in the folder, and names of classes."""
ATTENTION = "eager"
"""Plain matrix products and softmax, which exporters, counters and pruning can read."""
UNLOADABLE = (ImportError, KeyError, OSError, RuntimeError, TypeError, ValueError, safetensors.SafetensorError)
"""Errors that transformers raises on a folder that it cannot load."""
LONGEST_ERROR = 300


@dataclass(frozen=True)
class Folder:
    """Contents of a model folder.

    Attributes:
        path: the folder.
        config: config of the architecture, as JSON values.
        labels: outputs of its own classifier; None without one.
        pooling: ``mean`` or ``first`` for a sentence encoder; None for a classifier.
        weights: whether it holds weights.
    """

    path: Path
    config: Mapping[str, Any]
    labels: int | None
    pooling: str | None
    weights: bool


def classifier(config: Mapping[str, Any], num_classes: int, pooling: str | None = None) -> nn.Module:
    """Build a classifier with random weights.

    Args:
        config: contents of ``config.json``.
        num_classes: number of outputs.
        pooling: ``mean`` or ``first`` for a linear classifier on an encoder.

    Raises:
        MissingExtra: transformers is not installed.
        UsageError: the architecture is unknown; the nearest name is given.
        ModelError: it is not a classifier, or its sizes do not fit together.
    """
    built = _config(config, num_classes)
    family = _family(built) if pooling is None else _library().AutoModel
    try:
        model: nn.Module = family.from_config(built, attn_implementation=ATTENTION)
    except (TypeError, ValueError, AttributeError, RuntimeError, ImportError) as error:
        raise ModelError(f"The config of '{built.model_type}' does not build a model ({_line(error)}).") from error
    return model if pooling is None else SentenceClassifier(model, pooling, num_classes)


def takes(spec: str) -> bool:
    """Return whether the name of a model denotes a folder or a model on the Hub.

    Example:
        >>> takes("hf:folder"), takes("org/name"), takes("resnet18")
        (True, True, False)
    """
    return spec.startswith(PREFIX) or (hub.ID.fullmatch(spec) is not None and Path(spec).suffix not in FILE_SUFFIXES)


def find(spec: str, progress: Progress) -> Path:
    """Return the folder of ``hf:PATH``, ``hf:ORG/NAME`` or ``ORG/NAME``; an existing folder takes precedence.

    Raises:
        MissingExtra: huggingface_hub is not installed.
        ModelError: the Hub's model is not cached and cannot be downloaded.
    """
    name = spec.removeprefix(PREFIX)
    path = Path(name).expanduser()
    return path if path.exists() or hub.ID.fullmatch(name) is None else hub.fetched(name, progress)


def build(spec: str, path: Path, classes: int, class_map: Sequence[int] | None = None, seed: int = 0) -> BuiltModel:
    """Build the model of a folder; see :func:`compress.models.catalog.build`.

    Args:
        spec: model as the user named it.
        path: its folder, see :func:`find`.
        classes: number of classes of the data.
        class_map: output column of its classifier for each class of the data.
        seed: seed of weights that the folder does not hold.

    Raises:
        MissingExtra: transformers is not installed.
        ModelError: the folder cannot be read, or holds something else.
    """
    folder = _read(path)
    labels = folder.labels or classes
    mapped = labels != classes and class_map is not None and max(class_map) < labels
    arguments = {"config": dict(folder.config)} | ({} if folder.pooling is None else {"pooling": folder.pooling})
    source = ModelSource(FACTORY, arguments, labels if mapped else classes)
    model = source.instantiate(seed)
    tokenizer = folder.path / TOKENIZER
    if isinstance(model, TokenClassifier) and tokenizer.is_file():
        model.takes = replace(model.takes, tokenizer=sha256_file(tokenizer))
    stated = {} if isinstance(model, TokenClassifier) else _images(folder)
    digest = _digest(folder.path)
    if not folder.weights:
        origin = f"random weights, seed {seed}"
        return BuiltModel(model, spec, source, pretrained=False, origin=origin, digest=digest, **stated)
    new_head = _load(folder, model.model, source.classes)  # type: ignore[arg-type]  # wrapped by instantiate
    whose = f"from the folder {path.resolve().name}" if Path(spec.removeprefix(PREFIX)).expanduser() == path else ""
    origin = f"weights {whose or f'of {spec.removeprefix(PREFIX)} at {path.name[:12]}'} (SHA-256 {digest[:12]})"
    weight_files.require_finite(model.state_dict(), str(folder.path))
    return BuiltModel(model, spec, source, True, origin, mapped, new_head, digest=digest, **stated)


def _library() -> Any:
    if importlib.util.find_spec("transformers") is None:
        raise MissingExtra("A model of Hugging Face", "transformers")
    import transformers

    return transformers


def _read(path: Path) -> Folder:
    values = _json(path / CONFIG)
    if not isinstance(values.get("model_type"), str):
        raise ModelError(f"{path / CONFIG} has no model_type; give a folder of Hugging Face transformers.")
    weights = (path / hub.WEIGHTS).is_file() or (path / hub.SHARDS).is_file()
    others = [other.name for other in sorted(path.glob("*.bin"))]
    if not weights and others:
        raise ModelError(
            f"{path} holds its weights as {others[0]}, a pickle, which is not read; save them as {hub.WEIGHTS} "
            "(with save_pretrained)."
        )
    names = values.get("architectures") or [""]
    classifies = any("Classification" in str(name) for name in names)
    # transformers assumes two classes where a config names none.
    labels = len(values.get("id2label") or (0, 1)) if classifies else None
    pooling = None if classifies or not (path / POOLING).is_file() else _pooling(path / POOLING)
    return Folder(path, {k: v for k, v in values.items() if k not in LEFT_OUT}, labels, pooling, weights)


def _digest(path: Path) -> str:
    """Return the hex SHA-256 of the lines ``name digest`` of the config and of every weight file, by name."""
    lines = [f"{file.name} {sha256_file(file)}\n" for file in (path / CONFIG, *sorted(path.glob("*.safetensors")))]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:LONGEST_ERROR]


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelError(
            f"{path}: file not found; hf:PATH must be a folder with {CONFIG} and {hub.WEIGHTS}."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({error}).") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} is not a JSON object.")
    return values


def _pooling(path: Path) -> str:
    """Return how a sentence-transformers folder pools the tokens of a sentence."""
    chosen = [key for key, value in _json(path).items() if key.startswith("pooling_mode_") and value is True]
    if len(chosen) != 1 or chosen[0] not in POOLED:
        raise ModelError(
            f"{path}: pooling must be exactly one of {', '.join(POOLED)}, got {', '.join(chosen) or 'none'}."
        )
    return POOLED[chosen[0]]


def _config(values: Mapping[str, Any], labels: int) -> Any:
    transformers = _library()
    fields = dict(values)
    kind = str(fields.pop("model_type"))
    if kind not in transformers.CONFIG_MAPPING:
        raise unknown_name("architecture of Hugging Face", kind, list(transformers.CONFIG_MAPPING))
    try:
        config = transformers.AutoConfig.for_model(kind, **fields)
        config.num_labels = labels
        config.architectures = config.architectures or []  # the first of the listed ones
    except (TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"transformers {transformers.__version__} rejects the config ({_line(error)}).") from error
    return config


def _family(config: Any) -> Any:
    """Return the auto class for classifiers of an architecture: of images if it takes them, else of text."""
    from transformers.models.auto import modeling_auto as known

    transformers = _library()
    if type(config) in known.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        return transformers.AutoModelForImageClassification
    if type(config) in known.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        return transformers.AutoModelForSequenceClassification
    raise ModelError(f"transformers has no text or image classifier of the architecture '{config.model_type}'.")


def _load(folder: Folder, model: nn.Module, classes: int) -> bool:
    """Load the folder's weights into a model; return whether classifier parts stay random.

    Raises:
        ModelError: the weights cannot be read, or other parts are missing.
    """
    config = _config(folder.config, classes)
    family = _family(config) if folder.pooling is None else _library().AutoModel
    try:
        with _quiet():
            loaded, info = family.from_pretrained(
                folder.path, config=config, attn_implementation=ATTENTION, dtype=torch.float32,
                # A head for other classes does not fit; it stays random and is reported as new.
                use_safetensors=True, local_files_only=True, trust_remote_code=False, ignore_mismatched_sizes=True,
                output_loading_info=True,
            )  # fmt: skip
    except UNLOADABLE as error:
        raise ModelError(f"{folder.path} cannot be loaded ({_line(error)}).") from error
    absent = [*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])]
    encoder = f"{loaded.base_model_prefix}." if folder.pooling is None else ""
    # Some checkpoints leave out the pooler, which only the classifier reads.
    broken = [key for key in absent if key.startswith(encoder) and "pooler" not in key]
    if broken:
        raise ModelError(f"{folder.path}: weights lack {broken[0]} and {len(broken) - 1} others; give complete ones.")
    part = model.encoder if isinstance(model, SentenceClassifier) else model
    present = {key: value for key, value in loaded.state_dict().items() if key not in absent}
    # Missing parts keep the values from the seed, not those that from_pretrained drew.
    part.load_state_dict({key: present.get(key, value) for key, value in part.state_dict().items()})
    return bool(absent) or folder.pooling is not None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' output while it loads; errors are still raised."""
    logging = _library().utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _images(folder: Folder) -> dict[str, Any]:
    """Return the folder's statements about image inputs, in the form of BuiltModel."""
    side = folder.config.get("image_size")
    size = (side, side) if isinstance(side, int) else tuple(side) if side else None
    stated: dict[str, Any] = {"input_size": size}
    if not (folder.path / IMAGES).is_file():
        return stated
    try:
        stated |= image_input.of_processor(_json(folder.path / IMAGES))
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise ModelError(f"{folder.path / IMAGES}: is not a valid image processor ({error!r}).") from error
    return stated | ({"stated_by": IMAGES} if "mean" in stated else {})
