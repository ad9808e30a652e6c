"""An annotation session as data: what was done to an image, in order; files, autosave and replay.

The format is described in docs/reference/session.md.
"""

from litesam.session.actions import (
    OPERATIONS,
    Accepted,
    Action,
    BatchCommit,
    BatchObject,
    EverythingCommit,
    HandEdit,
    LabelsLoaded,
    MaskCommit,
    ObjectCommit,
    ObjectEdit,
    Patch,
)
from litesam.session.decoding import session_from_json
from litesam.session.drawn import SHAPE_VERTICES, Drawn, DrawnShape
from litesam.session.encoding import FORMAT, VERSION, session_to_json
from litesam.session.files import read_session, write_session
from litesam.session.hashes import labels_hash, mask_hash
from litesam.session.journal import (
    JOURNAL_SUFFIX,
    Recovered,
    SessionJournal,
    find_journals,
    recover,
    sessions_dir,
)
from litesam.session.label_copy import (
    COPY_SUFFIX,
    LabelCopy,
    named_from,
    remove_copy,
    take_copies_along,
)
from litesam.session.recording import (
    colour_references,
    image_reference,
    model_reference,
    outcome_of,
    record_batch,
    record_change,
    record_everything,
    record_mask,
    record_object,
)
from litesam.session.references import ImageReference, ModelReference, Outcome
from litesam.session.replay import Difference, Replayed, object_details, replay
from litesam.session.values import LABEL_TYPES, Draft, FoundMasks, Session, StoredObject

__all__ = [
    "COPY_SUFFIX",
    "FORMAT",
    "JOURNAL_SUFFIX",
    "LABEL_TYPES",
    "OPERATIONS",
    "SHAPE_VERTICES",
    "VERSION",
    "Accepted",
    "Action",
    "BatchCommit",
    "BatchObject",
    "Difference",
    "Draft",
    "Drawn",
    "DrawnShape",
    "EverythingCommit",
    "FoundMasks",
    "HandEdit",
    "ImageReference",
    "LabelCopy",
    "LabelsLoaded",
    "MaskCommit",
    "ModelReference",
    "ObjectCommit",
    "ObjectEdit",
    "Outcome",
    "Patch",
    "Recovered",
    "Replayed",
    "Session",
    "SessionJournal",
    "StoredObject",
    "colour_references",
    "find_journals",
    "image_reference",
    "labels_hash",
    "mask_hash",
    "model_reference",
    "named_from",
    "object_details",
    "outcome_of",
    "read_session",
    "record_batch",
    "record_change",
    "record_everything",
    "record_mask",
    "record_object",
    "recover",
    "remove_copy",
    "replay",
    "session_from_json",
    "session_to_json",
    "sessions_dir",
    "take_copies_along",
    "write_session",
]
