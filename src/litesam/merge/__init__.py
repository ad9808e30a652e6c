"""Masks → labels: scores, suppression of duplicates, selection by points, boxes and words, the
label image, the seams between tiles and the links between slices and between points in time.

The last room of the pipe; numpy and scipy.ndimage only. Masks travel as `MaskRecord`, a bounding
box and the bool pixels inside it, so every step costs what the objects cost and not what the image
costs.
"""

from litesam.merge.bridge import bridge
from litesam.merge.label_image import OVERLAP_POLICIES, paint_labels
from litesam.merge.link import Gap, Links, SliceLinker
from litesam.merge.nms import box_nms, containment, intersection, mask_iou, mask_nms
from litesam.merge.overlaps import Overlaps, count_overlaps
from litesam.merge.records import SegmentResult, record_from_masks, segment_result
from litesam.merge.regions import clean_records, remove_small_regions
from litesam.merge.scores import fuse_scores, stability_score
from litesam.merge.selection import (
    TextMatch,
    TextScorer,
    picture_of,
    records_at,
    records_from_labels,
    select_by_box,
    select_by_boxes,
    select_by_points,
    select_by_prompts,
    select_by_text,
)
from litesam.merge.stitch import near_inner_edge, stitch_tiles
from litesam.merge.tracks import Objects, link_in_time

__all__ = [
    "OVERLAP_POLICIES",
    "Gap",
    "Links",
    "Objects",
    "Overlaps",
    "SegmentResult",
    "SliceLinker",
    "TextMatch",
    "TextScorer",
    "box_nms",
    "bridge",
    "clean_records",
    "containment",
    "count_overlaps",
    "fuse_scores",
    "intersection",
    "link_in_time",
    "mask_iou",
    "mask_nms",
    "near_inner_edge",
    "paint_labels",
    "picture_of",
    "record_from_masks",
    "records_at",
    "records_from_labels",
    "remove_small_regions",
    "segment_result",
    "select_by_box",
    "select_by_boxes",
    "select_by_points",
    "select_by_prompts",
    "select_by_text",
    "stability_score",
    "stitch_tiles",
]
