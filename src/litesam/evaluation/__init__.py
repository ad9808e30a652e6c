"""Metrics, and the benchmark of models on labelled images."""

from litesam.evaluation.benchmark import ImageScores, evaluate, evaluate_image, summarize
from litesam.evaluation.metrics import average_precision, iou_matrix, mean_segmentation_accuracy

__all__ = [
    "ImageScores",
    "average_precision",
    "evaluate",
    "evaluate_image",
    "iou_matrix",
    "mean_segmentation_accuracy",
    "summarize",
]
