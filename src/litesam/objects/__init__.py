"""Objects of a label image: commit, delete, merge, split, mend, measure and export them.

Pure functions: they look at a label array, which may be a stack, and return a `Change`, the pixels
that differ, before and after. `apply_change` writes it and `revert_change` takes it back exactly.
"""

from litesam.objects.changes import (
    Change,
    apply_change,
    change_of,
    check_id,
    checked_index,
    revert_change,
)
from litesam.objects.coco import coco_document, write_coco
from litesam.objects.commit import (
    COMMIT_POLICIES,
    Commit,
    commit_labels,
    commit_mask,
    has_id,
    next_id,
)
from litesam.objects.operations import (
    delete_objects,
    fill_holes,
    merge_objects,
    remove_islands,
    smooth_object,
    split_object,
)
from litesam.objects.regions import connected_region
from litesam.objects.table import (
    ObjectDetails,
    ObjectRow,
    PlaneSums,
    measure_objects,
    write_table,
)

__all__ = [
    "COMMIT_POLICIES",
    "Change",
    "Commit",
    "ObjectDetails",
    "ObjectRow",
    "PlaneSums",
    "apply_change",
    "change_of",
    "check_id",
    "checked_index",
    "coco_document",
    "commit_labels",
    "commit_mask",
    "connected_region",
    "delete_objects",
    "fill_holes",
    "has_id",
    "measure_objects",
    "merge_objects",
    "next_id",
    "remove_islands",
    "revert_change",
    "smooth_object",
    "split_object",
    "write_coco",
    "write_table",
]
