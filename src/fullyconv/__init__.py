"""Fully Convolutional Networks for Semantic Segmentation: labels for every pixel, any size.

The names below are loaded when they are first used: ``import fullyconv`` itself is instant and
imports neither torch nor numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fullyconv.checkpoint import Header, load_model, read_header, save_model
    from fullyconv.classifier import DenseClassifier, load_classifier
    from fullyconv.cluster.options import ClusterOptions
    from fullyconv.cluster.predicting import predict_on_cluster
    from fullyconv.config import ModelConfig, Recipe
    from fullyconv.data.dataset import Pictures, open_dataset
    from fullyconv.data.exporters import export_data
    from fullyconv.data.importers import import_data
    from fullyconv.data.splitting import split_data
    from fullyconv.errors import FullyConvError
    from fullyconv.evaluation import evaluate
    from fullyconv.exporting import export
    from fullyconv.heatmaps import HeatMap, heatmap
    from fullyconv.labels import IGNORE_INDEX, LabelSpace
    from fullyconv.losses import cross_entropy
    from fullyconv.metrics import ConfusionMatrix, Metrics
    from fullyconv.models.backbones import Backbone, register_backbone
    from fullyconv.models.convolutionalize import convolutionalize
    from fullyconv.models.create import create_model
    from fullyconv.models.dilate import dilate
    from fullyconv.models.fcn import FCN
    from fullyconv.network_info import info
    from fullyconv.networks import model_config, model_names
    from fullyconv.optim import sgd
    from fullyconv.prediction.predicting import predict
    from fullyconv.prediction.prediction import Prediction
    from fullyconv.prediction.predictor import Predictor
    from fullyconv.preprocess import Preprocess
    from fullyconv.pretrained import load_backbone
    from fullyconv.recipes import recipe
    from fullyconv.serve.view import view
    from fullyconv.surgery import expand_score, load_caffemodel, transplant
    from fullyconv.training import train

_HOME = {
    "checkpoint": ("Header", "load_model", "read_header", "save_model"),
    "classifier": ("DenseClassifier", "load_classifier"),
    "cluster.options": ("ClusterOptions",),
    "cluster.predicting": ("predict_on_cluster",),
    "config": ("ModelConfig", "Recipe"),
    "data.dataset": ("Pictures", "open_dataset"),
    "data.exporters": ("export_data",),
    "data.importers": ("import_data",),
    "data.splitting": ("split_data",),
    "errors": ("FullyConvError",),
    "evaluation": ("evaluate",),
    "exporting": ("export",),
    "heatmaps": ("HeatMap", "heatmap"),
    "labels": ("IGNORE_INDEX", "LabelSpace"),
    "losses": ("cross_entropy",),
    "metrics": ("ConfusionMatrix", "Metrics"),
    "models.backbones": ("Backbone", "register_backbone"),
    "models.convolutionalize": ("convolutionalize",),
    "models.create": ("create_model",),
    "models.dilate": ("dilate",),
    "models.fcn": ("FCN",),
    "network_info": ("info",),
    "networks": ("model_config", "model_names"),
    "optim": ("sgd",),
    "prediction.predicting": ("predict",),
    "prediction.prediction": ("Prediction",),
    "prediction.predictor": ("Predictor",),
    "preprocess": ("Preprocess",),
    "pretrained": ("load_backbone",),
    "recipes": ("recipe",),
    "serve.view": ("view",),
    "surgery": ("expand_score", "load_caffemodel", "transplant"),
    "training": ("train",),
}
_MODULES = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "FCN",
    "IGNORE_INDEX",
    "Backbone",
    "ClusterOptions",
    "ConfusionMatrix",
    "DenseClassifier",
    "FullyConvError",
    "Header",
    "HeatMap",
    "LabelSpace",
    "Metrics",
    "ModelConfig",
    "Pictures",
    "Prediction",
    "Predictor",
    "Preprocess",
    "Recipe",
    "convolutionalize",
    "create_model",
    "cross_entropy",
    "dilate",
    "evaluate",
    "expand_score",
    "export",
    "export_data",
    "heatmap",
    "import_data",
    "info",
    "load_backbone",
    "load_caffemodel",
    "load_classifier",
    "load_model",
    "model_config",
    "model_names",
    "open_dataset",
    "predict",
    "predict_on_cluster",
    "read_header",
    "recipe",
    "register_backbone",
    "save_model",
    "sgd",
    "split_data",
    "train",
    "transplant",
    "view",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'fullyconv' has no attribute {name!r}")
    return getattr(import_module(f"fullyconv.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
