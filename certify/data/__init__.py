"""Data specs, decoding, preprocessing, splits and scoring, shared by the maker and the referee."""

from certify.data.array_contract import ArrayPreprocess, as_given
from certify.data.arrays import array_split
from certify.data.data_path import Placed
from certify.data.dataset import Dataset, Split, overlap, require_separate
from certify.data.images import IMAGENET_MEAN, IMAGENET_STD, ImagePreprocess, default_preprocess
from certify.data.metrics import METRICS, Metric, get_metric
from certify.data.partition import carve
from certify.data.preprocess import Preprocess
from certify.data.scoring import Scores, score
from certify.data.sources import Source
from certify.data.specs import DEFAULT_SPEC, KNOWN, load
from certify.data.tokens import TokenInput, TokenPreprocess

__all__ = [
    "DEFAULT_SPEC",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "KNOWN",
    "METRICS",
    "ArrayPreprocess",
    "Dataset",
    "ImagePreprocess",
    "Metric",
    "Placed",
    "Preprocess",
    "Scores",
    "Source",
    "Split",
    "TokenInput",
    "TokenPreprocess",
    "array_split",
    "as_given",
    "carve",
    "default_preprocess",
    "get_metric",
    "load",
    "overlap",
    "require_separate",
    "score",
]
