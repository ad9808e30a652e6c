"""Metrics, and the benchmark of models on labelled images."""

from litesam.evaluation.benchmark import TASKS, ImageScores, evaluate, evaluate_image, summarize
from litesam.evaluation.metrics import (
    average_precision,
    average_recall,
    boundary_iou,
    iou_matrix,
    mean_segmentation_accuracy,
)
from litesam.evaluation.report import write_scores

__all__ = [
    "TASKS",
    "ImageScores",
    "average_precision",
    "average_recall",
    "boundary_iou",
    "evaluate",
    "evaluate_image",
    "iou_matrix",
    "mean_segmentation_accuracy",
    "summarize",
    "write_scores",
]
